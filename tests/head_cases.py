"""Every head with its oracle: `CASES[name].make(C, D)`, and `.losses(head, x, w, y)` in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import oracles_heads as papers
import torch
from torch import Tensor

from fairloss import heads
from fairloss.agent import Policy

KEEP = Policy.constant("keep")
SEED = 11  # set before a forward pass that draws
LOCAL_A = [-3000.0, -100.0, -10.0, -1.0, 0.0]
T_ROWS = [[1.5, -0.4], [0.7, 0.1], [1.0, -0.2]]
TAU_ROWS = [[0.8, 0.05], [1.2, -0.1]]


class Case(NamedTuple):
    """The arguments of a head, and the losses that it must have."""

    make: Callable[..., heads.Head]
    losses: Callable[[Any, Tensor, Tensor, Tensor], Tensor]
    monotone: bool = True  # the loss grows with the target's angle


def counts(classes: int) -> list[int]:
    return [1 + 3 * k for k in range(classes)]


def ldam(classes: int, size: int, **options: Any) -> heads.LDAM:
    return heads.LDAM(classes, size, counts=counts(classes), **options)


def per_class(classes: int, size: int, **options: Any) -> heads.PerClass:
    return heads.PerClass(classes, size, counts=counts(classes), tilt=0.1, **options)


def of_classes(head: heads.PerClass, x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return papers.margin_softmax(x, w, y, head.kind, head.margins.double()[y], 64)


def drawn(head: heads.ElasticFace, y: Tensor) -> Tensor:
    torch.manual_seed(SEED)
    return head.margins.double() + head.sigma * torch.randn(len(y))


def fixed(kind: str, margin: float, s: float = 64.0) -> Callable[..., Tensor]:
    return lambda head, x, w, y: papers.margin_softmax(x, w, y, kind, margin, s)


def plain(formula: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    return lambda head, x, w, y: formula(x, w, y, **options)


def biased(formula: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    return lambda head, x, w, y: formula(x, w, y, head.bias.double(), **options)


def elastic(head: heads.ElasticFace, x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    return papers.margin_softmax(x, w, y, head.kind, drawn(head, y), 64)


CASES = {
    "FairLoss": Case(partial(heads.FairLoss, policy=KEEP), fixed("arc", 0.35)),
    "FairLoss cos": Case(partial(heads.FairLoss, policy=KEEP, kind="cos"), fixed("cos", 0.35)),
    "ArcFace": Case(heads.ArcFace, fixed("arc", 0.5)),
    "CosFace": Case(heads.CosFace, fixed("cos", 0.35)),
    "NormFace": Case(heads.NormFace, fixed("cos", 0.0)),
    "NormFace learned": Case(
        partial(heads.NormFace, learn_scale=True, scale=20),
        lambda head, x, w, y: papers.margin_softmax(x, w, y, "cos", 0.0, head.scale.double()),
    ),
    "Combined": Case(heads.Combined, plain(papers.combined)),
    "SphereFaceR": Case(heads.SphereFaceR, plain(papers.sphereface_r, exact=False)),
    "SphereFaceR exact": Case(
        partial(heads.SphereFaceR, margin_grad="exact"), plain(papers.sphereface_r, exact=True)
    ),
    "AdaCos": Case(heads.AdaCos, plain(papers.adacos)),
    "AdaptiveFace": Case(
        heads.AdaptiveFace,
        lambda head, x, w, y: papers.adaptive_face(x, w, y, head.margins.double()),
    ),
    "LDAM": Case(ldam, lambda head, x, w, y: papers.ldam(x, w, y, counts(len(w)), None)),
    "LDAM weighted": Case(
        partial(ldam, reweight_from=0),
        lambda head, x, w, y: papers.ldam(x, w, y, counts(len(w)), 0.9999),
    ),
    "KappaFace": Case(heads.KappaFace, fixed("arc", 0.8)),
    "PerClass": Case(per_class, of_classes),
    "PerClass arc": Case(
        partial(per_class, kind="arc", by="variance", schedule=[[0, 0.2], [1, 0.5]], epochs=4),
        of_classes,
    ),
    "AdaFace": Case(heads.AdaFace, plain(papers.adaface)),
    "MagFace": Case(heads.MagFace, plain(papers.magface), monotone=False),
    "ElasticFace": Case(heads.ElasticFace, elastic),
    "ElasticFace cos": Case(partial(heads.ElasticFace, kind="cos"), elastic),
    "ElasticFace plus": Case(
        partial(heads.ElasticFace, plus=True),
        lambda head, x, w, y: papers.elastic_plus(x, w, y, drawn(head, y)),
    ),
    "SearchSoftmax": Case(heads.SearchSoftmax, plain(papers.search_softmax, a=[-1000.0])),
    "SearchSoftmax local": Case(
        partial(heads.SearchSoftmax, a=LOCAL_A, scale=16.0),
        plain(papers.search_softmax, a=LOCAL_A, s=16),
        monotone=False,
    ),
    "AMLFS": Case(heads.AMLFS, fixed("cos", 0.0)),
    "AMLFS searched": Case(
        partial(heads.AMLFS, t=T_ROWS, tau=TAU_ROWS, scale=16.0),
        plain(papers.am_lfs, t=T_ROWS, tau=TAU_ROWS, s=16),
        monotone=False,
    ),
    "MVSoftmax": Case(heads.MVSoftmax, plain(papers.mv_softmax, kind="cos", adaptive=True)),
    "MVSoftmax fixed": Case(
        partial(heads.MVSoftmax, adaptive=False),
        plain(papers.mv_softmax, kind="cos", adaptive=False),
    ),
    "MVSoftmax arc": Case(
        partial(heads.MVSoftmax, kind="arc"), plain(papers.mv_softmax, kind="arc", adaptive=True)
    ),
    "MVSoftmax arc fixed": Case(
        partial(heads.MVSoftmax, kind="arc", adaptive=False),
        plain(papers.mv_softmax, kind="arc", adaptive=False),
    ),
    "CurricularFace": Case(heads.CurricularFace, plain(papers.curricular_face, t=0.0)),
    "Softmax": Case(heads.Softmax, biased(papers.softmax)),
    "L2Softmax": Case(heads.L2Softmax, biased(papers.l2_softmax, s=32)),
    "L2Softmax learned": Case(
        partial(heads.L2Softmax, learn_scale=True),
        lambda head, x, w, y: papers.l2_softmax(x, w, y, head.bias.double(), head.scale.double()),
    ),
    "LSoftmax": Case(
        partial(heads.LSoftmax, base=2.0, gamma=1.0, power=1.0),
        plain(papers.l_softmax, ease=1.0, m=4, unit_rows=False),
    ),
    "LSoftmax hard": Case(
        partial(heads.LSoftmax, margin=3, base=0.0),
        plain(papers.l_softmax, ease=0.0, m=3, unit_rows=False),
    ),
    "SphereFace": Case(
        heads.SphereFace, plain(papers.l_softmax, ease=1000 / 1.12, m=4, unit_rows=True)
    ),
    "SphereFace late": Case(
        partial(heads.SphereFace, base=1.0),
        plain(papers.l_softmax, ease=5.0, m=4, unit_rows=True),
    ),
    "SoftMargin": Case(heads.SoftMargin, plain(papers.soft_margin)),
    "VirtualSoftmax": Case(heads.VirtualSoftmax, plain(papers.virtual_softmax)),
    "SphereFace2": Case(heads.SphereFace2, biased(papers.sphereface2, exact=False)),
    "SphereFace2 exact": Case(
        partial(heads.SphereFace2, margin_grad="exact"), biased(papers.sphereface2, exact=True)
    ),
    "UniFace": Case(heads.UniFace, biased(papers.uniface)),
    "NPTLoss": Case(heads.NPTLoss, plain(papers.npt_loss)),
}
