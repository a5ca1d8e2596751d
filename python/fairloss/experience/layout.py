"""The layouts of a collection: which cells move their margins in an epoch."""

from dataclasses import dataclass

import numpy as np

from fairloss.agent.grid import ACTIONS, KEEP
from fairloss.typing import Bools, Ints

LAYOUTS = ("chain", "single", "branches")


@dataclass
class Cell:
    """Classes that share a state, and the action that they take together."""

    state: int
    classes: Ints
    action: int = KEEP


def cells_with_images(states: Ints, counts: Ints) -> list[Cell]:
    """Return the cells, all of which keep their margin.

    Args:
        states: (C,) of the classes.
        counts: (C,) their images.
    """
    present = np.unique(states[counts > 0]).tolist()
    return [Cell(state, np.flatnonzero((states == state) & (counts > 0))) for state in present]


def move_all(cells: list[Cell], legal: Bools, visits: Ints, random: np.random.Generator) -> None:
    """Let every cell take an action whose (state, action) pair has the fewest visits.

    Args:
        cells: to change.
        legal: (S, 3) legal pairs.
        visits: (S, 3) of the pairs.
        random: draws among pairs of equal visits.
    """
    for cell in cells:
        cell.action = least_visited(legal[cell.state], visits[cell.state], random)


def move_one(cells: list[Cell], legal: Bools, visits: Ints, random: np.random.Generator) -> None:
    """Let one cell raise or lower its margin, by the pair with the fewest visits; others keep."""
    states = [cell.state for cell in cells]
    moves = legal[states]
    moves[:, KEEP] = False
    if moves.any():  # not so on a grid of one margin
        pair = least_visited(moves.ravel(), visits[states].ravel(), random)
        cell, action = divmod(pair, len(ACTIONS))
        cells[cell].action = action


def least_visited(legal: Bools, visits: Ints, random: np.random.Generator) -> int:
    """Return the position of the fewest of (n,) visits among the legal ones, drawn where equal."""
    tried = np.where(legal, visits, np.iinfo(np.int64).max)
    return int(random.choice(np.flatnonzero(tried == tried.min())))
