"""Galleries as the commands open and save them: with a line that says what takes long."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from fairloss.gallery import Gallery


def load_gallery(folder: Path, device: str = "auto") -> Gallery:
    """`Gallery.load`, which reads everything once."""
    from fairloss.gallery import Gallery

    with Console(stderr=True).status(f"reading {escape(str(folder))}"):
        return Gallery.load(folder, device)


def load_or_start(folder: Path, size: int) -> Gallery:
    """The gallery of a folder; an empty one of this embedding size where there is none."""
    from fairloss.gallery import Gallery

    with suppress(FileNotFoundError):
        found = load_gallery(folder)
        if len(found) or found.embedding_size == size:
            check_size(folder, found, size)
            return found
    started = Gallery(size)
    started.save(folder)  # so that two builds of one folder notice each other
    return started


def save_gallery(gallery: Gallery, folder: Path) -> None:
    """`Gallery.save`."""
    with Console(stderr=True).status(f"writing {escape(str(folder))}"):
        gallery.save(folder)


def check_size(folder: Path, gallery: Gallery, size: int) -> None:
    """ValueError naming both unless a gallery's embeddings have this size."""
    if gallery.embedding_size != size:
        raise ValueError(
            f"embedding size: the checkpoint or the features give {size}, "
            f"but {folder} holds {gallery.embedding_size}"
        )


def check_kind(index: str | None) -> None:
    """ValueError unless an index is of a known kind, or not asked for."""
    from fairloss.gallery import kinds

    if index is not None:
        kinds.check_kind(index)
