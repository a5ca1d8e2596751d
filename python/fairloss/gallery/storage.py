"""Reading a gallery from disk: a folder that saving.py writes in one atomic step.

    manifest.json          what the gallery is and which files belong to it
    rows-<sha256>.npy      embeddings of a shard: (n, D) float32 of unit length
    names-<sha256>.json    {"version": 2, "ids": [n ascending integers], "names": [n strings]}
    index-<sha256>.faiss   the faiss index, if there is one

A file is named by the start of its checksum, so a new version never overwrites a file of the old
one, and a file that did not change is not written again. Replacing the manifest is the single
step that turns the old gallery into the new. (Whole folders cannot be swapped in one step:
os.replace refuses a target that is not empty.)

Writers take turns: `.lock` is locked (flock, where the system has it) while a gallery is written.

manifest.json, version 2; a file is {"name": ..., "sha256": ..., "bytes": ...}:

    {"format": "fairloss-gallery", "version": 2, "embedding_size": D, "count": N, "next_id": ...,
     "wanted": kind of index or "auto", "shards": [{"rows": file, "names": file}, ...],
     "index": null or {"kind": ..., "parameter": nprobe or efSearch, "covers": the index has the
                       embeddings with ids below, "file": file}}
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.gallery import kinds
from fairloss.gallery.device import import_faiss
from fairloss.gallery.index import Index
from fairloss.gallery.rows import Rows, Shard
from fairloss.io.digest import sha256
from fairloss.io.mapped import open_npy

FORMAT = "fairloss-gallery"
VERSION = 2
MANIFEST = "manifest.json"
BLOCK = 2**20  # bytes of an index read at a time


@dataclass(frozen=True, eq=False)
class Stored:
    """The contents of a folder.

    Attributes:
        rows: the embeddings.
        index: their index, if there is one.
        requested_kind: kind of index that `reindex` builds, or "auto".
        manifests: the manifest of each folder that it was read from or written to.
    """

    rows: Rows
    index: Index | None
    requested_kind: str
    manifests: dict[Path, bytes] = field(default_factory=dict)


def read(folder: Path) -> Stored:
    """Read and verify a gallery; its rows are mapped from the folder.

    Raises:
        FileNotFoundError: there is no gallery in `folder`.
        ValueError: it is damaged, incomplete, or of another version.
    """
    content, manifest = _read_manifest(folder)
    while True:
        try:
            manifests = {folder.resolve(): content}
            return replace(_read_contents(folder, manifest), manifests=manifests)
        except FileNotFoundError as error:
            before, (content, manifest) = content, _read_manifest(folder)
            if content == before:  # or a writer replaced the gallery while it was being read
                raise ValueError(f"gallery {folder} is incomplete: {error}") from error
        except (KeyError, TypeError, AttributeError, OverflowError, IsADirectoryError) as error:
            raise ValueError(f"gallery {folder} is malformed: {error!r}") from error


def _read_manifest(folder: Path) -> tuple[bytes, dict[str, Any]]:
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        manifest = json.loads(content.decode())
    except FileNotFoundError:
        raise FileNotFoundError(f"no gallery in {folder}: it has no {MANIFEST}") from None
    except NotADirectoryError:
        raise ValueError(f"no gallery in {folder}: it is a file, not a folder") from None
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
    return content, manifest


def _read_contents(folder: Path, manifest: dict[str, Any]) -> Stored:
    shards = [_read_shard(folder, files) for files in manifest["shards"]]
    size, next_id = manifest["embedding_size"], manifest["next_id"]
    ids = np.concatenate([np.empty(0, np.int64), *(shard.ids for shard in shards)])
    bounded = np.concatenate(([-1], ids, [next_id]))
    _check(folder, len(ids) == manifest["count"], f"{len(ids)} embeddings, not as many as it says")
    _check(folder, (np.diff(bounded) > 0).all(), "ids are not ascending")
    sizes = {shard.rows.shape[1] for shard in shards}
    _check(folder, sizes <= {size}, f"embeddings of size {sizes}, but {size} in the manifest")
    rows, index = Rows(size, shards, next_id), None
    if manifest["index"] is not None:
        index = _read_index(folder, manifest["index"])
        covered = int(np.searchsorted(ids, index.covers))
        fits = (index.faiss_index.d, index.faiss_index.ntotal) == (size, covered)
        _check(folder, fits, "its index belongs to other embeddings")
    return Stored(rows, index, kinds.check_kind(manifest["wanted"]))


def _read_shard(folder: Path, files: dict[str, Any]) -> Shard:
    listing = json.loads(_verified(folder, files["names"]).read_text(encoding="utf-8"))
    _check(folder, listing["version"] == VERSION, "names of another version")
    rows = open_npy(_verified(folder, files["rows"]))
    ids, names = np.array(listing["ids"], dtype=np.int64), listing["names"]
    matrix = rows.ndim == 2 and rows.dtype == np.float32
    _check(folder, matrix and len(rows) == len(ids) == len(names) > 0, "rows and names differ")
    return Shard(ids, names, rows, files)


def _read_index(folder: Path, entry: dict[str, Any]) -> Index:
    faiss: Any = import_faiss()
    with _verified(folder, entry["file"]).open("rb") as file:
        index = faiss.read_index(faiss.PyCallbackIOReader(file.read, BLOCK))
    return Index(entry["kind"], index, entry["parameter"], entry["covers"], entry["file"])


def _check(folder: Path, consistent: object, problem: str) -> None:
    if not consistent:
        raise ValueError(f"gallery {folder} is inconsistent: {problem}")


def _verified(folder: Path, entry: dict[str, str]) -> Path:
    """Return a file of the gallery after checking its checksum."""
    path = folder / entry["name"]
    if sha256(path) != entry["sha256"]:
        raise ValueError(f"{path} is damaged: its checksum differs from the manifest's")
    return path
