"""The policy: one action for each state."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import (
    ACTIONS,
    DEFAULT_GRID,
    KEEP,
    MarginGrid,
    as_indices,
)
from fairloss.agent.state import decode_state, legal_actions, num_states
from fairloss.checks import check_choice, check_integer, check_shape, expect
from fairloss.io.atomic import FormatError, write_text
from fairloss.typing import Float64s, Ints

_VERSION = 1


@dataclass(frozen=True, eq=False)
class Policy:
    """A table of actions with the evidence for it.

    Attributes:
        grid: the margins.
        table: (S,) int64, action of each state, index into ACTIONS.
        q: (S, 3) float64, Q of each pair, NaN where it was not visited.
        visits: (S, 3) int64, number of transitions behind each Q.
        provenance: where the table comes from, anything JSON can hold; "cost_steps" of it is the
            cost of the experience and of the run it is collected from, None where it is unknown.
        redraw: (seed, epoch) of a random table, which `next_epoch` draws anew; None: it stays.

    Raises:
        ValueError: a shape is wrong, an action or a visited pair is illegal on the grid, or q is
            not finite exactly where visits are positive.
    """

    grid: MarginGrid
    table: Ints
    q: Float64s
    visits: Ints
    provenance: dict[str, Any]
    redraw: tuple[int, int] | None = None

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
            check_shape(name, array, *shape)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.redraw is not None:
            seed, epoch = self.redraw
            redraw = check_integer("redraw", seed, 0), check_integer("redraw", epoch, 0)
            object.__setattr__(self, "redraw", redraw)
        illegal = np.flatnonzero(~legal[np.arange(len(table)), table])
        if illegal.size:
            action = ACTIONS[table[illegal[0]]]
            expect(False, "table", f"a legal action in state {illegal[0]}", repr(action))
        expect((visits[~legal] == 0).all(), "visits", "0 for illegal pairs", "a positive number")
        wrong = np.argwhere(np.where(visits > 0, ~np.isfinite(q), ~np.isnan(q))).tolist()
        expected = "finite values where visits are positive and NaN elsewhere"
        expect(not wrong, "q", expected, wrong and f"{q[tuple(wrong[0])]} at {tuple(wrong[0])}")

    def __reduce__(self) -> Any:
        """Return the arguments, so that the arrays of a copy are read-only too."""
        return Policy, (
            self.grid,
            self.table,
            self.q,
            self.visits,
            self.provenance,
            self.redraw,
        )

    @classmethod
    def greedy(
        cls,
        q: npt.ArrayLike,
        visits: npt.ArrayLike,
        grid: MarginGrid,
        provenance: dict[str, Any],
    ) -> Policy:
        """Return the policy of the visited action with the largest Q, "keep" where there is none.

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
        check_shape("q", values, *shape)
        check_shape("visits", counts, *shape)
        visited = np.where(counts > 0, values, np.nan)
        return cls(grid, greedy_actions(values, counts), visited, counts, provenance)

    @classmethod
    def constant(cls, action: str, grid: MarginGrid = DEFAULT_GRID) -> Policy:
        """Return one action ("lower", "keep" or "raise") everywhere, "keep" where it is illegal."""
        index = check_choice("action", action, ACTIONS)
        legal = legal_actions(grid)
        table = np.where(legal[:, index], index, KEEP)
        return cls(grid, table, *_no_evidence(grid), _free(f"constant {action}"))

    @classmethod
    def random(cls, seed: int, grid: MarginGrid = DEFAULT_GRID, *, epoch: int = 0) -> Policy:
        """Return a table of legal actions drawn uniformly, another one in every epoch.

        A control: it moves margins as often as a policy may, and its states say nothing.

        Args:
            seed: of the draws.
            grid: the margins.
            epoch: from 0; a table follows from the seed and its epoch alone.
        """
        check_integer("seed", seed, 0)
        check_integer("epoch", epoch, 0)
        legal = legal_actions(grid)
        drawn = np.random.default_rng((seed, epoch)).random(legal.shape)
        table = np.where(legal, drawn, -1).argmax(axis=1)
        return cls(grid, table, *_no_evidence(grid), _free(f"random {seed}"), (seed, epoch))

    def shuffled(self, seed: int) -> Policy:
        """Return this table with the actions of each margin permuted over the cells.

        A control: each margin is raised, lowered and kept in as many cells as before, and the image
        count and variance of a class say nothing. Cells differ in the number of their classes, so
        that the share of the classes that is raised may be another.
        """
        expect(self.redraw is None, "policy", "one whose table stays", "a random one")
        generator = np.random.default_rng(check_integer("seed", seed, 0))
        cells = self.table.reshape(-1, len(self.grid))
        table = generator.permuted(cells, axis=0).reshape(-1)
        shared = ("kind", "cost_steps")  # a shuffled table costs what its source does
        same = {key: self.provenance[key] for key in shared if key in self.provenance}
        provenance = {"source": f"shuffled {seed}", **same, "shuffled": self.provenance}
        return Policy(self.grid, table, *_no_evidence(self.grid), provenance)

    def next_epoch(self) -> Policy:
        """Return the policy of the next epoch: this one, or a random one's next table."""
        if self.redraw is None:
            return self
        seed, epoch = self.redraw
        return replace(
            self,
            table=Policy.random(seed, self.grid, epoch=epoch + 1).table,
            redraw=(seed, epoch + 1),
        )

    @classmethod
    def default(cls) -> Policy:
        """Raise ValueError: the table that version 0.1.0 had is not packaged any more."""
        made = "a policy of `fairloss collect` and `fairloss fit-policy`, or Policy.constant"
        raise ValueError(f"policy: expected {made}, got Policy.default, which was removed")

    def act(self, states: npt.ArrayLike) -> Ints:
        """Return (C,) actions for (C,) state ids; ValueError if one is out of range."""
        actions: Ints = self.table[as_indices("states", states, len(self.table))]
        return actions

    def apply(self, states: npt.ArrayLike, margins: npt.ArrayLike) -> Float64s:
        """Return (C,) float64 margins after the policy's action.

        Args:
            states: (C,) state ids, as encoded with these margins.
            margins: (C,) current margins.

        Raises:
            ValueError: a margin is off the grid or is not the one its state says.
        """
        actions = self.act(states)
        index = self.grid.index(margins)
        differing = np.flatnonzero(index != decode_state(states, self.grid)[2])
        got = f"another one for class {differing[:1]}"
        expect(not differing.size, "margins", "those that the states were encoded with", got)
        return np.asarray(self.grid.values)[self.grid.step(index, actions)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, version 1: grid, provenance, redraw if there is one, and a line per state.

        Each of the S entries of "states" has state, count_bin, variance_bin, margin, action (its
        name), q (3 numbers, null where unvisited) and visits (3 integers). The file is written
        atomically.

        Raises:
            ValueError: the provenance cannot be written as JSON.
        """
        grid = list(self.grid.values)
        head = {"version": _VERSION, "grid": grid, "provenance": self.provenance}
        if self.redraw is not None:
            head["redraw"] = list(self.redraw)
        try:
            lines = [f"{json.dumps(key)}: {json.dumps(head[key], allow_nan=False)}" for key in head]
        except (TypeError, ValueError) as error:
            raise ValueError(f"provenance: expected JSON, got {error}") from error
        rows = ",\n".join(f"  {json.dumps(self._row(state))}" for state in range(len(self.table)))
        text = "{\n" + ",\n".join([*lines, f'"states": [\n{rows}\n]']) + "\n}\n"
        write_text(Path(path), text)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a file written by `save`; FormatError names the first invalid part."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return cls._parse(json.loads(text, parse_constant=_no_constant))
        except (ValueError, OverflowError, RecursionError) as error:
            raise FormatError(path, f"not a policy file: {error}") from error

    def _row(self, state: int) -> dict[str, Any]:
        return {
            **_description(state, self.grid),
            "action": ACTIONS[self.table[state]],
            "q": [None if np.isnan(value) else float(value) for value in self.q[state]],
            "visits": self.visits[state].tolist(),
        }

    @classmethod
    def _parse(cls, data: Any) -> Policy:
        optional = {"redraw"} & set(data if isinstance(data, dict) else ())
        _check_keys("the file", data, {"version", "grid", "provenance", "states"} | optional)
        version = data["version"]
        expect(version == _VERSION, "version", f"{_VERSION}", repr(version))
        provenance = data["provenance"]
        expect(isinstance(provenance, dict), "provenance", "an object", repr(provenance))
        _check_list("grid", data["grid"], (int, float), None)
        grid = MarginGrid(data["grid"])
        rows = data["states"]
        complete = isinstance(rows, list) and len(rows) == num_states(grid)
        expect(complete, "states", f"a list of {num_states(grid)} rows", type(rows).__name__)
        for state, row in enumerate(rows):
            _check_row(f"states[{state}]", row, _description(state, grid))
        return cls(
            grid,
            np.array([ACTIONS.index(row["action"]) for row in rows]),
            np.array([row["q"] for row in rows], dtype=np.float64),  # null becomes NaN
            np.array([row["visits"] for row in rows]),
            provenance,
            parse_redraw(data.get("redraw")),
        )


def parse_redraw(value: Any) -> tuple[int, int] | None:
    """Return `Policy.redraw` from its JSON form, a list of two integers or None."""
    if value is None:
        return None
    _check_list("redraw", value, (int,), 2)
    return value[0], value[1]


def _no_evidence(grid: MarginGrid) -> tuple[Float64s, Ints]:
    """Return q and visits of a policy that was not learned."""
    shape = legal_actions(grid).shape
    return np.full(shape, np.nan), np.zeros(shape, np.int64)


def _free(source: str) -> dict[str, Any]:
    """Return the provenance of a policy that needs no collection."""
    return {"source": source, "cost_steps": 0.0}


def greedy_actions(q: npt.ArrayLike, visits: npt.ArrayLike) -> Ints:
    """Return the (S,) visited actions with the largest Q, see `Policy.greedy`."""
    preference = np.array([ACTIONS.index(name) for name in ("keep", "lower", "raise")])
    ranked = np.where(np.asarray(visits) > 0, np.asarray(q), -np.inf)[:, preference]
    actions: Ints = preference[ranked.argmax(axis=1)]
    return actions


def _description(state: int, grid: MarginGrid) -> dict[str, int | float]:
    """Return the part of a row that follows from the state id alone."""
    count_bin, variance_bin, margin = (int(part) for part in decode_state(state, grid))
    return {
        "state": state,
        "count_bin": count_bin,
        "variance_bin": variance_bin,
        "margin": grid.values[margin],
    }


def _check_row(where: str, row: Any, description: dict[str, int | float]) -> None:
    _check_keys(where, row, {*description, "action", "q", "visits"})
    for key, value in description.items():
        expect(row[key] == value, f"{where}.{key}", f"{value}", repr(row[key]))
    check_choice(f"{where}.action", row["action"], ACTIONS)
    _check_list(f"{where}.q", row["q"], (int, float, NoneType), len(ACTIONS))
    _check_list(f"{where}.visits", row["visits"], (int,), len(ACTIONS))


def _check_keys(where: str, value: Any, keys: set[str]) -> None:
    matching = isinstance(value, dict) and set(value) == keys
    expect(matching, where, f"an object with the keys {sorted(keys)}", repr(value)[:80])


def _check_list(where: str, value: Any, kinds: tuple[type, ...], length: int | None) -> None:
    # `type`, not isinstance: true is an int to isinstance, but it is not a number in JSON.
    matching = isinstance(value, list) and all(type(item) in kinds for item in value)
    names = " or ".join(kind.__name__ for kind in kinds)
    expect(matching, where, f"a list of {names}", repr(value))
    expect(length in (None, len(value)), where, f"{length} entries", repr(value))


def _no_constant(name: str) -> None:
    raise ValueError(f"expected JSON, got {name}")
