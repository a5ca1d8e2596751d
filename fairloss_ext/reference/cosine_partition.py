"""`fairloss_ext.cosine_partition` in plain torch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss_ext._arguments import PartitionArguments, partition_arguments
from fairloss_ext._checks import check_range, check_shape, expect
from fairloss_ext.numerics import full_precision, unit_rows
from fairloss_ext.options import COMPUTE_DTYPES, Workspace


def cosine_partition(
    embeddings: Tensor,  # (B, D)
    weight: Tensor,  # (C, D)
    labels: Tensor,  # (B,)
    scale: Tensor | float = 64.0,
    *,
    hard_threshold: Tensor | None = None,  # (B,)
    hard_coefficients: Tensor | Sequence[float] | None = None,  # (3,)
    workspace: Workspace = "auto",
    compute_dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """See `fairloss_ext.cosine_partition`."""
    return partition(
        partition_arguments(
            embeddings, weight, labels, scale, compute_dtype, hard_threshold, hard_coefficients
        )
    )


def partition(arguments: PartitionArguments) -> tuple[Tensor, Tensor]:
    """Compute `cosine_partition` from normalized arguments."""
    embeddings, weight, labels, scale, threshold, coefficients, compute = arguments
    for name, rows in (("embeddings", embeddings), ("weight", weight)):
        if rows.dim() != 2:
            expect(False, name, "2 dimensions", f"shape {tuple(rows.shape)}")
        expect(
            rows.dtype in (*COMPUTE_DTYPES, torch.float64),
            name,
            "dtype float32, bfloat16 or float16",
            rows.dtype,
        )
    check_shape("weight", weight, len(weight), embeddings.shape[1])
    check_shape("labels", labels, len(embeddings))
    check_range("labels", labels, -1, len(weight))
    finite = embeddings.isfinite().all(dim=1)  # (B,)
    finite_rows = torch.where(finite[:, None], embeddings, 0)
    with full_precision(embeddings.device):
        units = [
            rounded(unit_rows(rows.to(scale.dtype)), COMPUTE_DTYPES[compute])
            for rows in (finite_rows, weight)
        ]
        cosine = units[0] @ units[1].T  # (B, C)

    is_target = labels[:, None] == torch.arange(len(weight), device=labels.device)
    target_cosine = torch.where(is_target, cosine, 0).sum(dim=1)
    if threshold is not None and coefficients is not None:
        check_shape("hard_threshold", threshold, len(embeddings))
        check_shape("hard_coefficients", coefficients, 3)
        a, b, d = coefficients.unbind()
        transformed = (a * cosine + b) * cosine + d
        cosine = torch.where(cosine > threshold[:, None], transformed, cosine)
    has_negatives = ~is_target.all(dim=1)
    excluded = is_target & has_negatives[:, None]
    logsumexp = (scale * cosine).masked_fill(excluded, -math.inf).logsumexp(dim=1)

    # Gradients of an invalid sample may be NaN too: its cosines get none of them.
    nan = _nan_of(embeddings, ~finite & (labels >= 0)).to(scale.dtype)
    target_cosine = torch.where(finite, target_cosine, 0) + nan
    negative_logsumexp = torch.where(finite, logsumexp, math.nan) + nan
    return target_cosine, torch.where(has_negatives, negative_logsumexp, -math.inf)


def rounded(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to the values of a lower precision, with the gradient of the identity."""
    if dtype == torch.float32:
        return rows
    return rows + (rows.to(dtype).to(rows.dtype) - rows).detach()


def _nan_of(rows: Tensor, invalid: Tensor) -> Tensor:
    """Return NaN for each invalid row and 0 for the others, (N,).

    The gradient of an invalid row is NaN too, and that of the others is 0.
    """
    sums = torch.where(invalid[:, None], rows, 0).sum(dim=1)
    return sums * torch.where(invalid, math.nan, 0)
