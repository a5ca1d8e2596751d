"""Problems for `cosine_partition`, and the comparison of its results with a float64 oracle."""

from __future__ import annotations

import math

import torch
from oracles import cosines, worst
from torch.nn import functional as F

from fairloss_ext import cosine_partition, reference


def partition_oracle(embeddings, weight, labels, scale, cosine=None):
    """Compute target cosine and log-sum-exp of the others, by masking, in float64."""
    cosine = cosines(embeddings, weight) if cosine is None else cosine(embeddings, weight.T)
    is_target = labels[:, None] == torch.arange(weight.shape[0])
    target = (cosine * is_target).sum(1)
    others = (scale * cosine).masked_fill(is_target, -math.inf)
    empty = is_target.all(1, keepdim=True)
    nlse = torch.where(empty, 0.0, others).logsumexp(1)
    return target, torch.where(empty[:, 0], -math.inf, nlse)


def gradients(function, inputs, labels, upstream, **options):
    """Return values and gradients of sum(upstream * finite outputs)."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    target, nlse = function(leaves[0], leaves[1], labels, leaves[2], **options)
    finite = torch.where(nlse.isinf(), 0.0, nlse)
    total = (target * upstream[0].to(target)).sum() + (finite * upstream[1].to(target)).sum()
    total.backward()
    return [target, nlse, *(x.grad for x in leaves)]


def partition_problem(batch, dim, classes, dtypes=(torch.float32, torch.float32), scale=20.0):
    """Return inputs (embeddings, weight, scale), labels and upstream gradients, at random."""
    embeddings = torch.randn(batch, dim).to(dtypes[0])
    weight = (0.1 * torch.randn(classes, dim)).to(dtypes[1])
    labels = torch.randint(-1, classes, (batch,))
    return (embeddings, weight, torch.tensor(scale)), labels, torch.randn(2, batch)


def check_partition(inputs, labels, upstream, **options):
    """Compare every value and gradient: within 3 times the error of plain torch in the same dtype.

    Gradients are projections, so their rounding is that of what is projected: of order
    scale * upstream / length of the row. Probabilities exp(logit - nlse) carry the rounding of a
    float32 nlse, up to scale * 2^-24.
    """
    rounding = 1e-6 + float(inputs[2]) * 2**-24
    options.setdefault("compute_dtype", torch.float32)  # a GPU's default is the embeddings'
    fused = gradients(cosine_partition, inputs, labels, upstream, **options)
    exact = gradients(partition_oracle, [x.double() for x in inputs], labels, upstream.double())
    plain = gradients(reference.cosine_partition, inputs, labels, upstream)
    slope = float(inputs[2]) * (float(upstream.abs().max()) if upstream.numel() else 1.0)
    shortest = [float(x.float().norm(dim=1).min()) if len(x) else 1.0 for x in inputs[:2]]
    units = [1.0, 1.0, slope / shortest[0], slope / shortest[1], 1.0]
    half = any(x.dtype != torch.float32 for x in inputs[:2])  # a gradient in 8 or 11 bits
    names = ["target", "nlse", "de", "dw", "ds"]
    for name, a, b, c, unit in zip(names, fused, exact, plain, units, strict=True):
        error, allowed = worst(a, b, unit), worst(c, b, unit)
        assert allowed <= (1e-2 if half else 1e-4) + rounding, f"{name}: plain torch is off"
        assert error <= 3 * allowed + rounding, (name, error, allowed)
    assert fused[2].dtype == inputs[0].dtype
    assert fused[3].dtype == inputs[1].dtype


def rounded_oracle(dtype):
    """Return the oracle on unit vectors rounded to `dtype`, with the gradient of the identity."""

    def rounded(rows):
        unit = F.normalize(rows)
        # From float32, as the kernel, which has no more digits.
        return unit + (unit.float().to(dtype).double() - unit).detach()

    def function(embeddings, weight, labels, scale):
        return partition_oracle(
            rounded(embeddings), rounded(weight), labels, scale, cosine=torch.matmul
        )

    return function
