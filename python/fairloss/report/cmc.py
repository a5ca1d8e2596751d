"""CMC and ROC of several MegaFace results in one figure."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from fairloss.data import Cmc
from fairloss.io.atomic import write_atomic
from fairloss.io.text import printable
from fairloss.report.drawing import STYLE, WIDTH, label_log_axis, picture_kind

DASHES = ("-", "--", ":", "-.")


def draw_cmc(curves: Mapping[str, Cmc], output: Path) -> None:
    """Draw CMC (recall over rank, log) and ROC (log) of each result.

    Args:
        curves: name in the legend -> curves.
        output: .svg, .png or .pdf.

    Raises:
        ValueError: another suffix.
    """
    kind = picture_kind(output)
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure = Figure(figsize=(2 * WIDTH, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for number, curve in enumerate(curves.values()):
            dash = DASHES[number % len(DASHES)]
            left.plot(curve.rank + 1, curve.recall, dash, drawstyle="steps-post", label=str(number))
            positive = curve.fpr > 0
            right.plot(curve.fpr[positive], curve.tpr[positive], dash)
        left.set(xscale="log", xlabel="rank (log)", ylabel="share of trials found")
        right.set(xscale="log", xlabel="false accept rate (log)", ylabel="true accept rate")
        for axes in (left, right):
            label_log_axis(axes.xaxis)
        texts = left.legend(loc="lower right", frameon=False).get_texts()
        for text, name in zip(texts, curves, strict=True):  # a label "_x" is left out of a legend
            text.set_text(printable(name))
        write_atomic(output, lambda path: figure.savefig(path, format=kind))
