"""Intra- and inter-class statistics of embeddings: the state and the reward of Fair Loss."""

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext import _library, reference
from fairloss_ext._arguments import as_labels, as_matrix
from fairloss_ext._checks import expect
from fairloss_ext.reference.class_statistics import ClassStatistics


def class_statistics(
    embeddings: Tensor | npt.ArrayLike,  # (N, D)
    labels: Tensor | npt.ArrayLike,  # (N,)
    num_classes: int,
) -> ClassStatistics:
    """Compute the spread of each class and the distance to its nearest neighbor.

    The center of a class is the normalized mean of its unit embeddings. Rows are read one by one,
    twice: a memory map need not fit in memory. On a GPU leave TF32 off (docs/kernels.md).

    Args:
        embeddings: (N, D) float32, bfloat16 or float16 tensor, array or memory map; raw.
        labels: (N,) or (N, 1) integers in [-1, num_classes); -1 is left out. On a GPU, where a
            check would synchronize, so is a label out of range.
        num_classes: C.

    Returns:
        `ClassStatistics`. A class without samples has NaN everywhere, nearest class -1, and is
        the nearest of none; a class with a NaN embedding likewise, but it keeps its count.

    Raises:
        ValueError: a shape, a dtype or a label out of range; it names the argument.
    """
    matrix = as_matrix("embeddings", embeddings)
    classes = as_labels(torch.as_tensor(labels)).to(matrix.device)
    expect(num_classes >= 1, "num_classes", "at least 1", num_classes)
    if not _library.serves("class_statistics", matrix):
        return reference.class_statistics(matrix, classes, num_classes)
    return ClassStatistics(*_library.call("class_statistics", matrix, classes, num_classes))


def _fake(embeddings: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, ...]:
    per_class = embeddings.new_empty((num_classes,), dtype=torch.float32)
    return (
        labels.new_empty((num_classes,)),
        embeddings.new_empty((num_classes, embeddings.shape[1]), dtype=torch.float32),
        per_class,
        torch.empty_like(per_class),
        torch.empty_like(per_class),
        labels.new_empty((num_classes,)),
    )


_library.register("class_statistics", _fake)
