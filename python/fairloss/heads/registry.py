"""The table of heads, and heads from the settings of a training configuration."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fairloss.agent import Policy
from fairloss.checks import check_choice, expect
from fairloss.heads import (
    adacos,
    adaface,
    adaptiveface,
    am_lfs,
    arcface,
    combined,
    cosface,
    curricularface,
    elasticface,
    fair_loss,
    kappaface,
    l2_softmax,
    ldam,
    lsoftmax,
    magface,
    mv_softmax,
    normface,
    npt_loss,
    per_class,
    search_softmax,
    soft_margin,
    softmax,
    sphereface,
    sphereface2,
    sphereface_r,
    uniface,
    virtual_softmax,
)
from fairloss.heads.base import CosineHead, Head
from fairloss.heads.base.options import show_options

# Every head, and the settings of `build_head` that it has besides scale and sample_rate.
_SETTINGS: dict[type[Head], tuple[str, ...]] = {
    fair_loss.FairLoss: ("policy", "kind", "margin"),
    arcface.ArcFace: ("margin",),
    cosface.CosFace: ("margin",),
    normface.NormFace: (),
    combined.Combined: (),
    sphereface_r.SphereFaceR: ("margin",),
    adacos.AdaCos: (),
    adaptiveface.AdaptiveFace: (),
    ldam.LDAM: ("counts",),
    kappaface.KappaFace: ("margin",),
    per_class.PerClass: ("kind", "margin", "counts", "epochs", "margins"),
    adaface.AdaFace: ("margin",),
    magface.MagFace: (),
    elasticface.ElasticFace: ("kind", "margin"),
    search_softmax.SearchSoftmax: (),
    am_lfs.AMLFS: (),
    mv_softmax.MVSoftmax: ("kind", "margin"),
    curricularface.CurricularFace: ("margin",),
    softmax.Softmax: (),
    l2_softmax.L2Softmax: (),
    lsoftmax.LSoftmax: ("margin",),
    sphereface.SphereFace: ("margin",),
    soft_margin.SoftMargin: ("margin",),
    virtual_softmax.VirtualSoftmax: (),
    sphereface2.SphereFace2: ("margin",),
    uniface.UniFace: ("margin",),
    npt_loss.NPTLoss: ("margin",),
}
HEADS: dict[str, type[Head]] = {head.__name__: show_options(head) for head in _SETTINGS}

DEFAULT_SCALE = 32.0  # of `build_head`; the papers' 64 is for sets of many thousand classes


def build_head(
    name: str,
    num_classes: int,
    embedding_size: int,
    *,
    margin: float | None = None,
    kind: str | None = None,
    scale: float | None = None,
    policy: Policy | None = None,
    sample_rate: float = 1.0,
    sample_seed: int = 0,
    counts: Tensor | Sequence[int] | None = None,
    epochs: int | None = None,
    margins: Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Head:
    """Build a head from settings; where one is None, the class has the default.

    Args:
        name: one of `HEADS`.
        num_classes: C.
        embedding_size: D.
        margin: the initial one of FairLoss.
        kind: "arc" or "cos".
        scale: by default `DEFAULT_SCALE`, where the head has a scale.
        policy: of FairLoss.
        sample_rate: see `CosineOptions`.
        sample_seed: see `CosineOptions`.
        counts: (C,) images of each class, for LDAM and PerClass; by default one each.
        epochs: of the whole training, for PerClass.
        margins: (C,) of PerClass.
        options: further arguments of the class, which the settings above override.

    Raises:
        ValueError: naming a setting that the head does not have, or that is out of range.
    """
    check_choice("name", name, tuple(HEADS))
    head, arguments = HEADS[name], dict(options or {})
    accepted = {setting: setting for setting in _SETTINGS[head]}
    if head is fair_loss.FairLoss:
        accepted["margin"] = "initial_margin"
    if head.scaled:
        accepted["scale"], arguments["scale"] = "scale", DEFAULT_SCALE
    if issubclass(head, CosineHead):
        accepted["sample_rate"] = "sample_rate"
    given = {"margin": margin, "kind": kind, "scale": scale, "policy": policy, "margins": margins}
    if sample_rate != 1:
        given["sample_rate"], arguments["sample_seed"] = sample_rate, sample_seed
    for setting, value in given.items():
        if value is not None:
            expect(setting in accepted, setting, f"no {setting} for {name}", value)
            arguments[accepted[setting]] = value
    if "counts" in accepted:
        arguments["counts"] = [1] * num_classes if counts is None else counts
    if "epochs" in accepted and epochs is not None:
        arguments["epochs"] = epochs
    try:
        return head(num_classes, embedding_size, **arguments)
    except TypeError as error:
        raise ValueError(f"options: {error}") from error
