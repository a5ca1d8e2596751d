"""A policy: what to do with the margin of a class, one row per state."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import (
    ACTIONS,
    DEFAULT_GRID,
    KEEP,
    FloatArray,
    IntArray,
    MarginGrid,
    as_indices,
)
from fairloss.agent.states import decode_state, legal_actions, num_states

_VERSION = 1
_DEFAULT_PATH = Path(__file__).with_name("default_policy.json")


@dataclass(frozen=True, eq=False)
class Policy:
    """A table of actions with the evidence for it.

    Attributes:
        grid: the margins.
        table: (S,) int64, action of each state, index into ACTIONS.
        q: (S, 3) float64, Q of each pair, NaN where it was not visited.
        visits: (S, 3) int64, number of transitions behind each Q.
        provenance: where the table comes from, anything JSON can hold.

    Raises:
        ValueError: a shape is wrong, an action or a visited pair is illegal on the grid, or q is
            not finite exactly where visits are positive.
    """

    grid: MarginGrid
    table: IntArray
    q: FloatArray
    visits: IntArray
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        legal = legal_actions(self.grid)
        table = as_indices("table", self.table, len(ACTIONS))
        visits = as_indices("visits", self.visits, np.iinfo(np.int64).max)
        q = np.array(self.q, dtype=np.float64)
        shapes = {
            "table": (table, legal.shape[:1]),
            "visits": (visits, legal.shape),
            "q": (q, legal.shape),
        }
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        illegal = np.flatnonzero(~legal[np.arange(len(table)), table])
        if illegal.size:
            action = ACTIONS[table[illegal[0]]]
            raise ValueError(f"table has the illegal action {action!r} in state {illegal[0]}")
        if (visits[~legal] > 0).any():
            raise ValueError("visits must be 0 for illegal pairs")
        if not (np.where(visits > 0, np.isfinite(q), np.isnan(q))).all():
            raise ValueError("q must be finite where visits are positive and NaN elsewhere")

    @classmethod
    def greedy(
        cls,
        q: npt.ArrayLike,
        visits: npt.ArrayLike,
        grid: MarginGrid,
        provenance: dict[str, Any],
    ) -> Policy:
        """The visited action with the largest Q in every state, "keep" where there is none.

        A tie goes to "keep", as a change without a gain only disturbs training, and then to
        "lower", the milder of the two changes. Values of `q` at unvisited pairs are ignored.

        Args:
            q: (S, 3) from `fit_tabular` or `fit_dqn`.
            visits: (S, 3) from `Transitions.visits`.
            grid: the margins.
            provenance: where the table comes from.
        """
        counts = np.asarray(visits)
        values = np.asarray(q, dtype=np.float64)
        shape = (num_states(grid), len(ACTIONS))
        if counts.shape != shape or values.shape != shape:
            raise ValueError(
                f"q and visits must have shape {shape}, got {values.shape} and {counts.shape}"
            )
        known = np.where(counts > 0, values, np.nan)
        return cls(grid, greedy_actions(values, counts), known, counts, provenance)

    @classmethod
    def constant(cls, action: str, grid: MarginGrid = DEFAULT_GRID) -> Policy:
        """The same action ("lower", "keep" or "raise") everywhere; "keep" where it is illegal."""
        if action not in ACTIONS:
            raise ValueError(f"action must be one of {ACTIONS}, got {action!r}")
        legal = legal_actions(grid)
        index = ACTIONS.index(action)
        table = np.where(legal[:, index], index, KEEP)
        provenance = {"source": f"constant {action}"}
        return cls(
            grid, table, np.full(legal.shape, np.nan), np.zeros(legal.shape, int), provenance
        )

    @classmethod
    def default(cls) -> Policy:
        """The table that comes with the package."""
        return cls.load(_DEFAULT_PATH)

    def act(self, states: npt.ArrayLike) -> IntArray:
        """(C,) actions for (C,) state ids; ValueError if one is out of range."""
        actions: IntArray = self.table[as_indices("states", states, len(self.table))]
        return actions

    def apply(self, states: npt.ArrayLike, margins: npt.ArrayLike) -> FloatArray:
        """(C,) float64 margins after the policy's action.

        Args:
            states: (C,) state ids, as encoded with these margins.
            margins: (C,) current margins.

        Raises:
            ValueError: a margin is off the grid or is not the one its state says.
        """
        actions = self.act(states)
        index = self.grid.index(margins)
        if not np.array_equal(index, decode_state(states, self.grid)[2]):
            raise ValueError("margins must be those the states were encoded with")
        return np.asarray(self.grid.values)[self.grid.step(index, actions)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, version 1: grid, provenance and one line per state.

        Each of the S entries of "states" has state, count_bin, variance_bin, margin, action (its
        name), q (3 numbers, null where unvisited) and visits (3 integers). The file appears whole
        or not at all.

        Raises:
            ValueError: the provenance cannot be written as JSON.
        """
        grid = list(self.grid.values)
        head = {"version": _VERSION, "grid": grid, "provenance": self.provenance}
        try:
            lines = [f"{json.dumps(key)}: {json.dumps(head[key], allow_nan=False)}" for key in head]
        except (TypeError, ValueError) as error:
            raise ValueError(f"provenance must be JSON: {error}") from error
        rows = ",\n".join(f"  {json.dumps(self._row(state))}" for state in range(len(self.table)))
        text = "{\n" + ",\n".join([*lines, f'"states": [\n{rows}\n]']) + "\n}\n"
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a file written by `save`; ValueError, naming the file, if anything in it is off."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls._parse(json.loads(text, parse_constant=_no_constant))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is not a policy file: {error}") from error

    def _row(self, state: int) -> dict[str, Any]:
        return {
            **_place(state, self.grid),
            "action": ACTIONS[self.table[state]],
            "q": [None if np.isnan(value) else float(value) for value in self.q[state]],
            "visits": self.visits[state].tolist(),
        }

    @classmethod
    def _parse(cls, data: Any) -> Policy:
        _check_keys("the file", data, {"version", "grid", "provenance", "states"})
        if data["version"] != _VERSION:
            raise ValueError(f"version must be {_VERSION}, got {data['version']!r}")
        if not isinstance(data["provenance"], dict):
            raise ValueError("provenance must be an object")
        _check_list("grid", data["grid"], (int, float), None)
        grid = MarginGrid(data["grid"])
        rows = data["states"]
        if not isinstance(rows, list) or len(rows) != num_states(grid):
            raise ValueError(f"states must be a list of {num_states(grid)} rows")
        for state, row in enumerate(rows):
            _check_row(f"states[{state}]", row, _place(state, grid))
        return cls(
            grid,
            np.array([ACTIONS.index(row["action"]) for row in rows]),
            np.array([row["q"] for row in rows], dtype=np.float64),  # null becomes NaN
            np.array([row["visits"] for row in rows]),
            data["provenance"],
        )


def greedy_actions(q: npt.ArrayLike, visits: npt.ArrayLike) -> IntArray:
    """(S,) visited action with the largest Q, see `Policy.greedy`."""
    preference = np.array([ACTIONS.index(name) for name in ("keep", "lower", "raise")])
    ranked = np.where(np.asarray(visits) > 0, np.asarray(q), -np.inf)[:, preference]
    actions: IntArray = preference[ranked.argmax(axis=1)]
    return actions


def _place(state: int, grid: MarginGrid) -> dict[str, int | float]:
    """The part of a row that follows from the state id alone."""
    count_bin, variance_bin, margin = (int(part) for part in decode_state(state, grid))
    return {
        "state": state,
        "count_bin": count_bin,
        "variance_bin": variance_bin,
        "margin": grid.values[margin],
    }


def _check_row(where: str, row: Any, place: dict[str, int | float]) -> None:
    _check_keys(where, row, {*place, "action", "q", "visits"})
    for key, value in place.items():
        if row[key] != value:
            raise ValueError(f"{where}.{key} must be {value}, got {row[key]!r}")
    if row["action"] not in ACTIONS:
        raise ValueError(f"{where}.action must be one of {ACTIONS}, got {row['action']!r}")
    _check_list(f"{where}.q", row["q"], (int, float, NoneType), len(ACTIONS))
    _check_list(f"{where}.visits", row["visits"], (int,), len(ACTIONS))


def _check_keys(where: str, value: Any, keys: set[str]) -> None:
    if not isinstance(value, dict) or set(value) != keys:
        raise ValueError(f"{where} must be an object with exactly the keys {sorted(keys)}")


def _check_list(where: str, value: Any, kinds: tuple[type, ...], length: int | None) -> None:
    # `type`, not isinstance: true is an int to isinstance, but it is not a number in JSON.
    if not isinstance(value, list) or any(type(item) not in kinds for item in value):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{where} must be a list of {names}, got {value!r}")
    if length is not None and len(value) != length:
        raise ValueError(f"{where} must have {length} entries, got {value!r}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
