"""Mean training loss of every epoch."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fairloss.report.drawing import (
    ARM_COLORS,
    ARM_DASHES,
    WIDTH,
    epoch_axis,
    inline_svg,
    spread,
)
from fairloss.report.run_view import ARM_NAMES, Run


def section(run: Run) -> dict[str, Any] | None:
    """Return the figure, the number of its curves and a row for each epoch of each arm."""
    keys = ("epoch", "step", "loss", "learning_rate", "skipped")
    rows = [
        (arm, *(line[key] for key in keys))
        for arm, training in run.training.items()
        for line in training.epochs
    ]
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for arm, epoch, _, loss, *_ in rows:
        if np.isfinite(loss):  # no step of an epoch may have had a finite loss
            epochs, values = curves.setdefault(arm, ([], []))
            epochs.append(epoch)
            values.append(loss)
    if not curves:
        return None
    data = {"svg": losses(curves), "curves": len(curves)}
    return data | {"csv": "Losses", "rows": [("run", *keys), *rows]}


@inline_svg
def losses(curves: dict[str, tuple[list[int], list[float]]]) -> Figure:
    """Draw the mean training loss of every epoch, one line per arm with its name at the end."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    top = max(loss for _, values in curves.values() for loss in values)
    heights = spread([values[-1] for _, values in curves.values()], gap=top * 0.08)
    for (arm, (epochs, values)), height in zip(curves.items(), heights, strict=True):
        axes.plot(epochs, values, ARM_DASHES[arm], color=ARM_COLORS[arm], marker="o", ms=2.5)
        axes.annotate(
            ARM_NAMES.get(arm, f"{values[-1]:.2f}"), (epochs[-1], height), (6, 0),
            textcoords="offset points", va="center", color=ARM_COLORS[arm],
        )  # fmt: skip
    axes.set(ylim=(0, top * 1.08), xlabel="epoch", ylabel="mean training loss")
    epoch_axis(axes, max(epochs[-1] for epochs, _ in curves.values()), label_share=0.2)
    return figure
