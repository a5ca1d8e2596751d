"""The sections about the training; each returns HTML, or None if the run lacks its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from fairloss.agent import ACTIONS, GroupState
from fairloss.agent.states import decode_state
from fairloss.report import figures, group_figures
from fairloss.report.drawing import COUNT_WORDS, VARIANCE_WORDS
from fairloss.report.evaluation_sections import faces, roc, verdict, verification
from fairloss.report.page import (
    cell,
    figure,
    folded,
    numbers,
    page,
    paragraph,
    section,
    share,
    table,
)
from fairloss.report.run_folder import ARM_NAMES, Run


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
    people = (
        ""
        if main.counts is None
        else (f" on {main.counts.sum()} images of {np.count_nonzero(main.counts)} people")
    )
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
        f"A small face recognition network was trained twice on the same "
        f"{demo['train_images']} images of {demo['train_identities']} people. Once every person "
        "had the same fixed margin, the extra distance that the training loss demands between one "
        "person and the next. Once the margin of each person was lowered, kept or raised after "
        "every epoch by a learnt policy: that is Fair Loss. Both networks were then compared on "
        f"{demo['test_images']} images of {demo['test_identities']} people neither had seen."
    )


def classes(run: Run) -> str | None:
    main = run.main
    if main is None or main.counts is None:
        return None
    groups = GroupState(main.counts)
    caption = (
        "Every bar is one person; look for the long tail on the right, the people with few images, "
        "and for the dashed cuts at which Fair Loss splits the people into three bins of about "
        "equal size."
    )
    order = np.argsort(-groups.counts, kind="stable")
    rows = [
        (rank, groups.counts[index], COUNT_WORDS[groups.count_bins[index]])
        for rank, index in enumerate(order, start=1)
    ]
    return section(
        "classes",
        "How many images each person has",
        figure(caption, figures.class_counts(main.counts))
        + numbers("Image counts", ("rank", "images", "bin"), rows),
    )


def groups(run: Run) -> str | None:
    main = run.main
    if main is None or not main.epochs:
        return None
    grid = None if run.policy is None else tuple(run.policy.grid.values)
    series = main.group_series("margin")
    margin_caption = (
        "Mean margin of each of the nine groups while training, the other eight behind it in grey; "
        "look for lines that leave the start, and for rows that end higher than others."
    )
    angle_caption = (
        "Mean angle between a person's images and their centre (intra, solid) and from that centre "
        "to the nearest other person's (inter, dashed); look for intra falling and inter rising, "
        "as the room between them is what tells people apart."
    )
    note = (
        "A person stays in one row but moves between columns, since the variance is measured anew "
        "after every epoch; so a group's mean may lie between the margins a person can have."
    )
    keys = ("count_bin", "variance_bin", "classes", "margin", "intra_angle", "inter_angle")
    rows = [
        (line["epoch"], *(group[key] for key in keys))
        for line in main.epochs
        for group in line["groups"]
    ]
    return section(
        "groups",
        "What happened to the nine groups",
        figure(margin_caption, group_figures.margins(series, grid))
        + paragraph(note, "note")
        + figure(
            angle_caption,
            group_figures.angles(
                main.group_series("intra_angle"), main.group_series("inter_angle")
            ),
        )
        + numbers("Margins and angles (radians)", ("epoch", *keys), rows),
    )


def policy(run: Run) -> str | None:
    if run.policy is None:
        return None
    caption = (
        "What the policy does in each state: ▲ raises the margin, – keeps it, ▼ lowers it; "  # noqa: RUF001
        "look for dark cells with a large number, as the shade is how much the choice matters "
        "(largest minus smallest Q) and the number is how many observations stand behind it."
    )
    note = "Hatched: fewer than two actions were ever tried there, so nothing could be compared."
    spreads = figures.q_spread(run.policy)
    count_bin, variance_bin, margin = decode_state(np.arange(len(spreads)), run.policy.grid)
    rows = [
        (
            state,
            COUNT_WORDS[count_bin[state]],
            VARIANCE_WORDS[variance_bin[state]],
            run.policy.grid.values[margin[state]],
            ACTIONS[run.policy.table[state]],
            *(None if np.isnan(value) else float(value) for value in run.policy.q[state]),
            *run.policy.visits[state].tolist(),
            None if np.isnan(spreads[state]) else float(spreads[state]),
        )
        for state in range(len(spreads))
    ]
    head = ("state", "images", "variance", "margin", "action")
    per_action = [f"{kind}_{action}" for kind in ("q", "visits") for action in ACTIONS]
    return section(
        "policy",
        "What the policy has learnt",
        figure(caption, figures.policy_table(run.policy))
        + paragraph(note + _experience(run), "note")
        + numbers("Policy", (*head, *per_action, "q_spread"), rows),
    )


def _experience(run: Run) -> str:
    if run.demo is None:
        return ""
    seen = run.demo["experience"]
    agrees = "agree" if run.demo["dqn_agrees_with_tabular"] else "do NOT agree"
    return (
        f" The policy was learnt from {seen['transitions']} observations, which cover "
        f"{seen['visited_pairs']} of the {seen['legal_pairs']} pairs of state and action. The "
        f"deep Q-network and the exact table {agrees} on the actions (largest gap in Q: "
        f"{run.demo['largest_gap']:.2g})."
    )


def cost(run: Run) -> str | None:
    """Seconds per phase of a demo, or of training and measuring in a single run."""
    if run.demo is not None:
        phases = [(p["name"], str(p["steps"]), p["seconds"]) for p in run.demo["phases"]]
    else:
        epochs = run.training["run"].epochs
        steps = {"train": str(epochs[-1]["step"]), "statistics": ""} if epochs else {}
        phases = [
            (name, count, sum(line["seconds"][name] for line in epochs))
            for name, count in steps.items()
        ]
    total = sum(seconds for *_, seconds in phases)
    if not total:
        return None
    rows = [
        (name, cell(steps), cell(f"{seconds:.1f}"), share(seconds / total))
        for name, steps, seconds in phases
    ]
    rows.append(("total", cell(""), cell(f"{total:.1f}"), "<td></td>"))
    text = (
        "Where the time went; look for the longest bar, as that is the phase to make faster first."
    )
    return section(
        "cost",
        "What it cost",
        paragraph(text)
        + table(("phase", "steps", "seconds", "share"), rows)
        + numbers("Cost", ("phase", "steps", "seconds"), phases),
    )


def losses(run: Run) -> str | None:
    trained = {arm: training for arm, training in run.training.items() if training.epochs}
    if not trained:
        return None
    caption = (
        "Mean training loss of each epoch; look for every line falling and flattening out, and do "
        "not compare their heights: a larger margin makes the same network's loss larger."
    )
    keys = ("epoch", "step", "loss", "learning_rate", "skipped")
    rows = [
        (arm, *(line[key] for key in keys))
        for arm, training in trained.items()
        for line in training.epochs
    ]
    curves = {
        arm: ([line["epoch"] for line in t.epochs], [line["loss"] for line in t.epochs])
        for arm, t in trained.items()
    }
    return section(
        "loss",
        "Training loss",
        figure(caption, figures.losses(curves)) + numbers("Losses", ("run", *keys), rows),
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
