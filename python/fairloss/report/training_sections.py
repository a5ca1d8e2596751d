"""The sections about the training; each returns HTML, or None if the run lacks its file."""

from __future__ import annotations

import numpy as np

from fairloss.agent import ACTIONS, GroupState
from fairloss.agent.states import decode_state
from fairloss.report import figures, group_figures
from fairloss.report.drawing import COUNT_WORDS, VARIANCE_WORDS
from fairloss.report.page import cell, figure, numbers, paragraph, section, share, table
from fairloss.report.run_folder import Run


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
        figure(caption, figures.class_counts(groups))
        + numbers("Image counts", ("rank", "images", "bin"), rows),
    )


def groups(run: Run) -> str | None:
    main = run.main
    if main is None or not main.epochs:
        return None
    grid = None if run.policy is None else tuple(run.policy.grid.values)
    series = main.group_series("margin")
    margin_caption = (
        "Mean margin of each of the nine groups during each epoch; look for lines that leave the "
        "start, and for rows or columns that end higher than others."
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
        "(largest minus smallest Q, the gain that the agent expects of an action) and the number "
        "is how many observations stand behind it."
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
    caption = "Mean training loss of each epoch; look for a line that falls and flattens out."
    if len(curves) > 1:
        caption = (
            "Mean training loss of each epoch; look for lines that fall and flatten out, and do "
            "not compare their heights, as a larger margin makes the same network's loss larger."
        )
    return section(
        "loss",
        "Training loss",
        figure(caption, figures.losses(curves)) + numbers("Losses", ("run", *keys), rows),
    )
