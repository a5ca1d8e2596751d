"""Sources of a command's embeddings: a feature file, or images and a checkpoint."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor

from fairloss.checks import expect
from fairloss.data import (
    Features,
    NamedPairs,
    PairBin,
    encoded_batches,
    identity_of,
    image_batches,
    read_features,
    read_images,
)
from fairloss.data.decode import BATCH
from fairloss.data.images import may_mirror
from fairloss.evaluation import Pairs, PairSet, linked_identities
from fairloss.models import embed, rank_share
from fairloss.progress import Progress, labeled
from fairloss.ranks import default_group
from fairloss.training import load_backbone
from fairloss.training.evaluation import gather_embeddings
from fairloss.typing import Float32s, Floats

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Either `features`, or `data` with `checkpoint`."""

    data: Path | None
    checkpoint: Path | None
    features: Path | None

    def read_pair_set(self, named: NamedPairs, layout: str, progress: Progress) -> PairSet:
        """Return a list of pairs with the embeddings of its images."""
        names = named.names()
        pairs = index_pairs(named, names)
        identities = linked_identities([identity_of(name, layout) for name in names], pairs)
        return PairSet(self.read_named(names, progress), pairs, named.fold, identities)

    def read_named(self, names: list[str], progress: Progress) -> Floats:
        """Return (N, D) embeddings of the named images.

        Those computed here are of image plus mirror, except of images that must not be mirrored
        (`FaceImages.mirror`).
        """
        if self.features is not None:
            file = read_features(self.features)
            return file.embeddings[file.rows(names)]
        data, checkpoint = self._require_images()

        def batches(share: list[int], size: tuple[int, int], channels: int) -> Iterator[Tensor]:
            return image_batches(data, [names[row] for row in share], size, channels, BATCH)

        return _embed(checkpoint, batches, len(names), progress, flip=may_mirror(data))

    def read_all(self, progress: Progress) -> tuple[Floats, list[str]]:
        """Return (N, D) embeddings of all images, and their N identities."""
        if self.features is not None:
            file = read_features(self.features)
            return file.embeddings, known_identities(file, self.features)
        data, checkpoint = self._require_images()
        model, config = load_backbone(checkpoint)
        height, width = config.image_size
        reading, embedding = labeled(progress, "read images"), labeled(progress, "embed")
        faces = read_images(data, (height, width), config.channels, progress=reading)
        group = default_group()
        embeddings = embed(model, faces, progress=embedding, process_group=group).cpu().numpy()
        return embeddings, [faces.identities[label] for label in faces.labels.tolist()]

    def read_bin(self, path: Path, content: PairBin, progress: Progress) -> Floats:
        """Return (2P, D) embeddings of the images inside a `.bin`."""
        if self.checkpoint is None:
            raise ValueError(
                "checkpoint: expected --checkpoint with --bin, which holds images, got none"
            )

        def batches(share: list[int], size: tuple[int, int], channels: int) -> Iterator[Tensor]:
            return encoded_batches(path, content.images, size, channels, BATCH, share)

        return _embed(self.checkpoint, batches, len(content.images), progress)

    def _require_images(self) -> tuple[Path, Path]:
        if self.data is None or self.checkpoint is None:
            given = "no --data" if self.data is None else "no --checkpoint"
            raise ValueError(
                f"features: expected --features, or --data and --checkpoint, got {given}"
            )
        return self.data, self.checkpoint


def model_sides(name: str, models: list[T], against: list[T] | None) -> list[list[T]]:
    """Return the networks of the baseline, if there is one, and those of this side.

    Args:
        name: of the option that gives the networks of this side.
        models: one network of this side, or several with a baseline.
        against: networks of the baseline, none without one.
    """
    got = f"{len(models)} without it"
    expect(len(models) == 1 or against, name, "one, or several with --against", got)
    return [against, models] if against else [models]


def model_sources(
    data: Path | None,
    checkpoints: list[Path] | None,
    features: list[Path] | None,
    against: list[Path] | None,
) -> list[list[Source]]:
    """Return the sources of the networks of the baseline, if there is one, and of this side.

    The baseline `against` is other feature files, or other checkpoints for the same images.
    """
    sources = [Source(data, each, None) for each in checkpoints or []]
    sources += [Source(data, None, each) for each in features or []]
    if checkpoints and features:  # which take the place of images
        one = len(checkpoints) == len(features) == 1
        got = f"{len(checkpoints)} checkpoints and {len(features)} features"
        expect(one, "features", "one with --checkpoint, or several without", got)
        sources = [Source(data, checkpoints[0], features[0])]
    baseline = [
        Source(None, None, each) if each.suffix == ".npy" else Source(data, each, None)
        for each in against or []
    ]
    name = "checkpoint" if checkpoints else "features"
    return model_sides(name, sources or [Source(data, None, None)], baseline)


def known_identities(features: Features, path: Path) -> list[str]:
    """Return the identity of each row; ValueError if the manifest names none."""
    if features.identities is None:
        raise ValueError(f"features: expected identities in the manifest of {path}, got none")
    return features.identities


def index_pairs(named: NamedPairs, names: list[str]) -> Pairs:
    """Return the pairs as row numbers into `names`."""
    row = {name: number for number, name in enumerate(names)}
    first, second = (np.array([row[name] for name in side]) for side in (named.first, named.second))
    return Pairs(first, second, named.genuine)


def _embed(
    checkpoint: Path,
    batches: Callable[[list[int], tuple[int, int], int], Iterator[Tensor]],
    total: int,
    progress: Progress,
    flip: bool = True,
) -> Float32s:
    """Return (total, D) embeddings of the images of `batches(positions, image_size, channels)`."""
    model, config = load_backbone(checkpoint)
    height, width = config.image_size
    group = default_group()
    share = rank_share(total, BATCH, group).tolist()
    images = batches(share, (height, width), config.channels)
    return gather_embeddings(model, images, total, progress, flip, group)
