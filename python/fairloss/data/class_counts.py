"""The images per identity of a data set: their quantiles, shares and imbalance."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_integers, expect
from fairloss.typing import Ints

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
THIRDS = ("head", "middle", "tail")


def summarize_counts(counts: npt.ArrayLike) -> dict[str, Any]:
    """Describe the images per identity.

    Args:
        counts: (C,) images per identity; identities without any are counted apart, and take no part
            in the other numbers.

    Returns:
        identities, images, empty; smallest, mean, largest and quantiles of the images per identity;
        imbalance, largest / smallest; gini, from 0 (all equal) to almost 1; single, identities with
        one image; shares of the images that the third of the identities with most images (head),
        the next (middle) and the rest (tail) have.

    Raises:
        ValueError: if no identity has an image.
    """
    given = check_integers("counts", counts)
    present = np.sort(given[given > 0])
    expect(len(present), "counts", "an identity with an image", "none")
    total, number = int(present.sum()), len(present)
    # Gini = sum_i (2 i - n - 1) x_i / (n sum x) over ascending x, i from 1
    ranks = 2 * np.arange(1, number + 1) - number - 1
    thirds = np.array_split(present[::-1], len(THIRDS))
    return {
        "identities": number,
        "images": total,
        "empty": len(given) - number,
        "smallest": int(present[0]),
        "mean": total / number,
        "largest": int(present[-1]),
        "quantiles": {f"{q:g}": float(np.quantile(present, q)) for q in QUANTILES},
        "imbalance": float(present[-1] / present[0]),
        "gini": float((ranks * present).sum() / (number * total)),
        "single": int((present == 1).sum()),
        "shares": {
            name: float(part.sum() / total) for name, part in zip(THIRDS, thirds, strict=True)
        },
    }


def count_bars(counts: npt.ArrayLike, most: int = 12) -> list[tuple[int, int, int]]:
    """Return the bars of a histogram of the images per identity: (from, to, identities).

    Both ends are included. There is a bar for each number of images where at most `most` bars are
    needed; else the bars widen by a constant factor, as the counts of a long tail do.
    """
    given = check_integers("counts", counts)
    present = given[given > 0]
    low, high = int(present.min()), int(present.max())
    edges = _edges(low, high, most)
    inside = np.histogram(present, bins=edges)[0]
    ends = zip(edges[:-1].tolist(), edges[1:].tolist(), inside.tolist(), strict=True)
    return [(start, stop - 1, count) for start, stop, count in ends]


def _edges(low: int, high: int, most: int) -> Ints:
    """Return ascending integers from `low` to `high + 1`, at most `most` + 1 of them."""
    if high - low < most:
        return np.arange(low, high + 2)
    edges: Ints = np.unique(np.geomspace(low, high + 1, most + 1).round().astype(np.int64))
    return edges
