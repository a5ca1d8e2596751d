from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fairloss.data import FaceImages


@pytest.fixture
def make_faces() -> Callable[[list[int]], FaceImages]:
    """Faces with the given number of images per identity; image i is filled with the value i."""

    def build(counts: list[int]) -> FaceImages:
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        identities = [f"p{label}" for label in range(len(counts))]
        pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
        names = [f"p{label}/{i}.png" for i, label in enumerate(labels.tolist())]
        return FaceImages(pixels.repeat(1, 1, 2, 3), labels, identities, names)

    return build


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write a flat image of one value (gray) or color (RGB), making its folder."""

    def write(
        file: Path, value: int | tuple[int, int, int] = 0, size: tuple[int, int] = (8, 8)
    ) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        color = np.asarray(value, dtype=np.uint8)
        Image.fromarray(np.broadcast_to(color, (*size, *color.shape)).copy()).save(file)
        return file

    return write
