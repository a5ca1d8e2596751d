"""The unified formulation: every loss that lowers the target's logit alone is a function a(p).

With p the softmax probability of the target, such a loss is ``-log(p_m)``,

    p_m = h(a, p) p,    h(a, p) = 1 / (a p + 1 - a),    a = 1 - e^{s (cos - phi)}

(Wang et al., Loss Function Search for Face Recognition, ICML 2020, eq. 5-8). The same in log-odds
``z = ln p / (1 - p)`` is a shift: ``z_m = z - ln(1 - a)``. It is computed in this form, as z is
``s cos - ln sum_{j != y} e^{s cos_j}``, while p, h and 1 - p may underflow. All functions compute
elementwise and in float64.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss import heads
from fairloss.checks import expect
from fairloss.heads import CosineHead, Head, LSoftmax, SearchSoftmax, SoftMargin, Softmax
from fairloss.heads.lsoftmax import psi
from fairloss_ext.reference.target_transform import target_transform

# Heads whose loss has no a, with the reason.
_WITHOUT_A: dict[type[Head], str] = {
    heads.HardNegativeHead: "it changes the logits of hard negatives too",
    heads.VirtualSoftmax: "it adds a logit",
    heads.AMLFS: "it transforms the probability as well as the logit",
    heads.SphereFace2: "it is a sum of binary losses, no softmax",
    heads.UniFace: "it is a sum of binary losses, no softmax",
    heads.NPTLoss: "it is a hinge, no softmax",
}


def modulation(a: Tensor | float, log_odds: Tensor) -> Tensor:
    """Compute h(a, p) for ``a <= 0``, where ``log_odds`` are those of p.

    As the ratio of two sigmoids, because ``a p + 1 - a`` would cancel 1 - p.
    """
    return torch.exp(log_modulated(a, log_odds) - F.logsigmoid(log_odds.double()))


def log_modulated(a: Tensor | float, log_odds: Tensor) -> Tensor:
    """Compute ``ln p_m = ln(h(a, p) p)``, the negative of the loss."""
    return F.logsigmoid(log_odds.double() - torch.log1p(-_double(a)))


def factor_of_modulation(h: Tensor, log_odds: Tensor) -> Tensor:
    """Compute a from h and p, the inverse of `modulation`: ``a = (1 - 1 / h) / (1 - p)``."""
    return (1 - 1 / h.double()) / torch.sigmoid(-log_odds.double())


def factor_of_margin(margin: Tensor | float, scale: float) -> Tensor:
    """Compute a of CosFace, the same for every p: ``1 - e^{s m}``."""
    return -torch.expm1(scale * _double(margin))


def margin_of_factor(a: Tensor | float, scale: float) -> Tensor:
    """Compute m of the CosFace that a constant a is: ``ln(1 - a) / s``."""
    return torch.log1p(-_double(a)) / scale


def factor(
    head: Head,
    log_odds: Tensor,
    negative_logsumexp: Tensor | float,
    *,
    margins: Tensor | None = None,
    length: Tensor | float | None = None,
) -> Tensor:
    """Compute a(p), (B,), of a head, given ``ln sum_{j != y} e^{s cos_j}`` of the other classes.

    With a margin on the angle a depends on the cosine, ``(z + negative_logsumexp) / s``, and is NaN
    where that is no cosine. Softmax, L2Softmax and SoftMargin, whose logits are no cosines, have
    the same a everywhere.

    Args:
        head: see `log_odds_shift`.
        log_odds: (B,) of p.
        negative_logsumexp: (B,), or one number.
        margins: see `log_odds_shift`.
        length: see `log_odds_shift`.

    Raises:
        ValueError: see `log_odds_shift`.
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
    """Compute ``ln(1 - a) = s (cos - phi)``, (B,), by which a head lowers the target's log-odds.

    Terms and weights beside the softmax (of MagFace, AdaptiveFace and LDAM) do not count.

    Args:
        head: any with a softmax that changes no logit but the target's.
        cosine: (B,) of the targets.
        margins: of the samples (B,), or one for all; with kind "combined" (B, 3) or (3,). Required
            where a head has one for each class (`head.margins[labels]`) or for each sample
            (`head.sample_margins(...)`); default the margin of the head.
        length: scale of a head that does not normalize features, and required there (LSoftmax:
            ``|W_y| |x|``, SphereFace: ``|x|``).
        log_odds: (B,) of p, for a SearchSoftmax with several a.

    Raises:
        ValueError: the loss has no a, with the reason; or a required argument is missing.
    """
    _check_has_a(head)
    cosine = cosine.double()
    if isinstance(head, SearchSoftmax):
        odds = torch.zeros_like(cosine) if log_odds is None else log_odds.double()
        if log_odds is None and head.a.dim():
            raise ValueError("log_odds: expected a tensor, as the head has several a, got None")
        return head.shift(odds).double()
    if isinstance(head, CosineHead):
        phi = _target_transform(head, cosine, _sample_margins(head, len(cosine), margins))
        return _scale(head, None) * (cosine - phi)
    if isinstance(head, LSoftmax):
        ease = head.ease().double()
        return _scale(head, length) * (cosine - psi(cosine, head.margin)) / (1 + ease)
    if isinstance(head, SoftMargin):
        return torch.full_like(cosine, head.margin)
    if isinstance(head, Softmax):
        return torch.zeros_like(cosine)
    raise ValueError(f"head: expected one of `HEADS`, got {type(head).__name__}")


def _target_transform(head: CosineHead, cosine: Tensor, margins: Tensor) -> Tensor:
    """Compute phi, (B,), of the target cosines, for margins (B,) or (B, 3)."""
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
    for kind, reason in _WITHOUT_A.items():
        if isinstance(head, kind):
            name = type(head).__name__
            raise ValueError(f"head: expected a loss with an a, got {name}; {reason}")


def _sample_margins(head: CosineHead, batch: int, margins: Tensor | None) -> Tensor:
    """Return (B,) or (B, 3) float64 margins, by default that of all classes of the head."""
    one = (3,) if head.kind == "combined" else ()
    if margins is None:
        of_samples = isinstance(head, (heads.AdaFace, heads.MagFace))
        expected = f"those of the samples, as {type(head).__name__} has one for each"
        expect(not of_samples, "margins", f"{expected} (sample_margins)", None)
        margins = head.margins
        expect(margins.shape == one, "margins", f"{expected} class (margins[labels])", None)
    shapes = one, (batch, *one)
    expected = f"shape {shapes[0]} or {shapes[1]}"
    expect(margins.shape in shapes, "margins", expected, tuple(margins.shape))
    return margins.detach().double().expand(batch, *one)


def _scale(head: Head, length: Tensor | float | None) -> Tensor:
    """Return s, or the length in its place, in float64."""
    if isinstance(head, CosineHead):
        return head.scale.detach().double()
    if length is None:
        name = type(head).__name__
        raise ValueError(f"length: expected a number, as {name} normalizes no feature, got None")
    return _double(length)


def _double(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
