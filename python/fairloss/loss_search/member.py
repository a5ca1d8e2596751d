"""One model of the population: an epoch with its own loss, and the reward for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairloss.data import FaceImages, split_identities
from fairloss.evaluation import all_pairs, pair_scores, verification
from fairloss.heads import Head
from fairloss.io.atomic import write_atomic
from fairloss.io.run_folder import RunFolder
from fairloss.loss_search.config import SearchConfig
from fairloss.models import embed
from fairloss.progress import Progress
from fairloss.training import Diverged, read_faces
from fairloss.training.build import build_trainer
from fairloss.training.schedule import step_schedule

Split = tuple[FaceImages, FaceImages]


@dataclass(frozen=True)
class Round:
    """All that the members of a round need; can be sent to another process.

    Attributes:
        config: checked settings with whole paths.
        number: of the round, from 1. Members start from the checkpoint of the one before.
        options: of each member's head.
        split: identities to train on, and held-out ones; None: each process reads its own.
    """

    config: SearchConfig
    number: int
    options: list[dict[str, Any]]
    split: Split | None

    def path(self, member: int) -> Path:
        """Where a member leaves what it became."""
        return Path(self.config.output) / "members" / f"{self.number:04d}-{member}.pt"


def run_member(job: Round, member: int) -> int:
    """Train and score one member, and write its file; nothing is done twice.

    All members of a round see the same batches in the same order, so that rewards differ by the
    losses alone. One that diverges has reward 0.
    """
    path = job.path(member)
    if path.is_file():
        return member
    config, options = job.config, job.options[member]
    seen, held_out = job.split or read_split(config)
    folder = RunFolder(config.output)
    own = replace(config, head=replace(config.head, options=options))
    trainer = build_trainer(own, seen, folder)
    state = folder.load_checkpoint()
    assert state is not None
    assert state["epoch"] == job.number - 1
    trainer.restore(state)
    set_options(trainer.head, options)
    result: dict[str, Any] = {"reward": 0.0, "loss": None, "steps": trainer.steps_per_epoch}
    try:
        step_schedule(trainer.optimizer, config.optimizer, config.epochs, job.number - 1)
        done = trainer.run_epoch(job.number)
        result |= {"loss": done.loss, "reward": reward(trainer.model, held_out)}
    except Diverged:
        pass
    result["state"] = trainer.state()
    write_atomic(path, lambda temporary: torch.save(result, temporary))
    return member


def set_options(head: Head, options: dict[str, Any]) -> None:
    """Replace the buffers that a restored state brought along."""
    for name, value in options.items():
        getattr(head, name).copy_(torch.as_tensor(value))


def reward(model: nn.Module, held_out: FaceImages) -> float:
    """Area under the ROC over all pairs of images of identities that nobody trained on.

    The papers take a verification accuracy of the test set. The area moves with every pair, so it
    still tells models apart where an accuracy over few pairs is the same number.
    """
    embeddings = embed(model, held_out).numpy()
    pairs = all_pairs(held_out.labels.numpy())
    try:
        scores = pair_scores(embeddings, pairs)
    except ValueError:  # an embedding without direction: the model has collapsed
        return 0.0
    return verification(scores, pairs.genuine).auc


_READ: dict[tuple[Any, ...], Split] = {}  # by this process, the last one only


def read_split(config: SearchConfig, progress: Progress | None = None) -> Split:
    """The images, read once in each process, as identities to train on and held-out ones."""
    held_out = config.search.held_out
    key = (config.data, *config.image_size, config.channels, held_out, config.seed)
    if key not in _READ:
        _READ.clear()
        _READ[key] = split(read_faces(config, progress), held_out, config.seed)
    return _READ[key]


def split(faces: FaceImages, held_out: int, seed: int) -> Split:
    """ValueError unless two identities are left to train on and the others can be verified."""
    if held_out > faces.num_classes - 2:
        raise ValueError(
            f"search.held_out: got {held_out}, but of the {faces.num_classes} identities of the "
            "data two are needed to train on"
        )
    seen, unseen = split_identities(faces, held_out, seed)
    if int(unseen.counts.max()) < 2:
        raise ValueError(
            "search.held_out: none of the identities drawn has two images, which verification "
            "needs; hold out more"
        )
    return seen, unseen
