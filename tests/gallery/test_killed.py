"""A gallery whose writer is killed (SIGKILL) before any of the steps that make a file durable."""

import itertools
import json
import multiprocessing
import os
import signal
import sys
from multiprocessing import forkserver
from types import SimpleNamespace

import numpy as np
import pytest
from gallery_cases import (
    BATCH,
    COUNT,
    SMALL_SHARD,
    build,
    embeddings,
    killed,
    numbered,
    save_other,
)

from fairloss.gallery import Gallery, filling, rows

PROBES = embeddings(20, seed=9)
CONTEXT = multiprocessing.get_context("forkserver")  # imports once, then each process is a fork
CONTEXT.set_forkserver_preload(["gallery_cases", "faiss", "pytest.__main__"])


@pytest.fixture(autouse=True, scope="module")
def _server():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # or it could not import ours
        forkserver.ensure_running()
        yield


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(rows, "SHARD_BYTES", SMALL_SHARD)


def die(step, program, folder):
    """Return True if the program was killed; otherwise it must have exited with 0."""
    process = CONTEXT.Process(target=killed, args=(step, program, folder))
    process.start()
    process.join(60)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def content(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    named = {entry["name"] for files in manifest["shards"] for entry in files.values()}
    if manifest["index"]:
        named.add(manifest["index"]["file"]["name"])
    there = {path.name for path in folder.iterdir()}
    assert there == named | {"manifest.json", ".lock"}  # and no leftovers
    return named


def test_killed_builds_resume_to_the_same_gallery(tmp_path, monkeypatch):
    """Killed again and again, later each time: each build starts from what the last one left."""
    monkeypatch.setattr(filling, "SAVE_EVERY", 0.0)
    build(tmp_path / "calm")
    calm = Gallery.load(tmp_path / "calm")
    folder, saved, deaths = tmp_path / "gallery", 0, 0
    while die(2 + deaths % 7, "build", folder):
        deaths += 1
        if (folder / "manifest.json").exists():
            result = Gallery.load(folder)
            assert len(result) >= saved  # nothing that was saved is lost
            assert result.names == numbered(COUNT)[: len(result)]
            assert len(result) % BATCH == 0
            saved = len(result)
        assert deaths < 100
    assert deaths > 10
    result = Gallery.load(folder)
    assert result.index == "ivf"
    assert result.names == calm.names
    assert result.search(PROBES) == calm.search(PROBES)
    assert content(folder) == content(tmp_path / "calm")  # the same bytes


def test_every_step_of_a_save_leaves_the_old_gallery_or_the_new(tmp_path):
    calm = tmp_path / "calm"
    save_other(calm)
    new, seen = Gallery.load(calm), set()
    for step in range(100):
        folder = tmp_path / str(step)
        build(folder)
        old = Gallery.load(folder)
        dead = die(step, "save_other", folder)
        result = Gallery.load(folder)
        expected = new if result.names == new.names else old
        seen.add((dead, expected is new))
        assert result.names == expected.names
        assert result.index == expected.index
        assert result.search(PROBES) == expected.search(PROBES)
        save_other(folder)
        assert content(folder) == content(calm)
        if not dead:
            break
    assert step > 6  # two files a shard, two shards, an index, the manifest: each flushed, renamed
    assert seen == {(True, False), (False, True)}


def test_a_full_shard_is_saved_at_once(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Gallery, "save", lambda self, folder: saved.append(len(self)))
    build(tmp_path)  # 50 at a time, 100 a shard
    assert saved == [100, 200, 300, 300, 300]  # and at the end of the batches, and with the index


def test_a_slow_build_is_saved_every_minute(tmp_path, monkeypatch):
    saved, clock = [], itertools.count(0, 25)  # seconds from one look at it to the next
    monkeypatch.setattr(Gallery, "save", lambda self, folder: saved.append(len(self)))
    monkeypatch.setattr(filling, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    filling.fill(Gallery(8), tmp_path, numbered(7), np.eye(7, 8)[:, None])
    assert saved == [3, 6, 7]  # the third batch ends 75 s after the start


@pytest.mark.parametrize("count", [7, 9])
def test_as_many_embeddings_as_names(tmp_path, count):
    with pytest.raises(
        ValueError,
        match="batches: expected 8 embeddings, one for each name, got 7|names: expected 9 entries",
    ):
        filling.fill(Gallery(8), tmp_path, numbered(8), [np.ones((count, 8))])
    assert len(Gallery.load(tmp_path)) == (7 if count == 7 else 0)


def test_what_came_before_an_error_is_kept(tmp_path):
    def broken():
        yield np.eye(8)
        raise OSError("no such image")

    gallery = Gallery(8)
    with pytest.raises(OSError, match="no such image"):
        filling.fill(gallery, tmp_path, numbered(16), broken())
    assert Gallery.load(tmp_path).names == numbered(8)
