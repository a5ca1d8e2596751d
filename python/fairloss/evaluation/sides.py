"""Sides of a comparison: what one network, or several of different seeds, have on the same data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect

T = TypeVar("T")


def networks(name: str, side: T | Sequence[T]) -> list[T]:
    """Return what a side has of each of its networks.

    Raises:
        ValueError: naming the argument: there is no network.
    """
    several = list(side) if isinstance(side, Sequence) else [side]
    expect(several, name, "at least one network", "none")
    return several


def network_arrays(name: str, side: npt.ArrayLike, dimensions: int) -> list[npt.NDArray[Any]]:
    """Return the array of each network of a side.

    Args:
        name: of the argument.
        side: an array of the given dimensions, an array of one more, whose first is that of the
            networks, or a list of arrays, which may differ in size.
        dimensions: of an array of one network.

    Raises:
        ValueError: naming the argument: there is no network, or an array has other dimensions.
    """
    if isinstance(side, Sequence) and (not side or np.ndim(side[0]) == dimensions):
        arrays = [np.asarray(each) for each in side]
    else:
        array = np.asarray(side)
        arrays = list(array) if array.ndim == dimensions + 1 else [array]
    expect(arrays, name, "at least one network", "none")
    for array in arrays:
        expected = f"an array of dimension {dimensions} of each network"
        expect(array.ndim == dimensions, name, expected, f"shape {array.shape}")
    return arrays


def matched_networks(
    a: T | Sequence[T],
    b: T | Sequence[T],
    expected: str,
    data: Callable[[T], Mapping[str, Any]],
    equal: Callable[[Any, Any], bool] = np.array_equal,
) -> list[list[T]]:
    """Return the networks of both sides, which must be evaluated on the same data.

    Raises:
        ValueError: the data of a network differ from those of the first.
    """
    sides = {"a": networks("a", a), "b": networks("b", b)}
    first = data(sides["a"][0])
    for side, several in sides.items():
        for other in map(data, several):
            for name in first.keys() | other.keys():
                same = name in first and name in other and equal(first[name], other[name])
                expect(same, side, f"{expected} in all networks", f"others in {name!r}")
    return list(sides.values())
