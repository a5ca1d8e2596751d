"""Galleries for the tests, and a program that fills one, in processes that are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from fairloss.gallery import Gallery, fill, filling, rows

SIZE, BATCH, COUNT = 8, 50, 300
SMALL_SHARD = 100 * 4 * SIZE  # bytes of 100 rows


def embeddings(count, size=SIZE, seed=0):
    """Return (count, size) embeddings of count // 2 identities."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(max(count // 2, 1), size))
    labels = generator.integers(len(centers), size=count)
    return (centers[labels] + 0.3 * generator.normal(size=(count, size))).astype(np.float32)


def numbered(count, prefix="identity"):
    return [f"{prefix} {i}" for i in range(count)]


def unit(array):
    array = np.asarray(array, dtype=np.float64)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def build(folder: Path, index: str = "ivf") -> None:
    """Add the missing embeddings to a gallery, save after every batch, index it, save again."""
    try:
        gallery = Gallery.load(folder)
    except FileNotFoundError:
        gallery = Gallery(SIZE, index=index)
    rows_, done = embeddings(COUNT), len(gallery)
    starts = range(done, COUNT, BATCH)
    batches = (rows_[start : start + BATCH] for start in starts)
    fill(gallery, folder, numbered(COUNT)[done:], batches)
    gallery.reindex()
    gallery.save(folder)


def save_other(folder: Path) -> None:
    """Replace a gallery by one that shares no file with it."""
    gallery = Gallery(SIZE, index="hnsw")
    gallery.add(numbered(120, "other"), embeddings(120, seed=5))
    gallery.reindex()
    gallery.save(folder)


def killed(step: int, program: str, folder: Path) -> None:
    """Run `build` or `save_other`, killed before the step-th time that a file is made durable.

    A file is flushed, then renamed: steps alternate between the two.
    """
    filling.SAVE_EVERY = 0.0
    rows.SHARD_BYTES = SMALL_SHARD
    left = [step]

    def counted(function):
        def call(*args, **kwargs):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    os.replace, os.fsync = counted(os.replace), counted(os.fsync)
    globals()[program](folder)
