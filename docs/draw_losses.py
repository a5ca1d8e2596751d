"""Draw docs/images/transforms-*.svg and margins.svg from the losses of the heads.

    python docs/draw_losses.py

The target transform phi of a head is computed from its loss: ``loss = softplus(nlse - s phi)``, so
``phi = (nlse - ln(e^loss - 1)) / s``. nlse is that of one other class at a right angle.
"""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from fairloss import heads
from fairloss.agent import Policy
from fairloss.heads.lsoftmax import psi

IMAGES = Path(__file__).parent / "images"
THETA = torch.linspace(1e-3, math.pi - 1e-3, 91)
SCALE = 16.0  # small enough for float32 to resolve the loss near 0 and near its asymptote

GRID = (0.15, 0.25, 0.35, 0.45)  # margins of Fair Loss

PANELS = {
    "subtracted from the cosine": {
        "NormFace": lambda: transform(heads.NormFace),
        "CosFace 0.35": lambda: transform(heads.CosFace),
        "SphereFace2, g(cos) - 0.4": lambda: 2 * ((torch.cos(THETA) + 1) / 2) ** 3 - 1.4,
        "LDAM, n = smallest": lambda: transform(heads.LDAM, counts=[1, 16]),
        "LDAM, n = 16 times that": lambda: transform(heads.LDAM, counts=[16, 1]),
    },
    "added to the angle": {
        "NormFace": lambda: transform(heads.NormFace),
        "ArcFace 0.5": lambda: transform(heads.ArcFace),
        "ArcFace 0.5, easy": lambda: transform(heads.ArcFace, extension="easy"),
        "KappaFace, first epoch, 0.8": lambda: transform(heads.KappaFace),
    },
    "multiplies the angle": {
        "NormFace": lambda: transform(heads.NormFace),
        "SphereFaceR 1.7": lambda: transform(heads.SphereFaceR),
        "SphereFace, LSoftmax 4": lambda: psi(torch.cos(THETA), 4),
        r"SphereFace 4 at $\lambda$ = 5": lambda: (
            (5 * torch.cos(THETA) + psi(torch.cos(THETA), 4)) / 6
        ),
    },
    "both, or by the norm": {
        "NormFace": lambda: transform(heads.NormFace),
        "Combined (1, 0.3, 0.2)": lambda: transform(heads.Combined),
        "MagFace, |x| = 10": lambda: transform(heads.MagFace, norm=10, regularizer=0.0),
        "MagFace, |x| = 110": lambda: transform(heads.MagFace, norm=110, regularizer=0.0),
    },
    "AdaFace, by quality": {
        "NormFace": lambda: transform(heads.NormFace),
        "z = -1": lambda: adaface(-1),
        "z = 0": lambda: adaface(0),
        "z = 1": lambda: adaface(1),
    },
    "Fair Loss, the four margins": {
        f"{margin:.2f}": lambda margin=margin: fair_loss(margin) for margin in GRID
    },
}
# Curves of PANELS that draw_probability shows, at FACTOR_SCALE: title -> curve -> panel. Those of
# MagFace and AdaFace for other norms lie between the two or three shown.
FACTOR_SCALE = 32
FACTORS = {
    "margins of all classes": {
        "NormFace": "added to the angle",
        "CosFace 0.35": "subtracted from the cosine",
        "ArcFace 0.5": "added to the angle",
        "SphereFaceR 1.7": "multiplies the angle",
        r"SphereFace 4 at $\lambda$ = 5": "multiplies the angle",
        "Combined (1, 0.3, 0.2)": "both, or by the norm",
    },
    "margins of classes": {
        "LDAM, n = smallest": "subtracted from the cosine",
        "LDAM, n = 16 times that": "subtracted from the cosine",
        "KappaFace, first epoch, 0.8": "added to the angle",
        "0.15": "Fair Loss, the four margins",
        "0.45": "Fair Loss, the four margins",
    },
    "margins of samples": {
        "MagFace, |x| = 10": "both, or by the norm",
        "MagFace, |x| = 110": "both, or by the norm",
        "z = -1": "AdaFace, by quality",
        "z = 0": "AdaFace, by quality",
        "z = 1": "AdaFace, by quality",
    },
}
NEGATIVES = {
    "unchanged": lambda c: c,
    "MV-Softmax, t = 1.2": lambda c: torch.where(c > 0.3, 1.2 * c + 0.2, c),
    "MV-Softmax fixed": lambda c: torch.where(c > 0.3, c + 0.2, c),
    "CurricularFace, t = 0": lambda c: torch.where(c > 0.3, c * c, c),
    "CurricularFace, t = 0.5": lambda c: torch.where(c > 0.3, c * (c + 0.5), c),
}


def transform(make: type[heads.CosineHead], norm: float = 1.0, **options: object) -> torch.Tensor:
    """Compute phi (N,) at `THETA` for class 0 of a head with two orthogonal classes."""
    head = make(2, 3, scale=SCALE, reduction="none", **options).eval()
    return target_transform(head, norm)


def fair_loss(margin: float, kind: str = "arc") -> torch.Tensor:
    """Compute phi (N,) of a class of Fair Loss that has this margin."""
    keep = Policy.constant("keep")
    return transform(heads.FairLoss, policy=keep, kind=kind, initial_margin=margin)


def adaface(z: float) -> torch.Tensor:
    """Compute phi (N,) of AdaFace at quality z."""
    head = heads.AdaFace(2, 3, scale=SCALE, reduction="none").eval()
    head.norm_mean.fill_(50)
    head.norm_std.fill_(1)
    return target_transform(head, 50 + z / 0.333 * 1.01)


@torch.no_grad()
def target_transform(head: heads.CosineHead, norm: float) -> torch.Tensor:
    """Compute phi (N,) at `THETA` from the losses of embeddings of this norm."""
    head.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    points = norm * torch.stack([THETA.cos(), THETA.sin(), 0 * THETA], dim=1)
    losses = head(points, torch.zeros(len(THETA), dtype=torch.int64)).double()
    return -(losses + torch.log(-torch.expm1(-losses))) / SCALE  # the other cosine is 0: nlse = 0


def panel(axes: Axes, title: str, curves: dict[str, object]) -> None:
    """Draw the curves of one panel of PANELS."""
    for name, curve in curves.items():
        axes.plot(
            THETA.rad2deg(),
            curve(),
            label=name,
            color="0.7" if name in ("NormFace", "m = 0") else None,
        )
    axes.set_title(title, fontsize=9)
    axes.set_xticks([0, 45, 90, 135, 180])
    axes.legend(fontsize=7, frameon=False)


def legend(name: str, panel_title: str) -> str:
    """Return the name of a curve, with the head where only the panel has it."""
    prefixes = {"Fair Loss, the four margins": "FairLoss ", "AdaFace, by quality": "AdaFace, "}
    return prefixes.get(panel_title, "") + name


def draw_targets() -> None:
    """Draw phi against the angle to the target class."""
    figure, grid = plt.subplots(3, 2, figsize=(7.2, 8.4), sharex=True, layout="constrained")
    for axes, (title, curves) in zip(grid.flat, PANELS.items(), strict=True):
        panel(axes, title, curves)
    figure.supxlabel("angle to the target class, degrees", fontsize=9)
    figure.supylabel("transformed cosine", fontsize=9)
    save(figure, "transforms-target")


def draw_margins() -> None:
    """Draw phi of Fair Loss at each of its margins, of both kinds."""
    figure, row = plt.subplots(1, 2, figsize=(7.2, 3.0), sharey=True, layout="constrained")
    for axes, kind, title in zip(row, ("arc", "cos"), ("cos(θ + m)", "cos θ - m"), strict=True):
        curves = {"m = 0": lambda: torch.cos(THETA)} | {
            f"m = {m:.2f}": lambda m=m, kind=kind: fair_loss(m, kind) for m in GRID
        }
        panel(axes, f"{kind}: {title}", curves)
    figure.supxlabel("angle to the target class, degrees", fontsize=9)
    row[0].set_ylabel("transformed cosine", fontsize=9)
    save(figure, "margins")


def draw_negatives() -> None:
    """Draw the transforms of another class's cosine in hard-negative heads."""
    figure, axes = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
    cosine = torch.linspace(-1, 1, 201)
    for name, curve in NEGATIVES.items():
        axes.plot(cosine, curve(cosine), label=name, color="0.7" if name == "unchanged" else None)
    axes.axvline(0.3, color="0.85", linewidth=0.8, zorder=0)
    axes.set(xlabel="cosine to another class", ylabel="transformed cosine")
    axes.legend(fontsize=7, frameon=False)
    save(figure, "transforms-negative")


def draw_probability() -> None:
    """Draw p_m = h(a, p) p from the log-odds, to which a margin adds s (phi - cos)."""
    figure, grid = plt.subplots(2, 2, figsize=(7.2, 6.0), layout="constrained")
    left, *others = grid.flat
    odds = torch.linspace(-8, 14, 133, dtype=torch.float64)
    for a in (0, -1, -1e1, -1e2, -1e3, -1e4):
        shifted = odds - math.log1p(-a)
        left.plot(odds.sigmoid(), shifted.sigmoid(), label=f"a = {a:g}")
    left.set(xlabel="p", ylabel="$p_m$", title="constant a: CosFace, m = ln(1 - a) / s")
    for axes, (title, names) in zip(others, FACTORS.items(), strict=True):
        for name, title_of_panel in names.items():
            # h at small p is 1 / (1 - a): the factor on p of a target that is not learned yet
            log_h = FACTOR_SCALE * (PANELS[title_of_panel][name]() - torch.cos(THETA))
            axes.plot(THETA.rad2deg(), log_h / math.log(10), label=legend(name, title_of_panel))
        axes.set(
            xlabel="angle to the target class, degrees",
            ylabel="$\\log_{10}$ h at p = 0",
            title=f"{title} (s = {FACTOR_SCALE})",
            ylim=(-24, 1),
        )
        axes.set_xticks([0, 45, 90, 135, 180])
    for axes in grid.flat:
        axes.title.set_fontsize(9)
        axes.legend(fontsize=7, frameon=False)
    save(figure, "transforms-probability")


def save(figure: plt.Figure, name: str) -> None:
    """Write a small SVG with reproducible bytes: short numbers, text as text, no date."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = re.sub(r'\bd="[^"]*"', _shortened, text.getvalue())
    (IMAGES / f"{name}.svg").write_text(re.sub(r"[ \t]+\n", "\n", svg), encoding="utf-8")


def _shortened(path: re.Match[str]) -> str:
    """Return the path with tenths of a point."""
    return " ".join(re.sub(r"(\d+\.\d)\d+", r"\1", path[0]).split())


if __name__ == "__main__":
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fairloss", "font.size": 8}
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.4}
    draw_margins()
    draw_targets()
    draw_negatives()
    draw_probability()
