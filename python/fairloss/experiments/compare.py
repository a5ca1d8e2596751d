"""`compare(config)`: train every arm with every seed, and write one result a run."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.evaluation.compare_extra import import_extra
from fairloss.experiments.choices import derive
from fairloss.experiments.closed_set import check_identities
from fairloss.experiments.config import SETS, CompareConfig, Run
from fairloss.experiments.differences import paired_differences
from fairloss.experiments.measure import METRICS, check_pairs, hold_out, measure
from fairloss.experiments.plan import Plan, plan_after
from fairloss.experiments.results import digests, read_results
from fairloss.experiments.stages import Stages, margins
from fairloss.io.json import read_json_if_exists, write_json
from fairloss.io.machine import machine_record
from fairloss.io.output import locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.threads import torch_threads
from fairloss.training import TrainConfig, read_faces, train
from fairloss.training.cost import cost
from fairloss.training.settings import prepare
from fairloss.training.train import check_one_process

SUMMARIZED = ("arm", "seed", "train_steps", "cost_steps", "collection_steps", "metrics", "chosen")

Map = Callable[[Callable[[Run], dict[str, Any]], Iterable[Run]], Iterable[dict[str, Any]]]


def compare(
    config: CompareConfig,
    report: Callable[[dict[str, Any], Plan], object] | None = None,
    map: Map = map,
) -> dict[str, Any]:
    """Train what has no result yet, and write `output/summary.json`.

    `output/runs/ARM-seed-N` is the run folder of a run and `output/results/ARM-seed-N.json` its
    result. An interrupted comparison resumes, also inside a run; a run with a result is not
    repeated, even where its run folder was removed.

    Args:
        config: the settings.
        report: called as report(result, plan) after each run, with what is left.
        map: runs the arms: the builtin one by one, or another with its signature. For processes,
            `fairloss.loss_search.ProcessMap(config.workers)`; other machines must share `output`.

    Returns:
        The content of summary.json: "tasks", a list of one with "name", "primary_metric",
        "validation_metric" (None without validation), "bound", "seeds" (the number of each arm),
        "runs" (each with "arm", "seed", "train_steps", "cost_steps", "collection_steps" and
        "metrics"; a choice has "chosen", an arm, instead of "collection_steps") and "differences"
        (`paired_differences`).

    Raises:
        ValueError: a setting or the data does not fit, or a result had other settings.
        ImportError: the extra `compare` is missing.
        RuntimeError: training diverged.
    """
    config = prepare(config)
    check_one_process()
    for name in ("scipy.stats", "statsmodels.stats.multitest"):
        import_extra(name)  # before the work, at whose end it is used
    with locked_output(Path(config.output)):
        results = read_results(config)
        missing = [run for run in config.runs if run not in results]
        for run in missing:
            config.check_files(run)
        for result in map(partial(train_run, config), missing):
            results[Run(result["arm"], result["seed"])] = result
            if report is not None:
                report(result, plan_after(config, results))
        return write_summary(config, results)


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


def train_run(config: CompareConfig, run: Run) -> dict[str, Any]:
    """Train and measure a run, write its result and return it."""
    training = config.training(run)
    files = digests(training)
    with torch_threads(config.threads):
        faces, sets = read_sets(config, run.seed, training)
        folder = RunFolder(training.output)
        keep_files(folder, files)
        stages = Stages(config.stages, folder, training.epochs, sets.get("validation"))
        train(training, faces, after_epoch=stages.measure)
        result = {
            "arm": run.arm,
            "seed": run.seed,
            **cost(folder),
            "metrics": measure(folder, faces, sets),
            "stages": stages.results(),
            "margins": margins(folder),
            "machine": machine_record(),
        }
    paths = config.set_paths(run.seed)
    result |= {part: describe_set(paths[part], images, faces) for part, images in sets.items()}
    result |= {"settings": asdict(training), "files": files}
    write_json(config.result_path(run), result)
    return result


def read_sets(
    config: CompareConfig, seed: int, training: TrainConfig
) -> tuple[LabeledImages, dict[str, LabeledImages]]:
    """Return the training set, and the sets that are measured.

    Raises:
        ValueError: a set has no pairs, or the closed one has other identities than are trained.
    """
    faces = read_faces(training)
    sets: dict[str, LabeledImages] = {}
    if config.test is None:
        faces, sets["test"] = hold_out(faces)
    for part, path in config.set_paths(seed).items():
        if path is not None:
            sets[part] = read_faces(replace(training, data=path))
            check = check_identities if part == "closed" else check_pairs
            check(part, sets[part], faces)
    return faces, sets


def keep_files(folder: RunFolder, files: dict[str, str]) -> None:
    """Write the digests of the files of a run; ValueError if it began with others."""
    path = folder / "files.json"
    before = (read_json_if_exists(path, files=dict) or {"files": files})["files"]
    changed = [name for name in files if files[name] != before.get(name)]
    got = f"{folder.path}, begun with another content of {', '.join(changed)}"
    expect(not changed, "output", "runs with these files", got)
    write_json(path, {"files": files})


def describe_set(path: str | None, images: LabeledImages, faces: LabeledImages) -> dict[str, Any]:
    """Return what a set measures; "trained" counts identities with a name of the training set."""
    return {
        "folder": path,
        "images": len(images),
        "identities": images.num_classes,
        "trained": len(set(images.identities) & set(faces.identities)),
    }


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
        "runs": [{name: run[name] for name in SUMMARIZED if name in run} for run in runs],
    }
    differences = paired_differences(task, config.bound, config.pairs, config.decide)
    return {"tasks": [task | {"differences": differences}]}


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
