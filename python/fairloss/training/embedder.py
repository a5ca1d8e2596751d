"""Whose embeddings a gallery holds: embedder.json in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fairloss.training.backbone import checkpoint_digest
from fairloss.training.run_folder import read_json, write_json

EMBEDDER = "embedder.json"


class Embedder(NamedTuple):
    """A network, and whether the embeddings of mirror images were added."""

    checkpoint_sha256: str
    flip: bool


def record_embedder(gallery: Path, checkpoint: Path, flip: bool = True) -> None:
    """Write into a gallery's folder whose embeddings it holds, and whether of mirror images too."""
    write_json(gallery / EMBEDDER, Embedder(checkpoint_digest(checkpoint), flip)._asdict())


def read_embedder(gallery: Path) -> Embedder | None:
    """What `record_embedder` wrote; None for a gallery without a record, built in Python."""
    path = gallery / EMBEDDER
    if not path.is_file():
        return None
    record = read_json(path)
    return Embedder(record["checkpoint_sha256"], bool(record.get("flip", True)))


def claim_gallery(gallery: Path, embedder: Embedder | None) -> None:
    """Record whose embeddings a gallery is going to hold, before it holds any.

    Raises:
        ValueError: it holds those of another network, or with other images.
    """
    found = read_embedder(gallery)
    if found is not None and embedder is not None and found != embedder:
        what = "mirror images" if found.checkpoint_sha256 == embedder[0] else "another checkpoint"
        raise ValueError(
            f"checkpoint: {gallery} holds embeddings that differ in {what}; they cannot be "
            "compared, so give another folder"
        )
    if found is None and embedder is not None:
        write_json(gallery / EMBEDDER, embedder._asdict())


def check_embedder(gallery: Path, checkpoint: Path) -> bool:
    """Whether the gallery's embeddings have those of mirror images added, as probes must then.

    A gallery without a record is taken at its user's word, and to have them.

    Raises:
        ValueError: the gallery holds another checkpoint's embeddings.
    """
    found = read_embedder(gallery)
    if found is None:
        return True
    if found.checkpoint_sha256 != checkpoint_digest(checkpoint):
        raise ValueError(
            f"checkpoint: {checkpoint} is not the one {gallery} was built with; their embeddings "
            "cannot be compared"
        )
    return found.flip
