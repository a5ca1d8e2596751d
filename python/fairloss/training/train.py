"""`train(config)`: from a folder of images to a run folder with a trained backbone."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.data import LabeledImages, open_images
from fairloss.io.output import locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.progress import Progress, labeled, no_progress
from fairloss.training.backbone import backbone
from fairloss.training.build import build_head, run_policy
from fairloss.training.config import TrainConfig
from fairloss.training.loss_file import with_loss
from fairloss.training.resume import check_existing, save_result, start_or_resume
from fairloss.training.settings import absolute, map_paths, prepare
from fairloss.training.trainer import Trainer, group_table

# Settings that a resumed run may change.
FREE_SETTINGS = ("output", "resume", "statistics", "tensorboard", "device", "workers")


def train(
    config: TrainConfig, faces: LabeledImages | None = None, progress: Progress | None = None
) -> Path:
    """Train a backbone and a head, and return the run folder.

    With resume=auto a run found in `config.output` resumes after its last finished epoch, and ends
    with the same bits as if it had never stopped (same machine, same number of threads).

    Args:
        config: the settings.
        faces: the training set, instead of reading `config.data`.
        progress: called as progress(label, done, total).

    Raises:
        ValueError: a setting, the data or an existing run does not fit.
        RuntimeError: training diverged.
    """
    config = prepare(config)
    check_one_process()
    config = _with_absolute_paths(config, reads_data=faces is None)
    with locked_output(Path(config.output)):
        return _train(config, faces, progress)


def _train(config: TrainConfig, faces: LabeledImages | None, progress: Progress | None) -> Path:
    folder = RunFolder(config.output)
    check_existing(config, folder, FREE_SETTINGS)
    backbone(config)  # errors of these two settings come before the images are read
    policy = run_policy(config, folder)
    expect(
        config.head.name != "FairLoss" or policy is not None or folder.begun,
        "head.policy",
        "a policy.json of `fairloss collect run=RUN output=FOLDER` and `fairloss fit-policy "
        "FOLDER/experience.npz --output policy.json`",
        "none",
    )
    build_head(config.head, 2, config.model.embedding_size, policy=policy)
    faces = read_faces(config, progress) if faces is None else faces
    expect(faces.num_classes > 1, "data", "at least two identities", f"one in {config.data}")
    trainer, finished = start_or_resume(config, faces, folder)
    trainer.start_schedule(config.optimizer, config.epochs)
    started = time.perf_counter()
    for epoch in range(finished + 1, config.epochs + 1):
        _epoch(config, trainer, folder, epoch, progress)
    if finished < config.epochs or not (folder / "model.pt").exists():
        save_result(trainer, folder)
        folder.log("end", steps=trainer.step, seconds=time.perf_counter() - started)
    return folder.path


def check_one_process() -> None:
    """Raise ValueError under torchrun, where several processes would write one folder."""
    world_size = os.environ.get("WORLD_SIZE", "1")
    expect(int(world_size) == 1, "WORLD_SIZE", "1", f"{world_size}; start without torchrun")


def read_faces(config: TrainConfig, progress: Progress | None = None) -> LabeledImages:
    """Return the images of `config.data` at the configured size, in memory or decoded later."""
    height, width = config.image_size
    report = labeled(progress, "read images")
    limit = int(config.memory_limit * 2**30)
    return open_images(config.data, (height, width), config.channels, limit, report)


def _epoch(
    config: TrainConfig, trainer: Trainer, folder: RunFolder, epoch: int, progress: Progress | None
) -> None:
    report = progress or no_progress

    def report_steps(done: int, total: int) -> None:
        before = (epoch - 1) * total
        report(f"train {folder.path.name}", before + done, config.epochs * total)

    result = trainer.run_epoch(epoch, progress=report_steps)
    started = time.perf_counter()
    needed = config.statistics == "always" or trainer.head.needs_statistics
    always = config.statistics == "always"
    statistics = trainer.statistics(always) if needed else trainer.counts()
    line = {
        "epoch": epoch,
        "epochs": config.epochs,
        "step": trainer.step,
        "loss": result.loss,
        "learning_rate": trainer.learning_rate,
        "seconds": {"train": result.seconds, "statistics": time.perf_counter() - started},
        "skipped": result.skipped,
        "count_cuts": trainer.head.count_cuts,
        "groups": group_table(statistics, trainer.head.class_margins(), trainer.head.count_cuts),
    }
    if epoch < config.epochs:  # the saved margins are those of the last epoch's training
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
                name = f"margin/count{group['count_bin']}"
                if group["variance_bin"] is not None:
                    name += f"_variance{group['variance_bin']}"
                writer.add_scalar(name, group["margin"], line["step"])


def _with_absolute_paths(config: TrainConfig, reads_data: bool) -> TrainConfig:
    """Return the settings with absolute paths, but for the output and data that is not read."""
    resolved = map_paths(replace(config, head=with_loss(config.head)), absolute)
    data = resolved.data if reads_data else config.data
    return replace(resolved, data=data, output=config.output)
