"""The command `fairloss fit-policy`."""

from pathlib import Path
from typing import Annotated

import typer

import fairloss.experience
from fairloss.agent.state import legal_actions
from fairloss.checks import check_file
from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.io.output import check_output


def fit_policy(
    experience: Annotated[Path, typer.Argument(help="experience.npz from `fairloss collect`.")],
    output: Annotated[Path, typer.Option(help="Where to write the policy.")] = Path("policy.json"),
    gamma: Annotated[float, typer.Option(help="Discount per epoch, in [0, 1).")] = 0.9,
    seed: Annotated[int, typer.Option(help="Seed of the Q-network.")] = 0,
) -> None:
    """Learn the policy from experience, by deep Q-learning checked against the exact solution.

    Example: `fairloss fit-policy runs/experience/experience.npz --output policy.json`, then
    `fairloss train data=faces output=runs/fair head.name=FairLoss head.policy=policy.json`, with
    head.kind=cos where the experience is of a run of CosFace
    """
    check_output(output, folder=False)
    check_file("experience", experience)
    transitions = fairloss.experience.Experience.load(experience)
    with progress_bars() as progress:
        fit = fairloss.experience.fit_policy(transitions, gamma=gamma, seed=seed, progress=progress)
    fit.policy.save(output)
    print_line(
        f"{output}: {(fit.policy.visits > 0).sum()} of {legal_actions(fit.policy.grid).sum()} "
        f"legal pairs visited, largest difference to the exact Q {fit.largest_gap:.2g}, "
        f"{fit.disagreements} states decided otherwise"
    )
