"""Writing a gallery to disk, in the layout that storage.py documents."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.data.npy import save_npy
from fairloss.gallery.device import FaissIndex, import_faiss
from fairloss.gallery.rows import Shard
from fairloss.gallery.storage import FORMAT, MANIFEST, VERSION, Stored
from fairloss.io.atomic import report_failure, write_atomic
from fairloss.io.digest import sha256
from fairloss.io.mapped import open_npy
from fairloss.io.output import check_output
from fairloss.typing import Float32s

LOCK = ".lock"
STAGING_PREFIX = ".saving-"

_GALLERY_FILE = re.compile(
    r"rows-[0-9a-f]{16}\.npy|names-[0-9a-f]{16}\.json|index-[0-9a-f]{16}\.faiss"
    r"|\.manifest\.json\.[\d-]+\.tmp"
)


def write(folder: Path, gallery: Stored) -> None:
    """Write a gallery, replacing the one in `folder` if there is one.

    Its rows are mapped from the folder afterwards.

    Raises:
        ValueError: another writer changed the gallery since this one was read or written there, or
            rows that are mapped from a file are gone from it.
    """
    check_output(folder, folder=True)
    with report_failure(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _check_unchanged(folder, gallery.manifests)
        _write_files(folder, gallery)
        manifest = _manifest(gallery)
        content = (json.dumps(manifest, indent=1) + "\n").encode()
        write_atomic(folder / MANIFEST, lambda path: path.write_bytes(content))
        gallery.manifests[folder.resolve()] = content
        _remove_leftovers(folder, manifest)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (folder / LOCK).open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_unchanged(folder: Path, manifests: dict[Path, bytes]) -> None:
    path, before = folder / MANIFEST, manifests.get(folder.resolve())
    if before is not None and path.is_file() and path.read_bytes() != before:
        raise ValueError(
            f"gallery {folder} was changed by another program since this one read or wrote it: "
            "load it again"
        )


def _write_files(folder: Path, gallery: Stored) -> None:
    with report_failure(folder / MANIFEST):
        staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    rows, index = gallery.rows, gallery.index
    try:
        for number, shard in enumerate(rows.shards):
            rows.shards[number] = _write_shard(shard, folder, staging)
        if index is not None and not _is_stored(folder, index.file):
            index.file = _store(
                staging / "index.faiss",
                folder,
                lambda path: _write_index(path, index.faiss_index),
            )
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_shard(shard: Shard, folder: Path, staging: Path) -> Shard:
    """Write a shard, and return it mapped from the folder."""
    if shard.files and all(_is_stored(folder, entry) for entry in shard.files.values()):
        return shard
    _check_mapped(shard.rows)
    listing = {"version": VERSION, "ids": shard.ids.tolist(), "names": shard.names}
    files = {
        "rows": _store(staging / "rows.npy", folder, lambda path: save_npy(path, shard.rows)),
        "names": _store(
            staging / "names.json",
            folder,
            lambda path: path.write_text(json.dumps(listing), encoding="utf-8"),
        ),
    }
    mapped = open_npy(folder / files["rows"]["name"])
    return replace(shard, rows=mapped, files=files)


def _check_mapped(rows: Float32s) -> None:
    """Raise ValueError if a mapped file was truncated: reading it would kill the program."""
    if not isinstance(rows, np.memmap) or rows.filename is None:
        return
    path = Path(rows.filename)
    if path.is_file() and path.stat().st_size < rows.offset + rows.nbytes:
        raise ValueError(f"{path} is damaged: it is shorter than the embeddings it held")


def _store(staged: Path, folder: Path, fill: Callable[[Path], object]) -> dict[str, Any]:
    """Write a file, move it into the gallery under its checksum and return its entry."""
    with report_failure(staged):
        fill(staged)
        with staged.open("rb+") as file:
            os.fsync(file.fileno())
        checksum, size = sha256(staged), staged.stat().st_size
        name = f"{staged.stem}-{checksum[:16]}{staged.suffix}"
        os.replace(staged, folder / name)
    return {"name": name, "sha256": checksum, "bytes": size}


def _write_index(path: Path, index: FaissIndex) -> None:
    faiss = import_faiss()
    with path.open("wb") as file:  # faiss's own file would not say why a write failed
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _is_stored(folder: Path, entry: dict[str, Any] | None) -> bool:
    if entry is None:
        return False
    path = folder / entry["name"]
    return path.is_file() and bool(path.stat().st_size == entry.get("bytes"))


def _manifest(gallery: Stored) -> dict[str, Any]:
    rows, index = gallery.rows, gallery.index
    return {
        "format": FORMAT,
        "version": VERSION,
        "embedding_size": rows.size,
        "count": len(rows),
        "next_id": rows.next_id,
        "wanted": gallery.requested_kind,
        "shards": [shard.files for shard in rows.shards],
        "index": index
        and {
            "kind": index.kind,
            "parameter": index.parameter,
            "covers": index.covers,
            "file": index.file,
        },
    }


def _remove_leftovers(folder: Path, manifest: dict[str, Any]) -> None:
    """Delete the previous gallery and the files of writers that were killed."""
    current = {entry["name"] for files in manifest["shards"] for entry in files.values()}
    if manifest["index"]:
        current.add(manifest["index"]["file"]["name"])
    for path in list(folder.iterdir()):
        if _GALLERY_FILE.fullmatch(path.name) and path.name not in current:
            path.unlink()
    for path in folder.glob(STAGING_PREFIX + "*"):
        shutil.rmtree(path)
