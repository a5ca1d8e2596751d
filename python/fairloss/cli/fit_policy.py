"""The command `fairloss fit-policy`."""

from pathlib import Path
from typing import Annotated

import typer

import fairloss.experience
from fairloss.agent import ACTIONS, Policy
from fairloss.agent.state import legal_actions
from fairloss.checks import check_choice, check_file, expect
from fairloss.cli._console import print_line, print_message
from fairloss.cli._progress import progress_bars
from fairloss.cli._tables import print_table
from fairloss.experience.evidence import doubts, rows
from fairloss.io.output import check_output

CONTROLS = (*ACTIONS, "random", "shuffled")


def fit_policy(
    context: typer.Context,
    experience: Annotated[
        Path | None,
        typer.Argument(
            help="experience.npz from `fairloss collect`; with --control a policy.json, which "
            "shuffled requires and of which the others take the grid."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Where to write the policy.")] = Path("policy.json"),
    gamma: Annotated[float, typer.Option(help="Discount per epoch, in [0, 1).")] = 0.9,
    seed: Annotated[int, typer.Option(help="Seed of the Q-network, or of a control.")] = 0,
    reward: Annotated[
        str,
        typer.Option(
            help="own_and_common: the effect of an action on its own cell and its share of that on "
            "all cells. paper: less the mean of the epoch, and so blind to what all cells share."
        ),
    ] = "own_and_common",
    control: Annotated[
        str | None,
        typer.Option(
            help="Write a policy to compare with instead: lower, keep or raise (always that), "
            "random (drawn anew each epoch), or shuffled (the actions of each margin permuted)."
        ),
    ] = None,
) -> None:
    """Learn the policy from experience, by deep Q-learning checked against the exact solution.

    Prints what speaks for the table; effects are in standard deviations of the change of a cell.

    Example: `fairloss fit-policy runs/experience/experience.npz --output policy.json`, then
    `fairloss train data=faces output=runs/fair head.name=FairLoss head.policy=policy.json`, with
    head.kind=cos where the experience is of a run of CosFace. `fairloss fit-policy policy.json
    --control shuffled --output shuffled.json` tests whether the states of the policy matter
    """
    check_output(output, folder=False)
    if control is not None:
        check_unused(context, control)
        control_policy(control, experience, seed).save(output)
        print_line(f"{output}: {control}")
        return
    if experience is None:
        raise ValueError("experience: expected experience.npz of `fairloss collect`, got none")
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
    cost = fit.policy.provenance.get("cost_steps")
    steps = "unknown" if cost is None else f"{cost:.0f} training steps with the pre-trained run"
    print_line(
        f"{output}: {(fit.policy.visits > 0).sum()} of {legal_actions(fit.policy.grid).sum()} "
        f"legal pairs visited, cost {steps}"
    )


def check_unused(context: typer.Context, control: str) -> None:
    """Raise ValueError naming an option that a control would ignore."""
    unused = ["gamma", "reward"] + ["seed"] * (control in ACTIONS)
    for name in unused:
        source = context.get_parameter_source(name)
        is_default = source is not None and source.name == "DEFAULT"
        expect(is_default, name, f"none beside --control {control}", context.params[name])


def control_policy(control: str, path: Path | None, seed: int) -> Policy:
    """Return a policy to compare a learned one with.

    Args:
        control: one of `CONTROLS`.
        path: of the policy that is shuffled, or has the grid; None: the default grid.
        seed: of the draws.
    """
    check_choice("control", control, CONTROLS)
    if path is None:
        expect(control != "shuffled", "control", "a policy.json to shuffle", "none")
        learned = Policy.constant("keep")
    else:
        check_file("policy", path)
        learned = Policy.load(path)
    if control == "shuffled":
        return learned.shuffled(seed)
    if control == "random":
        return Policy.random(seed, learned.grid)
    return Policy.constant(control, learned.grid)
