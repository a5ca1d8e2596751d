"""Write the tables and figures of docs/results from its JSON files.

    python docs/draw_results.py

In every page of docs/results the lines between `<!-- TASK PART -->` and `<!-- /TASK PART -->` are
replaced, where PART is one of `PARTS`; figures are written to docs/results/images. Tasks are those
of docs/results/*.json, and margins are read from docs/results/raw/TASK.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import result_tables as tables
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from result_tables import Task

from fairloss.io.atomic import write_text
from fairloss.report.drawing import (
    COUNT_COLORS,
    COUNT_WORDS,
    FAINT,
    MUTED,
    WIDTH,
    inline_svg,
    label_log_axis,
    spread,
)

RESULTS = Path(__file__).parent / "results"
MARKED = re.compile(r"(<!-- (\S+) (\w+) -->\n).*?(<!-- /\2 \3 -->)", re.DOTALL)
MISSING = "No results yet.\n"
DOT, MEAN = "#56B4E9", "#000000"
ROW = 0.26  # height of an arm, in inches


def draw_results(folder: Path = RESULTS) -> None:
    """Write the pages and figures of a folder."""
    tasks = read_tasks(folder)
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        write_text(page, with_results(text, tasks))
        for name, part in {(match[2], match[3]) for match in MARKED.finditer(text)}:
            figure = PARTS[part][1]
            if name in tasks and figure is not None and has_part(tasks[name], part):
                images = folder / "images"
                images.mkdir(exist_ok=True)
                write_text(images / f"{name}-{part}.svg", picture(figure(tasks[name])))


def read_tasks(folder: Path) -> dict[str, Task]:
    """Return the tasks of the JSON files of a folder by name."""
    contents = [
        content
        for path in sorted(folder.glob("*.json"))
        for content in json.loads(path.read_text(encoding="utf-8"))["tasks"]
    ]
    return {each["name"]: Task(each, folder / "raw" / each["name"]) for each in contents}


def with_results(page: str, tasks: dict[str, Task]) -> str:
    """Return a page whose marked lines are those of the tasks."""

    def content(match: re.Match[str]) -> str:
        start, name, part, end = match.groups()
        table, figure, caption = PARTS[part]
        if name not in tasks or not has_part(tasks[name], part):
            return f"{start}{MISSING}{end}"
        lines = f"![{caption}](images/{name}-{part}.svg)\n" if figure else ""
        lines += "\n" if figure and table else ""
        return start + lines + (f"{table(tasks[name])}\n" if table else "") + end

    return MARKED.sub(content, page)


def has_part(task: Task, part: str) -> bool:
    """Return whether there is anything to show."""
    if part == "margins":
        return bool(margins(task))
    if part == "sensitivity":
        several = all(len(task.values(arm, task.primary)) > 1 for arm in task.arms)
        return several and len(tables.fixed_arms(task)) > 1
    if part == "bins":
        return any(name.startswith("closed_") for name in task.measured(["closed_accuracy"]))
    return part not in ("contrasts", "secondary") or bool(task.differences)


def picture(svg: str) -> str:
    """Return an SVG with short numbers and a white background, as a page may be dark."""
    svg = re.sub(r'\bd="[^"]*"', lambda path: re.sub(r"(\d\.\d)\d+", r"\1", path[0]), svg)
    svg = svg.replace('aria-hidden="true" ', 'role="img" ', 1)
    white = r'\1<rect width="100%" height="100%" fill="white"/>'
    return re.sub(r"(<svg [^>]*>)", white, svg, count=1)


def margins(task: Task) -> dict[str, np.ndarray]:
    """Return the (seeds, epochs, 3) mean margins of the arms of Fair Loss, few images first."""
    result = {}
    for arm in task.arms:
        paths = [task.raw / f"{arm}-seed-{seed}.json" for name, seed in task.runs if name == arm]
        runs = [json.loads(p.read_text(encoding="utf-8")) for p in paths if p.is_file()]
        fair = [run["margins"] for run in runs if run["settings"]["head"]["name"] == "FairLoss"]
        if fair:
            result[arm] = np.array(fair, dtype=float)
    return result


@inline_svg
def draw_arms(task: Task) -> Figure:
    """Draw the primary metric of every run, and the mean of every arm with its interval."""
    figure, axes = rows_figure(len(task.arms))
    for row, arm in enumerate(task.arms):
        draw_row(axes, row, [100 * value for value in task.values(arm, task.primary)])
    axes.set_yticks(range(len(task.arms)), task.arms)
    axes.set_xlabel(f"{tables.label(task.primary)}, points")
    return figure


@inline_svg
def draw_contrasts(task: Task) -> Figure:
    """Draw the paired differences by seed of the metrics with a decision, and the bound."""
    decided = task.decided
    metrics = list(dict.fromkeys(row["metric"] for row in decided))
    contrasts = list(dict.fromkeys((row["arm"], row["reference"]) for row in decided))
    height = ROW * len(contrasts) + 0.9
    figure = Figure(figsize=(WIDTH, height * len(metrics)), layout="constrained")
    panels = figure.subplots(len(metrics), squeeze=False)[:, 0]
    for axes, metric in zip(panels, metrics, strict=True):
        for row in decided:
            if row["metric"] == metric:
                number = contrasts.index((row["arm"], row["reference"]))
                factor = tables.unit(metric)
                draw_row(axes, number, [factor * value for value in row["differences"]])
        axes.axvline(0, color=MUTED, lw=0.8)
        bound = tables.unit(metric) * task.bound
        axes.axvspan(-bound, bound, color=FAINT, zorder=0)
        axes.set_yticks(range(len(contrasts)), [f"{a} - {b}" for a, b in contrasts])
        axes.set_ylim(len(contrasts) - 0.4, -0.6)
        axes.set_title(f"{tables.label(metric)}, {tables.unit_name(metric)}", loc="left")
    return figure


@inline_svg
def draw_margins(task: Task) -> Figure:
    """Draw the mean margin of classes with few, some and many images in every epoch."""
    arms = margins(task)
    rows = -(-len(arms) // 2)
    figure = Figure(figsize=(WIDTH, 0.5 + 1.7 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(arms) :]:
        axes.set_axis_off()
    for axes, (arm, values) in zip(grid.flat, arms.items(), strict=False):
        epochs = range(1, values.shape[1] + 1)
        for count_bin, (color, words) in enumerate(zip(COUNT_COLORS, COUNT_WORDS, strict=True)):
            axes.plot(epochs, values[:, :, count_bin].T, color=color, lw=0.5, alpha=0.4)
            axes.plot(epochs, values[:, :, count_bin].mean(axis=0), color=color, label=words)
        axes.set_title(arm, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    handles, words = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    figure.supxlabel("epoch")
    figure.supylabel("mean margin")
    return figure


@inline_svg
def draw_cost(task: Task) -> Figure:
    """Draw the mean of the primary metric against the cost, per run and tuned once for all."""
    figure = Figure(figsize=(WIDTH, 1.2 + 0.2 * len(task.arms)), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    costs = [task.cost(arm) for arm in task.arms]
    means = [100 * tables.mean(task.values(arm, task.primary)).value for arm in task.arms]
    for (total, shared), value in zip(costs, means, strict=True):
        axes.plot([shared, total], [value, value], color=MUTED, lw=0.8, zorder=1)
        axes.plot(shared, value, "o", mfc="white", mec=MEAN, ms=4.5)
        axes.plot(total, value, "o", color=MEAN, ms=4.5)
    low, high = axes.get_ylim()
    heights = spread(means, (high - low) / len(means))
    shift = (max(heights) + min(heights) - max(means) - min(means)) / 2
    right = 1.2 * max(total for total, _ in costs)
    line = {"arrowstyle": "-", "color": FAINT, "lw": 0.6, "shrinkA": 0, "shrinkB": 3}
    for arm, (total, _), value, height in zip(task.arms, costs, means, heights, strict=True):
        text = (right, height - shift)
        axes.annotate(arm, (total, value), text, va="center", fontsize=8, arrowprops=line)
    label_log_axis(axes.xaxis)
    axes.set_xlabel("cost of a run in trainings; hollow: tuned once for all seeds")
    axes.set_ylabel(f"{tables.label(task.primary)}, points")
    return figure


def rows_figure(rows: int) -> tuple[Figure, Axes]:
    """Return a figure with a horizontal line for each row, the first at the top."""
    figure = Figure(figsize=(WIDTH, ROW * rows + 0.7), layout="constrained")
    axes = figure.subplots()
    axes.set_ylim(rows - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return figure, axes


def draw_row(axes: Axes, row: int, values: list[float]) -> None:
    """Draw a dot for each seed, the mean and its 95% interval."""
    value, low, high = tables.mean(values)
    axes.plot(values, np.full(len(values), row - 0.14), "o", color=DOT, ms=3.5, mec="none")
    axes.plot([low, high], [row + 0.14] * 2, color=MEAN, lw=1.4)
    axes.plot(value, row + 0.14, "o", color=MEAN, ms=4)


PARTS = {  # a table, a figure and its text
    "arms": (tables.arms_table, draw_arms, "The primary metric of every run, and its means"),
    "contrasts": (tables.contrasts_table, draw_contrasts, "Paired differences by seed"),
    "secondary": (tables.secondary_table, None, ""),
    "bins": (tables.bins_table, None, ""),
    "margins": (None, draw_margins, "Mean margins in every epoch"),
    "sensitivity": (tables.sensitivity_table, None, ""),
    "cost": (tables.cost_table, draw_cost, "The primary metric against the cost of a run"),
}

if __name__ == "__main__":
    draw_results()
