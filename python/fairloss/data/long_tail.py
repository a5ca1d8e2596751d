"""Cutting a data set to a long tail, and holding identities out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss.data.faces import FaceImages


def pareto_counts(num_classes: int, largest: int, smallest: int = 1) -> Tensor:
    """Images per class, (num_classes,) int64 descending from `largest` to `smallest`.

    The exponential profile usual for long-tailed image sets (Cui et al., "Class-Balanced Loss
    Based on Effective Number of Samples", CVPR 2019, section 5.1): class c of C gets
    largest * (smallest / largest)^(c / (C - 1)) images, rounded.

    Raises:
        ValueError: unless num_classes >= 1 and 1 <= smallest <= largest.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be >= 1, got {num_classes}")
    if not 1 <= smallest <= largest:
        raise ValueError(
            f"largest and smallest must satisfy 1 <= smallest <= largest, got {largest}, {smallest}"
        )
    exponents = torch.linspace(0, 1, num_classes, dtype=torch.float64)
    return (largest * (smallest / largest) ** exponents).round().long()


def long_tailed(faces: FaceImages, counts: Tensor | Sequence[int], seed: int) -> FaceImages:
    """A random subset of `faces` with `counts` (C,) images per identity.

    Which identity gets which count, and which of its images stay, is drawn from `seed` alone, so
    that being rare is independent of what a person looks like. Identities and images keep their
    order.

    Raises:
        ValueError: if `counts` is not C integers >= 1, or an identity has fewer images than the
            count it drew.
    """
    wanted = torch.as_tensor(counts)
    if wanted.shape != (faces.num_classes,) or wanted.is_floating_point() or wanted.min() < 1:
        raise ValueError(
            f"counts must be {faces.num_classes} integers >= 1, one per identity, got "
            f"{wanted.dtype} of shape {tuple(wanted.shape)}"
            + (f" from {wanted.min()}" if wanted.numel() else "")
        )
    generator = torch.Generator().manual_seed(seed)
    wanted = wanted[torch.randperm(faces.num_classes, generator=generator)]
    short = (wanted > faces.counts).nonzero().flatten().tolist()
    if short:
        first = short[0]
        raise ValueError(
            f"counts: {len(short)} identities have fewer images than the count drawn for them, the "
            f"first {faces.identities[first]!r} has {int(faces.counts[first])} of "
            f"{int(wanted[first])}"
        )
    shuffled = torch.randperm(len(faces), generator=generator)
    # a stable sort by label gathers each identity's images and leaves them shuffled inside it
    grouped = shuffled[faces.labels[shuffled].argsort(stable=True)]
    starts = faces.counts.cumsum(0) - faces.counts
    place = torch.arange(len(faces)) - starts.repeat_interleave(faces.counts)
    kept = grouped[place < wanted.repeat_interleave(faces.counts)]
    return faces.subset(kept.sort().values)


def split_identities(faces: FaceImages, unseen: int, seed: int) -> tuple[FaceImages, FaceImages]:
    """(seen, unseen): `unseen` identities drawn by `seed` held out, each with all its images.

    Raises:
        ValueError: unless 1 <= unseen < C.
    """
    if not 1 <= unseen < faces.num_classes:
        raise ValueError(f"unseen must lie in 1..{faces.num_classes - 1}, got {unseen}")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(faces.num_classes, generator=generator)[:unseen]
    held_out = torch.isin(faces.labels, drawn)
    return (
        faces.subset((~held_out).nonzero().flatten()),
        faces.subset(held_out.nonzero().flatten()),
    )


def orl_split(faces: FaceImages, unseen: int = 10, seed: int = 0) -> tuple[FaceImages, FaceImages]:
    """(train, test): a long-tailed training set and `unseen` other identities with all images.

    With the 40 people of ORL and the default: 30 people with 10, 9, 9, ..., 1 images to train on
    (`pareto_counts(30, 10)`, dealt at random) and 10 people with 10 images each to test on.

    Raises:
        ValueError: unless 1 <= unseen < C.
    """
    seen, test = split_identities(faces, unseen, seed)
    largest = int(seen.counts.min())
    return long_tailed(seen, pareto_counts(seen.num_classes, largest), seed), test
