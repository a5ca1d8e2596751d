"""One run of a comparison: training, metrics and result."""

from dataclasses import asdict, replace
from typing import Any

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.experiments.closed_set import check_identities
from fairloss.experiments.config import CompareConfig, Run
from fairloss.experiments.measure import check_pairs, hold_out, measure
from fairloss.experiments.results import digests
from fairloss.experiments.stages import Stages, margins
from fairloss.io.json import read_json_if_exists, write_json
from fairloss.io.machine import machine_record
from fairloss.io.run_folder import RunFolder
from fairloss.threads import torch_threads
from fairloss.training import TrainConfig, read_faces, train
from fairloss.training.cost import cost
from fairloss.training.trainer import Diverged


def try_run(config: CompareConfig, run: Run) -> dict[str, Any]:
    """Return the result of `train_run`, or "diverged": why, so that a map trains the other runs.

    Raises:
        ValueError: of `train_run`, naming the run.
    """
    try:
        return train_run(config, run)
    except Diverged as error:
        return {"diverged": f"{run.name}: {error}"}
    except ValueError as error:
        raise ValueError(f"{run.name}: {error}") from error


def train_run(config: CompareConfig, run: Run) -> dict[str, Any]:
    """Train and measure a run, write its result and return it."""
    training = config.training(run)
    files = digests(training)
    with torch_threads(config.threads):
        faces, sets = read_sets(config, run.seed, training)
        folder = RunFolder(training.output)
        keep_start(config, run, folder, files)
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


def keep_start(config: CompareConfig, run: Run, folder: RunFolder, files: dict[str, str]) -> None:
    """Write what `train` does not compare when it resumes; ValueError if the run began with other.

    That are the digests of its files, and the settings that stages and bits depend on.
    """
    path = folder / "files.json"
    validation = config.set_paths(run.seed)["validation"]
    start = {"stages": config.stages, "validation": validation, "threads": config.threads}
    before = start | (read_json_if_exists(path, files=dict) or {"files": files})
    changed = [name for name in files if files[name] != before["files"].get(name)]
    changed += [name for name in start if start[name] != before[name]]
    got = f"{folder.path}, begun with another content or value of {', '.join(changed)}"
    expect(not changed, "output", "runs with these files and settings", got)
    write_json(path, {"files": files} | start)


def describe_set(path: str | None, images: LabeledImages, faces: LabeledImages) -> dict[str, Any]:
    """Return what a set measures; "trained" counts identities with a name of the training set."""
    return {
        "folder": path,
        "images": len(images),
        "identities": images.num_classes,
        "trained": len(set(images.identities) & set(faces.identities)),
    }
