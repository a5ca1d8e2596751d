"""The base of every loss with class weights."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Unpack

from fairloss.checks import check_integer
from fairloss.heads.base.checks import check_embeddings
from fairloss.heads.base.options import HeadOptions, show_options
from fairloss.heads.base.sample_loss import SampleLoss, as_precise
from fairloss_ext.numerics import full_precision, unit_rows


@show_options
class Head(SampleLoss):
    """A loss with a weight vector for each class.

    Args:
        num_classes: C.
        embedding_size: D.
        options: see `HeadOptions`.

    Attributes:
        weight: (C, D) raw class weights, N(0, 0.01) as in insightface.
        margin: margin to report where all classes have the same, else NaN.
        sample_rate: part of the classes that a training step compares with.
        defaults: options of the class and their defaults.
        scaled: whether the class takes a `scale`.
    """

    defaults: ClassVar[HeadOptions] = {"reduction": "mean", "ignore_index": -1}
    scaled: ClassVar[bool] = False
    margin: float = math.nan
    sample_rate: float = 1.0

    def __init__(
        self, num_classes: int, embedding_size: int, **options: Unpack[HeadOptions]
    ) -> None:
        settings = Head.defaults | self.defaults | options
        super().__init__(settings["reduction"], settings["ignore_index"])
        weight = torch.empty(
            check_integer("num_classes", num_classes),
            check_integer("embedding_size", embedding_size),
        )
        self.weight = nn.Parameter(weight.normal_(0, 0.01))

    @property
    def num_classes(self) -> int:
        """C."""
        return self.weight.shape[0]

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.weight.shape[1]

    def logits(self, embeddings: Tensor) -> Tensor:
        """Compute (B, C) logits without margin, for accuracy and for prediction."""
        check_embeddings(embeddings, self.embedding_size)
        with full_precision(embeddings.device):
            return self.plain_logits(as_precise(embeddings))

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute `logits` of embeddings in float32 or float64."""
        raise NotImplementedError

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Compute the (B, C) cosines of embeddings in float32 or float64 with the class weights."""
        return F.linear(unit_rows(embeddings), unit_rows(self.weight.to(embeddings.dtype)))

    def class_margins(self) -> Tensor:
        """Return the () or (C,) margins to report; NaN where a class has no single one."""
        return torch.tensor(float(self.margin))

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows."""
        return f"{self.num_classes} classes, {self.embedding_size}-d"
