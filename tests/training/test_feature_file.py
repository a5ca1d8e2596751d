"""Embedding lists of images to files: right, resumable, and all or nothing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import write_folder

from fairloss.data import (
    list_images,
    open_aligned,
    read_features,
    read_folder,
    read_images,
    read_vectors,
    write_arrays,
)
from fairloss.io.atomic import FormatError
from fairloss.io.output import locked
from fairloss.models import build_model, embed
from fairloss.training import (
    TrainConfig,
    as_yaml,
    embed_to_devkit,
    embed_to_npy,
    feature_file,
    load_config,
)

backbone = importlib.import_module("fairloss.training.backbone")  # the package has a function


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    run = tmp_path / "run"
    options = ["data=x", f"output={run}", "image_size=[32,32]", "channels=1"]
    config = load_config(None, [*options, "model.embedding_size=8"], TrainConfig)
    run.mkdir()
    (run / "config.yaml").write_text(as_yaml(config), encoding="utf-8")
    torch.save(build_model("small_cnn", 8, (32, 32), 1).state_dict(), run / "model.pt")
    return run / "model.pt"


@pytest.fixture
def images(tmp_path) -> Path:
    return write_folder(tmp_path / "faces", [4, 4, 4])


def test_equals_embedding_in_memory(images, checkpoint, tmp_path):
    names = list_images(images)
    embed_to_npy(checkpoint, images, names, tmp_path / "f.npy", identities=["x"] * 12)
    features = read_features(tmp_path / "f.npy")
    faces = read_folder(images, (32, 32), 1)
    assert features.names == faces.names
    model = build_model("small_cnn", 8, (32, 32), 1)
    model.load_state_dict(torch.load(checkpoint))
    np.testing.assert_allclose(features.embeddings, embed(model, faces), atol=1e-5)
    assert features.identities == ["x"] * 12
    embed_to_devkit(checkpoint, images, names, tmp_path / "mf", "_a.bin")
    vectors = read_vectors(tmp_path / "mf", names, "_a.bin")
    unit = features.embeddings / np.linalg.norm(features.embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, unit, atol=1e-5)


def test_arrays_are_mirrored_only_where_allowed(images, checkpoint, tmp_path):
    faces, labels = read_folder(images, (32, 32), 1), np.repeat([0, 1, 2], 4)
    model = build_model("small_cnn", 8, (32, 32), 1)
    model.load_state_dict(torch.load(checkpoint))
    for mirror in (True, False):
        folder, output = tmp_path / f"{mirror}", tmp_path / f"{mirror}.npy"
        pixels = faces.images(range(12)).numpy()
        who, how = faces.identities, list("0123456789ab")
        write_arrays(folder, [pixels], labels, np.arange(12), who, how, mirror)
        names = read_images(folder, (32, 32), 1).names
        embed_to_npy(checkpoint, folder, names, output)
        features, expected = np.load(output), embed(model, faces, flip=mirror)
        np.testing.assert_allclose(features, expected, atol=1e-5)
        assert json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))["flip"] is mirror
        embed_to_devkit(checkpoint, folder, names, tmp_path / "mf", f"_{mirror}.bin")
        vectors = read_vectors(tmp_path / "mf", names, f"_{mirror}.bin")
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, unit, atol=1e-5)


def test_an_interrupted_run_resumes(images, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_file, "BATCH", 5)
    names, output = list_images(images), tmp_path / "out" / "f.npy"
    embed_to_npy(checkpoint, images, names, tmp_path / "whole.npy")

    class Stop(Exception):
        pass

    def stop(done, total):
        if done >= 10:
            raise Stop

    with pytest.raises(Stop):
        embed_to_npy(checkpoint, images, names, output, progress=stop)
    assert not output.exists()
    (images / names[0]).unlink()  # already embedded: not read again
    seen = []
    embed_to_npy(checkpoint, images, names, output, progress=lambda *now: seen.append(now))
    assert seen == [(12, 12)]
    np.testing.assert_allclose(np.load(output), np.load(tmp_path / "whole.npy"), atol=1e-6)
    assert sorted(path.name for path in output.parent.iterdir()) == ["f.json", "f.npy"]


def test_another_job_starts_afresh(images, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_file, "BATCH", 5)
    names, output = list_images(images), tmp_path / "f.npy"

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_to_npy(checkpoint, images, names, output, progress=stop)
    seen = []
    embed_to_npy(
        checkpoint, images, names, output, flip=False, progress=lambda *now: seen.append(now)
    )
    assert seen[0] == (5, 12)


def test_unreadable_image_is_named_and_leaves_no_output(images, checkpoint, tmp_path):
    names = list_images(images)
    (images / names[7]).write_bytes(b"no image")
    with pytest.raises(FormatError, match=names[7]):
        embed_to_npy(checkpoint, images, names, tmp_path / "f.npy")
    assert not (tmp_path / "f.npy").exists()
    assert not (tmp_path / "f.json").exists()


def test_landmarks_align_first(images, checkpoint, tmp_path):
    names = list_images(images)
    generator = np.random.default_rng(0)
    points = generator.uniform(5, 25, (12, 5, 2))
    embed_to_npy(checkpoint, images, names, tmp_path / "f.npy", points=points)
    for name, five in zip(names, points, strict=True):
        face = open_aligned(images / name, five)
        target = tmp_path / "aligned" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        face.save(target)
    assert Image.open(tmp_path / "aligned" / names[0]).size == (112, 112)
    embed_to_npy(checkpoint, tmp_path / "aligned", names, tmp_path / "g.npy")
    np.testing.assert_allclose(np.load(tmp_path / "f.npy"), np.load(tmp_path / "g.npy"), atol=1e-5)


def test_a_second_run_into_one_output_is_refused(checkpoint, images, tmp_path):
    output = tmp_path / "f.npy"
    with (
        locked(output, tmp_path / ".f.npy.lock"),
        pytest.raises(ValueError, match="no other run writes, got .*f.npy .process"),
    ):
        embed_to_npy(checkpoint, images, ["id0/000.png"], output)
    assert not list(tmp_path.glob("f.*"))


def test_a_checkpoint_replaced_while_it_is_read_is_refused(
    checkpoint, images, tmp_path, monkeypatch
):
    load = backbone.load_backbone

    def load_and_replace(path):
        loaded = load(path)
        torch.save({key: value + 1 for key, value in torch.load(path).items()}, path)
        return loaded

    monkeypatch.setattr(backbone, "load_backbone", load_and_replace)
    with pytest.raises(ValueError, match="checkpoint: expected a file that does not change"):
        embed_to_npy(checkpoint, images, ["id0/000.png"], tmp_path / "f.npy")
