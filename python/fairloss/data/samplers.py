"""Batches that sample classes rather than images, from (seed, epoch) and nothing else.

Classes come in rounds, each a random order of all of them. When a class comes, its next images are
taken, in an order that is random in every epoch and starts again where the class has no more. So
no image repeats before the others of its class were taken, and a resumed run repeats the batches.
"""

import torch
from torch import Tensor

from fairloss.checks import check_integer, expect
from fairloss.data.batches import epoch_batches, generator


def balanced_batches(labels: Tensor, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Return batches of positions in `labels` in which all classes are equally frequent.

    There are as many batches, of the same sizes, as of `epoch_batches`. In an epoch each class
    comes floor(N / C) or ceil(N / C) times.

    Args:
        labels: (N,) int64 in 0..C-1, each of which occurs.
        batch_size: of the largest batch.
        seed: of the run.
        epoch: number of the epoch.

    Raises:
        ValueError: `labels` is empty, or not as described, or `batch_size` is below 1.
    """
    counts = _counts(labels)
    sizes = [len(batch) for batch in epoch_batches(len(labels), batch_size, seed, epoch)]
    source = generator("balanced", seed, epoch)
    rounds = -(-len(labels) // len(counts))
    classes = _rounds(rounds, len(counts), source).flatten()
    images = _images(labels, counts, classes, _visits(classes), source)
    return list(images[: len(labels)].split(sizes))


def per_class_batches(
    labels: Tensor, batch_size: int, images_per_class: int, seed: int, epoch: int
) -> list[Tensor]:
    """Return batches of positions in `labels` with `images_per_class` images of each class.

    There are as many batches as of `epoch_batches`, all of `batch_size` images, with the images of
    a class beside each other. A class with fewer images repeats them.

    Args:
        labels: (N,) int64 in 0..C-1, each of which occurs.
        batch_size: a multiple of `images_per_class`.
        images_per_class: M.
        seed: of the run.
        epoch: number of the epoch.

    Raises:
        ValueError: `labels` is as in `balanced_batches`, `batch_size` is no multiple of M, or
            there are fewer classes than a batch has.
    """
    counts = _counts(labels)
    check_integer("batch_size", batch_size)
    check_integer("images_per_class", images_per_class)
    size, rest = divmod(batch_size, images_per_class)
    expect(rest == 0, "images_per_class", f"a divisor of batch_size={batch_size}", images_per_class)
    largest = images_per_class * len(counts)
    expected = f"at most {largest}, {images_per_class} images of {len(counts)} classes"
    expect(size <= len(counts), "batch_size", expected, batch_size)
    source = generator("per_class", seed, epoch)
    batches, batches_a_round = -(-len(labels) // batch_size), len(counts) // size
    rounds = -(-batches // batches_a_round)
    # classes that do not fill a batch are left out of a round
    classes = _rounds(rounds, len(counts), source)[:, : batches_a_round * size].flatten()
    visits = _visits(classes)[:, None] * images_per_class + torch.arange(images_per_class)
    images = _images(labels, counts, classes[:, None], visits, source)
    return list(images.reshape(-1, batch_size)[:batches])


def _counts(labels: Tensor) -> Tensor:
    valid = labels.dtype == torch.int64 and labels.dim() == 1 and len(labels)
    got = f"{labels.dtype} of shape {tuple(labels.shape)}"
    expect(valid, "labels", "int64 (N,), N >= 1", got)
    expect(labels.min() >= 0, "labels", "integers >= 0", int(labels.min()))
    counts = torch.bincount(labels)
    expect(counts.all(), "labels", "an image of each class", f"none of {int(counts.argmin())}")
    return counts


def _rounds(rounds: int, classes: int, source: torch.Generator) -> Tensor:
    """Return (rounds, C) random orders of the classes."""
    return torch.stack([torch.randperm(classes, generator=source) for _ in range(rounds)])


def _visits(classes: Tensor) -> Tensor:
    """Return how often the class of each entry comes before it."""
    order = classes.argsort(stable=True)
    counts = classes.bincount()
    starts = counts.cumsum(0) - counts
    visits = torch.empty_like(classes)
    visits[order] = torch.arange(len(classes)) - starts[classes[order]]
    return visits


def _images(
    labels: Tensor, counts: Tensor, classes: Tensor, visits: Tensor, source: torch.Generator
) -> Tensor:
    """Return the position of the image that each visit of a class takes."""
    shuffled = torch.randperm(len(labels), generator=source)
    # a stable sort by label gathers each class and leaves its images shuffled
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    starts = counts.cumsum(0) - counts
    return grouped[starts[classes] + visits % counts[classes]]
