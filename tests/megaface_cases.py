"""A random MegaFace challenge."""

from __future__ import annotations

import numpy as np


def random_challenge(seed=0, probes=40, distractors=700, dimension=16):
    """Features (P, D) and identities (P,) of probes, and features (M, D) of distractors."""
    generator = np.random.default_rng(seed)
    identities = generator.integers(9, size=probes)
    centers = generator.normal(size=(9, dimension))
    features = centers[identities] + generator.normal(size=(probes, dimension))
    rows = 0.5 * generator.normal(size=(distractors, dimension)) + centers[
        generator.integers(9, size=distractors)
    ] * generator.uniform(0, 1, (distractors, 1))
    return features.astype(np.float32), identities, rows.astype(np.float32)
