"""The smallest collection that gives the same table: cost and table of growing prefixes of epochs.

    python benchmarks/collection_cost.py chain=a/experience.npz chain=b/experience.npz \
        branches=c/experience.npz --training-steps 1872 --results collection-cost.json

Each file is a collection of its own, with the name of its layout before it. For its first 5, 10 and
more epochs: the cost in trainings, the legal pairs of state and action that were visited, the
agreement of the greedy table with that of the whole collection and with those of the other
collections, and the permutation test of `fairloss fit-policy`.

A prefix is part of its own collection, which therefore agrees with it more than an independent one
does: a prefix gives the same table where it agrees with the others as well as whole ones do.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np

from fairloss.agent import Policy
from fairloss.agent.state import legal_actions
from fairloss.checks import expect
from fairloss.experience import Experience
from fairloss.experience.evidence import agreement, exact_q, permutation_test, reduced
from fairloss.io.atomic import write_text
from fairloss.training.cost import FORWARD_COST

SAME = 0.9  # agreement with the whole collection from which on a table counts as the same
WEIGHTS = (1.0, 1.0)


def prefix(experience: Experience, epochs: int) -> Experience:
    """Return the first epochs of every chain, with their cost.

    Without the pass before the first epoch, which is taken for one of images in memory, an epoch
    costs as much as any other.
    """
    share = epochs / int(experience.epoch.max())
    branches = int(experience.branch.max()) + 1
    first = FORWARD_COST * experience.steps / (int(experience.epoch.max()) * branches)
    return replace(
        experience.select(experience.epoch <= epochs),
        steps=round(share * experience.steps),
        cost_steps=first + share * (experience.cost_steps - first),
    )


def q_table(experience: Experience, reward: str, gamma: float) -> np.ndarray | None:
    """Return the exact (S, 3) Q; None where there are too few epochs for the reward."""
    try:
        return exact_q(experience, experience.transitions(WEIGHTS, reward).reward, gamma)
    except ValueError:
        return None


def describe(experience: Experience, q: np.ndarray | None, reward: str) -> dict[str, Any]:
    """Return what a collection and its Q say by themselves; None for what is not determined."""
    grid = experience.margin_grid()
    legal = legal_actions(grid)
    visits = experience.transitions().visits(len(legal))
    record: dict[str, Any] = {
        "cost_steps": experience.cost_steps,
        "legal_pairs": int(legal.sum()),
        "visited": int((visits > 0).sum()),
    }
    if q is None:
        return record | dict.fromkeys(("table", "reduces_to", "advantage", "p"))
    policy = Policy.greedy(q, visits, grid, {})
    tested = permutation_test(experience, experience.changes(WEIGHTS), reward)
    return record | {
        "table": policy.table.tolist(),
        "reduces_to": reduced(policy),
        "advantage": tested["advantage"],
        "p": tested["p"],
    }


def compare(q: np.ndarray | None, others: list[np.ndarray | None]) -> dict[str, float | None]:
    """Return the mean agreement with other tables, that by chance, and the correlation."""
    tables = [other for other in others if other is not None]
    pairs = [pair for other in tables if q is not None and (pair := agreement(q, other))]
    names = ("agreement", "chance", "correlation")
    means = np.mean(pairs, axis=0).tolist() if pairs else [None] * len(names)
    return dict(zip(names, means, strict=True))


def analyze(
    collections: list[tuple[str, Experience]],
    training_steps: float,
    *,
    reward: str = "own_and_common",
    gamma: float = 0.9,
    every: int = 5,
) -> list[dict[str, Any]]:
    """Return one record for each collection and prefix.

    Args:
        collections: the layout of each, and its experience.
        training_steps: cost of the training that is the unit.
        reward: as of `fit_policy`.
        gamma: discount per epoch.
        every: epochs between prefixes.
    """
    grids = {each.margin_grid().values for _, each in collections}
    expect(len(grids) == 1, "collections", "one margin grid", f"{len(grids)}")
    whole = [q_table(each, reward, gamma) for _, each in collections]
    records = []
    for number, (layout, experience) in enumerate(collections):
        last = int(experience.epoch.max())
        for epochs in [*range(every, last, every), last]:
            part = prefix(experience, epochs)
            q = q_table(part, reward, gamma)
            record = {"layout": layout, "collection": number, "epochs": epochs}
            record |= describe(part, q, reward)
            record["trainings"] = part.cost_steps / training_steps
            record["whole"] = compare(q, [whole[number]])
            record["others"] = compare(q, whole[:number] + whole[number + 1 :])
            records.append(record)
    return records


def smallest(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each collection the first prefix from which on the table stays the same."""
    names = ("layout", "collection", "epochs", "trainings")
    result = []
    for number in dict.fromkeys(record["collection"] for record in records):
        prefixes = [record for record in records if record["collection"] == number]
        same = [(record["whole"]["agreement"] or 0.0) >= SAME for record in prefixes]
        first = max((index + 1 for index, value in enumerate(same) if not value), default=0)
        result += [{name: record[name] for name in names} for record in prefixes[first:][:1]]
    return result


def markdown(records: list[dict[str, Any]]) -> str:
    """Return a table with a row for each record."""
    names = ("layout", "collection", "epochs", "trainings", "pairs", "same as whole", "as others")
    names += ("correlation", "advantage", "p", "table")
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    for record in records:
        cells = [record["layout"], record["collection"], record["epochs"]]
        cells += [f"{record['trainings']:.2f}", f"{record['visited']} of {record['legal_pairs']}"]
        cells += [_percent(record["whole"]["agreement"]), _percent(record["others"]["agreement"])]
        numbers = record["others"]["correlation"], record["advantage"], record["p"]
        cells += ["" if number is None else f"{number:.2g}" for number in numbers]
        cells.append(record["reduces_to"] or "not determined")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def read(text: str) -> tuple[str, Experience]:
    """Return the layout and the experience of an argument LAYOUT=FILE."""
    layout, equals, path = text.partition("=")
    expect(bool(equals), "collections", "LAYOUT=FILE", repr(text))
    return layout, Experience.load(path)


def main() -> None:
    """Print a row for each prefix, and write all numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("collections", nargs="+", help="LAYOUT=FILE of each collection")
    parser.add_argument(
        "--training-steps", type=float, help="cost of a training, default of the run"
    )
    parser.add_argument("--reward", default="own_and_common")
    parser.add_argument("--gamma", type=float, default=0.9)
    parser.add_argument("--every", type=int, default=5, help="epochs between prefixes")
    parser.add_argument("--results", type=Path, help="write all numbers to this file")
    arguments = parser.parse_args()
    collections = [read(text) for text in arguments.collections]
    steps = arguments.training_steps or collections[0][1].pretraining_steps
    expect(steps > 0, "--training-steps", "a number, as the first file has none", steps)
    records = analyze(
        collections,
        steps,
        reward=arguments.reward,
        gamma=arguments.gamma,
        every=arguments.every,
    )
    print(markdown(records))
    for record in smallest(records):
        print("the same table from", json.dumps(record))
    if arguments.results is not None:
        content = {
            "machine": machine.describe(1),
            "training_steps": steps,
            "reward": arguments.reward,
            "gamma": arguments.gamma,
            "same": SAME,
            "smallest": smallest(records),
            "records": records,
        }
        write_text(arguments.results, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
