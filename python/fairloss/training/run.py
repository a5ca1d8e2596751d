"""`train(config)`: from a folder of faces to a run folder with a trained backbone."""

from __future__ import annotations

import hashlib
import inspect
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairloss.agent import MarginGrid, Policy
from fairloss.agent.grid import FloatArray
from fairloss.data import FaceImages, read_images
from fairloss.heads import HEADS, FairLoss, Head
from fairloss.io.atomic import write_atomic
from fairloss.io.json import read_json, write_json
from fairloss.io.run_folder import RunFolder
from fairloss.progress import Progress
from fairloss.training.backbone import backbone
from fairloss.training.config import (
    HeadConfig,
    TrainConfig,
    as_yaml,
    changes,
    device_of,
    load_config,
)
from fairloss.training.loss_file import with_loss
from fairloss.training.trainer import Trainer, group_table

# What a resumed run may change without becoming another run.
FREE_SETTINGS = ("output", "resume", "tensorboard", "device")


def train(
    config: TrainConfig, faces: FaceImages | None = None, progress: Progress | None = None
) -> Path:
    """Train a backbone and a head; returns the run folder.

    With resume=auto a run found in `config.output` goes on after its last finished epoch, and ends
    with the same bits as if it had never stopped (same machine, same number of threads).

    Args:
        config: checked settings.
        faces: the training set, instead of reading `config.data`.
        progress: called as progress(what, done, total).

    Raises:
        ValueError: a setting, the data or an existing run does not fit.
        RuntimeError: training diverged.
    """
    config.check()
    refuse_several_ranks()
    config = _with_whole_paths(config, reads_data=faces is None)
    folder = RunFolder(config.output)
    _check_existing(config, folder)
    backbone(config)  # what does not fit should not wait for the images
    build_head(_head_of(config, folder), 2, config.model.embedding_size)
    faces = read_faces(config, progress) if faces is None else faces
    if faces.num_classes < 2:
        raise ValueError(f"data: {config.data} has one identity, training needs at least two")
    trainer, first_epoch = start_or_resume(config, faces, folder)
    started = time.perf_counter()
    for epoch in range(first_epoch, config.epochs + 1):
        _epoch(config, trainer, folder, epoch, progress)
    if first_epoch <= config.epochs or not (folder / "model.pt").exists():
        save_result(trainer, folder)
        folder.log("end", steps=trainer.step, seconds=time.perf_counter() - started)
    return folder.path


def refuse_several_ranks() -> None:
    """ValueError under torchrun: several processes would write one folder."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "WORLD_SIZE: this version trains in one process; start it without torchrun"
        )


def read_faces(config: TrainConfig, progress: Progress | None = None) -> FaceImages:
    """The folder `config.data`, at the configured size."""
    height, width = config.image_size
    report = None if progress is None else partial(progress, "read images")
    return read_images(config.data, (height, width), config.channels, progress=report)


def build_head(
    config: HeadConfig,
    num_classes: int,
    embedding_size: int,
    seed: int = 0,
    counts: Tensor | None = None,
) -> Head:
    """The configured head; ValueError naming the setting that does not fit.

    `seed` draws classes where `sample_rate` is below 1, and nothing else. `counts` (C,) are the
    images of each class, for the head that asks for them (LDAM); by default one each.
    """
    config = with_loss(config)
    if config.name not in HEADS:
        raise ValueError(f"head.name: got {config.name!r}, allowed are {', '.join(HEADS)}")
    head = HEADS[config.name]
    options = dict(config.options) | _named_options(config, head)
    if config.sample_rate != 1:
        options |= {"sample_rate": config.sample_rate, "sample_seed": seed}
    if "counts" in inspect.signature(head).parameters:
        options["counts"] = torch.ones(num_classes) if counts is None else counts
    try:
        return head(num_classes, embedding_size, **options)
    except ValueError as error:
        raise ValueError(f"head.{error}") from error
    except TypeError as error:
        raise ValueError(f"head.options: {error}") from error


def _named_options(config: HeadConfig, head: type[Head]) -> dict[str, Any]:
    """The settings that have a name of their own, as arguments of the head."""
    own = inspect.signature(head).parameters
    fair = head is FairLoss
    margin = "initial_margin" if fair else "margin"
    for setting, value, accepted in (
        ("policy", config.policy, "policy" in own),
        ("kind", config.kind, "kind" in own),
        ("margin", config.margin, margin in own),
        ("scale", config.scale, head.scaled),
    ):
        if value is not None and not accepted:
            raise ValueError(f"head.{setting}: {config.name} has none")
    options: dict[str, Any] = {"policy": _policy(config)} if fair else {}
    if head.scaled:
        options["scale"] = 32.0 if config.scale is None else config.scale
    if config.kind is not None:
        options["kind"] = config.kind
    if config.margin is not None:
        options[margin] = config.margin
    return options


def _policy(config: HeadConfig) -> Policy | None:
    if config.policy is None:
        return None
    if not Path(config.policy).is_file():
        raise FileNotFoundError(f"head.policy: {config.policy} does not exist")
    policy = Policy.load(config.policy)
    learnt = policy.provenance.get("kind")
    if learnt not in (None, config.kind or "arc"):
        raise ValueError(f"head.policy: {config.policy} was learnt with head.kind={learnt}")
    return policy


def build_trainer(config: TrainConfig, faces: FaceImages, folder: RunFolder) -> Trainer:
    """Backbone and head from `config.seed` (or `config.init`), ready for the first step."""
    torch.manual_seed(config.seed)
    model = backbone(config)
    head = build_head(
        _head_of(config, folder),
        faces.num_classes,
        config.model.embedding_size,
        config.seed,
        faces.counts,
    )
    if config.init is not None:
        if config.head.margin is not None and isinstance(head, FairLoss):
            raise ValueError("head.margin: init starts from the margins of its run; leave it out")
        initialise(model, head, faces, Path(config.init))
    return Trainer(
        model,
        head,
        faces,
        config.optimizer,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        device=device_of(config.device),
        on_skip=lambda step, reason: folder.log("skip", step=step, reason=reason),
    )


def initialise(model: nn.Module, head: Head, faces: FaceImages, run: Path) -> None:
    """Take backbone, class weights and margins from another run on the same identities.

    Raises:
        ValueError: `run` is no finished run, or one of other identities.
    """
    if not (run / "model.pt").is_file() or not (run / "head.pt").is_file():
        raise ValueError(f"init: {run} holds no finished run (model.pt and head.pt)")
    check_same_faces("init", faces, run)
    model.load_state_dict(torch.load(run / "model.pt", map_location="cpu", weights_only=True))
    head.weight.data.copy_(
        torch.load(run / "head.pt", map_location="cpu", weights_only=True)["weight"]
    )
    if isinstance(head, FairLoss):
        # A class starts from the margin it was trained with: any other would be a mere label.
        kind, margins = trained_margins("init", run, head.policy.grid)
        if kind != head.kind:
            raise ValueError(
                f"init: {run} was trained with {kind} margins, head.kind is {head.kind}"
            )
        head.set_margins(np.full(head.num_classes, margins))


def trained_margins(setting: str, run: Path, grid: MarginGrid) -> tuple[str, FloatArray]:
    """Kind ("arc" or "cos") and margins, () or (C,), that a run ended with.

    Raises:
        ValueError: naming `setting`: no finished run, no such kind, or a margin off the grid.
    """
    if not (run / "config.yaml").is_file() or not (run / "head.pt").is_file():
        raise ValueError(f"{setting}: {run} holds no finished run (config.yaml and head.pt)")
    head = load_config(run / "config.yaml", [], TrainConfig).head
    kinds = {"ArcFace": "arc", "CosFace": "cos", "FairLoss": head.kind or "arc"}
    state = torch.load(run / "head.pt", map_location="cpu", weights_only=True)
    margins = state.get("margins", torch.tensor(torch.nan)).double().numpy()
    try:
        grid.index(np.atleast_1d(margins))
    except ValueError:
        kinds.clear()
    if head.name not in kinds:
        found = sorted(set(margins.ravel().tolist()))[:3]
        raise ValueError(
            f"{setting}: {run} was trained with {head.name} at {found}; expected FairLoss, or "
            f"ArcFace or CosFace at one of {grid.values}"
        )
    return kinds[head.name], margins


def faces_record(faces: FaceImages) -> dict[str, Any]:
    """What identities.json holds: names and counts, and a digest of every image's name."""
    digest = hashlib.sha256("\n".join(faces.names).encode()).hexdigest()
    return {
        "identities": faces.identities,
        "counts": faces.counts.tolist(),
        "image_names_sha256": digest,
    }


def check_same_faces(setting: str, faces: FaceImages, run: Path) -> None:
    """ValueError, naming the first difference, if `run` was trained on other images."""
    before, now = read_json(run / "identities.json"), faces_record(faces)
    if before["identities"] != now["identities"]:
        odd = sorted(set(before["identities"]) ^ set(now["identities"]))[:1]
        raise ValueError(
            f"{setting}: {run} was trained on {len(before['identities'])} identities, the data has "
            f"{faces.num_classes}; first difference: {odd[0] if odd else 'their order'}"
        )
    if before["image_names_sha256"] != now["image_names_sha256"]:
        raise ValueError(f"{setting}: {run} was trained on other images of the same identities")


def start_or_resume(
    config: TrainConfig, faces: FaceImages, folder: RunFolder
) -> tuple[Trainer, int]:
    """A trainer and the next epoch (from 1)."""
    trainer = build_trainer(config, faces, folder)
    state = folder.load_checkpoint()
    if state is not None:
        check_same_faces("output", faces, folder.path)
    if state is None:
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        write_run_files(config, trainer, folder)
        return trainer, 1
    trainer.restore(state)
    folder.forget_after(trainer.step)
    if state["epoch"] < config.epochs or not (folder / "model.pt").exists():
        folder.log("resume", epoch=state["epoch"], step=trainer.step)
    return trainer, state["epoch"] + 1


def write_run_files(config: TrainConfig, trainer: Trainer, folder: RunFolder) -> None:
    """What a run folder holds from the start."""
    write_json(folder / "identities.json", faces_record(trainer.faces))
    if isinstance(trainer.head, FairLoss):
        trainer.head.policy.save(folder / "policy.json")
    write_atomic(folder / "config.yaml", lambda path: path.write_text(as_yaml(config)))


def save_result(trainer: Trainer, folder: RunFolder) -> None:
    """head.pt, the head's state dict, and last model.pt, the backbone's: then the run is done."""
    write_atomic(folder / "head.pt", lambda path: torch.save(trainer.head.state_dict(), path))
    write_atomic(folder / "model.pt", lambda path: torch.save(trainer.model.state_dict(), path))


def learning_rate_at(config: TrainConfig, epoch: int) -> float:
    """A tenth after each fraction `optimizer.decay_at` of the epochs; `epoch` counts from 1."""
    passed = sum(epoch > fraction * config.epochs for fraction in config.optimizer.decay_at)
    return config.optimizer.learning_rate * 0.1**passed


def _epoch(
    config: TrainConfig, trainer: Trainer, folder: RunFolder, epoch: int, progress: Progress | None
) -> None:
    rate = learning_rate_at(config, epoch)

    def report(done: int, total: int) -> None:
        if progress is not None:
            what = f"train {folder.path.name}"
            progress(what, (epoch - 1) * total + done, config.epochs * total)

    done = trainer.run_epoch(epoch, rate, report)
    started = time.perf_counter()
    statistics = trainer.statistics()
    line = {
        "epoch": epoch,
        "epochs": config.epochs,
        "step": trainer.step,
        "loss": done.loss,
        "learning_rate": rate,
        "seconds": {"train": done.seconds, "statistics": time.perf_counter() - started},
        "skipped": done.skipped,
        "groups": group_table(statistics, trainer.head.class_margins()),
    }
    if epoch < config.epochs:  # what is saved are the margins that were trained with
        trainer.head.end_of_epoch(statistics)
    folder.log("epoch", **line)
    if config.tensorboard:
        _write_scalars(folder, line)
    folder.save_checkpoint(epoch, trainer.state())


def _write_scalars(folder: RunFolder, line: dict[str, Any]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "tensorboard") as writer:
        writer.add_scalar("loss", line["loss"], line["step"])
        writer.add_scalar("learning_rate", line["learning_rate"], line["step"])
        for group in line["groups"]:
            if group["margin"] is not None:
                name = f"margin/count{group['count_bin']}_variance{group['variance_bin']}"
                writer.add_scalar(name, group["margin"], line["step"])


def _with_whole_paths(config: TrainConfig, reads_data: bool) -> TrainConfig:
    """Paths that still hold when the run is resumed from another folder."""

    def whole(path: str | None) -> str | None:
        return None if path is None else str(Path(path).resolve())

    return replace(
        config,
        data=str(whole(config.data)) if reads_data else config.data,
        init=whole(config.init),
        head=with_loss(replace(config.head, policy=whole(config.head.policy))),
    )


def _head_of(config: TrainConfig, folder: RunFolder) -> HeadConfig:
    """The head's settings; a run that has begun reads its own copy of the policy."""
    own = folder / "policy.json"
    begun = own.is_file() and any(folder.path.glob("checkpoint-*.pt"))
    return replace(config.head, policy=str(own)) if begun else config.head


def _check_existing(config: TrainConfig, folder: RunFolder) -> None:
    if not (folder / "config.yaml").exists():
        return
    if config.resume == "never":
        raise ValueError(
            f"output: {folder.path} already holds a run; resume=auto continues it, or name another "
            "folder"
        )
    shown = changes(folder / "config.yaml", config, FREE_SETTINGS)
    if shown:
        raise ValueError(
            f"output: {folder.path} holds a run with other settings ({shown}); use them, or name "
            "another folder"
        )
