"""The base of heads whose margin depends on the norm of the embedding."""

import warnings

import torch
from torch import Tensor

from fairloss.checks import check_shape
from fairloss.heads.base.cosine import CosineHead
from fairloss.heads.base.sample_loss import as_precise
from fairloss_ext._checks import check_floats
from fairloss_ext.numerics import unit_rows

UNIT_TOLERANCE = 1e-3  # norms of unit vectors in bfloat16 differ from 1 by less


class NormHead(CosineHead):
    """A cosine head that reads the norms of raw embeddings, or is given them as `norms`."""

    _first_batch = True

    def raw_embeddings(self, embeddings: Tensor, norms: Tensor | None) -> Tensor:
        """Return embeddings of these norms; without norms they are raw, as a warning may say."""
        if norms is not None:
            return _rows_of_length(embeddings, norms)
        if self._first_batch and not torch.compiler.is_compiling():
            self._first_batch = False
            _warn_of_unit_rows(type(self).__name__, embeddings)
        return embeddings


def _rows_of_length(rows: Tensor, norms: Tensor) -> Tensor:
    check_floats("norms", norms)
    norms = norms.squeeze(1) if norms.dim() == 2 and norms.shape[1] == 1 else norms
    check_shape("norms", norms, rows.shape[0])
    return unit_rows(as_precise(rows)) * as_precise(norms)[:, None]


def _warn_of_unit_rows(head: str, embeddings: Tensor) -> None:
    """Warn where every embedding is a unit vector, whose norm says nothing."""
    if embeddings.is_meta or not len(embeddings):
        return
    length = torch.linalg.vector_norm(as_precise(embeddings.detach()), dim=1)
    if ((length - 1).abs() < UNIT_TOLERANCE).all():
        warnings.warn(
            f"{head} reads the norms of raw embeddings, and all of the first batch are 1. If they "
            "were normalized before, pass their lengths as norms=.",
            stacklevel=6,
        )
