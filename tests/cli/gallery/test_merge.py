from __future__ import annotations

import shutil

import pytest
from cli_cases import write_checkpoint
from command import refuse, succeed

from fairloss.gallery import Gallery, read_embedder

pytest.importorskip("faiss")


def build(data, model, output):
    succeed("gallery", "build", "--data", data, "--checkpoint", model, "--output", output)


def test_merge_equals_building_at_once(data, model, built, tmp_path):
    for number in range(6):
        part = tmp_path / ("a" if number < 3 else "b") / f"id{number}"
        shutil.copytree(data / f"id{number}", part)
    for part in ("a", "b"):
        build(tmp_path / part, model, tmp_path / f"gallery-{part}")
    parts = (tmp_path / "gallery-a", tmp_path / "gallery-b")
    done = succeed("gallery", "merge", *parts, "--output", tmp_path / "all")
    assert "33 embeddings" in done.stdout
    assert Gallery.load(tmp_path / "all").names == Gallery.load(built).names
    assert read_embedder(tmp_path / "all") == read_embedder(built)
    refuse(
        "output: expected a folder without a gallery", "gallery", "merge", *parts, "--output", built
    )
    build(tmp_path / "a", write_checkpoint(tmp_path / "other", seed=1), tmp_path / "gallery-c")
    foreign = (parts[0], tmp_path / "gallery-c", "--output", tmp_path / "mixed")
    refuse("galleries: expected embeddings of one checkpoint", "gallery", "merge", *foreign)
    assert not (tmp_path / "mixed").exists()


def test_reading_and_writing_are_announced(built, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "300")  # so that no path is folded
    done = succeed("gallery", "merge", built, "--output", tmp_path / "all")
    assert done.stderr.index(f"reading {built}") < done.stderr.index(f"writing {tmp_path}")
