"""Checks of what every loss is called with."""

from torch import Tensor

from fairloss.checks import check_shape, expect
from fairloss_ext._arguments import as_labels


def check_embeddings(embeddings: Tensor, embedding_size: int | None = None) -> None:
    """Raise ValueError unless these are (B, D) floating-point numbers, D being `embedding_size`."""
    if embeddings.dim() != 2 or embedding_size not in (None, embeddings.shape[1]):
        columns = "D" if embedding_size is None else embedding_size
        expect(False, "embeddings", f"shape (B, {columns})", tuple(embeddings.shape))
    expect(embeddings.is_floating_point(), "embeddings", "floating-point numbers", embeddings.dtype)


def check_batch(embeddings: Tensor, labels: Tensor, embedding_size: int | None = None) -> None:
    """Raise ValueError unless each embedding has one integer label; no device is synchronized."""
    check_embeddings(embeddings, embedding_size)
    as_labels(labels)  # checks the dtype
    check_shape("labels", labels, len(embeddings))
