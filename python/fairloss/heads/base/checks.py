"""Checks of what every loss is called with."""

from torch import Tensor

from fairloss.checks import check_shape, expect
from fairloss_ext._arguments import as_labels
from fairloss_ext._checks import check_floats, check_tensor

__all__ = ["batch_labels", "check_embeddings", "check_sample_weights"]


def check_embeddings(embeddings: Tensor, embedding_size: int | None = None) -> None:
    """Raise ValueError unless these are (B, D) floating-point numbers, D being `embedding_size`."""
    check_floats("embeddings", embeddings)
    if embeddings.dim() != 2 or embedding_size not in (None, embeddings.shape[1]):
        columns = "D" if embedding_size is None else embedding_size
        expect(False, "embeddings", f"shape (B, {columns})", tuple(embeddings.shape))


def batch_labels(labels: Tensor, batch: int, ignore_index: int) -> Tensor:
    """Return (B,) int64 labels from integers of any dtype, (B,) or (B, 1).

    Those that equal `ignore_index` become -1. No device is synchronized.
    """
    labels = as_labels(labels, ignore_index)
    check_shape("labels", labels, batch)
    return labels


def check_sample_weights(weights: Tensor, batch: int) -> None:
    """Raise ValueError unless this is a (B,) tensor; (B, 1) would broadcast."""
    check_tensor("sample_weights", weights)
    check_shape("sample_weights", weights, batch)
