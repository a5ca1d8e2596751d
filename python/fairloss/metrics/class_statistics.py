"""Class statistics of embeddings that are never in memory together."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor, distributed

import fairloss_ext
from fairloss.checks import check_integer, check_shape, expect
from fairloss.collectives import sum_ranks
from fairloss.ranks import num_ranks, rank_number
from fairloss_ext._arguments import as_labels, as_matrix
from fairloss_ext._checks import check_range
from fairloss_ext.numerics import SHORTEST_NORM, unit_rows

CHUNK = 1024  # rows at a time: 4 MiB of float64 at 512 dimensions


class _State(NamedTuple):
    """State of `ClassStatistics`, of one rank or of all."""

    sums: Tensor
    counts: Tensor
    zeros: Tensor


class ClassStatistics:
    """Class statistics from batches, equal to `fairloss_ext.class_statistics` but for rounding.

    The state is one sum of unit embeddings and two counts a class. The states of two parts of a
    data set add up to that of the whole. A variance is ``n - |sum|`` over ``n - 1``: float64 sums
    keep that difference exact enough for small angles, float32 sums do not.

    With `process_group`, each rank updates with its own images, in any number of batches, and
    `compute`, which all ranks call, returns the statistics of the images of all of them. What a
    sampler repeats to give every rank as many images is left out with `images`.

    Args:
        num_classes: C.
        dim: D, size of the embeddings.
        device: of the state, to which batches are copied; default that of the first batch.
        process_group: of the ranks, such as `torch.distributed.group.WORLD`.
        images: of the whole set, where batches come from torch's `DistributedSampler`: what this
            rank gets after its share of them is padding. Each pass has all images of the sampler.

    Attributes:
        sums: (C, D) float64, sums of unit embeddings.
        counts: (C,) int64, images.
        zeros: (C,) int64, those of them whose embedding is zero, which has no direction.

    Raises:
        ValueError: an argument is out of range.
    """

    sums: Tensor
    counts: Tensor
    zeros: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        device: torch.device | str | None = None,
        *,
        process_group: "distributed.ProcessGroup | None" = None,
        images: int | None = None,
    ) -> None:
        self.num_classes = check_integer("num_classes", num_classes)
        self.dim = check_integer("dim", dim)
        self._device = None if device is None else torch.device(device)
        if process_group is not None:
            is_group = isinstance(process_group, distributed.ProcessGroup)
            got = repr(process_group)
            expect(is_group, "process_group", "a group with this rank in it", got)
        self._group = process_group
        self._share: float = math.inf
        if images is not None:
            check_integer("images", images, low=0)
            rank, ranks = 0, 1
            if process_group is not None:
                rank, ranks = rank_number(process_group), num_ranks(process_group)
            self._share = len(range(rank, images, ranks))
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        device = self._device or "cpu"
        shape = self.num_classes, self.dim
        self.sums = torch.zeros(shape, dtype=torch.float64, device=device)
        self.counts = torch.zeros(self.num_classes, dtype=torch.int64, device=device)
        self.zeros = torch.zeros_like(self.counts)
        self._received = 0

    @torch.no_grad()
    def update(self, embeddings: Tensor | npt.ArrayLike, labels: Tensor | npt.ArrayLike) -> None:
        """Add a batch.

        Args:
            embeddings: (B, D) float32, bfloat16 or float16; raw.
            labels: (B,) or (B, 1) integers in [-1, num_classes); -1 is left out. On a GPU, where a
                check would synchronize, so is a label out of range.

        Raises:
            ValueError: a shape, a dtype or a label out of range; it names the argument, and
                nothing of the batch is added.
        """
        matrix, classes = self._check(embeddings, labels, self._received)
        self._received += len(matrix)
        if self._device is None:
            self._device = matrix.device
            self.sums, self.counts, self.zeros = (
                state.to(matrix.device) for state in (self.sums, self.counts, self.zeros)
            )
        for rows, of_rows, is_labeled in self._unit_chunks(matrix, classes):
            self.sums.index_add_(0, of_rows, rows)
            self.counts.index_add_(0, of_rows, is_labeled.long())
            self.zeros.index_add_(0, of_rows, (is_labeled & ~rows.any(dim=1)).long())

    @torch.no_grad()
    def compute(
        self, second_pass: Iterable[tuple[Tensor, Tensor]] | None = None
    ) -> fairloss_ext.ClassStatistics:
        """Return the statistics of all batches since the last `reset`, those of all ranks.

        Args:
            second_pass: the same batches again, in any order, for `intra_angle`: the one value
                that needs every embedding beside its center. NaN without. On several ranks all of
                them give it or none; an image may be on another rank than in the first pass.

        Raises:
            ValueError: the batches of `second_pass` are not those of `update`.
        """
        state = self._total(second_pass is not None)
        several, empty = state.counts > 1, state.counts == 0
        labels = torch.arange(self.num_classes, device=empty.device).masked_fill(empty, -1)
        # A sum is an embedding of its class: the only one, in the direction of the center.
        centers = fairloss_ext.class_statistics(state.sums.float(), labels, self.num_classes)
        angle = torch.full_like(centers.intra_angle, math.nan)
        if second_pass is not None:
            angles = self._angle_sums(second_pass, centers.center, state.counts)
            angle = (angles / state.counts).float()
            angle = torch.where(several, angle, centers.intra_angle)
        variance = (_chords(state) / (state.counts - 1)).float()
        return centers._replace(
            count=state.counts.clone(),
            intra_angle=angle,
            intra_variance=torch.where(several, variance, centers.intra_variance),
        )

    def _total(self, has_second_pass: bool) -> _State:
        """Return the sum of the states of all ranks."""
        if self._group is None:
            return _State(self.sums, self.counts, self.zeros)
        flag = torch.tensor(float(has_second_pass), device=self.sums.device)
        *total, passes = sum_ranks([self.sums, self.counts, self.zeros, flag], self._group)
        ranks = distributed.get_world_size(self._group)
        got = f"one on {int(passes)} of {ranks}"
        expect(passes.item() in (0, ranks), "second_pass", "one on all ranks or on none", got)
        return _State(*total)

    def _angle_sums(
        self, batches: Iterable[tuple[Tensor, Tensor]], center: Tensor, expected: Tensor
    ) -> Tensor:
        """Return (C,) the sums of the angles between embeddings and centers, of all ranks.

        Args:
            batches: of the second pass of this rank.
            center: (C, D) of the first pass.
            expected: (C,) images of the first pass of all ranks.
        """
        angles = torch.zeros(self.num_classes, dtype=torch.float64, device=center.device)
        counts = torch.zeros_like(expected)
        received = 0
        for embeddings, labels in batches:
            matrix, classes = self._check(embeddings, labels, received)
            received += len(matrix)
            for rows, of_rows, is_labeled in self._unit_chunks(matrix, classes):
                centers = center[of_rows]
                # Kahan's formula, accurate at 0 and pi alike
                difference = torch.linalg.vector_norm(rows - centers, dim=1)
                angle = 2 * torch.atan2(difference, torch.linalg.vector_norm(rows + centers, dim=1))
                angles.index_add_(0, of_rows, torch.where(is_labeled, angle, 0))
                counts.index_add_(0, of_rows, is_labeled.long())
        if self._group is not None:
            angles, counts = sum_ranks([angles, counts], self._group)
        images = f"{int(expected.sum())} images, as many of each class as in the first pass"
        same = torch.equal(counts, expected)
        expect(same, "second_pass", images, f"{int(counts.sum())} images")
        return angles

    def _check(
        self, embeddings: Tensor | npt.ArrayLike, labels: Tensor | npt.ArrayLike, received: int
    ) -> tuple[Tensor, Tensor]:
        """Return (B, D) embeddings and (B,) labels, -1 where a sampler repeats an image.

        Args:
            embeddings: of a batch.
            labels: of a batch.
            received: images of the batches before it.
        """
        matrix = as_matrix("embeddings", embeddings)
        classes = as_labels(torch.as_tensor(labels)).to(matrix.device)
        check_shape("embeddings", matrix, len(matrix), self.dim)
        check_shape("labels", classes, len(matrix))
        if not classes.is_cuda:
            check_range("labels", classes, -1, self.num_classes)
        left = max(self._share - received, 0)
        if left < len(classes):
            is_padding = torch.arange(len(classes), device=classes.device) >= left
            classes = classes.masked_fill(is_padding, -1)
        return matrix, classes

    def _unit_chunks(
        self, matrix: Tensor, classes: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield float64 unit rows, their classes and flags of the rows that have one.

        A row without is 0 and has class 0, as leaving it out would synchronize a GPU.
        """
        for rows, labels in zip(matrix.split(CHUNK), classes.split(CHUNK), strict=True):
            labels = labels.to(self.counts.device)
            is_labeled = (labels >= 0) & (labels < self.num_classes)
            unit = unit_rows(rows.to(self.counts.device).double())
            unit.masked_fill_(~is_labeled[:, None], 0)
            yield unit, labels.masked_fill(~is_labeled, 0), is_labeled


def _chords(state: _State) -> Tensor:
    """Return (C,) the sums of 1 - cos, or |row - center|^2 / 2, which holds for zeros too."""
    length: Tensor = torch.linalg.vector_norm(state.sums, dim=1)
    squares = state.counts - state.zeros + state.counts * (length >= SHORTEST_NORM)
    return (squares / 2 - length).clamp(min=0)
