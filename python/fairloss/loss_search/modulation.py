"""The unified formulation: every loss that lowers the target's logit alone is one number a(p).

With p the softmax probability of the target, such a loss is ``-log(p_m)``,

    p_m = h(a, p) p,    h(a, p) = 1 / (a p + 1 - a),    a = 1 - e^{s (cos - phi)}

(Wang et al., Loss Function Search for Face Recognition, ICML 2020, eq. 5-8). The same in log-odds
``z = ln p / (1 - p)`` is a shift: ``z_m = z - ln(1 - a)``. That is how it is computed here: z is at
hand, ``s cos - ln sum_{j != y} e^{s cos_j}``, while p and h may be too small for any float, and
1 - p too. All functions take and return float64 and work element by element.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.heads import AMLFS, CosineHead, HardNegativeHead, Head, SearchSoftmax
from fairloss.heads.angular import LSoftmax, psi
from fairloss.heads.dense import L2Softmax, SoftMargin, Softmax
from fairloss_ext.reference._transform import target_transform


def modulation(a: Tensor | float, log_odds: Tensor) -> Tensor:
    """h(a, p) for ``a <= 0``, where ``log_odds`` are those of p.

    As the ratio of two sigmoids: ``a p + 1 - a`` itself would lose 1 - p.
    """
    return torch.exp(log_modulated(a, log_odds) - F.logsigmoid(log_odds.double()))


def log_modulated(a: Tensor | float, log_odds: Tensor) -> Tensor:
    """``ln p_m = ln(h(a, p) p)``, the negative of the loss."""
    return F.logsigmoid(log_odds.double() - torch.log1p(-_double(a)))


def factor_of_modulation(h: Tensor, log_odds: Tensor) -> Tensor:
    """a from h and p, the inverse of `modulation`: ``a = (1 - 1 / h) / (1 - p)``."""
    return (1 - 1 / h.double()) / torch.sigmoid(-log_odds.double())


def factor_of_margin(margin: Tensor | float, scale: float) -> Tensor:
    """a of CosFace, the same for every p: ``1 - e^{s m}``."""
    return -torch.expm1(scale * _double(margin))


def margin_of_factor(a: Tensor | float, scale: float) -> Tensor:
    """m of the CosFace that a constant a is: ``ln(1 - a) / s``."""
    return torch.log1p(-_double(a)) / scale


def factor(head: Head, log_odds: Tensor, negative_logsumexp: Tensor | float) -> Tensor:
    """a(p) of a head, where the other classes' ``ln sum_{j != y} e^{s cos_j}`` is given.

    A margin on the angle has another a at the same p if the others are closer: a depends on the
    cosine, ``(z + negative_logsumexp) / s``. NaN where that is no cosine.

    Raises:
        ValueError: see `log_odds_shift`.
    """
    cosine = (log_odds.double() + _double(negative_logsumexp)) / _scale(head)
    shift = log_odds_shift(head, cosine.clamp(-1, 1), log_odds=log_odds)
    return torch.where(cosine.abs() <= 1, -torch.expm1(shift), torch.nan)


def log_odds_shift(
    head: Head,
    cosine: Tensor,
    *,
    margins: Tensor | None = None,
    length: Tensor | float = 1.0,
    log_odds: Tensor | None = None,
) -> Tensor:
    """``ln(1 - a) = s (cos - phi)``, (B,), by which a head lowers the target's log-odds.

    What a head adds to the softmax (MagFace's and AdaptiveFace's term, LDAM's weights) is left out.

    Args:
        head: any with a softmax that changes no logit but the target's.
        cosine: (B,) of the targets.
        margins: of the samples or of all, where the head has more than one; default its own.
        length: what stands for s in a head that normalises no feature (LSoftmax: ``|W_y| |x|``,
            SphereFace: ``|x|``).
        log_odds: (B,) of p, for a SearchSoftmax with several a.

    Raises:
        ValueError: the loss has no a: it is no softmax, or changes other logits as well.
    """
    cosine = cosine.double()
    if isinstance(head, SearchSoftmax):
        odds = torch.zeros_like(cosine) if log_odds is None else log_odds.double()
        if log_odds is None and head.a.dim():
            raise ValueError("log_odds: needed for a SearchSoftmax with several a")
        return head.shift(odds).double()
    if isinstance(head, CosineHead) and not isinstance(head, (HardNegativeHead, AMLFS)):
        own = head.margins if margins is None else margins
        return _scale(head) * (cosine - _transformed(head, cosine, own.detach().double()))
    if isinstance(head, LSoftmax):
        ease = head.ease().double()
        return _double(length) * (cosine - psi(cosine, head.margin)) / (1 + ease)
    if isinstance(head, SoftMargin):
        return torch.full_like(cosine, head.margin)
    if type(head) in (Softmax, L2Softmax):
        return torch.zeros_like(cosine)
    raise ValueError(f"head: {type(head).__name__} has no a; it changes more than the target")


def _transformed(head: CosineHead, cosine: Tensor, margins: Tensor) -> Tensor:
    """phi, (B,), of the target cosines."""
    if margins.dim() == (1 if head.kind == "combined" else 0):
        margins = margins.expand(len(cosine), *margins.shape)
    one, zero = torch.ones_like(cosine), torch.zeros_like(cosine)
    if head.kind == "combined":
        m1, m2, m3 = margins.unbind(1)
    else:
        of_kind = {
            "arc": (one, margins, zero),
            "cos": (one, zero, margins),
            "sphere": (margins, zero, zero),
        }
        m1, m2, m3 = of_kind[head.kind]
    return target_transform(cosine, (m1, m2, m3), head.extension, "exact")


def _scale(head: Head) -> float:
    scale = getattr(head, "scale", None)
    if scale is None:
        raise ValueError(f"head: {type(head).__name__} has no scale that is the same for all")
    return float(scale)


def _double(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
