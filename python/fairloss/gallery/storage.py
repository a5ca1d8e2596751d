"""A gallery on disk: a folder that is never seen half-written.

    manifest.json          what the gallery is and which files belong to it
    rows-<sha256>.npy      embeddings of a shard: (n, D) float32 of unit length
    names-<sha256>.json    {"version": 2, "ids": [n ascending integers], "names": [n strings]}
    index-<sha256>.faiss   the faiss index, if there is one

A file is named by the start of its own checksum, so a new version never overwrites a file of
the old one, and what did not change is not written again. Replacing the manifest is the single
step that turns the old gallery into the new. (Whole folders cannot be swapped in one step:
os.replace refuses a target that is not empty.)

manifest.json, version 2; a file is {"name": ..., "sha256": ...}:

    {"format": "fairloss-gallery", "version": 2, "embedding_size": D, "count": N, "next_id": ...,
     "wanted": kind of index or "auto", "shards": [{"rows": file, "names": file}, ...],
     "index": null or {"kind": ..., "parameter": nprobe or efSearch, "covers": the index has the
                       embeddings with ids below, "file": file}}
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fairloss.files import write_whole
from fairloss.gallery import kinds
from fairloss.gallery.device import import_faiss
from fairloss.gallery.index import Index
from fairloss.gallery.rows import Rows, Shard

FORMAT = "fairloss-gallery"
VERSION = 2
MANIFEST = "manifest.json"
STAGING_PREFIX = ".saving-"
BLOCK = 2**20  # bytes read at a time


@dataclass(frozen=True, eq=False)
class Stored:
    """What a folder holds."""

    rows: Rows
    index: Index | None
    wanted: str


def write(folder: Path, gallery: Stored) -> None:
    """Write a gallery, replacing the one in `folder` if there is one. One writer at a time.

    Its rows are mapped from the folder afterwards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    rows, index = gallery.rows, gallery.index
    try:
        for number, shard in enumerate(rows.shards):
            rows.shards[number] = _write_shard(shard, folder, staging)
        if index is not None and not _is_there(folder, index.file):
            index.file = _place(
                staging / "index.faiss",
                folder,
                lambda path: import_faiss().write_index(index.faiss, str(path)),
            )
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    manifest = _manifest(gallery)
    text = json.dumps(manifest, indent=1) + "\n"
    write_whole(folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))
    _remove_leftovers(folder, manifest)


def _write_shard(shard: Shard, folder: Path, staging: Path) -> Shard:
    """The shard, mapped from the folder."""
    if shard.files and all(_is_there(folder, entry) for entry in shard.files.values()):
        return shard
    listing = {"version": VERSION, "ids": shard.ids.tolist(), "names": shard.names}
    files = {
        "rows": _place(staging / "rows.npy", folder, lambda path: np.save(path, shard.rows)),
        "names": _place(
            staging / "names.json",
            folder,
            lambda path: path.write_text(json.dumps(listing), encoding="utf-8"),
        ),
    }
    mapped = np.load(folder / files["rows"]["name"], mmap_mode="r")
    return replace(shard, rows=mapped, files=files)


def _place(staged: Path, folder: Path, fill: Callable[[Path], object]) -> dict[str, str]:
    """Write a file and move it into the gallery under its checksum; its entry."""
    fill(staged)
    with staged.open("rb+") as file:
        os.fsync(file.fileno())
        checksum = _sha256(file)
    name = f"{staged.stem}-{checksum[:16]}{staged.suffix}"
    os.replace(staged, folder / name)
    return {"name": name, "sha256": checksum}


def _is_there(folder: Path, entry: dict[str, str] | None) -> bool:
    return entry is not None and (folder / entry["name"]).is_file()


def _manifest(gallery: Stored) -> dict[str, Any]:
    rows, index = gallery.rows, gallery.index
    return {
        "format": FORMAT,
        "version": VERSION,
        "embedding_size": rows.size,
        "count": len(rows),
        "next_id": rows.next_id,
        "wanted": gallery.wanted,
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
    """Delete the previous gallery and whatever a killed writer left behind."""
    current = {entry["name"] for files in manifest["shards"] for entry in files.values()}
    if manifest["index"]:
        current.add(manifest["index"]["file"]["name"])
    for pattern in ("rows-*.npy", "names-*.json", "index-*.faiss", f".{MANIFEST}.*.tmp"):
        for path in folder.glob(pattern):
            if path.name not in current:
                path.unlink()
    for path in folder.glob(STAGING_PREFIX + "*"):
        shutil.rmtree(path)


def read(folder: Path) -> Stored:
    """Read and verify a gallery; its rows are mapped from the folder.

    Raises:
        FileNotFoundError: there is no gallery in `folder`.
        ValueError: it is damaged, incomplete, or of another version.
    """
    manifest = _read_manifest(folder)
    while True:
        try:
            return _read_contents(folder, manifest)
        except FileNotFoundError as error:
            newest = _read_manifest(folder)
            if str(newest) == str(manifest):  # texts, as NaN would differ from itself
                raise ValueError(f"gallery {folder} is incomplete: {error}") from error
            manifest = newest  # a writer replaced the gallery while it was being read
        except (KeyError, TypeError, AttributeError, OverflowError, IsADirectoryError) as error:
            raise ValueError(f"gallery {folder} is malformed: {error!r}") from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no gallery in {folder}: it has no {MANIFEST}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe a {FORMAT}")
    if manifest.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {manifest.get('version')}, this program reads version {VERSION}: "
            "build the gallery again"
        )
    missing = {"embedding_size", "count", "next_id", "wanted", "shards", "index"} - manifest.keys()
    if missing:
        raise ValueError(f"{path} lacks {sorted(missing)}")
    return manifest


def _read_contents(folder: Path, manifest: dict[str, Any]) -> Stored:
    shards = [_read_shard(folder, files) for files in manifest["shards"]]
    size, next_id = manifest["embedding_size"], manifest["next_id"]
    ids = np.concatenate([np.empty(0, np.int64), *(shard.ids for shard in shards)])
    bounded = np.concatenate(([-1], ids, [next_id]))
    _agree(folder, len(ids) == manifest["count"], f"{len(ids)} embeddings, not as many as it says")
    _agree(folder, bool((np.diff(bounded) > 0).all()), "ids are not ascending")
    sizes = {shard.rows.shape[1] for shard in shards}
    _agree(folder, sizes <= {size}, f"embeddings of size {sizes}, but {size} in the manifest")
    rows, index = Rows(size, shards, next_id), None
    if manifest["index"] is not None:
        index = _read_index(folder, manifest["index"])
        covered = int(np.searchsorted(ids, index.covers))
        fits = (index.faiss.d, index.faiss.ntotal) == (size, covered)
        _agree(folder, fits, "its index belongs to other embeddings")
    return Stored(rows, index, kinds.check_kind(manifest["wanted"]))


def _read_shard(folder: Path, files: dict[str, Any]) -> Shard:
    with _open_verified(folder, files["names"]) as file:
        listing = json.load(file)
    with _open_verified(folder, files["rows"]) as file:
        rows = np.load(file.name, mmap_mode="r")
    ids, names = np.array(listing["ids"], dtype=np.int64), listing["names"]
    matrix = rows.ndim == 2 and rows.dtype == np.float32
    _agree(folder, matrix and len(rows) == len(ids) == len(names) > 0, "rows and names differ")
    return Shard(ids, names, rows, files)


def _read_index(folder: Path, entry: dict[str, Any]) -> Index:
    faiss: Any = import_faiss()
    with _open_verified(folder, entry["file"]) as file:
        index = faiss.read_index(faiss.PyCallbackIOReader(file.read, BLOCK))
    return Index(entry["kind"], index, entry["parameter"], entry["covers"], entry["file"])


def _agree(folder: Path, true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(f"gallery {folder} is inconsistent: {otherwise}")


def _open_verified(folder: Path, entry: dict[str, str]) -> BinaryIO:
    """Open a file of the gallery once its checksum is confirmed, positioned at its start."""
    path = folder / entry["name"]
    file = path.open("rb")
    if _sha256(file) != entry["sha256"]:
        file.close()
        raise ValueError(f"{path} is damaged: its checksum differs from the manifest's")
    file.seek(0)
    return file


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
