"""Comparison of run folders that an old version left with what today's code makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command import fairloss

# Relative to 1 + |weight|. Another kind of CPU sums in another order: two epochs (ten steps) after
# the checkpoint, resumed runs differed by at most 2e-7 from the stored weights with two threads,
# without oneDNN, or without AVX.
TOLERANCE = 1e-5


def succeed(*arguments) -> str:
    """The output of a command that must not fail."""
    done = fairloss(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights(run: Path) -> dict[str, torch.Tensor]:
    parts = [torch.load(run / name, weights_only=True) for name in ("model.pt", "head.pt")]
    return {
        f"{number}.{name}": value.double()
        for number, part in enumerate(parts)
        for name, value in part.items()
        if name != "_extra_state"  # of version 0.1.0 a dict, later the bytes of JSON
    }


def assert_same_weights(run: Path, reference: Path) -> None:
    actual, stored = weights(run), weights(reference)
    assert actual.keys() == stored.keys()
    for name, value in stored.items():
        difference = ((actual[name] - value).abs() / (1 + value.abs())).max()
        assert difference <= TOLERANCE, name


def lines(run: Path, event: str) -> list[dict]:
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    return [line for line in map(json.loads, text.splitlines()) if line["event"] == event]


# The bounds of this interval counted scores of pairs that were not drawn.
CHANGED = ("accuracy.low", "accuracy.high")


def assert_same_report(actual, stored, key: str = "report") -> None:
    """The same keys, numbers, and kinds of entry; the text of a reason may differ.

    Intervals were those of the bootstrap, which are now its check of the others.
    """
    if key.endswith(CHANGED):
        assert type(actual) is type(stored), key
    elif isinstance(stored, dict) and "replicates" in stored:
        assert actual["value"] == pytest.approx(stored["value"], rel=1e-5, abs=1e-6), key
        assert actual["low"] <= actual["value"] <= actual["high"]
        for name, value in actual["bootstrap"].items():
            assert_same_report(value, stored[name], f"{key}.{name}")
    elif isinstance(stored, dict):
        actual = {name: value for name, value in actual.items() if name != "warnings"}
        assert actual.keys() == stored.keys(), key
        for name, value in stored.items():
            assert_same_report(actual[name], value, f"{key}.{name}")
    elif isinstance(stored, list):
        assert len(actual) == len(stored), key
        for number, value in enumerate(stored):
            assert_same_report(actual[number], value, f"{key}.{number}")
    elif isinstance(stored, float):
        assert actual == pytest.approx(stored, rel=1e-5, abs=1e-6), key
    elif isinstance(stored, str) and stored.startswith("not measurable"):
        assert actual.startswith("not measurable"), key
    else:
        assert actual == stored, key
