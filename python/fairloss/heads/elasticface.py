"""ElasticFace: a random margin for every sample."""

from typing import Literal

import torch
from torch import Tensor

from fairloss.checks import check_choice, check_number
from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class ElasticFace(CosineHead):
    """ArcFace or CosFace with a margin drawn for every sample, ``m_i ~ N(m, sigma)``.

    (Boutros et al., CVPR Workshops 2022.) Defaults: "arc" 0.5, 0.05; "cos" 0.35, 0.05; s = 64. With
    plus=True the larger margins of a batch go to the lower target cosines, and sigma is 0.0175 or
    0.02. The released "+" indexes the sorted margins by the permutation that sorts the cosines, and
    not by its inverse, so it pairs them at random. In eval mode every margin is m.

    Margins come from torch's generator: restore its state to repeat a run.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m; None: as above.
        kind: "arc" or "cos".
        sigma: standard deviation; None: as above.
        plus: assign margins by the target cosine.
        options: see `CosineOptions`.
    """

    draws = True

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float | None = None,
        *,
        kind: Literal["arc", "cos"] = "arc",
        sigma: float | None = None,
        plus: bool = False,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_choice("kind", kind, ("arc", "cos"))
        if margin is None:
            margin = 0.5 if kind == "arc" else 0.35
        if sigma is None:
            sigma = (0.0175 if kind == "arc" else 0.02) if plus else 0.05
        check_number("sigma", sigma, 0)
        super().__init__(num_classes, embedding_size, margin, kind=kind, **options)
        self.sigma, self.plus = sigma, plus

    @torch.no_grad()
    def sample_margins(
        self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor
    ) -> Tensor | None:
        """Draw (B,) margins."""
        if not self.training:
            return None
        if self.shard is None:
            return self._draw_margins(target_cosine)
        cosines, batch = self.shard.whole_batch(target_cosine)
        return self.shard.share(self._draw_margins(cosines))[batch]

    def _draw_margins(self, target_cosine: Tensor) -> Tensor:
        drawn = self.margins + self.sigma * torch.randn_like(target_cosine)
        if not self.plus:
            return drawn
        easiest_first = target_cosine.argsort(descending=True)
        return torch.empty_like(drawn).index_copy_(0, easiest_first, drawn.sort().values)
