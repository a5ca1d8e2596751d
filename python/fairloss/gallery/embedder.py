"""The record of the network whose embeddings a gallery holds: embedder.json in its folder."""

from pathlib import Path
from typing import NamedTuple

from fairloss.checks import expect
from fairloss.io.atomic import FormatError
from fairloss.io.digest import sha256
from fairloss.io.json import read_json_if_exists, write_json

EMBEDDER = "embedder.json"


class Embedder(NamedTuple):
    """A network, and whether the embeddings of mirror images were added."""

    checkpoint_sha256: str
    flip: bool


def record_embedder(gallery: Path, checkpoint: Path, flip: bool = True) -> None:
    """Write the network of a gallery's embeddings, and whether mirror images were added."""
    write_json(gallery / EMBEDDER, Embedder(sha256(checkpoint), flip)._asdict())


def read_embedder(gallery: Path) -> Embedder | None:
    """Read the record of `record_embedder`; None if there is none, as for one built in Python.

    Raises:
        FormatError: the record is damaged.
    """
    path = gallery / EMBEDDER
    record = read_json_if_exists(path)
    if record is None:
        return None
    checkpoint, flip = record.get("checkpoint_sha256"), record.get("flip", True)
    if not isinstance(checkpoint, str) or not isinstance(flip, bool):
        raise FormatError(path, "expected a text checkpoint_sha256 and flip, true or false")
    return Embedder(checkpoint, flip)


def claim_gallery(gallery: Path, embedder: Embedder | None, empty: bool) -> None:
    """Record the network of a gallery's future embeddings, or check that it has no others.

    Args:
        gallery: its folder.
        embedder: None if it is unknown, which differs from all known ones.
        empty: whether the gallery holds no embedding yet.

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
    """Raise a ValueError with a remedy unless a gallery holds embeddings of this embedder."""
    recorded = read_embedder(gallery)
    if recorded == embedder:
        return
    if recorded is None:
        raise ValueError(
            f"checkpoint: expected a gallery that names its checkpoint, got {gallery}; give "
            "another folder, or record_embedder (fairloss.gallery) a checkpoint that is known to "
            "be the one"
        )
    if embedder is None:
        raise ValueError(
            f"features: expected the checkpoint of {gallery}, got features that name none; write "
            "them with `fairloss embed`, or give another folder"
        )
    same_network = recorded.checkpoint_sha256 == embedder.checkpoint_sha256
    different = "other mirror images" if same_network else "another checkpoint"
    raise ValueError(
        f"checkpoint: expected the embedder of {gallery}, got {different}; their embeddings "
        "cannot be compared, so give another folder"
    )


def check_embedder(gallery: Path, checkpoint: Path) -> bool:
    """Return True if probes must have the embeddings of mirror images added, as the gallery has.

    A gallery without a record is accepted, and taken to have them.

    Raises:
        ValueError: the gallery holds another checkpoint's embeddings.
    """
    recorded = read_embedder(gallery)
    if recorded is None:
        return True
    expected = f"the one {gallery} was built with"
    other = f"{checkpoint}; their embeddings cannot be compared"
    expect(recorded.checkpoint_sha256 == sha256(checkpoint), "checkpoint", expected, other)
    return recorded.flip
