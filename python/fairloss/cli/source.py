"""Where a command's features come from: a feature file, or images and a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer

from fairloss.data import (
    FaceImages,
    PairBin,
    encoded_batches,
    image_batches,
    read_features,
    read_images,
)
from fairloss.data.images import may_mirror
from fairloss.models import embed, embed_batches
from fairloss.progress import Progress
from fairloss.training import load_backbone

Floats = npt.NDArray[np.floating[Any]]

Checkpoint = Annotated[Path | None, typer.Option(help="model.pt of a run folder.")]
Images = Annotated[Path | None, typer.Option(help="Folder of the named images, or of arrays.")]
FeatureFile = Annotated[
    Path | None, typer.Option(help="A .npy of `fairloss embed`, in place of images.")
]
Replicates = Annotated[int, typer.Option(help="Of the identity-clustered bootstrap.")]
Seed = Annotated[int, typer.Option(help="Of the bootstrap.")]
Output = Annotated[Path, typer.Option(help="The JSON report.")]


@dataclass(frozen=True)
class Source:
    """Either `features`, or `data` with `checkpoint`."""

    data: Path | None
    checkpoint: Path | None
    features: Path | None

    def embeddings(self, names: Sequence[str], progress: Progress) -> Floats:
        """(N, D) features of the named images, image plus mirror where they are computed here.

        Images that must not be mirrored (`FaceImages.mirror`) are left as they are.
        """
        if self.features is not None:
            found = read_features(self.features)
            return found.embeddings[found.rows(names)]
        if self.data is None or self.checkpoint is None:
            raise ValueError("features: give --features, or --data and --checkpoint")
        model, config = load_backbone(self.checkpoint)
        height, width = config.image_size
        batches = image_batches(self.data, names, (height, width), config.channels)
        return _embed(model, batches, len(names), progress, flip=may_mirror(self.data))

    def identified(self, progress: Progress) -> tuple[Floats, list[str]]:
        """(N, D) features of everything there is, and N names of people."""
        if self.features is not None:
            found = read_features(self.features)
            if found.identities is None:
                raise ValueError(f"features: the manifest of {self.features} names no identities")
            return found.embeddings, found.identities
        if self.data is None or self.checkpoint is None:
            raise ValueError("features: give --features, or --data and --checkpoint")
        faces, embeddings = folder_embeddings(self.data, self.checkpoint, progress)
        return embeddings, [faces.identities[label] for label in faces.labels.tolist()]

    def of_bin(self, path: Path, content: PairBin, progress: Progress) -> Floats:
        """(2P, D) features of the images inside a `.bin`."""
        if self.checkpoint is None:
            raise ValueError("checkpoint: a .bin holds images and needs --checkpoint")
        model, config = load_backbone(self.checkpoint)
        height, width = config.image_size
        batches = encoded_batches(path, content.images, (height, width), config.channels)
        return _embed(model, batches, len(content.images), progress)

    def rival(self, against: Path) -> Source:
        """The same images through another checkpoint, or another feature file."""
        if against.suffix == ".npy":
            return Source(None, None, against)
        return Source(self.data, against, None)


def folder_embeddings(
    folder: Path, checkpoint: Path, progress: Progress
) -> tuple[FaceImages, npt.NDArray[np.float32]]:
    """The readable images of a folder of identities, and their (N, D) features."""
    model, config = load_backbone(checkpoint)
    height, width = config.image_size
    faces = read_images(
        folder,
        (height, width),
        config.channels,
        progress=lambda done, total: progress("read images", done, total),
    )
    found = embed(model, faces, progress=lambda done, total: progress("embed", done, total))
    return faces, found.cpu().numpy()


def _embed(
    model: torch.nn.Module, batches: Any, total: int, progress: Progress, flip: bool = True
) -> npt.NDArray[np.float32]:
    parts: list[npt.NDArray[np.float32]] = []
    done = 0
    for embeddings in embed_batches(model, batches, flip=flip):
        parts.append(embeddings.cpu().numpy())
        done += len(embeddings)
        progress("embed", done, total)
    return np.concatenate(parts)
