"""Other implementations of a margin softmax loss, which face trainers use today."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from interleaved import LeftOut
from torch import Tensor
from torch.nn import functional as F

MARGIN, SCALE = 0.5, 64.0  # of ArcFace


def insightface_style(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Compute ArcFace as insightface's recognition trainer does.

    Every cosine becomes an angle and a cosine again, in place and outside autograd, so that the
    derivative of the margin function counts as 1.
    """
    logits = F.linear(F.normalize(embeddings), F.normalize(weight)).clamp(-1, 1)
    with torch.no_grad():
        logits.arccos_()
        logits[torch.arange(len(labels), device=labels.device), labels] += MARGIN
        logits.cos_()
    return F.cross_entropy(SCALE * logits, labels)


@functools.cache
def _compiled() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return torch.compile(insightface_style, dynamic=False)


def compiled_step(embeddings: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Run forward and backward of `insightface_style`, compiled at the first call with a size."""
    try:
        loss = _compiled()(embeddings, weight, labels)
        return torch.autograd.grad(loss, (embeddings, weight))
    except RuntimeError as error:
        raise LeftOut(f"torch.compile fails here: {str(error).splitlines()[0]}") from error


def linear_cross_entropy(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Compute torch's fused cross-entropy of normalized inputs, without margin.

    Unchunked: it chunks the batch, which torch's documentation recommends only where the batch is
    larger than the embedding.
    """
    return F.linear_cross_entropy(SCALE * F.normalize(embeddings), F.normalize(weight), labels)


def liger(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Compute Liger-Kernel's fused loss of normalized inputs, without margin. It needs a GPU."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError as error:
        raise LeftOut("liger-kernel is not installed") from error
    loss = LigerFusedLinearCrossEntropyLoss()
    return loss(F.normalize(weight), SCALE * F.normalize(embeddings), labels)


def cut_cross_entropy(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Compute Apple's cut-cross-entropy of normalized 16-bit inputs, without margin."""
    try:
        from cut_cross_entropy import linear_cross_entropy as cut
    except ImportError as error:
        raise LeftOut("cut-cross-entropy is not installed") from error
    return cut(SCALE * F.normalize(embeddings), F.normalize(weight), labels)


class PytorchMetricLearning:
    """ArcFaceLoss of pytorch-metric-learning on the same numbers; its weight is (D, C)."""

    def __init__(self, embeddings: Tensor, weight: Tensor) -> None:
        try:
            from pytorch_metric_learning.losses import ArcFaceLoss
        except ImportError as error:
            raise LeftOut("pytorch-metric-learning is not installed") from error
        self.head = ArcFaceLoss(*weight.shape, margin=math.degrees(MARGIN), scale=SCALE)
        self.head.W.data = weight.detach().T.contiguous()
        self.leaves = embeddings, self.head.W

    def loss(self, labels: Tensor) -> Tensor:
        return self.head(self.leaves[0], labels)

    def step(self, labels: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.loss(labels), self.leaves)
