"""The phases of the demo that train networks, and their cost."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.checks import expect
from fairloss.data import FaceImages
from fairloss.demo.config import DemoConfig, collection, training_run
from fairloss.evaluation import all_pairs, identity_folds, pair_scores, roc
from fairloss.experience import Experience, Fit, collect, fit_policy
from fairloss.io.run_folder import RunFolder
from fairloss.models import embed
from fairloss.progress import Progress, no_progress
from fairloss.training import TrainConfig, load_backbone, train
from fairloss.typing import Float32s

MARGINS = (0.25, 0.35, 0.45, 0.55)  # of which the fixed arm has the best
MAX_FOLDS = 3  # that hold out identities of the training set to choose it


class Costs:
    """Steps and seconds of every phase."""

    def __init__(self) -> None:
        self.phases: list[dict[str, Any]] = []

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure a phase without optimizer steps."""
        start = time.perf_counter()
        yield
        self._add(name, 0, time.perf_counter() - start)

    def add_runs(self, name: str, *runs: Path) -> None:
        """Add a phase that wrote run folders, whose times include those of interrupted demos."""
        epochs = [
            [line for line in RunFolder(run).metrics() if line["event"] == "epoch"] for run in runs
        ]
        steps = sum(lines[-1]["step"] for lines in epochs)
        seconds = sum(sum(line["seconds"].values()) for lines in epochs for line in lines)
        self._add(name, steps, seconds)

    def _add(self, name: str, steps: int, seconds: float) -> None:
        self.phases.append({"name": name, "steps": steps, "seconds": seconds})


def learn_policy(
    config: DemoConfig, faces: FaceImages, costs: Costs, progress: Progress | None
) -> tuple[Experience, Fit]:
    """Pre-train, collect experience, and write policy.json."""
    output = Path(config.output)
    run = replace(training_run(config, "pretrain", config.seed), epochs=config.pretrain_epochs)
    train(run, faces, progress)
    costs.add_runs("pretrain", output / "pretrain")
    experience = collect(collection(config), faces, progress)
    costs.add_runs("collect", *sorted((output / "collect").glob("chain-*")))
    with costs.measure("fit-policy"):
        fit = fit_policy(experience, seed=config.seed, reward="paper", progress=progress)
        fit.policy.save(output / "policy.json")
    return experience, fit


def count_folds(faces: FaceImages) -> int:
    """Return the number of folds of the training set that choose the margin.

    Each trains on two identities or more, and tests on two of which one has two images.

    Raises:
        ValueError: there are too few identities.
    """
    several = int((faces.counts > 1).sum())
    folds = min(MAX_FOLDS, faces.num_classes // 2, several)
    expect(
        folds > 1,
        "unseen",
        "4 identities to train on or more, two of them with two images",
        f"{faces.num_classes}, {several} with two images",
    )
    return folds


def tune_margin(
    config: DemoConfig, faces: FaceImages, costs: Costs, progress: Progress | None
) -> tuple[float, dict[float, list[float]]]:
    """Return the margin with the best mean AUC on identities that its networks did not see.

    Each margin trains a network for each fold of the identities of the training set, on the other
    folds; none sees an identity on which the arms are compared.

    Returns:
        The margin, and the AUC on each fold by margin.
    """
    folds = count_folds(faces)
    fold_of_image = identity_folds(faces.labels.numpy(), folds, config.seed)
    tests = [faces.subset(np.flatnonzero(fold_of_image == fold)) for fold in range(folds)]
    others = [faces.subset(np.flatnonzero(fold_of_image != fold)) for fold in range(folds)]
    runs = {
        (margin, fold): training_run(
            config, f"tuning/margin-{margin}-fold-{fold}", config.seed + fold, margin
        )
        for margin in MARGINS
        for fold in range(folds)
    }
    jobs = [(run, others[fold]) for (_, fold), run in runs.items()]
    _train_all("tune the fixed margin", jobs, progress)
    costs.add_runs("tune fixed", *(Path(run.output) for run in runs.values()))
    aucs: dict[float, list[float]] = {margin: [] for margin in MARGINS}
    for (margin, fold), run in runs.items():
        aucs[margin].append(_auc(embed_run(Path(run.output), tests[fold]), tests[fold]))
    return max(MARGINS, key=lambda margin: float(np.mean(aucs[margin]))), aucs


def train_arm(
    config: DemoConfig,
    arm: str,
    margin: float | None,
    faces: FaceImages,
    costs: Costs,
    progress: Progress | None,
) -> list[Path]:
    """Train the networks of an arm and return their run folders."""
    runs = [training_run(config, f"{arm}/seed-{seed}", seed, margin) for seed in config.arm_seeds()]
    _train_all(f"train {arm}", [(run, faces) for run in runs], progress)
    folders = [Path(run.output) for run in runs]
    costs.add_runs(f"train {arm}", *folders)
    return folders


def embed_run(run: Path, faces: FaceImages) -> Float32s:
    """Return the embeddings of `faces` by the network of a run."""
    embeddings: Float32s = embed(load_backbone(run / "model.pt")[0], faces).numpy()
    return embeddings


def _auc(embeddings: Float32s, faces: FaceImages) -> float:
    pairs = all_pairs(faces.labels.numpy())
    return roc(pair_scores(embeddings, pairs), pairs.genuine).auc()


def _train_all(
    label: str, runs: Sequence[tuple[TrainConfig, FaceImages]], progress: Progress | None
) -> None:
    """Train runs one by one; progress is in epochs of all of them."""
    total = sum(run.epochs for run, _ in runs)
    finished = 0
    for run, faces in runs:
        train(run, faces, partial(_report, progress or no_progress, label, finished, run, total))
        finished += run.epochs
        (progress or no_progress)(label, finished, total)


def _report(
    progress: Progress,
    label: str,
    finished: int,
    run: TrainConfig,
    total: int,
    _: str,
    done: int,
    steps: int,
) -> None:
    progress(label, finished + int(run.epochs * done / steps), total)
