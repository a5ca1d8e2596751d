from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fairloss.agent import ACTIONS, GroupState, MarginGrid, Policy
from fairloss.io.atomic import FormatError

GRID = MarginGrid()
LEGAL = GroupState([1, 2, 3]).legal


def learned() -> Policy:
    generator = np.random.default_rng(0)
    visits = generator.integers(0, 3, (36, 3)) * LEGAL
    q = generator.standard_normal((36, 3))
    return Policy.greedy(q, visits, GRID, {"source": "test", "seeds": [1, 2], "gamma": 0.9})


@pytest.mark.parametrize(
    ("q", "visits", "action"),
    [
        ([1.0, 2.0, 3.0], [1, 1, 1], "raise"),
        ([3.0, 2.0, 1.0], [1, 1, 1], "lower"),
        ([3.0, 2.0, 1.0], [0, 0, 1], "raise"),  # the best of what was tried
        ([np.nan, -1.0, np.nan], [0, 1, 0], "keep"),
        ([3.0, 2.0, 1.0], [0, 0, 0], "keep"),  # nothing tried
        ([1.0, 1.0, 1.0], [1, 1, 1], "keep"),  # ties
        ([1.0, 0.0, 1.0], [1, 1, 1], "lower"),
        ([0.0, 1.0, 1.0], [1, 1, 1], "keep"),
    ],
)
def test_greedy(q, visits, action):
    all_q, all_visits = np.zeros((36, 3)), np.zeros((36, 3), int)
    all_q[1], all_visits[1] = q, visits
    policy = Policy.greedy(all_q, all_visits, GRID, {})
    assert ACTIONS[policy.table[1]] == action
    assert (np.delete(policy.table, 1) == 1).all()
    np.testing.assert_array_equal(np.isnan(policy.q), all_visits == 0)


def test_greedy_rejects():
    visits = np.zeros((36, 3), int)
    with pytest.raises(ValueError, match="shape"):
        Policy.greedy(np.zeros((35, 3)), visits, GRID, {})
    visits[0, 0] = 1
    with pytest.raises(ValueError, match="a legal action"):
        Policy.greedy(np.zeros((36, 3)), visits, GRID, {})
    visits[0] = [0, 1, 0]
    with pytest.raises(ValueError, match="q: expected finite"):
        Policy.greedy(np.full((36, 3), np.nan), visits, GRID, {})


def test_constant():
    assert (Policy.constant("keep").table == 1).all()
    raised = Policy.constant("raise").table.reshape(9, 4)
    np.testing.assert_array_equal(raised, np.tile([2, 2, 2, 1], (9, 1)))
    lowered = Policy.constant("lower", MarginGrid((0.1, 0.2))).table.reshape(9, 2)
    np.testing.assert_array_equal(lowered, np.tile([1, 0], (9, 1)))
    with pytest.raises(ValueError, match="action"):
        Policy.constant("up")


def test_act_and_apply():
    policy = Policy.constant("raise")
    states = np.array([0, 5, 35])
    np.testing.assert_array_equal(policy.act(states), [2, 2, 1])
    margins = policy.apply(states, np.array([0.15, 0.25, 0.45], np.float32))
    np.testing.assert_array_equal(margins, [0.25, 0.35, 0.45])
    with pytest.raises(ValueError, match="states"):
        policy.act([36])
    with pytest.raises(ValueError, match="encoded with"):
        policy.apply(states, [0.25, 0.25, 0.45])
    with pytest.raises(ValueError, match="on the grid"):
        policy.apply(states, [0.2, 0.25, 0.45])


def test_apply_to_encoded_classes_reaches_the_top_and_stays():
    state = GroupState([3, 9, 27, 81])
    policy, margins = Policy.constant("raise"), np.full(4, 0.15)
    for expected in (0.25, 0.35, 0.45, 0.45):
        margins = policy.apply(state.encode([0.1, 0.4, 0.2, 0.3], margins), margins)
        np.testing.assert_array_equal(margins, expected)


def test_policy_is_read_only_and_does_not_lock_what_it_was_given():
    q, visits = np.zeros((36, 3)), LEGAL.astype(np.int64)
    policy = Policy.greedy(q, visits, GRID, {})
    with pytest.raises(ValueError, match="read-only"):
        policy.table[0] = 2
    visits[1, 1] = 9
    assert policy.visits[1, 1] == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("table", np.ones(35, int)),
        ("table", np.full(36, 3)),
        ("table", np.full(36, 2)),
        ("visits", np.full((36, 3), -1)),
        ("q", np.zeros((36, 3))),
        ("q", np.zeros((36, 2))),
    ],
)
def test_policy_rejects(field, value):
    keep = Policy.constant("keep")
    good = {"table": keep.table, "q": keep.q, "visits": keep.visits}
    with pytest.raises(ValueError, match=field):
        Policy(GRID, **{**good, field: value}, provenance={})


@pytest.mark.parametrize(
    "policy", [learned(), Policy.constant("lower", MarginGrid((0.1, 0.3)))], ids=["36", "18"]
)
def test_round_trip(tmp_path: Path, policy: Policy):
    path = tmp_path / "policy.json"
    policy.save(path)
    policy.save(path)  # over itself
    loaded = Policy.load(path)
    assert loaded.grid == policy.grid
    assert loaded.provenance == policy.provenance
    for field in ("table", "q", "visits"):
        np.testing.assert_array_equal(getattr(loaded, field), getattr(policy, field))
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.json"]


def test_file_layout(tmp_path: Path):
    visits = np.zeros((36, 3), int)
    visits[17] = [2, 0, 1]
    q = np.full((36, 3), 0.5)
    Policy.greedy(q, visits, GRID, {"a": 1}).save(tmp_path / "p.json")
    data = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert (data["version"], data["provenance"]) == (1, {"a": 1})
    assert data["grid"] == [0.15, 0.25, 0.35, 0.45]
    assert len(data["states"]) == 36
    assert data["states"][17] == {  # 17 = (1 * 3 + 1) * 4 + 1
        "state": 17,
        "count_bin": 1,
        "variance_bin": 1,
        "margin": 0.25,
        "action": "lower",
        "q": [0.5, None, 0.5],
        "visits": [2, 0, 1],
    }


def test_save_rejects_what_json_cannot_hold_and_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "policy.json"
    learned().save(path)
    before = path.read_text(encoding="utf-8")
    for value in (object(), float("nan")):
        keep = Policy.constant("keep")
        policy = Policy(GRID, keep.table, keep.q, keep.visits, {"x": value})
        with pytest.raises(ValueError, match="provenance"):
            policy.save(path)
    assert path.read_text(encoding="utf-8") == before
    assert len(list(tmp_path.iterdir())) == 1


def replace(*keys_and_value):
    """A function that sets data[key]...[key] = value."""

    def change(data):
        *keys, last, value = keys_and_value
        for key in keys:
            data = data[key]
        data[last] = value

    return change


CORRUPTIONS = {
    "version": (replace("version", 2), "version: expected 1"),
    "missing key": (lambda data: data.pop("grid"), "an object with the keys"),
    "extra key": (replace("more", 1), "an object with the keys"),
    "provenance": (replace("provenance", "x"), "provenance: expected an object"),
    "grid type": (replace("grid", 0.5), "grid: expected a list"),
    "grid entry": (replace("grid", 0, "0.15"), "grid: expected a list"),
    "grid order": (replace("grid", [0.45, 0.35, 0.25, 0.15]), "ascend"),
    "grid length": (replace("grid", [0.15, 0.25]), "list of 18 rows"),
    "states type": (replace("states", {}), "list of 36 rows"),
    "row lost": (lambda data: data["states"].pop(), "list of 36 rows"),
    "row type": (replace("states", 3, None), r"states\[3\]: expected an object"),
    "row key": (lambda data: data["states"][3].pop("q"), r"states\[3\]: expected an object"),
    "rows swapped": (lambda data: data["states"].reverse(), r"states\[0\].state: expected 0"),
    "count_bin": (replace("states", 4, "count_bin", 1), r"states\[4\].count_bin: expected 0"),
    "variance_bin": (
        replace("states", 4, "variance_bin", 0),
        r"states\[4\].variance_bin: expected 1",
    ),
    "margin": (replace("states", 4, "margin", 0.25), r"states\[4\].margin: expected 0.15"),
    "action name": (replace("states", 4, "action", "up"), r"states\[4\].action: expected one of"),
    "action type": (replace("states", 4, "action", [1]), r"states\[4\].action: expected one of"),
    "illegal action": (
        replace("states", 4, "action", "lower"),
        "a legal action in state 4, got 'lower'",
    ),
    "q length": (replace("states", 4, "q", [None]), r"states\[4\].q: expected 3"),
    "q type": (replace("states", 4, "q", [None, None, "1"]), r"states\[4\].q: expected a list"),
    "q and visits": (replace("states", 4, "q", [1.0, 1.0, 1.0]), "q: expected finite values where"),
    "visits length": (replace("states", 4, "visits", [0, 0]), r"states\[4\].visits: expected 3"),
    "visits type": (
        replace("states", 4, "visits", [0, 0, 0.5]),
        r"states\[4\].visits: expected a list",
    ),
    "visits bool": (
        replace("states", 4, "visits", [0, 0, True]),
        r"states\[4\].visits: expected a list",
    ),
    "redraw length": (replace("redraw", [1]), "redraw: expected 2 entries"),
    "redraw type": (replace("redraw", [1, 0.5]), "redraw: expected a list of int"),
    "redraw negative": (replace("redraw", [-1, 0]), "redraw: expected an integer of at least 0"),
    "q too large": (replace("states", 4, "q", [10**400] * 3), "int too large"),
    "grid too large": (replace("grid", 0, 10**400), "int too large"),
    "visits negative": (replace("states", 4, "visits", [0, -1, 0]), "visits: expected 0 to"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_load_rejects(tmp_path: Path, name: str):
    path = tmp_path / "policy.json"
    Policy.constant("keep").save(path)
    change, message = CORRUPTIONS[name]
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"policy.json: not a policy file: .*{message}"):
        Policy.load(path)


DEEP = "[" * 100_000


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"version": NaN}', "\x00", DEEP, "9" * 5000])
def test_load_rejects_other_text(tmp_path: Path, text: str):
    path = tmp_path / "policy.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"policy.json: not a policy file"):
        Policy.load(path)


def test_load_rejects_every_beginning_of_a_file(tmp_path: Path):
    path = tmp_path / "policy.json"
    Policy.constant("keep").save(path)
    content = path.read_bytes()
    for size in range(0, len(content) - 2, 101):
        path.write_bytes(content[:size])
        with pytest.raises(FormatError, match=r"policy.json: not a policy file"):
            Policy.load(path)


def test_load_of_a_missing_file_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Policy.load(tmp_path / "none.json")


def test_the_table_that_was_packaged_is_removed_by_name():
    with pytest.raises(ValueError, match=r"policy: .*`fairloss collect` and `fairloss fit-policy`"):
        Policy.default()
