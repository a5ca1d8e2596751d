"""Class statistics of embeddings that are never in memory together."""

import math
from collections.abc import Iterable, Iterator

import numpy.typing as npt
import torch
from torch import Tensor

import fairloss_ext
from fairloss.checks import check_integer, check_shape, expect
from fairloss_ext._arguments import as_labels, as_matrix
from fairloss_ext._checks import check_range
from fairloss_ext.numerics import SHORTEST_NORM, unit_rows

CHUNK = 1024  # rows at a time: 4 MiB of float64 at 512 dimensions


class ClassStatistics:
    """Class statistics from batches, equal to `fairloss_ext.class_statistics` but for rounding.

    The state is one sum of unit embeddings and two counts a class. The states of two parts of a
    data set add up to that of the whole. A variance is ``n - |sum|`` over ``n - 1``: float64 sums
    keep that difference exact enough for small angles, float32 sums do not.

    Args:
        num_classes: C.
        dim: D, size of the embeddings.
        device: of the state, to which batches are copied; default that of the first batch.

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
        self, num_classes: int, dim: int, device: torch.device | str | None = None
    ) -> None:
        self.num_classes = check_integer("num_classes", num_classes)
        self.dim = check_integer("dim", dim)
        self._device = None if device is None else torch.device(device)
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        device = self._device or "cpu"
        shape = self.num_classes, self.dim
        self.sums = torch.zeros(shape, dtype=torch.float64, device=device)
        self.counts = torch.zeros(self.num_classes, dtype=torch.int64, device=device)
        self.zeros = torch.zeros_like(self.counts)

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
        matrix, classes = self._check(embeddings, labels)
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
        """Return the statistics of all batches since the last `reset`.

        Args:
            second_pass: the same batches again, in any order, for `intra_angle`: the one value
                that needs every embedding beside its center. NaN without.

        Raises:
            ValueError: the batches of `second_pass` are not those of `update`.
        """
        several, empty = self.counts > 1, self.counts == 0
        labels = torch.arange(self.num_classes, device=empty.device).masked_fill(empty, -1)
        # A sum is an embedding of its class: the only one, in the direction of the center.
        centers = fairloss_ext.class_statistics(self.sums.float(), labels, self.num_classes)
        angle = torch.full_like(centers.intra_angle, math.nan)
        if second_pass is not None:
            angle = (self._angle_sums(second_pass, centers.center) / self.counts).float()
            angle = torch.where(several, angle, centers.intra_angle)
        variance = (self._chords() / (self.counts - 1)).float()
        return centers._replace(
            count=self.counts.clone(),
            intra_angle=angle,
            intra_variance=torch.where(several, variance, centers.intra_variance),
        )

    def _chords(self) -> Tensor:
        """Return (C,) the sums of 1 - cos, or |row - center|^2 / 2, which holds for zeros too."""
        length: Tensor = torch.linalg.vector_norm(self.sums, dim=1)
        squares = self.counts - self.zeros + self.counts * (length >= SHORTEST_NORM)
        return (squares / 2 - length).clamp(min=0)

    def _angle_sums(self, batches: Iterable[tuple[Tensor, Tensor]], center: Tensor) -> Tensor:
        """Return (C,) the sums of the angles between embeddings and centers."""
        angles = torch.zeros(self.num_classes, dtype=torch.float64, device=center.device)
        counts = torch.zeros_like(self.counts)
        for embeddings, labels in batches:
            matrix, classes = self._check(embeddings, labels)
            for rows, of_rows, is_labeled in self._unit_chunks(matrix, classes):
                centers = center[of_rows]
                # Kahan's formula, accurate at 0 and pi alike
                difference = torch.linalg.vector_norm(rows - centers, dim=1)
                angle = 2 * torch.atan2(difference, torch.linalg.vector_norm(rows + centers, dim=1))
                angles.index_add_(0, of_rows, torch.where(is_labeled, angle, 0))
                counts.index_add_(0, of_rows, is_labeled.long())
        expected = f"{int(self.counts.sum())} images, as many of each class as in the first pass"
        same = torch.equal(counts, self.counts)
        expect(same, "second_pass", expected, f"{int(counts.sum())} images")
        return angles

    def _check(
        self, embeddings: Tensor | npt.ArrayLike, labels: Tensor | npt.ArrayLike
    ) -> tuple[Tensor, Tensor]:
        matrix = as_matrix("embeddings", embeddings)
        classes = as_labels(torch.as_tensor(labels)).to(matrix.device)
        check_shape("embeddings", matrix, len(matrix), self.dim)
        check_shape("labels", classes, len(matrix))
        if not classes.is_cuda:
            check_range("labels", classes, -1, self.num_classes)
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
