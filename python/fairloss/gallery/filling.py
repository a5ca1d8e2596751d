"""Filling a gallery from batches, so that a killed program loses little of what it computed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fairloss.gallery.gallery import Gallery

SAVE_EVERY = 60.0  # seconds: what is lost at most; a save rewrites one shard, well under a second


def fill(
    gallery: Gallery,
    folder: str | os.PathLike[str],
    names: Sequence[str],
    batches: Iterable[Any],
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Add embeddings to a gallery and save it, every minute or shard and at the end.

    Also where `batches` raises: what came before is kept.

    Args:
        folder: where the gallery lives.
        names: N names.
        batches: (n, D) embeddings, N in all, in the order of the names.
        progress: called as progress(done, N).

    Raises:
        ValueError: `batches` gives more embeddings than there are names, or fewer.
    """
    done = saved = 0
    since = time.monotonic()
    try:
        for embeddings in batches:
            gallery.add(names[done : done + len(embeddings)], embeddings)
            done += len(embeddings)
            if done - saved >= gallery._rows.shard_rows or time.monotonic() - since >= SAVE_EVERY:
                gallery.save(folder)
                saved, since = done, time.monotonic()
            progress(done, len(names))
        if done < len(names):
            raise ValueError(f"batches gave {done} embeddings for {len(names)} names")
    finally:
        gallery.save(folder)
