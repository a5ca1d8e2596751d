from __future__ import annotations

import shutil

import numpy as np
import pytest
from cli_cases import write_checkpoint
from command import refuse, succeed

from fairloss.cli.gallery import build
from fairloss.cli.gallery._folder import load_or_create
from fairloss.data import write_features
from fairloss.gallery import Gallery, read_embedder, record_embedder
from fairloss.training import checkpoint_digest

pytest.importorskip("faiss")

NAMES = [f"id{i}/0" for i in range(30)]


def write_unmarked_features(path, size=16):
    """Write features of NAMES that do not name their network."""
    write_features(path, NAMES, np.random.default_rng(0).normal(size=(len(NAMES), size)))
    return path


def succeed_build(data, model, output):
    build = ("build", "--data", data, "--checkpoint", model, "--output", output)
    return succeed("gallery", *build).stdout


def assert_same(first, second):
    a, b = Gallery.load(first), Gallery.load(second)
    probes = np.random.default_rng(0).normal(size=(20, 16))
    assert a.names == b.names
    assert a.search(probes) == b.search(probes)


def test_another_network_is_refused(data, built, tmp_path):
    other = write_checkpoint(tmp_path, seed=1)
    probe = next(data.glob("*/*"))
    refuse("expected the one", "gallery", "query", probe, "--gallery", built, "--checkpoint", other)
    options = ("--data", data, "--checkpoint", other, "--output", built)
    refuse("got another checkpoint", "gallery", "build", *options)


def test_recorded_and_unrecorded_networks_do_not_mix(data, model, built, tmp_path):
    features = write_unmarked_features(tmp_path / "f.npy")
    message = "features: expected the checkpoint of"
    refuse(message, "gallery", "build", "--features", features, "--output", built)
    refuse(message, "gallery", "tune", "--gallery", built, "--probes", features)
    output = tmp_path / "unrecorded"
    succeed("gallery", "build", "--features", features, "--output", output)
    options = ("--data", data, "--checkpoint", model, "--output", output)
    refuse("a gallery that names its checkpoint", "gallery", "build", *options)
    assert read_embedder(output) is None
    merge = ("merge", output, built, "--output", tmp_path / "mixed")
    refuse("got 2 origins, one of them unknown", "gallery", *merge)
    assert not (tmp_path / "mixed").exists()
    tune = ("tune", "--gallery", output, "--index", "ivf")
    succeed("gallery", *tune, "--probes", features)
    marked = tmp_path / "marked.npy"
    succeed("embed", "--data", data, "--checkpoint", model, "--output", marked)
    refuse("a gallery that names its", "gallery", *tune, "--probes", marked)
    assert len(Gallery.load(output)) == 30


def test_an_empty_gallery_takes_embeddings_of_any_network(data, model, tmp_path):
    output, empty = tmp_path / "gallery", Gallery(8)
    empty.save(output)
    features = write_unmarked_features(tmp_path / "f.npy")
    first, second = write_checkpoint(tmp_path / "a", 1), write_checkpoint(tmp_path / "b", 2)
    record_embedder(output, first)
    succeed_build(data, second, output)
    assert read_embedder(output).checkpoint_sha256 == checkpoint_digest(second)
    Gallery(16).save(output)
    succeed("gallery", "build", "--features", features, "--output", output)
    assert read_embedder(output) is None
    Gallery(16).save(tmp_path / "none")
    record_embedder(tmp_path / "none", first)
    succeed("gallery", "merge", tmp_path / "none", output, "--output", tmp_path / "all")
    assert read_embedder(tmp_path / "all") is None


def test_another_embedding_size_changes_nothing(data, tmp_path):
    features, output = write_unmarked_features(tmp_path / "f.npy"), tmp_path / "gallery"
    succeed("gallery", "build", "--features", features, "--output", output)
    other = write_checkpoint(tmp_path, seed=0, size=8)
    message = f"embedding size: expected 16, as {output} holds, got 8"
    refuse(message, "gallery", "build", "--data", data, "--checkpoint", other, "--output", output)
    assert read_embedder(output) is None
    probe = next(data.glob("*/*"))
    refuse(message, "gallery", "query", probe, "--gallery", output, "--checkpoint", other)
    narrow = write_unmarked_features(tmp_path / "narrow.npy", size=8)  # no new name
    refuse(message, "gallery", "build", "--features", narrow, "--output", output)


def test_a_wrong_kind_of_index_is_refused_before_any_work(data, model, built, tmp_path):
    output = tmp_path / "gallery"
    options = ("--output", output, "--index", "nope")
    images = ("--data", data, "--checkpoint", model)
    refuse("index: expected one of", "gallery", "build", *images, *options)
    refuse("index: expected one of", "gallery", "merge", built, *options)
    assert not output.exists()


def test_non_finite_features_are_named(tmp_path):
    embeddings = np.ones((3, 4))
    embeddings[1, 2] = np.nan
    write_features(tmp_path / "f.npy", ["a", "b", "c"], embeddings)
    options = ("--features", tmp_path / "f.npy", "--output", tmp_path / "gallery")
    refuse("f.npy: the features of 'b' are all zero or not finite", "gallery", "build", *options)


def test_of_two_first_builds_one_is_refused(tmp_path):
    first, second = load_or_create(tmp_path, 8), load_or_create(tmp_path, 8)
    first.add(["first"], np.ones((1, 8)))
    second.add(["second"], np.ones((1, 8)))
    first.save(tmp_path)
    with pytest.raises(ValueError, match="changed by another program"):
        second.save(tmp_path)


def test_an_unreadable_image_stops_a_build_and_the_next_resumes(data, model, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 8)
    folder, output = tmp_path / "faces", tmp_path / "gallery"
    shutil.copytree(data, folder)
    image = folder / "id2" / "017.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:20])
    options = ("--data", folder, "--checkpoint", model, "--output", output)
    refuse("id2/017.png: cannot be read", "gallery", "build", *options)
    assert len(Gallery.load(output)) == 16  # what came before its batch
    image.write_bytes(whole)
    assert "17 embeddings added, 33 in all" in succeed_build(folder, model, output)
    succeed_build(folder, model, tmp_path / "uninterrupted")
    assert_same(output, tmp_path / "uninterrupted")
    again = succeed_build(folder, model, output)
    assert "33 already there, by name" in again
    assert "0 embeddings added, 33 in all" in again
    shutil.copy(image, folder / "id0" / "new.png")
    assert "1 embeddings added, 34 in all" in succeed_build(folder, model, output)
    probes = ("--gallery", output, "--checkpoint", model)
    query = ("gallery", "query", folder / "id0" / "new.png")
    assert "id0/new.png" in succeed(*query, *probes).stdout


def test_build_from_features(data, model, built, tmp_path):
    features, output = tmp_path / "f.npy", tmp_path / "gallery"
    succeed("embed", "--data", data, "--checkpoint", model, "--output", features)
    succeed("gallery", "build", "--features", features, "--output", output, "--index", "ivf")
    assert read_embedder(output) == read_embedder(built)
    assert Gallery.load(output).index == "ivf"
    succeed("gallery", "build", "--features", features, "--output", output, "--index", "flat")
    assert_same(output, built)
    both = ("--features", features, "--data", data, "--output", output)
    message = "features: expected either --features, or --data and --checkpoint"
    refuse(f"{message}, got both", "gallery", "build", *both)
    refuse(f"{message}, got neither", "gallery", "build", "--data", data, "--output", output)
