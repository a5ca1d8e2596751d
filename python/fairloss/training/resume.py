"""Files written before the first and after the last step of a run, and its resumption."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.heads import AdaptiveFace, FairLoss, Head, SphereFace2
from fairloss.io.atomic import FormatError, read_text, write_text
from fairloss.io.divided import whole_state
from fairloss.io.json import write_json
from fairloss.io.run_folder import RunFolder
from fairloss.io.state import read_state, write_state
from fairloss.ranks import on_every_rank, on_first_rank
from fairloss.training.build import build_trainer
from fairloss.training.config import TrainConfig
from fairloss.training.identities import check_same_identities, identities_record
from fairloss.training.loss_file import with_loss
from fairloss.training.settings import as_yaml, changes
from fairloss.training.trainer import EpochSoFar, Trainer
from fairloss.training.warm_start import class_rows


def check_existing(config: Any, folder: RunFolder, free: Sequence[str], what: str = "run") -> None:
    """Raise ValueError if `folder` holds a run that `config` does not resume.

    Args:
        config: settings with `resume`.
        folder: its config.yaml, if there is one, is compared.
        free: settings that a resumed run may change.
        what: the kind of run, for the message.
    """
    path = folder / "config.yaml"
    if not path.exists():
        return
    hint = f"{folder.path}; resume=auto resumes it"
    expect(config.resume != "never", "output", f"a folder without a {what}", hint)
    different = changes(path, config, free)
    got = f"{folder.path} with other settings ({different}); use {path}, or name another folder"
    expect(not different, "output", f"a {what} with these settings", got)


def is_finished(config: TrainConfig, faces: LabeledImages | None, folder: RunFolder) -> bool:
    """Return True if a run has trained all epochs and written its result.

    Args:
        config: of the run.
        faces: the training set, if it has been read.
        folder: of the run.

    Raises:
        FormatError: a checkpoint or a file of the result is damaged.
        ValueError: the run was trained on other identities.
    """
    if not (folder / "model.pt").exists() or not (folder / "config.yaml").exists():
        return False
    state = _load_checkpoint(config, folder)
    if state is None:  # its checkpoints were removed
        finished = any(line.get("event") == "end" for line in folder.metrics())
    else:
        finished = state["epoch"] >= config.epochs
    if not finished:
        return False
    if faces is not None:
        on_every_rank(partial(check_same_identities, "output", faces, folder.path))
    on_first_rank(lambda: _check_results(folder))  # which alone has the weights of all classes
    return True


def _check_results(folder: RunFolder) -> None:
    for name in ("head.pt", "model.pt"):
        if (folder / name).exists():
            _check_result(folder / name, folder)


def _load_checkpoint(config: TrainConfig, folder: RunFolder) -> dict[str, Any] | None:
    return folder.load_checkpoint(previous=config.resume == "previous")


def _check_result(path: Path, folder: RunFolder) -> None:
    try:
        read_state(path)
    except FormatError as error:
        remedy = "write it again" if folder.begun else "begin anew"
        raise FormatError(path, f"damaged ({error.problem}); remove it to {remedy}") from error


def start_or_resume(
    config: TrainConfig, faces: LabeledImages, folder: RunFolder
) -> tuple[Trainer, int, EpochSoFar]:
    """Return a trainer, the number of finished epochs, and what is done of the next."""
    trainer = build_trainer(config, faces, folder)
    state = _load_checkpoint(config, folder)
    if state is not None and not re.search("^statistics:", read_text(folder / "config.yaml"), re.M):
        _take_old_defaults(trainer.head, with_loss(config.head).options)
    if state is None:
        on_first_rank(lambda: _begin(config, trainer, folder))
        return trainer, 0, EpochSoFar()
    on_every_rank(lambda: check_same_identities("output", faces, folder.path))
    with folder.report_malformed_checkpoint():
        on_every_rank(partial(trainer.restore, state))
        so_far = EpochSoFar(**state.get("so_far", {}))
    folder.forget_after(trainer.step, state["epoch"])
    folder.log("resume", epoch=state["epoch"], step=trainer.step)
    return trainer, state["epoch"], so_far


def _begin(config: TrainConfig, trainer: Trainer, folder: RunFolder) -> None:
    """Write what a new run begins with."""
    (folder / "metrics.jsonl").unlink(missing_ok=True)
    write_run_files(config, trainer, folder)
    if config.init is not None:
        faces = trainer.faces
        shared = int((class_rows("init", faces, Path(config.init)) >= 0).sum())
        folder.log("init", shared=shared, new=faces.num_classes - shared)


def _take_old_defaults(head: Head, options: Mapping[str, Any]) -> None:
    """Give a head the options that version 0.1.0, which began the run, had by default."""
    if isinstance(head, SphereFace2) and "margin_grad" not in options:
        head.margin_grad = "exact"
    names = {"regularizer_ratio", "regularizer", "regulariser"}
    if isinstance(head, AdaptiveFace) and not names & options.keys():
        head.regularizer = 70.0


def write_run_files(config: TrainConfig, trainer: Trainer, folder: RunFolder) -> None:
    """Write what a run folder holds from the start."""
    write_json(folder / "identities.json", identities_record(trainer.faces))
    if isinstance(trainer.head, FairLoss):
        trainer.head.policy.save(folder / "policy.json")
    write_text(folder / "config.yaml", as_yaml(config))


def save_result(trainer: Trainer, folder: RunFolder) -> None:
    """Write head.pt, the head's state dict, and last model.pt, the backbone's: the run is done.

    Of several ranks, which all call this, the first writes the weights of all classes, which it
    alone has in memory.
    """
    head = whole_state(trainer.head.state_dict())

    def write() -> None:
        write_state(folder / "head.pt", head)
        write_state(folder / "model.pt", trainer.model.state_dict())

    on_first_rank(write)
