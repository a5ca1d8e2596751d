"""AdaptiveFace: a learned margin for every class."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from fairloss.checks import check_number
from fairloss.deprecation import RenamedAttribute, renamed_keywords
from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class AdaptiveFace(CosineHead):
    """``s (cos theta - m_y)`` with learned margins, and ``+ r s (1 - mean_c m_c)``.

    (Liu et al., AdaptiveFace's AdaM-Softmax, CVPR 2019.) First margins are uniform in (0.3, 0.4);
    after a step they are clamped to [0, 1]. The mean counts every class alike and is added to every
    sample's loss. Defaults are those of FaceX-Zoo's configuration: s = 32 and lambda = r s = 70
    (its class has s = 30). The survey arXiv 2212.13038 prints an arc form.

    The margin of a class is at rest where its samples have ``1 - p = r N / (C n_c)`` on average,
    with p their softmax probability, n_c of the N images and C classes. So with r of 1 or more,
    as by default, no class of average size is at rest below the largest margin, 1.

    Args:
        num_classes: C.
        embedding_size: D.
        regularizer_ratio: r, lambda in units of s.
        regularizer: lambda, the old name.
        options: see `CosineOptions`.

    Attributes:
        margins: parameter, (C,), clamped to [0, 1] wherever it is read or saved.
        regularizer: lambda.
    """

    defaults = CosineHead.defaults | {"scale": 32.0}
    regulariser = RenamedAttribute("regularizer")

    @renamed_keywords(regulariser="regularizer")
    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        regularizer_ratio: float = 70.0 / 32.0,
        regularizer: float | None = None,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_number("regularizer_ratio", regularizer_ratio, 0)
        super().__init__(num_classes, embedding_size, 0.35, kind="cos", **options)
        self.register_state("margins", 0.35, (num_classes,), learned=True)
        self._draw_margins()
        self.regularizer_ratio = regularizer_ratio
        if regularizer is not None:
            check_number("regularizer", regularizer, 0)
            message = "AdaptiveFace: regularizer was replaced by regularizer_ratio, times the scale"
            warnings.warn(message, DeprecationWarning, stacklevel=4)
            self.regularizer_ratio = regularizer / float(self._first_values["scale"])

    @property
    def margins(self) -> Tensor:  # type: ignore[override]
        """(C,) margins in [0, 1].

        An optimizer leaves them anywhere. As they are clamped in place where they are read, a
        log, a checkpoint and the next loss have the same ones.
        """
        margins = self._parameters.get("margins", self._buffers.get("margins"))
        if margins is None:  # not registered yet
            raise AttributeError("margins")
        with torch.no_grad():
            return margins.clamp_(0, 1)

    @property
    def regularizer(self) -> float:
        """Lambda, ``r s``."""
        return self.regularizer_ratio * float(self.scale)

    @regularizer.setter
    def regularizer(self, value: float) -> None:
        self.regularizer_ratio = value / float(self.scale)

    def reset_parameters(self) -> None:
        """Draw weights and margins anew."""
        super().reset_parameters()
        self._draw_margins()

    @torch.no_grad()
    def _draw_margins(self) -> None:
        nn.init.uniform_(self.margins, 0.3, 0.4)
        if self.shard is not None and not self.margins.is_meta:
            self.margins.copy_(self.shard.share_initial(self.margins))

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses with the regularizer, 0 where the label is -1."""
        margins = self.average_gradient(self.margins)
        penalty = self.regularizer_ratio * self.scale * (1 - margins.mean())
        return super().losses(embeddings, labels) + torch.where(labels >= 0, penalty, 0)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "regularizer_ratio" not in self.__dict__:  # of modules pickled before it was an option
            old = self.__dict__.pop("regulariser", None)
            self.regularizer = self.__dict__.pop("regularizer", old)

    def _save_to_state_dict(self, *arguments: Any) -> None:
        _ = self.margins  # clamped
        super()._save_to_state_dict(*arguments)
