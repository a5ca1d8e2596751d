"""`compare(config)`: train every arm with every seed, and write one result a run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.evaluation.compare_extra import import_extra
from fairloss.experiments.config import CompareConfig, Run
from fairloss.experiments.differences import paired_differences
from fairloss.experiments.measure import METRICS, check_pairs, cost, hold_out, measure
from fairloss.experiments.plan import Plan, plan_after
from fairloss.experiments.results import digests, read_results
from fairloss.io.json import read_json_if_exists, write_json
from fairloss.io.machine import machine_record
from fairloss.io.output import locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.threads import torch_threads
from fairloss.training import read_faces, train
from fairloss.training.settings import prepare
from fairloss.training.train import check_one_process
from fairloss.training.trainer import Diverged

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
            `fairloss.loss_search.ProcessMap(config.workers)`; for other machines, `RayMap`.

    Returns:
        The content of summary.json: "tasks", a list of one with "name", "primary_metric",
        "validation_metric" (None without validation), "runs" (each with "arm", "seed",
        "train_steps", "cost_steps" and "metrics") and "differences" (`paired_differences`).

    Raises:
        ValueError: a setting or the data does not fit, or a result had other settings.
        ImportError: the extra `compare` is missing.
        RuntimeError: runs diverged, after the others have finished; the next call repeats these.
    """
    config = prepare(config)
    check_one_process()
    import_extra("scipy.stats")  # before the work, at whose end it is used
    with locked_output(Path(config.output)):
        results = read_results(config)
        missing = [run for run in config.runs if run not in results]
        diverged = []
        for result in map(partial(try_run, config), missing):
            if "diverged" in result:
                diverged.append(result["diverged"])
                continue
            results[Run(result["arm"], result["seed"])] = result
            if report is not None:
                report(result, plan_after(config, results))
        if diverged:
            raise Diverged(
                f"{len(diverged)} of {len(missing)} runs diverged: {'; '.join(diverged)}"
            )
        summary = summarize(config, results)
        write_json(Path(config.output) / "summary.json", summary)
    return summary


def try_run(config: CompareConfig, run: Run) -> dict[str, Any]:
    """Return the result of `train_run`, or "diverged": why, so that a map trains the other runs."""
    try:
        return train_run(config, run)
    except Diverged as error:
        return {"diverged": f"{run.name}: {error}"}


def train_run(config: CompareConfig, run: Run) -> dict[str, Any]:
    """Train and measure a run, write its result and return it."""
    training = config.training(run)
    files = digests(training)
    with torch_threads(config.threads):
        faces = read_faces(training)
        sets: dict[str, LabeledImages] = {}
        if config.test is None:
            faces, sets["test"] = hold_out(faces)
        for part in ("test", "validation"):
            path = getattr(config, part)
            if path is not None:
                sets[part] = read_faces(replace(training, data=path))
                check_pairs(part, sets[part])
        folder = RunFolder(training.output)
        keep_files(folder, files)
        train(training, faces)
        result: dict[str, Any] = {
            "arm": run.arm,
            "seed": run.seed,
            **cost(folder),
            "metrics": {},
        }
        for part, images in sets.items():
            metrics = measure(folder, images)
            result["metrics"] |= {f"{part}_{name}": value for name, value in metrics.items()}
            result[part] = describe_set(getattr(config, part), images, faces)
        result["machine"] = machine_record()
    result |= {"settings": asdict(training), "files": files}
    write_json(config.result_path(run), result)
    return result


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
    """Return the content of summary.json."""
    check_same_images(results)
    kept = ("train_steps", "cost_steps", "metrics")
    runs = [run._asdict() | {name: results[run][name] for name in kept} for run in config.runs]
    primary = primary_metric(runs, "test")
    task = {
        "name": Path(config.output).resolve().name,
        "primary_metric": primary,
        "validation_metric": primary_metric(runs, "validation") if config.validation else None,
        "runs": runs,
    }
    return {"tasks": [task | {"differences": paired_differences(task, config.bound)}]}


def check_same_images(results: Mapping[Run, Mapping[str, Any]]) -> None:
    """Raise ValueError where a folder had other images when a later run was measured."""
    first, *others = results
    for part in ("test", "validation"):
        for name in ("images", "identities"):
            numbers = {run: results[run].get(part, {}).get(name) for run in results}
            for run in others:
                got = f"{numbers[first]} of {first.name} and {numbers[run]} of {run.name}"
                same = numbers[run] == numbers[first]
                expect(same, part, f"as many {name} in all results", got)


def primary_metric(runs: Iterable[Mapping[str, Any]], part: str) -> str:
    """Return the first of the `METRICS` that has a value in all runs: a matter of the pairs."""
    runs = list(runs)
    for metric in METRICS:
        name = f"{part}_{metric}"
        if not any(isinstance(run["metrics"][name], str) for run in runs):
            return name
    raise AssertionError("an AUC is always measured")
