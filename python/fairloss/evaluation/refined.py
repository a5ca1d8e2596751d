"""MegaFace's refined list: what stands in for a noisy probe."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairloss.embeddings import unit_embeddings
from fairloss.evaluation.pairs import identity_index


def replace_noisy(
    features: npt.ArrayLike, identities: npt.ArrayLike, noisy: npt.ArrayLike, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Probes of the refined list: noisy ones become the normalised sum of their person's others.

    As insightface's `remove_noises.py`: sum of the unit features of the clean images of the person,
    plus uniform noise of +-0.001, normalised. Only the images given here are summed.

    Raises:
        ValueError: a person has noisy images only.
    """
    unit, people = unit_embeddings(features), identity_index(identities)
    bad = np.asarray(noisy, dtype=np.bool_)
    generator = np.random.default_rng(seed)
    for row in np.flatnonzero(bad):
        clean = (people == people[row]) & ~bad
        if not clean.any():
            raise ValueError(f"noisy: row {row} shows a person of whom no clean image is given")
        center = unit[clean].sum(axis=0) + generator.uniform(-1e-3, 1e-3, unit.shape[1])
        unit[row] = center / np.linalg.norm(center)
    return unit
