"""Whose embeddings a gallery holds: embedder.json in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from fairloss.io.atomic import FormatError
from fairloss.io.json import read_json, write_json
from fairloss.training.backbone import checkpoint_digest

EMBEDDER = "embedder.json"


class Embedder(NamedTuple):
    """A network, and whether the embeddings of mirror images were added."""

    checkpoint_sha256: str
    flip: bool


def record_embedder(gallery: Path, checkpoint: Path, flip: bool = True) -> None:
    """Write into a gallery's folder whose embeddings it holds, and whether of mirror images too."""
    write_json(gallery / EMBEDDER, Embedder(checkpoint_digest(checkpoint), flip)._asdict())


def read_embedder(gallery: Path) -> Embedder | None:
    """What `record_embedder` wrote; None for a gallery without a record, built in Python.

    Raises:
        FormatError: the record is damaged.
    """
    path = gallery / EMBEDDER
    if not path.is_file():
        return None
    try:
        record = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(path, f"not JSON: {error}") from error
    checkpoint, flip = record.get("checkpoint_sha256"), record.get("flip", True)
    if not isinstance(checkpoint, str) or not isinstance(flip, bool):
        raise FormatError(path, "expected a text checkpoint_sha256 and flip, true or false")
    return Embedder(checkpoint, flip)


def claim_gallery(gallery: Path, embedder: Embedder | None, empty: bool) -> None:
    """Record whose embeddings a gallery is going to hold, or check that it holds no others.

    Args:
        embedder: None where it is not known, which is taken for one of its own.
        empty: whether the gallery holds nothing yet, and may be anybody's.

    Raises:
        ValueError: it holds those of another network, or with other images.
    """
    if not empty:
        check_same_embedder(gallery, embedder)
    elif embedder is not None:
        write_json(gallery / EMBEDDER, embedder._asdict())
    else:
        (gallery / EMBEDDER).unlink(missing_ok=True)


def check_same_embedder(gallery: Path, embedder: Embedder | None) -> None:
    """ValueError saying what to do unless a gallery holds embeddings of this very origin."""
    found = read_embedder(gallery)
    if found == embedder:
        return
    if found is None:
        raise ValueError(
            f"checkpoint: {gallery} does not say whose embeddings it holds; give another folder, "
            "or record_embedder (fairloss.training) a checkpoint that is known to be theirs"
        )
    if embedder is None:
        raise ValueError(
            f"features: they do not say whose they are, but {gallery} holds those of a known "
            "checkpoint; write them with `fairloss embed`, or give another folder"
        )
    what = "mirror images" if found.checkpoint_sha256 == embedder[0] else "another checkpoint"
    raise ValueError(
        f"checkpoint: {gallery} holds embeddings that differ in {what}; they cannot be "
        "compared, so give another folder"
    )


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
