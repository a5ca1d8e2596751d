"""Batches that depend on (seed, epoch, step) and nothing else, so that a resumed run repeats them.

Every function draws from a generator of its own on the CPU; torch's global generators are neither
read nor advanced, and every device sees the same order and the same pixels.
"""

import hashlib
import struct

import numpy as np
import torch
from torch import Tensor

from fairloss.checks import check_integer, expect
from fairloss.typing import Bytes


def epoch_order(num_samples: int, seed: int, epoch: int) -> Tensor:
    """Return a permutation of 0..num_samples-1, (num_samples,) int64, for one epoch."""
    check_integer("num_samples", num_samples)
    return torch.randperm(num_samples, generator=generator("order", seed, epoch))


def epoch_batches(num_samples: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Cut `epoch_order` into ceil(num_samples / batch_size) batches whose sizes differ by <= 1.

    Nearly equal batches instead of a short last one: batch normalization cannot train on one
    image, and here a batch of one occurs only if num_samples is 1 or batch_size below 3.

    Raises:
        ValueError: if `num_samples` or `batch_size` is below 1.
    """
    check_integer("batch_size", batch_size)
    order = epoch_order(num_samples, seed, epoch)
    return list(order.tensor_split(-(-num_samples // batch_size)))


def rank_rows(count: int, parts: int, rank: int, ranks: int) -> list[Tensor]:
    """Return the rows of a batch of `count` that one of several ranks trains on.

    The batch is cut into micro-batches, and each of them among the ranks, so that micro-batches
    have the same images on any number of ranks. A part may be empty.

    Args:
        count: images of the batch, those of all ranks.
        parts: micro-batches.
        rank: number of the rank, from 0.
        ranks: their number.
    """
    micro_batches = torch.arange(count).tensor_split(parts)
    return [rows.tensor_split(ranks)[rank] for rows in micro_batches]


def augment(
    images: Tensor,
    seed: int,
    epoch: int,
    step: int,
    mirror: bool = True,
    *,
    rows: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Mirror each image with probability 1/2 and shift it; uint8 (B, channels, H, W) in and out.

    Without `mirror` images are shifted alone. `rows` are those of a larger batch, of `batch_size`,
    that `images` are, and as which they are changed.

    Vertical shifts are whole pixels, uniform over -H//16..H//16, horizontal ones over
    -W//16..W//16 (7 pixels at 112), and repeat the edge: about the error of a face alignment.

    Raises:
        ValueError: if `images` is not uint8 with four dimensions.
    """
    _check_images(images)
    count, channels, height, width = images.shape
    source, drawn = generator("augment", seed, epoch, step), batch_size or count
    vertical = _uniform(drawn, height // 16, source)
    horizontal = _uniform(drawn, width // 16, source)
    mirrored = torch.randint(2, (drawn, 1), generator=source, dtype=torch.bool)
    if rows is not None:
        vertical, horizontal, mirrored = vertical[rows], horizontal[rows], mirrored[rows]
    rows = (torch.arange(height) + vertical).clamp_(0, height - 1)
    columns = (torch.arange(width) + horizontal).clamp_(0, width - 1)
    if mirror:
        columns = torch.where(mirrored, width - 1 - columns, columns)
    # one gather over flat positions is several times faster than indexing rows and columns
    pixels = (rows[:, :, None] * width + columns[:, None, :]).reshape(count, 1, height * width)
    pixels = pixels.to(images.device).expand(count, channels, height * width)
    return images.flatten(2).gather(2, pixels).view(images.shape)


def augment_sample(
    image: Tensor, seed: int, epoch: int, position: int, mirror: bool = True
) -> Tensor:
    """Mirror and shift one image as `augment` does; uint8 (channels, H, W) in and out.

    The draws depend on (seed, epoch, position) alone: neither on the batch size nor on the process
    that decodes the image. They are not those of `augment`.

    Args:
        image: to change.
        seed: of the run.
        epoch: number of the epoch.
        position: of the image in the order of the epoch, 0, 1, ..., so that an image that comes
            twice in an epoch is changed in two ways.
        mirror: mirror with probability 1/2.

    Raises:
        ValueError: if `image` is not uint8 with three dimensions.
    """
    valid = image.dtype == torch.uint8 and image.dim() == 3
    got = f"{image.dtype} of shape {tuple(image.shape)}"
    expect(valid, "image", "uint8 (channels, H, W)", got)
    _, height, width = image.shape
    # hashed without a generator, which takes longer to seed than all the rest
    draws = struct.unpack("<3Q", _hash(24, "augment_sample", seed, epoch, position))
    vertical, horizontal = (
        draw % (2 * bound + 1) - bound
        for draw, bound in zip(draws, (height // 16, width // 16), strict=False)
    )
    # copied by numpy in blocks, several times faster than torch gathers pixels
    pixels = image.numpy()
    if mirror and draws[2] % 2:
        pixels = pixels[:, :, ::-1]
    return torch.from_numpy(_shift(pixels, vertical, horizontal))


def _shift(pixels: Bytes, vertical: int, horizontal: int) -> Bytes:
    """Return the pixels (channels, H, W) at y + vertical and x + horizontal, or at the edge."""
    _, height, width = pixels.shape
    top, left = max(0, -vertical), max(0, -horizontal)
    bottom, right = height - max(0, vertical), width - max(0, horizontal)
    rows = slice(top + vertical, bottom + vertical)
    columns = slice(left + horizontal, right + horizontal)
    shifted = np.empty(pixels.shape, np.uint8)
    shifted[:, top:bottom, left:right] = pixels[:, rows, columns]
    shifted[:, top:bottom, :left] = shifted[:, top:bottom, left : left + 1]
    shifted[:, top:bottom, right:] = shifted[:, top:bottom, right - 1 : right]
    shifted[:, :top] = shifted[:, top : top + 1]
    shifted[:, bottom:] = shifted[:, bottom - 1 : bottom]
    return shifted


def to_input(images: Tensor) -> Tensor:
    """Scale uint8 images to network input: float32 (x / 255 - 0.5) / 0.5, in [-1, 1].

    insightface scales them in the same way.

    Raises:
        ValueError: if `images` is not uint8 with four dimensions (scaling twice would pass
            unnoticed otherwise).
    """
    _check_images(images)
    return images.to(torch.float32).div_(255).sub_(0.5).div_(0.5)


def _check_images(images: Tensor) -> None:
    valid = images.dtype == torch.uint8 and images.dim() == 4
    got = f"{images.dtype} of shape {tuple(images.shape)}"
    expect(valid, "images", "uint8 (B, channels, H, W)", got)


def _uniform(count: int, bound: int, source: torch.Generator) -> Tensor:
    """Draw (count, 1) integers uniform over -bound..bound."""
    return torch.randint(-bound, bound + 1, (count, 1), generator=source)


def generator(purpose: str, *numbers: int) -> torch.Generator:
    """Return a generator of its own for each purpose and numbers."""
    return torch.Generator().manual_seed(derived_seed(purpose, *numbers))


def derived_seed(purpose: str, *numbers: int) -> int:
    """Return a seed of its own for each purpose and numbers."""
    return int.from_bytes(_hash(8, purpose, *numbers), "big")


def _hash(size: int, purpose: str, *numbers: int) -> bytes:
    # hashed, because nearby seeds such as seed + epoch would make runs share their draws
    key = "/".join([purpose, *map(str, numbers)]).encode()
    return hashlib.blake2b(key, digest_size=size).digest()
