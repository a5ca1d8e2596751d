"""The learned policy: action, Q spread and visits of each state."""

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fairloss.agent import ACTIONS, Policy
from fairloss.agent.state import decode_state
from fairloss.experience import evidence
from fairloss.report.drawing import (
    COUNT_COLORS,
    COUNT_WORDS,
    FAINT,
    VARIANCE_WORDS,
    WIDTH,
    inline_svg,
)
from fairloss.report.run_view import Run
from fairloss.typing import Float64s

SIGNS = {"lower": "▼", "keep": "–", "raise": "▲"}  # noqa: RUF001 (the dash is the sign for keep)
# Light enough everywhere for dark text on top.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#f7f5fa", "#a997c9"])


def section(run: Run) -> dict[str, Any] | None:
    """Return the figure and a row for each state."""
    policy = run.policy
    if policy is None:
        return None
    spreads = q_spread(policy)
    count_bin, variance_bin, margin = decode_state(np.arange(len(spreads)), policy.grid)
    rows = [
        (
            state,
            COUNT_WORDS[count_bin[state]],
            VARIANCE_WORDS[variance_bin[state]],
            policy.grid.values[margin[state]],
            ACTIONS[policy.table[state]],
            *map(_number, policy.q[state]),
            *policy.visits[state].tolist(),
            _number(spreads[state]),
        )
        for state in range(len(spreads))
    ]
    per_action = [f"{kind}_{action}" for kind in ("q", "visits") for action in ACTIONS]
    head = ("state", "images", "variance", "margin", "action", *per_action, "q_spread")
    measured = policy.provenance.get("evidence")
    return {
        "svg": policy_table(policy),
        "evidence": None if measured is None else evidence.rows(measured),
        "doubts": None if measured is None else evidence.doubts(measured),
        "csv": "Policy",
        "rows": [head, *rows],
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def q_spread(policy: Policy) -> Float64s:
    """Return (S,) largest minus smallest known Q, NaN where fewer than two actions were tried."""
    tried = np.isfinite(policy.q)
    largest = np.where(tried, policy.q, -np.inf).max(axis=1)
    smallest = np.where(tried, policy.q, np.inf).min(axis=1)
    difference: Float64s = np.full(len(tried), np.nan)
    np.subtract(largest, smallest, out=difference, where=tried.sum(axis=1) > 1)
    return difference


@inline_svg
def policy_table(policy: Policy) -> Figure:
    """Draw three panels (variance bin) of count bin x margin: action, Q spread and visits."""
    size = len(policy.grid)
    visits = policy.visits.sum(axis=1)
    spreads = q_spread(policy)
    shade = Normalize(0, float(np.nanmax(spreads, initial=0)) or 1.0)
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for variance_bin, axes in enumerate(panels):
        for count_bin in range(3):
            for margin in range(size):
                state = (count_bin * 3 + variance_bin) * size + margin
                axes.add_patch(_cell(margin, count_bin, shade, float(spreads[state])))
                sign, count = SIGNS[ACTIONS[policy.table[state]]], str(visits[state])
                axes.text(margin, count_bin + 0.1, sign, ha="center", va="center", fontsize=13)
                axes.text(margin, count_bin - 0.32, count, ha="center", va="center", fontsize=7.5)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(-0.5, 2.5), title=VARIANCE_WORDS[variance_bin])
        axes.set_xticks(range(size), [f"{value:g}" for value in policy.grid.values])
        axes.set_yticks(range(3), COUNT_WORDS)
        axes.tick_params(length=0, labelsize=8)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    for label, color in zip(panels[0].get_yticklabels(), COUNT_COLORS, strict=True):
        label.set_color(color)
    panels[1].set_xlabel("margin of the class now")
    return figure


def _cell(column: int, row: int, shade: Normalize, spread: float) -> Rectangle:
    """Return a square of the policy table, hatched where fewer than two actions were tried."""
    corner = (column - 0.47, row - 0.47)
    if np.isnan(spread):
        return Rectangle(corner, 0.94, 0.94, lw=0, fc="white", ec=FAINT, hatch="////")
    return Rectangle(corner, 0.94, 0.94, lw=0, fc=_SHADES(shade(spread)), ec="white")
