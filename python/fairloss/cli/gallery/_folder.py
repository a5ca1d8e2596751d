"""Gallery folders as the commands open, index and save them, with a status line for each step."""

from contextlib import suppress
from pathlib import Path

from fairloss.checks import expect
from fairloss.cli._console import status
from fairloss.data import Features
from fairloss.gallery import Embedder, Gallery
from fairloss.gallery.kinds import check_kind
from fairloss.progress import Progress, labeled


def load_gallery(folder: Path, device: str = "auto") -> Gallery:
    """Load a gallery, which reads all its files."""
    with status(f"reading {folder}"):
        return Gallery.load(folder, device)


def load_or_create(folder: Path, size: int) -> Gallery:
    """Load the gallery of a folder, or start one of this embedding size if there is none."""
    with suppress(FileNotFoundError):
        gallery = load_gallery(folder)
        if len(gallery) or gallery.embedding_size == size:
            check_size(folder, gallery, size)
            return gallery
    created = Gallery(size)
    created.save(folder)  # so that two builds of one folder notice each other
    return created


def save_gallery(gallery: Gallery, folder: Path) -> None:
    """Save a gallery into its folder."""
    with status(f"writing {folder}"):
        gallery.save(folder)


def check_size(folder: Path, gallery: Gallery, size: int) -> None:
    """Raise ValueError unless the embeddings of a gallery have this size."""
    held = gallery.embedding_size
    expect(size == held, "embedding size", f"{held}, as {folder} holds", size)


def check_index(index: str | None) -> None:
    """Raise ValueError unless `index` is None or a kind of index."""
    if index is not None:
        check_kind(index)


def rebuild_index(
    gallery: Gallery, index: str | None, memory: float | None, progress: Progress
) -> None:
    """Index a gallery; `memory` is in gigabytes."""
    gallery.reindex(index, memory=as_bytes(memory), progress=labeled(progress, "index"))


def as_bytes(gigabytes: float | None) -> int | None:
    """Convert gigabytes to bytes."""
    return None if gigabytes is None else int(gigabytes * 1e9)


def features_embedder(features: Features) -> Embedder | None:
    """Return the network of a feature file, or None if the file does not name it."""
    if features.checkpoint_sha256 is None or features.flip is None:
        return None
    return Embedder(features.checkpoint_sha256, features.flip)
