"""ROC curves of both arms of a demo."""

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
    corners = {arm: roc_corners(**run.evaluation["roc"][arm]) for arm in ("fixed", "fair")}
    impostors = run.evaluation["arms"]["fair"]["impostor"]
    rows = [(arm, *point) for arm, points in corners.items() for point in points.T.tolist()]
    data = {"svg": roc(corners, impostors), "impostors": impostors}
    return data | {"csv": "Corners of the ROC curves", "rows": [("run", "far", "tar"), *rows]}


def roc_corners(far: npt.ArrayLike, tar: npt.ArrayLike) -> Float64s:
    """Return the (2, K) points (FAR, TAR) where the curve turns; the others lie between these."""
    points = np.stack([np.asarray(far, dtype=np.float64), np.asarray(tar, dtype=np.float64)])
    flat = np.diff(points, axis=1) == 0
    # A point is needless if its neighbors lie to its left and right, or below and above it.
    needless = (flat[:, :-1] & flat[:, 1:]).any(axis=0)
    return points[:, np.concatenate(([True], ~needless, [True]))]


@inline_svg
def roc(corners: dict[str, Float64s], impostors: int) -> Figure:
    """Draw TAR against FAR (log) of each arm, from FAR = 1 / impostors, the smallest there is."""
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    axes = figure.subplots()
    for arm, (far, tar) in corners.items():
        axes.plot(
            np.maximum(far, 1e-12),  # the log axis starts right of it
            tar,
            ARM_DASHES[arm],
            drawstyle="steps-post",
            color=ARM_COLORS[arm],
            label=ARM_NAMES[arm],
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
