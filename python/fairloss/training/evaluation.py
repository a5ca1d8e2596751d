"""Accuracies on `.bin` verification sets while training."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, distributed, nn

from fairloss.checks import expect
from fairloss.data import (
    PairBin,
    contiguous_folds,
    encoded_batches,
    interleaved_folds,
    read_pair_bin,
)
from fairloss.evaluation import Pairs, PairSet, evaluate_pair_list, linked_identities
from fairloss.io.atomic import FormatError
from fairloss.models import embed_shares
from fairloss.progress import Progress, no_progress
from fairloss.training.config import TrainConfig
from fairloss.typing import Float32s, Floats


def bin_pair_set(content: PairBin, embeddings: Floats, interleave: bool = False) -> PairSet:
    """Return the pairs of a `.bin`, in ten folds, with the (2P, D) embeddings of its images.

    Args:
        content: of the file.
        embeddings: of its images.
        interleave: deal the pairs to the folds in turn, for a file of all positives, then all
            negatives.
    """
    genuine = content.genuine
    rows = np.arange(2 * len(genuine))
    pairs = Pairs(rows[0::2], rows[1::2], genuine)
    identities = linked_identities(content.image_numbers(), pairs)
    fold = interleaved_folds(genuine) if interleave else contiguous_folds(len(genuine))
    return PairSet(embeddings, pairs, fold, identities)


def gather_embeddings(
    model: nn.Module,
    batches: Iterable[Tensor],
    total: int,
    progress: Progress,
    flip: bool = True,
    process_group: "distributed.ProcessGroup | None" = None,
) -> Float32s:
    """Return the (total, D) embeddings of `embed_shares` in host memory."""
    parts: list[Float32s] = []
    done = 0
    for embeddings in embed_shares(model, batches, flip=flip, process_group=process_group):
        parts.append(embeddings.cpu().numpy())
        done += len(embeddings)
        progress("embed", done, total)
    return np.concatenate(parts)


class VerificationSets:
    """The sets of `config.evaluate`; each image is decoded once, as a check.

    Raises:
        ValueError: naming a file that cannot be read, or whose pairs make no ten folds.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.contents: dict[Path, PairBin] = {}
        for text in config.evaluate:
            path = Path(text)
            expect(path.is_file(), "evaluate", "a .bin file", text)
            self.contents[path] = content = read_pair_bin(path)
            generator = np.random.default_rng(0)
            try:
                _evaluate(content, generator.normal(size=(len(content.images), 2)))
            except ValueError as error:
                raise FormatError(path, str(error)) from error
            for _ in self._batches(path):
                pass

    def accuracies(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return name and path of each set, and the mean accuracy over folds with its interval.

        An accuracy that cannot be computed, as of embeddings that are not finite, is a text that
        says why.
        """
        return [self._accuracy(model, path) for path in self.contents]

    def _accuracy(self, model: nn.Module, path: Path) -> dict[str, Any]:
        content = self.contents[path]
        batches = self._batches(path)
        embeddings = gather_embeddings(model, batches, len(content.images), no_progress)
        try:
            accuracy = _evaluate(content, embeddings)["accuracy"]
        except ValueError as error:
            accuracy = str(error)
        return {"name": path.stem, "path": str(path), "accuracy": accuracy}

    def _batches(self, path: Path) -> Iterator[Tensor]:
        height, width = self.config.image_size
        images = self.contents[path].images
        return encoded_batches(path, images, (height, width), self.config.channels)


def _evaluate(content: PairBin, embeddings: Floats) -> dict[str, Any]:
    return evaluate_pair_list(*bin_pair_set(content, embeddings))
