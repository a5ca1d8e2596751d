"""The summary of a comparison, finished or not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.experiments.choices import derive
from fairloss.experiments.config import SETS, CompareConfig, Run
from fairloss.experiments.differences import paired_differences
from fairloss.experiments.measure import METRICS
from fairloss.experiments.results import read_results
from fairloss.io.json import write_json
from fairloss.training.settings import prepare

SUMMARIZED = ("arm", "seed", "train_steps", "cost_steps", "collection_steps", "metrics", "chosen")


def summarize_results(config: CompareConfig) -> dict[str, Any]:
    """Write summary.json of the results that exist so far, also while `compare` runs.

    A contrast is over the seeds that both of its arms have.

    Returns:
        As `compare`.

    Raises:
        ValueError: as `compare`, or there is no result.
    """
    config = prepare(config)
    results = read_results(config)
    expect(results, "output", "a folder with results of these arms", config.output)
    return write_summary(config, results)


def write_summary(
    config: CompareConfig, results: Mapping[Run, Mapping[str, Any]]
) -> dict[str, Any]:
    """Write summary.json and return its content."""
    summary = summarize(config, results)
    write_json(Path(config.output) / "summary.json", summary)
    return summary


def summarize(
    config: CompareConfig, results: Mapping[Run, Mapping[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Return the content of summary.json, of the results that exist."""
    check_same_images(results)
    runs = [results[run] for run in config.runs if run in results]
    primary = primary_metric(runs, "test")
    validation = primary_metric(runs, "validation") if config.validation else None
    runs += derive(config.choices, runs, validation)
    task = {
        "name": Path(config.output).resolve().name,
        "primary_metric": primary,
        "validation_metric": validation,
        "bound": config.bound,
        "seeds": dict(Counter(run["arm"] for run in runs)),
        "machines": differing([result["machine"] for result in results.values()]),
        "runs": [{name: run[name] for name in SUMMARIZED if name in run} for run in runs],
    }
    differences = paired_differences(task, config.bound, config.pairs, config.decide)
    return {"tasks": [task | {"differences": differences}]}


def differing(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each entry in which records of machines differ."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for name in record:
            distinct = values.setdefault(name, [])
            if record[name] not in distinct:
                distinct.append(record[name])
    return {name: distinct for name, distinct in values.items() if len(distinct) > 1}


def check_same_images(results: Mapping[Run, Mapping[str, Any]]) -> None:
    """Raise ValueError where a folder had other images when a later run was measured."""
    first: dict[tuple[str, str | None], Run] = {}
    for run, result in results.items():
        for part in set(SETS) & set(result):
            folder = result[part]["folder"] or result["settings"]["data"]
            before = first.setdefault((part, folder), run)
            for name in ("images", "identities"):
                numbers = [results[each][part][name] for each in (before, run)]
                got = f"{numbers[0]} of {before.name} and {numbers[1]} of {run.name}"
                same = numbers[0] == numbers[1]
                expect(same, part, f"as many {name} in all results", got)


def primary_metric(runs: Iterable[Mapping[str, Any]], part: str) -> str:
    """Return the first of the `METRICS` that has a value in all runs: a matter of the pairs."""
    runs = list(runs)
    for metric in METRICS:
        name = f"{part}_{metric}"
        if not any(isinstance(run["metrics"][name], str) for run in runs):
            return name
    raise AssertionError("an AUC is always measured")
