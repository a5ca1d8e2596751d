"""The whole method on real photographs, in minutes.

Pre-train on 30 identities with a long tail; move margins and measure what follows (experience); fit
the policy; train with it and, from the same seed and for as many steps, with a fixed margin; verify
on 10 unseen identities; search a gallery; write a report.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.agent.state import legal_actions
from fairloss.checks import check_integer, expect
from fairloss.data import FaceImages, orl_split, read_images, read_orl, split_identities
from fairloss.evaluation import all_pairs, compare_pairs, evaluate_pairs, pair_scores, roc
from fairloss.experience import CollectConfig, Experience, Fit, collect, fit_policy
from fairloss.gallery import Gallery, record_embedder
from fairloss.io.atomic import write_atomic, write_text
from fairloss.io.json import write_json
from fairloss.io.output import locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.models import embed
from fairloss.progress import Progress, labeled
from fairloss.report import write_report
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    as_yaml,
    changes,
    check_device,
    load_backbone,
    train,
)
from fairloss.training.config import path

ARMS = {"fair": "FairLoss", "fixed": "ArcFace"}  # name -> head
QUERIES, NEIGHBORS = 6, 5


@dataclass
class DemoConfig:
    """Settings of the demo."""

    output: str = path("runs/demo")
    data: str | None = path(None)  # a folder of identity/image files; default: the ORL faces
    seed: int = 0
    unseen: int = 10  # identities held out for verification
    pretrain_epochs: int = 30
    chain_epochs: int = 45
    epochs: int = 40  # of each arm
    image_size: list[int] = field(default_factory=lambda: [56, 48])
    replicates: int = 1000  # of the identity-clustered bootstrap
    device: str = "auto"  # cpu, cuda, or auto: a GPU if torch has one

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        for name in ("unseen", "pretrain_epochs", "chain_epochs", "epochs", "replicates"):
            check_integer(name, getattr(self, name))
        check_integer("seed", self.seed, 0)
        check_device(self.device)
        expect(len(self.image_size) == 2, "image_size", "[height, width]", self.image_size)


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


def demo(config: DemoConfig, progress: Progress | None = None) -> Path:
    """Run everything into `config.output` and return the path of report.html.

    Two runs with one seed give the same numbers. Finished parts of an interrupted demo are not
    repeated.
    """
    config.check()
    with locked_output(Path(config.output)):
        return _demo(config, progress)


def _demo(config: DemoConfig, progress: Progress | None) -> Path:
    output, costs = Path(config.output), Costs()
    _check_same_demo(config, output)
    seen, unseen = _read_faces(config, progress)
    write_text(output / "config.yaml", as_yaml(config))

    train(_training(config, "pretrain", config.pretrain_epochs, "ArcFace"), seen, progress)
    costs.add_runs("pretrain", output / "pretrain")
    experience = collect(_collection(config), seen, progress)
    costs.add_runs("collect", *sorted((output / "collect").glob("chain-*")))
    with costs.measure("fit-policy"):
        fit = fit_policy(experience, seed=config.seed, reward="paper", progress=progress)
        fit.policy.save(output / "policy.json")
    for arm, head in ARMS.items():
        train(_training(config, arm, config.epochs, head), seen, progress)
        costs.add_runs(f"train {arm}", output / arm)
    with costs.measure("evaluate"):
        embeddings = {
            arm: embed(load_backbone(output / arm / "model.pt")[0], unseen).numpy() for arm in ARMS
        }
        _evaluate(config, embeddings, unseen, output)
    with costs.measure("gallery"):
        _search(embeddings["fair"], unseen, output)
    write_json(output / "demo.json", _summary(config, seen, unseen, experience, fit, costs))
    return write_report(output)


def _check_same_demo(config: DemoConfig, output: Path) -> None:
    path = output / "config.yaml"
    changed = changes(path, config, ("output", "replicates", "device")) if path.exists() else ""
    expect(
        not changed, "output", "a folder without a demo of other settings", f"{output}: {changed}"
    )


def _read_faces(config: DemoConfig, progress: Progress | None) -> tuple[FaceImages, FaceImages]:
    """Return the images to train on and those of the identities held out."""
    height, width = config.image_size
    if config.data is None:
        report = labeled(progress, "fetch the ORL faces")
        report(0, 1)
        faces = read_orl((height, width))
        report(1, 1)
        seen, unseen = orl_split(faces, config.unseen, config.seed)
    else:  # with its own tail
        report = labeled(progress, "read images")
        faces = read_images(config.data, (height, width), channels=1, progress=report)
        seen, unseen = split_identities(faces, config.unseen, config.seed)
    most = int(unseen.counts.max())
    expect(
        unseen.num_classes > 1 and most > 1,
        "unseen",
        "two identities to verify or more, one of them with two images",
        f"{unseen.num_classes} with {most} images at most",
    )
    return seen, unseen


def _training(config: DemoConfig, name: str, epochs: int, head: str) -> TrainConfig:
    """Return the configuration of a run; arms differ in the head only and start at margin 0.35."""
    policy = str(Path(config.output) / "policy.json") if head == "FairLoss" else None
    return TrainConfig(
        data=config.data or "ORL",
        output=str(Path(config.output) / name),
        epochs=epochs,
        seed=config.seed,
        batch_size=32,
        image_size=config.image_size,
        channels=1,
        device=config.device,
        model=ModelConfig(name="small_cnn", embedding_size=128),
        head=HeadConfig(name=head, margin=0.35, scale=32.0, policy=policy),
        optimizer=OptimizerConfig(learning_rate=0.05),
    )


def _collection(config: DemoConfig) -> CollectConfig:
    output = Path(config.output)
    return CollectConfig(
        run=str(output / "pretrain"),
        output=str(output / "collect"),
        epochs=config.chain_epochs,
        seed=config.seed,
        min_cell=1,  # 30 classes in up to 36 cells
        learning_rate=0.005,
        device=config.device,
    )


def _evaluate(
    config: DemoConfig, embeddings: dict[str, Any], faces: FaceImages, output: Path
) -> None:
    identities = faces.labels.numpy()
    pairs = all_pairs(identities)
    options = {"replicates": config.replicates, "seed": config.seed}
    curves = {}
    for arm in ARMS:
        curve = roc(pair_scores(embeddings[arm], pairs), pairs.genuine)
        curves[arm] = {"far": curve.far.tolist(), "tar": curve.tar.tolist()}
    write_json(
        output / "evaluation.json",
        {
            "arms": {arm: evaluate_pairs(embeddings[arm], identities, **options) for arm in ARMS},
            "comparison": compare_pairs(
                embeddings["fixed"], embeddings["fair"], identities, **options
            ),
            "roc": curves,
        },
    )


def _search(embeddings: np.ndarray[Any, Any], faces: FaceImages, output: Path) -> None:
    """Search the first image of `QUERIES` identities in a gallery of all other images."""
    probes = np.unique(faces.labels.numpy(), return_index=True)[1][:QUERIES]
    others = np.setdiff1d(np.arange(len(faces)), probes)
    gallery = Gallery(embeddings.shape[1])
    gallery.add([faces.names[i] for i in others], embeddings[others])
    gallery.save(output / "gallery")
    record_embedder(output / "gallery", output / "fair" / "model.pt", flip=faces.mirror)
    nearest = gallery.search(embeddings[probes], NEIGHBORS)
    queries = [
        {
            "probe": faces.names[probe],
            "matches": [{"name": match.name, "score": match.score} for match in matches],
        }
        for probe, matches in zip(probes, nearest, strict=True)
    ]
    position = {name: number for number, name in enumerate(faces.names)}
    rows = [[position[match.name] for match in matches] for matches in nearest]
    pictures = {
        "probes": faces.images(probes).numpy(),
        "matches": np.stack([faces.images(row).numpy() for row in rows]),
    }

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **pictures)

    write_atomic(output / "queries.npz", write)
    write_json(output / "queries.json", {"queries": queries})


def _summary(
    config: DemoConfig,
    seen: FaceImages,
    unseen: FaceImages,
    experience: Experience,
    fit: Fit,
    costs: Costs,
) -> dict[str, Any]:
    visits = fit.policy.visits
    return {
        "seed": config.seed,
        "data": config.data or "ORL faces (AT&T Laboratories Cambridge), long tail cut by seed",
        "train_images": len(seen),
        "train_identities": seen.num_classes,
        "test_images": len(unseen),
        "test_identities": unseen.num_classes,
        "phases": costs.phases,
        "experience": {
            "transitions": len(experience),
            "dropped_cells": experience.dropped,
            "min_cell": experience.min_cell,
            "chains": len(np.unique(experience.seed)),
            "epochs": int(experience.epoch.max()),
            "visited_pairs": int((visits > 0).sum()),
            "legal_pairs": int(legal_actions(fit.policy.grid).sum()),
        },
        "dqn_agrees_with_tabular": fit.disagreements == 0,
        "largest_gap": fit.largest_gap,
    }
