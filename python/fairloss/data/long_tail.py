"""Cutting a data set to a long tail, and holding identities out."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from fairloss.checks import check_integer, expect
from fairloss.data.labeled_images import LabeledImages

Images = TypeVar("Images", bound=LabeledImages)


def pareto_counts(num_classes: int, largest: int, smallest: int = 1) -> Tensor:
    """Return the images per class, (num_classes,) int64, descending from `largest` to `smallest`.

    The exponential profile usual for long-tailed image sets (Cui et al., "Class-Balanced Loss
    Based on Effective Number of Samples", CVPR 2019, section 5.1): class c of C gets
    largest * (smallest / largest)^(c / (C - 1)) images, rounded.

    Raises:
        ValueError: unless num_classes >= 1 and 1 <= smallest <= largest.
    """
    check_integer("num_classes", num_classes)
    valid = 1 <= smallest <= largest
    expect(valid, "smallest, largest", "1 <= smallest <= largest", f"{smallest}, {largest}")
    exponents = torch.linspace(0, 1, num_classes, dtype=torch.float64)
    return (largest * (smallest / largest) ** exponents).round().long()


def long_tailed(faces: Images, counts: Tensor | Sequence[int], seed: int) -> Images:
    """Draw a random subset of `faces` with `counts` (C,) images per identity.

    The counts are assigned to the identities at random, and the images of each are drawn at random,
    by `seed` alone, so that rarity is independent of appearance. Identities and images keep their
    order.

    Raises:
        ValueError: if `counts` is not C integers >= 1, or an identity has fewer images than the
            count it drew.
    """
    sizes = torch.as_tensor(counts)
    classes = faces.num_classes
    valid = sizes.shape == (classes,) and not sizes.is_floating_point() and sizes.min() >= 1
    got = f"{sizes.dtype} of shape {tuple(sizes.shape)}, {sizes.flatten()[:3].tolist()}..."
    expect(valid, "counts", f"{classes} integers >= 1, one per identity", got)
    generator = torch.Generator().manual_seed(seed)
    sizes = sizes[torch.randperm(classes, generator=generator)]
    short = (sizes > faces.counts).nonzero().flatten().tolist()
    if short:
        name, count, size = faces.identities[short[0]], faces.counts[short[0]], sizes[short[0]]
        problem = f"{len(short)} with fewer, the first {name!r} with {int(count)} of {int(size)}"
        expect(False, "counts", "at most the images of the identity that draws it", problem)
    return faces.subset(_draw_images(faces.labels, sizes, generator))


def long_tailed_positions(labels: Tensor, largest: int, smallest: int, seed: int) -> Tensor:
    """Draw the positions of a long tail, ascending, from the identities that allow it.

    Identities with fewer than `largest` images take no part. To the others, C of them, the numbers
    of `pareto_counts(C, largest, smallest)` are assigned at random, so that rarity is independent
    of appearance, and the images of each are drawn at random, all by `seed` alone. Where all
    identities take part, these are the images of `long_tailed`.

    Args:
        labels: (N,) int64.
        largest: images of the most frequent identity.
        smallest: images of the rarest.
        seed: of the draw.

    Raises:
        ValueError: no identity has `largest` images, or as `pareto_counts`.
    """
    available = torch.bincount(labels)
    eligible = (available >= largest).nonzero().flatten()
    got = f"{largest}, but the largest identity has {int(available.max())} images"
    expect(len(eligible), "largest", "at most the images of an identity", got)
    counts = pareto_counts(len(eligible), largest, smallest)
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.zeros_like(available)
    sizes[eligible] = counts[torch.randperm(len(eligible), generator=generator)]
    return _draw_images(labels, sizes, generator)


def _draw_images(labels: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw `sizes` (C,) images of each identity; return their positions, ascending."""
    counts = torch.bincount(labels, minlength=len(sizes))
    shuffled = torch.randperm(len(labels), generator=generator)
    # a stable sort by label gathers each identity's images and leaves them shuffled inside it
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    starts = counts.cumsum(0) - counts
    position = torch.arange(len(labels)) - starts.repeat_interleave(counts)
    return grouped[position < sizes.repeat_interleave(counts)].sort().values


def split_identities(faces: Images, unseen: int, seed: int) -> tuple[Images, Images]:
    """Split into (seen, unseen): `unseen` identities drawn by `seed`, each with all its images.

    Raises:
        ValueError: unless 1 <= unseen < C.
    """
    highest = faces.num_classes - 1
    expect(1 <= unseen <= highest, "unseen", f"1..{highest}", unseen)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(faces.num_classes, generator=generator)[:unseen]
    held_out = torch.isin(faces.labels, drawn)
    return (
        faces.subset((~held_out).nonzero().flatten()),
        faces.subset(held_out.nonzero().flatten()),
    )


def orl_split(faces: Images, unseen: int = 10, seed: int = 0) -> tuple[Images, Images]:
    """Split into (train, test): a long-tailed training set, and `unseen` whole identities.

    With the 40 identities of ORL and the default: 30 identities with 10, 9, 9, ..., 1 images to
    train on (`pareto_counts(30, 10)`, dealt at random) and 10 with 10 images each to test on.

    Raises:
        ValueError: unless 1 <= unseen < C.
    """
    seen, test = split_identities(faces, unseen, seed)
    largest = int(seen.counts.min())
    return long_tailed(seen, pareto_counts(seen.num_classes, largest), seed), test
