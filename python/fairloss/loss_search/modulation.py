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

from fairloss import heads
from fairloss.heads import CosineHead, Head, LSoftmax, SearchSoftmax, SoftMargin, Softmax
from fairloss.heads.lsoftmax import psi
from fairloss_ext.reference._transform import target_transform

# Heads whose loss has no a, and why.
_NO_A: dict[type[Head], str] = {
    heads.HardNegativeHead: "it changes the logits of hard negatives too",
    heads.VirtualSoftmax: "it adds a logit",
    heads.AMLFS: "it transforms the probability as well as the logit",
    heads.SphereFace2: "it is a sum of binary losses, no softmax",
    heads.UniFace: "it is a sum of binary losses, no softmax",
    heads.NPTLoss: "it is a hinge, no softmax",
}


def modulation(a: Tensor | float, log_odds: Tensor) -> Tensor:
    """h(a, p) for ``a <= 0``, where ``log_odds`` are those of p.

    As the ratio of two sigmoids: ``a p + 1 - a`` itself would lose 1 - p.
    """
    return torch.exp(log_modulated(a, log_odds) - F.logsigmoid(log_odds.double()))


def log_modulated(a: Tensor | float, log_odds: Tensor) -> Tensor:
    """``ln p_m = ln(h(a, p) p)``, the negative of the loss."""
    return F.logsigmoid(log_odds.double() - torch.log1p(-_double(a)))


def factor_of_modulation(h: Tensor, log_odds: Tensor) -> Tensor:
    """A from h and p, the inverse of `modulation`: ``a = (1 - 1 / h) / (1 - p)``."""
    return (1 - 1 / h.double()) / torch.sigmoid(-log_odds.double())


def factor_of_margin(margin: Tensor | float, scale: float) -> Tensor:
    """A of CosFace, the same for every p: ``1 - e^{s m}``."""
    return -torch.expm1(scale * _double(margin))


def margin_of_factor(a: Tensor | float, scale: float) -> Tensor:
    """M of the CosFace that a constant a is: ``ln(1 - a) / s``."""
    return torch.log1p(-_double(a)) / scale


def factor(
    head: Head,
    log_odds: Tensor,
    negative_logsumexp: Tensor | float,
    *,
    margins: Tensor | None = None,
    length: Tensor | float | None = None,
) -> Tensor:
    """a(p), (B,), of a head, where the other classes' ``ln sum_{j != y} e^{s cos_j}`` is given.

    A margin on the angle has another a at the same p if the others are closer: a depends on the
    cosine, ``(z + negative_logsumexp) / s``. NaN where that is no cosine. Softmax, L2Softmax and
    SoftMargin, whose logits are no cosines, have the same a everywhere.

    Args and Raises: see `log_odds_shift`.
    """
    _check_has_a(head)
    logit = log_odds.double() + _double(negative_logsumexp)
    if isinstance(head, (Softmax, SoftMargin)):
        return -torch.expm1(log_odds_shift(head, torch.zeros_like(logit)))
    cosine = logit / _scale(head, length)
    shift = log_odds_shift(
        head, cosine.clamp(-1, 1), margins=margins, length=length, log_odds=log_odds
    )
    return torch.where(cosine.abs() <= 1, -torch.expm1(shift), torch.nan)


def log_odds_shift(
    head: Head,
    cosine: Tensor,
    *,
    margins: Tensor | None = None,
    length: Tensor | float | None = None,
    log_odds: Tensor | None = None,
) -> Tensor:
    """``ln(1 - a) = s (cos - phi)``, (B,), by which a head lowers the target's log-odds.

    What a head adds to the softmax (MagFace's and AdaptiveFace's term, LDAM's weights) is left out.

    Args:
        head: any with a softmax that changes no logit but the target's.
        cosine: (B,) of the targets.
        margins: of the samples (B,), or one for all; with kind "combined" (B, 3) or (3,). Needed
            where a head has one for each class (`head.margins[labels]`) or for each sample
            (`head.sample_margins(...)`); default the head's own.
        length: what stands for s in a head that normalises no feature, and needed there (LSoftmax:
            ``|W_y| |x|``, SphereFace: ``|x|``).
        log_odds: (B,) of p, for a SearchSoftmax with several a.

    Raises:
        ValueError: the loss has no a, and why; or what it takes to know a is not given.
    """
    _check_has_a(head)
    cosine = cosine.double()
    if isinstance(head, SearchSoftmax):
        odds = torch.zeros_like(cosine) if log_odds is None else log_odds.double()
        if log_odds is None and head.a.dim():
            raise ValueError("log_odds: needed for a SearchSoftmax with several a")
        return head.shift(odds).double()
    if isinstance(head, CosineHead):
        own = _margins(head, len(cosine), margins)
        return _scale(head, None) * (cosine - _transformed(head, cosine, own))
    if isinstance(head, LSoftmax):
        ease = head.ease().double()
        return _scale(head, length) * (cosine - psi(cosine, head.margin)) / (1 + ease)
    if isinstance(head, SoftMargin):
        return torch.full_like(cosine, head.margin)
    if isinstance(head, Softmax):
        return torch.zeros_like(cosine)
    raise ValueError(f"head: the a of {type(head).__name__} is not known here")


def _transformed(head: CosineHead, cosine: Tensor, margins: Tensor) -> Tensor:
    """phi, (B,), of the target cosines, for margins (B,) or (B, 3)."""
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


def _check_has_a(head: Head) -> None:
    for kind, reason in _NO_A.items():
        if isinstance(head, kind):
            raise ValueError(f"head: {type(head).__name__} has no a: {reason}")


def _margins(head: CosineHead, batch: int, given: Tensor | None) -> Tensor:
    """(B,) or (B, 3) float64; ValueError where the head's own are not those of the samples."""
    name, one = type(head).__name__, (3,) if head.kind == "combined" else ()
    if given is None:
        if isinstance(head, (heads.AdaFace, heads.MagFace)):
            raise ValueError(f"margins: needed, {name} has one for each sample (sample_margins)")
        if head.margins.shape != one:
            raise ValueError(f"margins: needed, {name} has one for each class (margins[labels])")
    margins = (head.margins if given is None else given).detach().double()
    if margins.shape not in (one, (batch, *one)):
        raise ValueError(
            f"margins: got shape {tuple(margins.shape)}, expected {one} or {(batch, *one)}"
        )
    return margins.expand(batch, *one)


def _scale(head: Head, length: Tensor | float | None) -> Tensor:
    """s, or what stands for it, in float64."""
    if isinstance(head, CosineHead):
        return head.scale.detach().double()
    if length is None:
        raise ValueError(f"length: needed, {type(head).__name__} normalises no feature")
    return _double(length)


def _double(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
