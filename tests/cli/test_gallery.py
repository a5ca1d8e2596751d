from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from command import fairloss
from PIL import Image
from synthetic import write_folder

from fairloss.cli import faces
from fairloss.cli import gallery as commands
from fairloss.cli.gallery_folder import load_or_start
from fairloss.data import write_features
from fairloss.gallery import Gallery, read_embedder, record_embedder
from fairloss.training import (
    TrainConfig,
    as_yaml,
    backbone,
    checkpoint_digest,
    load_config,
)

pytest.importorskip("faiss")

COUNTS = [8, 7, 6, 5, 4, 3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "faces", COUNTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network, as good as any to tell images apart."""
    return write_model(tmp_path_factory.mktemp("run"), seed=0)


def write_model(folder, seed, size=16):
    settings = ["data=x", f"output={folder}", "image_size=[32,32]", "channels=1"]
    config = load_config(None, [*settings, f"model.embedding_size={size}"], TrainConfig)
    (folder / "config.yaml").write_text(as_yaml(config))
    torch.manual_seed(seed)
    torch.save(backbone(config).state_dict(), folder / "model.pt")
    return folder / "model.pt"


def run(*arguments):
    done = fairloss("gallery", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(message, *arguments):
    done = fairloss("gallery", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def build(data, model, output, *more):
    return run("build", "--data", data, "--checkpoint", model, "--output", output, *more)


@pytest.fixture(scope="module")
def built(data, model, tmp_path_factory):
    output = tmp_path_factory.mktemp("built") / "gallery"
    assert "33 embeddings added, 33 in all, flat index" in build(data, model, output)
    return output


def same(first, second):
    a, b = Gallery.load(first), Gallery.load(second)
    probes = np.random.default_rng(0).normal(size=(20, 16))
    return a.names == b.names and a.search(probes) == b.search(probes)


def test_query_finds_and_draws(data, model, built, tmp_path):
    name = Gallery.load(built).names[0]
    options = (data / name, "--gallery", built, "--checkpoint", model, "-k", 3)
    assert re.search(re.escape(name) + r"\W+1\.0000", run("query", *options))  # itself first
    picture = tmp_path / "faces.png"
    run("query", *options, "--data", data, "--output", picture)
    image = np.asarray(Image.open(picture).convert("L"))
    assert image.std() > 20  # there is something on it
    assert image.shape[1] > 2 * image.shape[0]  # four faces in a row
    refused("data: a picture needs --data", "query", *options, "--output", picture)
    wrong = ("--data", data, "--output", tmp_path / "faces.gif")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "embed_files", None)  # refused before anything is computed
        refused("expected a name that ends in .svg, .png or .pdf", "query", *options, *wrong)
    (tmp_path / "corrupt.png").write_bytes(b"no image")
    for image, message in (("none.png", "does not exist"), ("corrupt.png", "cannot be read")):
        refused(message, "query", tmp_path / image, *options[1:])


def test_another_network_is_refused(data, built, tmp_path):
    other = write_model(tmp_path, seed=1)
    probe = next(data.glob("*/*"))
    refused(
        "checkpoint: expected the one", "query", probe, "--gallery", built, "--checkpoint", other
    )
    options = ("--data", data, "--checkpoint", other, "--output", built)
    refused("got another checkpoint", "build", *options)


def features_file(path, names, size=16, seed=0):
    """Features that do not say which network they are of."""
    write_features(path, names, np.random.default_rng(seed).normal(size=(len(names), size)))
    return path


NAMES = [f"id{i}/0" for i in range(30)]


def test_a_network_that_is_known_and_one_that_is_not_do_not_mix(data, model, built, tmp_path):
    features = features_file(tmp_path / "f.npy", NAMES)
    message = "features: expected the checkpoint of"
    refused(message, "build", "--features", features, "--output", built)
    refused(message, "tune", "--gallery", built, "--probes", features)
    output = tmp_path / "unknown"
    run("build", "--features", features, "--output", output)
    options = ("--data", data, "--checkpoint", model, "--output", output)
    refused("checkpoint: expected a gallery that names its checkpoint", "build", *options)
    assert read_embedder(output) is None
    refused("some do not say whose", "merge", output, built, "--output", tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()
    known = ("tune", "--gallery", output, "--index", "ivf")
    run(*known, "--probes", features)
    fairloss("embed", "--data", data, "--checkpoint", model, "--output", tmp_path / "known.npy")
    refused(
        "checkpoint: expected a gallery that names its checkpoint",
        *known,
        "--probes",
        tmp_path / "known.npy",
    )
    assert len(Gallery.load(output)) == 30


def test_an_empty_gallery_is_anybodys(data, model, tmp_path):
    output, empty = tmp_path / "gallery", Gallery(8)
    empty.save(output)
    features = features_file(tmp_path / "f.npy", NAMES)
    for path in (tmp_path / "a", tmp_path / "b"):
        path.mkdir()
    first, second = write_model(tmp_path / "a", 1), write_model(tmp_path / "b", 2)
    record_embedder(output, first)
    build(data, second, output)
    assert read_embedder(output).checkpoint_sha256 == checkpoint_digest(second)
    Gallery(16).save(output)
    run("build", "--features", features, "--output", output)
    assert read_embedder(output) is None
    Gallery(16).save(tmp_path / "none")
    record_embedder(tmp_path / "none", first)
    run("merge", tmp_path / "none", output, "--output", tmp_path / "all")
    assert read_embedder(tmp_path / "all") is None


def test_another_embedding_size_changes_nothing(data, tmp_path):
    features, output = features_file(tmp_path / "f.npy", NAMES), tmp_path / "gallery"
    run("build", "--features", features, "--output", output)
    other = write_model(tmp_path, seed=0, size=8)
    message = f"give 8, but {output} holds 16"
    refused(message, "build", "--data", data, "--checkpoint", other, "--output", output)
    assert read_embedder(output) is None
    probe = next(data.glob("*/*"))
    refused(message, "query", probe, "--gallery", output, "--checkpoint", other)
    narrow = features_file(tmp_path / "narrow.npy", NAMES, size=8)  # names that are all there
    refused(message, "build", "--features", narrow, "--output", output)


def test_a_wrong_kind_of_index_is_refused_before_anything_is_done(data, model, built, tmp_path):
    output = tmp_path / "gallery"
    options = ("--output", output, "--index", "nope")
    refused("index: expected one of", "build", "--data", data, "--checkpoint", model, *options)
    refused("index: expected one of", "merge", built, *options)
    assert not output.exists()


def test_features_that_are_no_numbers_are_named(tmp_path):
    embeddings = np.ones((3, 4))
    embeddings[1, 2] = np.nan
    write_features(tmp_path / "f.npy", ["a", "b", "c"], embeddings)
    options = ("--features", tmp_path / "f.npy", "--output", tmp_path / "gallery")
    refused("f.npy: the features of 'b' are all zero or not finite", "build", *options)


def test_of_two_first_builds_one_is_refused(tmp_path):
    first, second = load_or_start(tmp_path, 8), load_or_start(tmp_path, 8)
    first.add(["first"], np.ones((1, 8)))
    second.add(["second"], np.ones((1, 8)))
    first.save(tmp_path)
    with pytest.raises(ValueError, match="changed by another program"):
        second.save(tmp_path)


def test_what_takes_long_is_announced(built, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    done = fairloss("gallery", "merge", built, "--output", tmp_path / "all")
    assert done.returncode == 0
    assert done.stderr.index(f"reading {built}") < done.stderr.index(f"writing {tmp_path}")


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"version": 1, "flip": 3}'])
def test_a_damaged_record_is_named(data, model, built, tmp_path, content):
    output = tmp_path / "gallery"
    shutil.copytree(built, output)
    (output / "embedder.json").write_text(content)
    probe = next(data.glob("*/*"))
    refused("embedder.json: ", "query", probe, "--gallery", output, "--checkpoint", model)


def test_a_face_that_was_deleted_is_drawn_blank(data, model, built, tmp_path):
    folder = tmp_path / "faces"
    shutil.copytree(data, folder)
    name = Gallery.load(built).names[0]
    (folder / name).unlink()
    options = (data / name, "--gallery", built, "--checkpoint", model, "-k", 1, "--data", folder)
    done = fairloss("gallery", "query", *options, "--output", tmp_path / "faces.png")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 faces are not in" in done.stderr
    image = np.asarray(Image.open(tmp_path / "faces.png").convert("L"))
    probe, found = np.array_split(image, 2, axis=1)
    assert probe.std() > 2 * found.std() > 0  # its name and score are there


def test_an_unreadable_image_stops_a_build_and_the_next_goes_on(data, model, tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "BATCH", 8)
    folder, output = tmp_path / "faces", tmp_path / "gallery"
    shutil.copytree(data, folder)
    image = folder / "id2" / "017.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:20])
    options = ("--data", folder, "--checkpoint", model, "--output", output)
    refused("id2/017.png: cannot be read", "build", *options)
    assert len(Gallery.load(output)) == 16  # what came before its batch
    image.write_bytes(whole)
    assert "17 embeddings added, 33 in all" in build(folder, model, output)
    build(folder, model, tmp_path / "calm")
    assert same(output, tmp_path / "calm")
    again = build(folder, model, output)
    assert "33 already there, by name" in again
    assert "0 embeddings added, 33 in all" in again
    shutil.copy(image, folder / "id0" / "new.png")
    assert "1 embeddings added, 34 in all" in build(folder, model, output)
    probes = ("--gallery", output, "--checkpoint", model)
    assert "id0/new.png" in run("query", folder / "id0" / "new.png", *probes)


def test_build_from_features(data, model, built, tmp_path):
    features, output = tmp_path / "f.npy", tmp_path / "gallery"
    done = fairloss("embed", "--data", data, "--checkpoint", model, "--output", features)
    assert done.returncode == 0, done.stderr
    run("build", "--features", features, "--output", output, "--index", "ivf")
    assert read_embedder(output) == read_embedder(built)
    assert Gallery.load(output).index == "ivf"
    run("build", "--features", features, "--output", output, "--index", "flat")
    assert same(output, built)
    both = ("--features", features, "--data", data, "--output", output)
    refused("give either --features, or --data and --checkpoint", "build", *both)
    refused("give either --features", "build", "--data", data, "--output", output)


def test_merge_equals_building_at_once(data, model, built, tmp_path):
    for number in range(6):
        part = tmp_path / ("a" if number < 3 else "b") / f"id{number}"
        shutil.copytree(data / f"id{number}", part)
    for part in ("a", "b"):
        build(tmp_path / part, model, tmp_path / f"gallery-{part}")
    parts = (tmp_path / "gallery-a", tmp_path / "gallery-b")
    assert "33 embeddings" in run("merge", *parts, "--output", tmp_path / "all")
    assert Gallery.load(tmp_path / "all").names == Gallery.load(built).names
    assert read_embedder(tmp_path / "all") == read_embedder(built)
    refused("already holds a gallery", "merge", *parts, "--output", built)
    other = tmp_path / "other"
    other.mkdir()
    build(tmp_path / "a", write_model(other, seed=1), tmp_path / "gallery-c")
    foreign = (parts[0], tmp_path / "gallery-c", "--output", tmp_path / "mixed")
    refused("different checkpoints", "merge", *foreign)
    assert not (tmp_path / "mixed").exists()


def test_tune_prints_writes_and_keeps(built, tmp_path):
    output = tmp_path / "gallery"
    shutil.copytree(built, output)
    shown = run("tune", "--gallery", output, "--recall", 0.6, "--index", "ivf")
    report = json.loads((output / "tune.json").read_text())
    assert (report["version"], report["probes"], report["held_out"]) == (1, 3, True)
    chosen = report["chosen"]
    assert chosen in report["points"]
    assert {point["kind"] for point in report["points"]} == {"flat", "ivf"}
    assert chosen["recall"] >= 0.6
    assert f"{chosen['recall']:.4f}" in shown
    assert Gallery.load(output).index == chosen["kind"]
    refused(
        "recall: expected a number in (0, 1], got 0", "tune", "--gallery", output, "--recall", 0
    )
