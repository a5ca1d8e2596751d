"""Faces as embeddings: what goes into a gallery, and what is searched in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fairloss.cli.source import Floats
from fairloss.data import Features, image_batches, read_features
from fairloss.data.decode import decode_image
from fairloss.data.images import list_identified, may_mirror
from fairloss.gallery import Embedder
from fairloss.io.atomic import FormatError
from fairloss.models import embed_batches
from fairloss.training import TrainConfig, checkpoint_digest, load_backbone

BATCH = 256


@dataclass(frozen=True)
class Additions:
    """Faces that could go into a gallery.

    Attributes:
        names: of all of them.
        embedding_size: length of an embedding.
        embedder: whose embeddings they are, as far as is known.
        batches: embeddings of some of the names, in their order, (n, D) at a time.
    """

    names: list[str]
    embedding_size: int
    embedder: Embedder | None
    batches: Callable[[Sequence[str]], Iterator[Floats]]


def additions(data: Path | None, checkpoint: Path | None, features: Path | None) -> Additions:
    """From a feature file, or from images and a checkpoint.

    Raises:
        ValueError: neither is given, or both.
    """
    if features is not None and data is None and checkpoint is None:
        return _from_features(features)
    if features is None and data is not None and checkpoint is not None:
        return _from_images(data, checkpoint)
    raise ValueError("features: give either --features, or --data and --checkpoint")


def _from_features(path: Path) -> Additions:
    found = read_features(path)
    place = {name: row for row, name in enumerate(found.names)}

    def batches(names: Sequence[str]) -> Iterator[Floats]:
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            rows = found.embeddings[[place[name] for name in part]]
            usable = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
            if not usable.all():
                name = part[int(usable.argmin())]
                raise FormatError(path, f"the features of {name!r} are all zero or not finite")
            yield rows

    size = found.embeddings.shape[1]
    return Additions(found.names, size, features_embedder(found), batches)


def features_embedder(features: Features) -> Embedder | None:
    """Whose features they are; None where their file does not say."""
    if features.checkpoint_sha256 is None or features.flip is None:
        return None
    return Embedder(features.checkpoint_sha256, features.flip)


def _from_images(data: Path, checkpoint: Path) -> Additions:
    model, config = load_backbone(checkpoint)
    height, width = config.image_size
    names, _ = list_identified(data)
    flip = may_mirror(data)

    def batches(names: Sequence[str]) -> Iterator[Floats]:
        pixels = image_batches(data, names, (height, width), config.channels, BATCH)
        for embeddings in embed_batches(model, pixels, flip=flip):
            yield embeddings.cpu().numpy()

    embedder = Embedder(checkpoint_digest(checkpoint), flip)
    return Additions(names, config.model.embedding_size, embedder, batches)


def read_files(images: Sequence[Path], config: TrainConfig) -> Tensor:
    """(N, channels, H, W) uint8 images; an error names the one that is missing or unreadable."""
    height, width = config.image_size

    def decode(path: Path) -> Tensor:
        if not path.is_file():
            raise FileNotFoundError(f"images: {path} does not exist")
        try:
            return decode_image(path, (height, width), config.channels)
        except Exception as error:
            raise ValueError(f"images: {path} cannot be read: {error}") from error

    return torch.stack([decode(path) for path in images])


def embed_files(model: nn.Module, pixels: Tensor, flip: bool) -> Floats:
    """(N, D) embeddings of what `read_files` read."""
    parts = embed_batches(model, pixels.split(BATCH), flip=flip)
    return torch.cat(list(parts)).cpu().numpy()
