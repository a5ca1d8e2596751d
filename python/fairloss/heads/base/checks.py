"""Checks of what every loss is called with."""

import torch
from torch import Tensor

from fairloss.checks import check_shape, expect


def check_embeddings(embeddings: Tensor, embedding_size: int | None = None) -> None:
    """Raise ValueError unless these are (B, D) floating-point numbers, D being `embedding_size`."""
    if embeddings.dim() != 2 or embedding_size not in (None, embeddings.shape[1]):
        columns = "D" if embedding_size is None else embedding_size
        expect(False, "embeddings", f"shape (B, {columns})", tuple(embeddings.shape))
    expect(embeddings.is_floating_point(), "embeddings", "floating-point numbers", embeddings.dtype)


def check_batch(embeddings: Tensor, labels: Tensor, embedding_size: int | None = None) -> None:
    """Raise ValueError unless each embedding has one integer label; no device is synchronized."""
    check_embeddings(embeddings, embedding_size)
    _check_integers(labels)
    check_shape("labels", labels, len(embeddings))


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Raise ValueError naming the first of (B,) labels that is no class; synchronizes a GPU."""
    _check_integers(labels)
    invalid = ((labels < -1) | (labels >= num_classes)).nonzero()
    if len(invalid):
        position = int(invalid[0])
        got = f"{int(labels[position])} at position {position}"
        expect(False, "labels", f"-1 to {num_classes - 1}", got)


def _check_integers(labels: Tensor) -> None:
    is_integer = labels.dtype in (torch.int32, torch.int64)
    expect(is_integer, "labels", "dtype int32 or int64", labels.dtype)
