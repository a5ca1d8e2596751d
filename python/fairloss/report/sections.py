"""The page: its summary, its sections in reading order and its footer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from fairloss.report.evaluation_sections import faces, roc, verdict, verification
from fairloss.report.page import folded, page, paragraph
from fairloss.report.run_folder import ARM_NAMES, Run
from fairloss.report.training_sections import classes, cost, groups, losses, policy


def report_page(run: Run) -> str:
    """The whole page: every section whose files are there, in reading order."""
    title = "Fair Loss: a training run" if run.demo is None else "Fair Loss: the demo"
    made = [make(run) for make in SECTIONS]
    return page(title, "\n".join(html for html in made if html is not None))


def summary(run: Run) -> str:
    """What was trained and tested, in plain words, and the verdict."""
    if run.demo is not None:
        return paragraph(_demo_summary(run.demo)) + verdict(run)
    main = run.training["run"]
    people = ""
    if main.counts is not None:
        people = f" on {main.counts.sum()} images of {np.count_nonzero(main.counts)} people"
    if not main.epochs:
        return paragraph(f"A face recognition network{people}; no epoch has ended yet.")
    last = main.epochs[-1]
    return paragraph(
        f"A face recognition network was trained{people}: {last['epoch']} of {last['epochs']} "
        f"epochs, {last['step']} steps. The mean training loss went from "
        f"{main.epochs[0]['loss']:.3f} in epoch {main.epochs[0]['epoch']} to {last['loss']:.3f}."
    )


def _demo_summary(demo: dict[str, Any]) -> str:
    return (
        "A small face recognition network was trained twice on the same "
        f"{demo['train_images']} images of {demo['train_identities']} people. Once every person "
        "had the same fixed margin, the extra distance that the training loss demands between one "
        "person and the next. Once the margin of each person was lowered, kept or raised after "
        "every epoch by a learnt policy: that is Fair Loss. Both networks were then compared on "
        f"{demo['test_images']} images of {demo['test_identities']} people neither had seen."
    )


def footer(run: Run) -> str:
    """Data, configurations and the build that wrote the page."""
    from fairloss_ext import build_info

    parts = []
    if run.demo is not None:
        parts.append(paragraph(f"Data: {run.demo['data']} Seed: {run.demo['seed']}."))
    parts += [
        folded(f"Configuration: {ARM_NAMES.get(arm, 'config.yaml')}", training.config)
        for arm, training in run.training.items()
        if training.config is not None
    ]
    build = "\n".join(f"{key}: {value}" for key, value in asdict(build_info()).items())
    parts.append(folded("Build of fairloss_ext that wrote this page", build))
    return "<footer>\n" + "\n".join(parts) + "\n</footer>"


SECTIONS: tuple[Callable[[Run], str | None], ...] = (
    summary,
    classes,
    groups,
    policy,
    roc,
    verification,
    faces,
    cost,
    losses,
    footer,
)
