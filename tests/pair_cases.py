"""Pairs whose embeddings are made from integers, so every machine and version has the same."""

from __future__ import annotations

import numpy as np

from fairloss.evaluation import Pairs


def uniform(count: int, start: int) -> np.ndarray:
    """`count` numbers in [-0.5, 0.5): the splitmix64 sequence from `start`."""
    z = np.arange(start + 1, start + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z.astype(np.float64) / 2.0**64 - 0.5


def pair_case(pairs: int, dimension: int, noise: float, start: int):
    """Embeddings (2P, D), alternating as in a `.bin`, and (P,) flags in runs of 30."""
    genuine = np.arange(pairs) // 30 % 2 == 0
    center = uniform(2 * pairs * dimension, start).reshape(2 * pairs, dimension)
    center[1::2][genuine] = center[0::2][genuine]
    jitter = uniform(2 * pairs * dimension, start + 10**9).reshape(2 * pairs, dimension)
    return center + noise * jitter, genuine


def as_pairs(genuine: np.ndarray) -> Pairs:
    rows = np.arange(2 * len(genuine), dtype=np.int64)
    return Pairs(rows[0::2], rows[1::2], genuine)


CASES = {
    "easy": (600, 16, 0.8, 1),
    "hard": (600, 8, 2.0, 2),
    "uneven": (605, 12, 1.2, 3),
    "lfw_size": (6000, 8, 1.0, 4),
}
