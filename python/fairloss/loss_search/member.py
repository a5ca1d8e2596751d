"""One model of the population: an epoch with a loss of its own, and the reward."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairloss.checks import expect
from fairloss.data import LabeledImages, split_identities
from fairloss.evaluation import all_pairs, pair_scores, verification
from fairloss.heads import Head
from fairloss.io.atomic import FormatError
from fairloss.io.run_folder import RunFolder
from fairloss.io.state import read_state, write_state
from fairloss.loss_search.config import SearchConfig
from fairloss.models import embed
from fairloss.progress import Progress
from fairloss.training import Diverged, read_faces
from fairloss.training.build import build_trainer

Split = tuple[LabeledImages, LabeledImages]


@dataclass(frozen=True)
class Round:
    """The input of the members of a round, which can be sent to another process.

    Attributes:
        config: checked settings with absolute paths.
        number: of the round, from 1. Members start from the checkpoint of the previous one.
        options: those of each member's head.
        split: identities to train on, and held-out ones; None: each process reads them.
    """

    config: SearchConfig
    number: int
    options: list[dict[str, Any]]
    split: Split | None

    def path(self, member: int) -> Path:
        """Return the file with the result of a member."""
        return Path(self.config.output) / "members" / f"{self.number:04d}-{member}.pt"


def run_member(job: Round, member: int) -> int:
    """Train and score one member and write its file, unless there is one; return `member`.

    All members of a round train on the same batches in the same order, so that rewards differ by
    the losses alone. One that diverges has reward 0.
    """
    path = job.path(member)
    if path.is_file():
        return member
    config, options = job.config, job.options[member]
    training, held_out = job.split or read_split(config)
    folder = RunFolder(config.output)
    head = replace(config.head, options=options)
    # The workers of a search train models: each decodes its own images.
    trainer = build_trainer(replace(config, head=head, workers=0), training, folder)
    state = folder.load_checkpoint()
    assert state is not None
    assert state["epoch"] == job.number - 1
    with folder.report_malformed_checkpoint():
        trainer.restore(state)
    set_options(trainer.head, options)
    result: dict[str, Any] = {"reward": 0.0, "loss": None, "steps": trainer.steps_per_epoch}
    try:
        trainer.start_schedule(config.optimizer, config.epochs)
        done = trainer.run_epoch(job.number)
        result |= {"loss": done.loss, "reward": reward(trainer.model, held_out)}
    except Diverged:
        pass
    result["state"] = trainer.state()
    write_state(path, result)
    return member


def read_result(path: Path) -> dict[str, Any]:
    """Return what `run_member` wrote; FormatError if the file is something else."""
    result = read_state(path)
    missing = sorted({"reward", "loss", "steps", "state"} - result.keys())
    if missing:
        problem = f"expected the result of a member, got none of {', '.join(missing)}"
        raise FormatError(path, f"{problem}; remove it to train the member again")
    return result


def set_options(head: Head, options: dict[str, Any]) -> None:
    """Set the buffers of a restored head to `options`."""
    for name, value in options.items():
        getattr(head, name).copy_(torch.as_tensor(value))


def reward(model: nn.Module, held_out: LabeledImages) -> float:
    """Compute the area under the ROC over all pairs of images of held-out identities.

    The papers use a verification accuracy of the test set. The area changes with every pair, so it
    distinguishes models whose accuracies over few pairs are equal.
    """
    embeddings = embed(model, held_out).numpy()
    pairs = all_pairs(held_out.labels.numpy())
    try:
        scores = pair_scores(embeddings, pairs)
    except ValueError:  # an embedding is zero or not finite: the model has collapsed
        return 0.0
    return verification(scores, pairs.genuine).auc


_SPLITS: dict[tuple[Any, ...], Split] = {}  # the last one that this process read


def read_split(config: SearchConfig, progress: Progress | None = None) -> Split:
    """Return the images, read once in each process, of training and of held-out identities."""
    held_out = config.search.held_out
    key = (config.data, *config.image_size, config.channels, held_out, config.seed)
    if key not in _SPLITS:
        _SPLITS.clear()
        _SPLITS[key] = split(read_faces(config, progress), held_out, config.seed)
    return _SPLITS[key]


def split(faces: LabeledImages, held_out: int, seed: int) -> Split:
    """Split into the images of training and of held-out identities.

    Raises:
        ValueError: fewer than two identities are left, or no held-out one has two images.
    """
    highest = faces.num_classes - 2
    expected = f"at most {highest}, as training needs two of the {faces.num_classes} identities"
    expect(held_out <= highest, "search.held_out", expected, held_out)
    parts = split_identities(faces, held_out, seed)
    pairs = int(parts[1].counts.max()) >= 2
    expect(pairs, "search.held_out", "one identity with two images or more", "none; hold out more")
    return parts
