"""A gallery on disk: a folder that is never seen half-written.

    manifest.json          what the gallery is and which two files belong to it
    index-<sha256>.faiss   the faiss index, ids included
    names-<sha256>.json    the name of each id

A file is named by the start of its own checksum, so a new version never overwrites a file of
the old one. Replacing the manifest is the single step that turns the old gallery into the new.
(Whole folders cannot be swapped in one step: os.replace refuses a target that is not empty.)

manifest.json, version 1:

    {"format": "fairloss-gallery", "version": 1, "embedding_size": D, "count": N,
     "files": {"index": {"name": ..., "sha256": ...}, "names": {"name": ..., "sha256": ...}}}

names-*.json, version 1: {"version": 1, "ids": [N integers], "names": [N strings]}
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

Index = Any  # a faiss index: its type stubs are incomplete, and faiss is imported only when used

FORMAT = "fairloss-gallery"
VERSION = 1
MANIFEST = "manifest.json"
STAGING_PREFIX = ".saving-"
BLOCK = 2**20  # bytes read at a time


def import_faiss() -> ModuleType:
    """The faiss module; ImportError naming the extra if it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'the gallery needs faiss: pip install "fairloss-ext[gallery]" '
            "(or the gallery-gpu extra, not both)"
        ) from error
    return faiss


def write(folder: Path, index: Index, names: dict[int, str]) -> None:
    """Write a gallery, replacing the one in `folder` if there is one. One writer at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    try:
        import_faiss().write_index(index, str(staging / "index.faiss"))
        listing = {"version": VERSION, "ids": list(names), "names": list(names.values())}
        (staging / "names.json").write_text(json.dumps(listing), encoding="utf-8")
        files = {
            "index": _place(staging / "index.faiss", folder),
            "names": _place(staging / "names.json", folder),
        }
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "embedding_size": index.d,
            "count": index.ntotal,
            "files": files,
        }
        new = staging / MANIFEST
        new.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        _flush_to_disk(new)
        os.replace(new, folder / MANIFEST)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _remove_leftovers(folder, {entry["name"] for entry in files.values()})


def _place(staged: Path, folder: Path) -> dict[str, str]:
    """Move a finished file into the gallery under its checksum; its manifest entry."""
    _flush_to_disk(staged)
    with staged.open("rb") as file:
        checksum = _sha256(file)
    name = f"{staged.stem}-{checksum[:16]}{staged.suffix}"
    os.replace(staged, folder / name)
    return {"name": name, "sha256": checksum}


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove_leftovers(folder: Path, current: set[str]) -> None:
    """Delete the previous gallery and whatever a killed writer left behind."""
    for pattern in ("index-*.faiss", "names-*.json"):
        for path in folder.glob(pattern):
            if path.name not in current:
                path.unlink()
    for path in folder.glob(STAGING_PREFIX + "*"):
        shutil.rmtree(path)


def read(folder: Path) -> tuple[Index, dict[int, str]]:
    """Read and verify a gallery: the index and the name of each id.

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
            if newest == manifest:
                raise ValueError(f"gallery {folder} is incomplete: {error}") from error
            manifest = newest  # a writer replaced the gallery while it was being read


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"no gallery in {folder}: it has no {MANIFEST}") from None
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{folder / MANIFEST} is not valid JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder / MANIFEST} does not describe a {FORMAT}")
    _check_version(folder / MANIFEST, manifest)
    missing = {"embedding_size", "count", "files"} - manifest.keys()
    if missing:
        raise ValueError(f"{folder / MANIFEST} lacks {sorted(missing)}")
    return manifest


def _check_version(path: Path, content: dict[str, Any]) -> None:
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {content.get('version')}, this program reads version {VERSION}"
        )


def _read_contents(folder: Path, manifest: dict[str, Any]) -> tuple[Index, dict[int, str]]:
    faiss = import_faiss()
    with _open_verified(folder, manifest, "names") as file:
        listing = json.load(file)
        _check_version(Path(file.name), listing)
        names = dict(zip(listing["ids"], listing["names"], strict=True))
    with _open_verified(folder, manifest, "index") as file:
        index = faiss.read_index(faiss.PyCallbackIOReader(file.read, BLOCK))
    if not manifest["count"] == index.ntotal == len(names):
        raise ValueError(
            f"gallery {folder} is inconsistent: the manifest counts {manifest['count']} "
            f"embeddings, the index {index.ntotal}, the names {len(names)}"
        )
    if set(faiss.vector_to_array(index.id_map).tolist()) != names.keys():
        raise ValueError(f"gallery {folder} is inconsistent: index and names have other ids")
    if index.d != manifest["embedding_size"]:
        raise ValueError(
            f"gallery {folder} is inconsistent: the manifest gives embedding size "
            f"{manifest['embedding_size']}, the index {index.d}"
        )
    return index, names


def _open_verified(folder: Path, manifest: dict[str, Any], role: str) -> BinaryIO:
    """Open a file of the gallery once its checksum is confirmed, positioned at its start."""
    entry = manifest["files"][role]
    path = folder / str(entry["name"])
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
