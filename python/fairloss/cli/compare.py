"""The command `fairloss compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fairloss import experiments
from fairloss.cli._console import print_line
from fairloss.cli._settings import Settings, load_settings
from fairloss.cli._tables import print_table
from fairloss.experiments.measure import unit
from fairloss.loss_search import ProcessMap


def compare(
    settings: Settings = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the runs and the hours left, and train nothing.")
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Train every arm with one seed for two epochs, in OUTPUT-smoke."
        ),
    ] = False,
    summary: Annotated[
        bool,
        typer.Option(
            "--summary", help="Summarize the results that exist so far, and train nothing."
        ),
    ] = False,
) -> None:
    """Compare losses: train each arm with several seeds, and print paired differences.

    Example: `fairloss compare arms.yaml workers=2`

    Writes a run folder and a JSON for each run, and output/summary.json; an interrupted comparison
    resumes. Settings and their defaults:

    - output=FOLDER: must be given
    - arms: {NAME: {head.name: ArcFace, ...}, ...}: settings of `fairloss train` that differ
    - choices: {NAME: {among: [ARM, ...], by: seeds}, ...}: arms that train nothing and are at each
      seed the arm that is best on validation with the other seeds; by: stages is the arm that
      successive halving at the stages leaves
    - contrasts: [[ARM, REFERENCE], ...]: default: every arm is compared with the first
    - decide: [METRIC, ...]: those with a decision; default: the primary one
    - settings: {data: FOLDER, epochs: 20, ...}: those of every run
    - seeds=5, seed=0: runs of each arm, with seeds seed, seed + 1, ...
    - fewer_seeds: {ARM: 3, ...}: arms with only the first seeds
    - test=FOLDER: images of identities to verify; default: a fifth of the identities of data,
      which no arm trains on
    - validation=FOLDER: images of further identities, for choices among arms
    - bound=0.005: differences of a metric up to this size count as equal
    - workers=1: processes that train; threads=1: of each run. The results are the same to the bit
      for any number of workers
    """
    config = load_settings(settings, experiments.CompareConfig)
    config = experiments.smoke(config) if smoke else config
    if plan:
        print_plan(experiments.plan(config))
        return
    if summary:
        content = experiments.summarize_results(config)
    else:
        with ProcessMap(config.workers) as processes:
            run_all = map if config.workers == 1 else processes
            content = experiments.compare(config, print_result, run_all)
    for task in content["tasks"]:
        print_differences(task, config)
    print_line(f"results: {Path(config.output) / 'summary.json'}")


def print_plan(plan: experiments.Plan) -> None:
    """Print the runs of each arm and the time left."""
    rows = [
        (
            name,
            str(arm.finished),
            str(arm.runs - arm.finished),
            "unknown" if arm.seconds is None else f"{arm.seconds:.0f}",
        )
        for name, arm in plan.arms.items()
    ]
    columns = ("arm", "finished", "left", "seconds a run")
    print_table(f"{plan.runs} runs, {time_left(plan)}", columns, rows)


def print_result(result: dict[str, Any], plan: experiments.Plan) -> None:
    """Print one line about a run that is finished."""
    numbers = ((k, v) for k, v in result["metrics"].items() if not isinstance(v, str))
    metric, value = next(numbers)
    print_line(
        f"{plan.finished} of {plan.runs}: {result['arm']}, seed {result['seed']}: {metric} "
        f"{value:.4f}, {result['seconds']:.0f} s; {time_left(plan)}"
    )


def time_left(plan: experiments.Plan) -> str:
    """Return the time left as a text."""
    left = plan.seconds_left
    return "hours left: unknown" if left is None else f"hours left: {left / 3600:.2f}"


def print_differences(task: dict[str, Any], config: experiments.CompareConfig) -> None:
    """Print the paired differences, those with a decision last."""
    print_doubts(task, config)
    rows = sorted(task["differences"], key=lambda row: "decision" in row)
    title = f"paired differences in points (angles: degrees), bound: {100 * config.bound:g}"
    columns = ("arms", "metric", "seeds", "mean", "95% interval", "Holm's p", "decision")
    if rows:
        print_table(title, columns, map(difference_cells, rows), justify="left")


def print_doubts(task: dict[str, Any], config: experiments.CompareConfig) -> None:
    """Print what limits the differences: held-out identities, missing runs and other machines."""
    if config.test is None:
        held_out = "tested on a fifth of the identities of data, which no arm trained on"
        folders = {config.training(run).data for run in config.runs}
        one = "; it is one draw of identities: other seeds, the same identities"
        print_line(held_out + (one if len(folders) == 1 else ""))
    number = len(config.runs) - sum(task["seeds"].get(arm, 0) for arm in config.arms)
    if number:
        counts = ", ".join(f"{arm} {seeds}" for arm, seeds in task["seeds"].items())
        print_line(f"{number} runs have no result yet; seeds: {counts}")
    for name, values in task["machines"].items():
        print_line(f"the machines of the results differ in {name}: {', '.join(map(str, values))}")


def difference_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a paired difference."""
    factor = unit(row["metric"])
    interval = f"[{factor * row['low']:+.2f}, {factor * row['high']:+.2f}]" if "low" in row else ""
    return (
        f"{row['arm']} - {row['reference']}",
        row["metric"],
        str(len(row["seeds"])),
        f"{factor * row['mean']:+.2f}",
        interval,
        f"{row['holm_p']:.2g}" if "holm_p" in row else "",
        row.get("decision", ""),
    )
