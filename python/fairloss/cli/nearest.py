"""The picture that `gallery query` draws."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from fairloss.data import image_batches
from fairloss.data.arrays import holds_arrays
from fairloss.data.images import list_identified

if TYPE_CHECKING:
    from fairloss.gallery import Match


def check_picture(output: Path, data: Path | None) -> None:
    """ValueError unless a picture can be drawn: the name's suffix, and where the faces are."""
    from fairloss.report.drawing import picture_kind

    if data is None:
        raise ValueError("data: a picture needs --data, the folder that the faces came from")
    picture_kind(output)


def draw_found(
    images: list[Path], probes: torch.Tensor, found: list[list[Match]], data: Path, output: Path
) -> None:
    """A picture of each probe image, (Q, channels, H, W) in all, and the faces found for it."""
    from fairloss.report.nearest import Face, draw_nearest

    names = list(dict.fromkeys(match.name for matches in found for match in matches))
    pixels = _face_pixels(data, names, *probes.shape[1:])
    rows = [
        [Face(probe, "probe", image.name)]
        + [Face(pixels[match.name], f"{match.score:.3f}", match.name) for match in matches]
        for image, probe, matches in zip(images, np.asarray(probes), found, strict=True)
    ]
    draw_nearest(rows, output)


def _face_pixels(
    data: Path, names: Sequence[str], channels: int, height: int, width: int
) -> dict[str, npt.NDArray[np.uint8]]:
    """(channels, H, W) images by name; blank, with a warning, where one is no longer there."""
    listed = set(list_identified(data)[0]) if holds_arrays(data) else None
    there = [n for n in names if ((data / n).is_file() if listed is None else n in listed)]
    if len(there) < len(names):
        warnings.warn(
            f"data: {len(names) - len(there)} of {len(names)} faces are not in {data}, and blank",
            stacklevel=2,
        )
    pixels = {name: np.full((channels, height, width), 255, dtype=np.uint8) for name in names}
    parts = list(image_batches(data, there, (height, width), channels))
    return pixels | dict(
        zip(there, (image.numpy() for part in parts for image in part), strict=True)
    )
