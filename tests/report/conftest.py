"""Synthetic run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairloss.agent import ACTIONS, MarginGrid, Policy
from fairloss.agent.state import legal_actions
from fairloss.evaluation import (
    all_pairs,
    compare_pairs,
    compare_seeds,
    evaluate_pairs,
    pair_scores,
    roc,
)
from fairloss.report import write_report

GRID = MarginGrid()
HOSTILE = '<script>alert("x")</script>&'  # an identity name that tries to be HTML
EPOCHS = 12


def write_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({"version": 1} | values), encoding="utf-8")


def write_training(folder: Path, seed: int, moves: bool = True) -> None:
    """A folder as `fairloss train` leaves it; the last group of the first epochs is empty."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    counts = np.sort(random.integers(2, 9, 30) ** 2)[::-1]
    names = [f"s{number}" for number in range(29)] + [HOSTILE]
    write_json(folder / "identities.json", identities=names, counts=counts.tolist())
    (folder / "config.yaml").write_text(
        f"epochs: {EPOCHS}\nseed: {seed}\ndata: <here>\n", encoding="utf-8"
    )
    margins = np.full(9, 0.35)
    lines = []
    for epoch in range(1, EPOCHS + 1):
        groups = []
        for group in range(9):
            empty = group == 8 and epoch < 4
            intra, inter = 0.9 * 0.93**epoch, 0.5 + 0.05 * epoch
            intra += 0.05 * (group % 3) + 0.01 * random.standard_normal()
            measured = {"margin": margins[group], "intra_angle": intra, "inter_angle": inter}
            groups.append(
                {"count_bin": group // 3, "variance_bin": group % 3, "classes": 0 if empty else 4}
                | {key: None if empty else float(value) for key, value in measured.items()}
            )
        loss = 9 * 0.85**epoch + 0.2 * random.random()
        lines.append(
            {"event": "epoch", "epoch": epoch, "epochs": EPOCHS, "step": 10 * epoch, "loss": loss}
            | {"learning_rate": 0.1, "seconds": {"train": 1.25, "statistics": 0.25}, "skipped": 0}
            | {"groups": groups}
        )
        if moves:
            margins = np.clip(margins + random.choice([-0.1, 0, 0, 0.1], 9), 0.15, 0.45)
    lines.append({"event": "end", "steps": 10 * EPOCHS, "seconds": 18.0})
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def write_policy(path: Path) -> None:
    """A policy with unvisited states."""
    random = np.random.default_rng(7)
    legal = legal_actions(GRID)
    visits = np.where(legal, random.poisson(2.0, legal.shape), 0)
    visits[5] = 0
    q = random.standard_normal((len(legal), len(ACTIONS)))
    Policy.greedy(q, visits, GRID, {"source": "test"}).save(path)


def write_evaluation(path: Path) -> None:
    random = np.random.default_rng(3)
    identity = np.repeat(np.arange(10), 8)
    centers = random.standard_normal((10, 16))
    arms = {
        arm: centers[identity] + noise * random.standard_normal((80, 16))
        for arm, noise in (("fair", 1.2), ("fixed", 1.25))
    }
    pairs = all_pairs(identity)
    curves = {arm: roc(pair_scores(x, pairs), pairs.genuine) for arm, x in arms.items()}
    write_json(
        path,
        arms={arm: evaluate_pairs(x, identity, replicates=60) for arm, x in arms.items()},
        comparison=compare_pairs(arms["fixed"], arms["fair"], identity, replicates=60),
        roc={a: {"far": c.far.tolist(), "tar": c.tar.tolist()} for a, c in curves.items()},
    )


def write_evaluation_of_seeds(path: Path, seeds: list[int], advantage: float) -> None:
    """Five networks an arm; the log-odds of Fair Loss are higher by about `advantage`."""
    random = np.random.default_rng(4)
    identity = np.repeat(np.arange(6), 4)
    pairs = all_pairs(identity)
    centers = random.standard_normal((6, 16))
    arms: dict[str, list[Any]] = {"fixed": [], "fair": []}
    curves: dict[str, list[Any]] = {"fixed": [], "fair": []}
    for arm in arms:
        for _ in seeds:
            x = centers[identity] + 1.2 * random.standard_normal((24, 16))
            arms[arm].append(evaluate_pairs(x, identity, replicates=20))
            curve = roc(pair_scores(x, pairs), pairs.genuine)
            curves[arm].append({"far": curve.far.tolist(), "tar": curve.tar.tolist()})
    fixed = 3.2 + 0.1 * random.standard_normal((len(seeds), 6))
    fair = fixed + advantage + 0.05 * random.standard_normal((len(seeds), 6))
    result = compare_seeds(fixed, fair, np.log(1.25)).as_dict()
    write_json(path, seeds=seeds, arms=arms, across_seeds=result, roc=curves)


def write_queries(folder: Path) -> None:
    random = np.random.default_rng(5)
    queries = []
    for number in range(4):
        matches = [
            {"name": f"{identity}/{rank}.png", "score": 0.9 - 0.213 * rank}
            for rank, identity in enumerate((f"s{number}", f"s{number}", HOSTILE, "s8", "s9"))
        ]
        queries.append({"probe": f"s{number}/probe.png", "matches": matches})
    write_json(folder / "queries.json", queries=queries)
    rows = np.linspace(40, 220, 28, dtype=np.uint8)[:, None]
    faces = np.broadcast_to(rows, (4, 6, 1, 28, 23)) // random.integers(1, 3, (4, 6, 1, 1, 1))
    faces = faces.astype(np.uint8)
    np.savez(folder / "queries.npz", probes=faces[:, 0], matches=faces[:, 1:])


def write_demo(folder: Path) -> Path:
    """A demo as versions with one network an arm left it."""
    for seed, arm in enumerate(("pretrain", "fair", "fixed")):
        write_training(folder / arm, seed, moves=arm == "fair")
    write_policy(folder / "fair" / "policy.json")
    write_evaluation(folder / "evaluation.json")
    write_parts(folder, ("pretrain", "collect", "fit-policy", "train fair", "train fixed"))
    return folder


def write_demo_of_seeds(folder: Path, seeds: list[int], advantage: float) -> Path:
    """A demo with several networks an arm."""
    for seed, arm in enumerate(("pretrain", f"fair/seed-{seeds[0]}", f"fixed/seed-{seeds[0]}")):
        write_training(folder / arm, seed, moves=arm.startswith("fair"))
    write_evaluation_of_seeds(folder / "evaluation.json", seeds, advantage)
    phases = ("pretrain", "collect", "fit-policy", "tune fixed", "train fixed", "train fair")
    tuning = {"margin": 0.45, "auc": {"0.35": [0.9, 0.92], "0.45": [0.94, 0.91]}}
    write_parts(folder, phases, seeds=seeds, tuning=tuning)
    return folder


def write_parts(folder: Path, phases: tuple[str, ...], **summary: Any) -> None:
    """The files that both formats have."""
    write_policy(folder / "policy.json")
    write_queries(folder)
    names = (*phases, "evaluate")
    write_json(
        folder / "demo.json",
        seed=0,
        data="Thirty identities made up for a test.",
        train_images=811,
        train_identities=30,
        test_images=80,
        test_identities=10,
        phases=[{"name": n, "steps": 100 + i, "seconds": 3.5 + i} for i, n in enumerate(names)],
        experience={"transitions": 216, "dropped_cells": 3, "min_cell": 1, "chains": 1}
        | {"epochs": 24, "visited_pairs": 71, "legal_pairs": 90},
        dqn_agrees_with_tabular=True,
        largest_gap=0.0123,
        **summary,
    )


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo folder, to be read only."""
    return write_demo(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="session")
def demo_of_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo folder of five seeds an arm, to be read only."""
    return write_demo_of_seeds(tmp_path_factory.mktemp("runs") / "seeds", [5, 6, 7, 8, 9], 0.1)


@pytest.fixture(scope="session")
def demo_page(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(demo, tmp_path_factory.mktemp("page") / "page.html").read_text("utf-8")


@pytest.fixture
def training(tmp_path: Path) -> Path:
    write_training(tmp_path / "run", seed=1)
    return tmp_path / "run"


@pytest.fixture
def hostile() -> str:
    """The name of the last identity."""
    return HOSTILE
