"""`train(config)`: from a folder of images to a run folder with a trained backbone."""

import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from fairloss.checks import expect
from fairloss.data import LabeledImages, open_images
from fairloss.io.output import locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.progress import Progress, labeled, no_progress
from fairloss.ranks import on_every_rank, on_first_rank, rank_number, torchrun_ranks
from fairloss.training.build import check_parts, run_policy
from fairloss.training.config import TrainConfig
from fairloss.training.epochs import AfterEpoch, Epochs, do_nothing
from fairloss.training.evaluation import VerificationSets
from fairloss.training.loss_file import with_loss
from fairloss.training.resume import (
    check_existing,
    is_finished,
    save_result,
    start_or_resume,
)
from fairloss.training.run_log import Report, RunLog
from fairloss.training.settings import absolute, map_paths, prepare
from fairloss.training.signals import Signals

# Settings that a resumed run may change.
FREE_SETTINGS = (
    *("output", "resume", "statistics", "tensorboard", "device", "workers"),
    *("checkpoint_every", "keep_checkpoints", "evaluate", "evaluate_every", "log_every"),
)


def train(
    config: TrainConfig,
    faces: LabeledImages | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
    after_epoch: AfterEpoch = do_nothing,
) -> Path:
    """Train a backbone and a head, and return the run folder.

    With resume=auto a run in `config.output` resumes after its newest checkpoint, and ends with the
    same bits as if it had never stopped (same machine, same number of threads). A finished one is
    left as it is.

    In the main thread SIGTERM and SIGINT let the step in progress end and write a checkpoint; a
    second one ends the process at once.

    Under `torchrun`, or where each rank of `torch.distributed` calls this, all ranks train one run:
    they divide the batches and the classes, and resume it with any other number of ranks, as does
    one process. `progress` and `report` are called on the first, `after_epoch` on every rank.

    Args:
        config: the settings.
        faces: the training set, instead of reading `config.data`.
        progress: called as progress(label, done, total).
        report: called with a line of text every `config.log_every` steps, and at each evaluation.
        after_epoch: called as after_epoch(epoch, trainer) before the checkpoint of each epoch; the
            call is repeated where the run ends in between.

    Raises:
        ValueError: a setting, the data or an existing run does not fit.
        RuntimeError: training diverged.
        RankError: another rank has raised one of these errors, or an OSError where it writes.
        SystemExit: with code 143, after SIGTERM.
        KeyboardInterrupt: after SIGINT.
    """
    with torchrun_ranks(), ExitStack() as stack:
        config = on_every_rank(lambda: _prepare(config, reads_data=faces is None))
        signals = Signals()
        stack.enter_context(signals.handled())
        output = locked_output(Path(config.output))
        on_first_rank(lambda: stack.enter_context(output))
        if rank_number() != 0:
            progress = report = None
        callbacks = progress or no_progress, report or print_nothing, after_epoch
        return _train(config, faces, signals, *callbacks)


def print_nothing(line: str) -> None:
    """Leave a line out."""


def _train(
    config: TrainConfig,
    faces: LabeledImages | None,
    signals: Signals,
    progress: Progress,
    report: Report,
    after_epoch: AfterEpoch,
) -> Path:
    folder = RunFolder(config.output, config.keep_checkpoints)
    on_every_rank(lambda: check_existing(config, folder, FREE_SETTINGS))
    if is_finished(config, faces, folder):
        report(f"{folder.path} is finished")
        return folder.path
    on_every_rank(lambda: check_parts(config, run_policy(config, folder), folder.begun))
    evaluated = config if rank_number() == 0 else replace(config, evaluate=[])
    sets = on_every_rank(lambda: VerificationSets(evaluated))
    faces = on_every_rank(lambda: _read(config, faces, progress))
    trainer, finished, so_far = start_or_resume(config, faces, folder)
    if trainer.step > 0:
        report(f"{folder.path} resumes after step {trainer.step}")
    started = time.perf_counter()
    with closing(RunLog(config, folder, trainer, report)) as log:
        epochs = Epochs(config, trainer, folder, log, sets, signals, progress, after_epoch)
        epochs.train(finished, so_far)
    save_result(trainer, folder)
    folder.log("end", steps=trainer.step, seconds=time.perf_counter() - started)
    return folder.path


def _read(config: TrainConfig, faces: LabeledImages | None, progress: Progress) -> LabeledImages:
    faces = read_faces(config, progress) if faces is None else faces
    expect(faces.num_classes > 1, "data", "at least two identities", f"one in {config.data}")
    return faces


def read_faces(config: TrainConfig, progress: Progress | None = None) -> LabeledImages:
    """Return the images of `config.data` at the configured size, in memory or decoded later."""
    height, width = config.image_size
    report = labeled(progress, "read images")
    limit = int(config.memory_limit * 2**30)
    return open_images(config.data, (height, width), config.channels, limit, report)


def _prepare(config: TrainConfig, reads_data: bool) -> TrainConfig:
    """Return checked settings with absolute paths, but for the output and data that is not read."""
    config = prepare(config)
    resolved = map_paths(replace(config, head=with_loss(config.head)), absolute)
    data = resolved.data if reads_data else config.data
    return replace(resolved, data=data, output=config.output)
