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
from fairloss.gallery import Gallery
from fairloss.training import (
    TrainConfig,
    as_yaml,
    backbone,
    load_config,
    read_embedder,
)

pytest.importorskip("faiss")

COUNTS = [8, 7, 6, 5, 4, 3]


@pytest.fixture(autouse=True, scope="module")
def _wide_terminal():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "faces", COUNTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network, as good as any to tell images apart."""
    return write_model(tmp_path_factory.mktemp("run"), seed=0)


def write_model(folder, seed):
    settings = ["data=x", f"output={folder}", "image_size=[32,32]", "channels=1"]
    config = load_config(None, [*settings, "model.embedding_size=16"], TrainConfig)
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
    refused("expected a name that ends in .svg, .png or .pdf", "query", *options, *wrong)
    (tmp_path / "corrupt.png").write_bytes(b"no image")
    for image, message in (("none.png", "does not exist"), ("corrupt.png", "cannot be read")):
        refused(message, "query", tmp_path / image, *options[1:])


def test_another_network_is_refused(data, built, tmp_path):
    other = write_model(tmp_path, seed=1)
    probe = next(data.glob("*/*"))
    refused("is not the one", "query", probe, "--gallery", built, "--checkpoint", other)
    options = ("--data", data, "--checkpoint", other, "--output", built)
    refused("differ in another checkpoint", "build", *options)


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
    assert "0 embeddings added, 33 in all" in build(folder, model, output)
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
    refused("recall must be above 0", "tune", "--gallery", output, "--recall", 0)
