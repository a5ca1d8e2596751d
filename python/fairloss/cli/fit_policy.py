"""The command `fairloss fit-policy`."""

from pathlib import Path
from typing import Annotated

import typer

import fairloss.experience
from fairloss.agent.state import legal_actions
from fairloss.checks import check_file
from fairloss.cli._console import print_line, print_message
from fairloss.cli._progress import progress_bars
from fairloss.cli._tables import print_table
from fairloss.experience.evidence import doubts, rows
from fairloss.io.output import check_output


def fit_policy(
    experience: Annotated[Path, typer.Argument(help="experience.npz from `fairloss collect`.")],
    output: Annotated[Path, typer.Option(help="Where to write the policy.")] = Path("policy.json"),
    gamma: Annotated[float, typer.Option(help="Discount per epoch, in [0, 1).")] = 0.9,
    seed: Annotated[int, typer.Option(help="Seed of the Q-network.")] = 0,
    reward: Annotated[
        str,
        typer.Option(
            help="own_and_common: the effect of an action on its own cell and its share of that on "
            "all cells. paper: less the mean of the epoch, and so blind to what all cells share."
        ),
    ] = "own_and_common",
) -> None:
    """Learn the policy from experience, by deep Q-learning checked against the exact solution.

    Prints what speaks for the table; effects are in standard deviations of the change of a cell.

    Example: `fairloss fit-policy runs/experience/experience.npz --output policy.json`, then
    `fairloss train data=faces output=runs/fair head.name=FairLoss head.policy=policy.json`, with
    head.kind=cos where the experience is of a run of CosFace
    """
    check_output(output, folder=False)
    check_file("experience", experience)
    transitions = fairloss.experience.Experience.load(experience)
    with progress_bars() as progress:
        fit = fairloss.experience.fit_policy(
            transitions, gamma=gamma, seed=seed, reward=reward, progress=progress
        )
    fit.policy.save(output)
    measured = fit.policy.provenance["evidence"]
    print_table("Evidence for the policy", ("", "measured"), rows(measured), justify="left")
    reasons = doubts(measured)
    if reasons:
        print_message("warning", "yellow", f"little evidence: {'; '.join(reasons)}")
    print_line(
        f"{output}: {(fit.policy.visits > 0).sum()} of {legal_actions(fit.policy.grid).sum()} "
        f"legal pairs visited"
    )
