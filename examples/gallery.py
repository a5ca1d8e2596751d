"""Search named embeddings, save the gallery, load it again and add to it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from fairloss.gallery import Gallery

EMBEDDING = 32

generator = np.random.default_rng(0)
centers = {name: generator.normal(size=EMBEDDING) for name in ("ada", "grace", "emmy")}


def photograph(name: str) -> np.ndarray:
    """Return an embedding of one more image of this identity, (1, D)."""
    return centers[name][None] + 0.3 * generator.normal(size=(1, EMBEDDING))


gallery = Gallery(EMBEDDING)
for name in centers:
    gallery.add([name], photograph(name))

with tempfile.TemporaryDirectory() as folder:
    gallery.save(Path(folder) / "gallery")
    gallery = Gallery.load(Path(folder) / "gallery")
    gallery.add(["ada"], photograph("ada"))  # several embeddings may share a name
    for match in gallery.search(photograph("ada"), k=3)[0]:
        print(f"{match.name:8s} {match.score:.3f}")
