"""Filling a gallery from batches, with a save every minute."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fairloss.checks import check_length
from fairloss.gallery.gallery import Gallery

SAVE_EVERY = 60.0  # seconds of work that an interruption loses; a save takes well under a second


def fill(
    gallery: Gallery,
    folder: str | os.PathLike[str],
    names: Sequence[str],
    batches: Iterable[Any],
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Add embeddings to a gallery and save it, every minute or shard and at the end.

    If `batches` raises, the batches before are saved.

    Args:
        gallery: the gallery.
        folder: of the gallery.
        names: N names.
        batches: (n, D) embeddings, N in all, in the order of the names.
        progress: called as progress(done, N).

    Raises:
        ValueError: `batches` gives more embeddings than there are names, or fewer.
    """
    done = saved = 0
    last_save = time.monotonic()
    try:
        for embeddings in batches:
            gallery.add(names[done : done + len(embeddings)], embeddings)
            done += len(embeddings)
            full = done - saved >= gallery._rows.shard_rows
            if full or time.monotonic() - last_save >= SAVE_EVERY:
                gallery.save(folder)
                saved, last_save = done, time.monotonic()
            progress(done, len(names))
        check_length("batches", done, len(names), "embeddings, one for each name")
    finally:
        gallery.save(folder)
