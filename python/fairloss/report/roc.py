"""ROC curves of the networks of both arms of a demo."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fairloss.report.drawing import ARM_COLORS, ARM_DASHES, WIDTH, inline_svg, label_log_axis
from fairloss.report.run_view import ARM_NAMES, Run
from fairloss.typing import Float64s


def section(run: Run) -> dict[str, Any] | None:
    """Return the figure, the number of impostors and the corners of the curves."""
    if run.evaluation is None:
        return None
    corners, names = {}, {}
    for arm in ("fixed", "fair"):
        curves = _networks(run.evaluation["roc"][arm])
        corners[arm] = [roc_corners(**curve) for curve in curves]
        seeds = run.evaluation.get("seeds")
        names[arm] = [arm] if seeds is None else [f"{arm} seed {seed}" for seed in seeds]
    impostors = _networks(run.evaluation["arms"]["fair"])[0]["impostor"]
    rows = [
        (name, *point)
        for arm in corners
        for name, points in zip(names[arm], corners[arm], strict=True)
        for point in points.T.tolist()
    ]
    networks = len(corners["fair"])
    data = {"svg": roc(corners, impostors), "impostors": impostors, "networks": networks}
    return data | {"csv": "Corners of the ROC curves", "rows": [("run", "far", "tar"), *rows]}


def _networks(entry: Any) -> list[dict[str, Any]]:
    """Return the entries of an arm's networks: earlier demos have one, and not in a list."""
    return entry if isinstance(entry, list) else [entry]


def roc_corners(far: npt.ArrayLike, tar: npt.ArrayLike) -> Float64s:
    """Return the (2, K) points (FAR, TAR) where the curve turns; the others lie between these."""
    points = np.stack([np.asarray(far, dtype=np.float64), np.asarray(tar, dtype=np.float64)])
    flat = np.diff(points, axis=1) == 0
    # A point is needless if its neighbors lie to its left and right, or below and above it.
    needless = (flat[:, :-1] & flat[:, 1:]).any(axis=0)
    return points[:, np.concatenate(([True], ~needless, [True]))]


@inline_svg
def roc(corners: dict[str, list[Float64s]], impostors: int) -> Figure:
    """Draw TAR against FAR (log) of each network, from 1 / impostors, the smallest FAR there is."""
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    axes = figure.subplots()
    for arm, curves in corners.items():
        for number, (far, tar) in enumerate(curves):
            axes.plot(
                np.maximum(far, 1e-12),  # the log axis starts right of it
                tar,
                ARM_DASHES[arm],
                drawstyle="steps-post",
                color=ARM_COLORS[arm],
                lw=1.8 / len(curves) ** 0.5,
                label="_" if number else ARM_NAMES[arm],  # "_" has no entry in the legend
            )
    axes.set(
        xscale="log",
        xlim=(1 / impostors, 1),
        ylim=(0, 1.02),
        xlabel="false accept rate (log)",
        ylabel="true accept rate",
    )
    label_log_axis(axes.xaxis)
    axes.legend(loc="lower right", frameon=False)
    return figure
