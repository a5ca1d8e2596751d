"""Small synthetic "faces": smooth random patterns, one an identity, with noise."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.data import FaceImages


def patterns(counts: list[int], size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(N, 1, size, size) uint8 images and (N,) labels, counts[c] images of identity c."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    coarse = torch.rand(len(counts), 1, 4, 4, generator=generator)
    images = F.interpolate(coarse, (size, size), mode="bicubic")[labels]
    noise = 0.15 * torch.randn(images.shape, generator=generator)
    return ((images + noise).clamp(0, 1) * 255).to(torch.uint8), labels


def faces(counts: list[int], size: int = 32, seed: int = 0) -> FaceImages:
    """The patterns as a data set with identities "id0", "id1", ..."""
    pixels, labels = patterns(counts, size, seed)
    names = [f"id{label}/{number}.png" for number, label in enumerate(labels.tolist())]
    return FaceImages(pixels, labels, [f"id{c}" for c in range(len(counts))], names)


def write_folder(folder: Path, counts: list[int], size: int = 32, seed: int = 0) -> Path:
    """The patterns as folder/identity/image.png."""
    from PIL import Image

    pixels, labels = patterns(counts, size, seed)
    for number, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        path = folder / f"id{label}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)
    return folder
