"""`train(config)`: from a folder of faces to a run folder with a trained backbone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from fairloss.agent import Policy
from fairloss.data import FaceImages, read_folder
from fairloss.heads import HEADS, CosineHead, FairLoss
from fairloss.training.backbone import backbone
from fairloss.training.config import HeadConfig, TrainConfig, as_yaml, changes
from fairloss.training.run_folder import RunFolder, write_json, write_whole
from fairloss.training.trainer import Progress, Trainer, group_table

# What a resumed run may change without becoming another run.
FREE_SETTINGS = ("output", "resume", "tensorboard")


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
    """
    config.check()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "WORLD_SIZE: this version trains in one process; start it without torchrun"
        )
    if faces is None:
        faces = read_faces(config, progress)
    if faces.num_classes < 2:
        raise ValueError(f"data: {config.data} has one identity, training needs at least two")
    folder = RunFolder(config.output)
    trainer, first_epoch = start_or_resume(config, faces, folder)
    started = time.perf_counter()
    for epoch in range(first_epoch, config.epochs + 1):
        _epoch(config, trainer, folder, epoch, progress)
    save_result(trainer, folder)
    if first_epoch <= config.epochs:
        folder.log("end", steps=trainer.step, seconds=time.perf_counter() - started)
    return folder.path


def read_faces(config: TrainConfig, progress: Progress | None = None) -> FaceImages:
    """The folder `config.data`, at the configured size."""
    height, width = config.image_size
    report = (
        None if progress is None else (lambda done, total: progress("read images", done, total))
    )
    return read_folder(config.data, (height, width), config.channels, progress=report)


def build_head(config: HeadConfig, num_classes: int, embedding_size: int) -> CosineHead:
    """The configured head; ValueError naming the setting that does not fit."""
    if config.name not in HEADS:
        raise ValueError(f"head.name: got {config.name!r}, allowed are {', '.join(HEADS)}")
    if config.name == "FairLoss":
        if config.kind not in ("arc", "cos"):
            raise ValueError(f"head.kind: got {config.kind!r}, allowed are arc, cos")
        policy = None if config.policy is None else Policy.load(config.policy)
        options: dict[str, Any] = {} if config.margin is None else {"initial_margin": config.margin}
        kind: Any = config.kind
        return FairLoss(
            num_classes, embedding_size, policy, kind=kind, scale=config.scale, **options
        )
    if config.policy is not None:
        raise ValueError(f"head.policy: only FairLoss has one, head.name is {config.name}")
    if config.margin is None or config.name == "NormFace":
        return HEADS[config.name](num_classes, embedding_size, scale=config.scale)  # type: ignore[call-arg]
    return HEADS[config.name](num_classes, embedding_size, config.margin, scale=config.scale)  # type: ignore[call-arg]


def build_trainer(config: TrainConfig, faces: FaceImages, folder: RunFolder) -> Trainer:
    """Backbone and head from `config.seed` (or `config.init`), ready for the first step."""
    torch.manual_seed(config.seed)
    model = backbone(config)
    head = build_head(config.head, faces.num_classes, config.model.embedding_size)
    if config.init is not None:
        initialise(model, head, Path(config.init))
    return Trainer(
        model,
        head,
        faces,
        config.optimizer,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        on_skip=lambda step, reason: folder.log("skip", step=step, reason=reason),
    )


def initialise(model: torch.nn.Module, head: CosineHead, run: Path) -> None:
    """Take backbone and class weights from another run of the same shape."""
    if not (run / "model.pt").is_file() or not (run / "head.pt").is_file():
        raise ValueError(f"init: {run} holds no finished run (model.pt and head.pt)")
    weights = torch.load(run / "head.pt", weights_only=True)["weight"]
    if weights.shape != head.weight.shape:
        raise ValueError(
            f"init: {run} has {tuple(weights.shape)} class weights, this run "
            f"{tuple(head.weight.shape)}"
        )
    model.load_state_dict(torch.load(run / "model.pt", weights_only=True))
    head.weight.data.copy_(weights)


def start_or_resume(
    config: TrainConfig, faces: FaceImages, folder: RunFolder
) -> tuple[Trainer, int]:
    """A trainer and the next epoch (from 1)."""
    if (folder / "config.yaml").exists():
        if config.resume == "never":
            raise ValueError(
                f"output: {folder.path} already holds a run; resume=auto continues it, or name "
                "another folder"
            )
        _check_same_run(config, folder)
    trainer = build_trainer(config, faces, folder)
    state = folder.load_checkpoint()
    if state is None:
        (folder / "metrics.jsonl").unlink(missing_ok=True)
        write_run_files(config, trainer, folder)
        return trainer, 1
    trainer.restore(state)
    folder.forget_after(trainer.step)
    if state["epoch"] < config.epochs:
        folder.log("resume", epoch=state["epoch"], step=trainer.step)
    return trainer, state["epoch"] + 1


def write_run_files(config: TrainConfig, trainer: Trainer, folder: RunFolder) -> None:
    """What a run folder holds from the start."""
    faces = trainer.faces
    write_json(
        folder / "identities.json",
        {"identities": faces.identities, "counts": faces.counts.tolist()},
    )
    if isinstance(trainer.head, FairLoss):
        trainer.head.policy.save(folder / "policy.json")
    write_whole(folder / "config.yaml", lambda path: path.write_text(as_yaml(config)))


def save_result(trainer: Trainer, folder: RunFolder) -> None:
    """model.pt, the backbone's state dict, and head.pt, the head's."""
    write_whole(folder / "model.pt", lambda path: torch.save(trainer.model.state_dict(), path))
    write_whole(folder / "head.pt", lambda path: torch.save(trainer.head.state_dict(), path))


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
        "groups": group_table(statistics, trainer.head.margins),
    }
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


def _check_same_run(config: TrainConfig, folder: RunFolder) -> None:
    shown = changes(folder / "config.yaml", config, FREE_SETTINGS)
    if shown:
        raise ValueError(
            f"output: {folder.path} holds a run with other settings ({shown}); use them, or name "
            "another folder"
        )
