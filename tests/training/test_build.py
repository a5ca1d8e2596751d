"""Heads, backbones and trainers from a configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from synthetic import faces
from training_runs import COUNTS, config, same, stop_after_each_epoch

from fairloss.training import (
    HeadConfig,
    ModelConfig,
    load_backbone,
    train,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": HeadConfig(name="Arc")}, "head.name: expected one of .*'FairLoss', .*got 'Arc'"),
        ({"head": HeadConfig(name="MVSoftmax", kind="sphere")}, "head.kind: .*got 'sphere'"),
        (
            {"head": HeadConfig(name="ArcFace", policy="p.json")},
            "head.policy: expected no policy for ArcFace",
        ),
        (
            {"head": HeadConfig(name="ArcFace", kind="cos")},
            "head.kind: expected no kind for ArcFace",
        ),
        (
            {"head": HeadConfig(name="NormFace", margin=0.5)},
            "head.margin: expected no margin for NormFace",
        ),
        (
            {"head": HeadConfig(name="Softmax", scale=8.0)},
            "head.scale: expected no scale for Softmax",
        ),
        (
            {"head": HeadConfig(name="Softmax", sample_rate=0.5)},
            "head.sample_rate: expected no sample_rate for Softmax",
        ),
        ({"head": HeadConfig(name="MVSoftmax", options={"t": 0.5})}, "head.t: .*got 0.5"),
        ({"head": HeadConfig(name="MVSoftmax", options={"tt": 2})}, "head.options: tt: "),
        (
            {"head": HeadConfig(name="FairLoss", policy="p.json")},
            "head.policy: .*p.json does not exist",
        ),
        (
            {"head": HeadConfig(sample_rate=0.0)},
            r"head.sample_rate: expected a number in \(0, 1\], got 0.0",
        ),
        (
            {"model": ModelConfig(embedding_size=-1)},
            "model.embedding_size: expected a number in",
        ),
        ({"model": ModelConfig(name="vgg")}, "model.name: expected one of 'small_cnn'"),
    ],
)
def test_bad_choices_are_named(tmp_path, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(config(tmp_path, **changes))  # before a single image is read


@pytest.mark.parametrize(
    "head",
    [
        HeadConfig(name="Softmax"),
        HeadConfig(name="Combined"),
        HeadConfig(name="MVSoftmax", kind="arc", margin=0.3, scale=16.0, options={"t": 1.1}),
        HeadConfig(name="LDAM", options={"reweight_from": 1}),
    ],
)
def test_any_head_trains_and_resumes_from_its_name(tmp_path, monkeypatch, head):
    settings = config(tmp_path, head=head, epochs=2)
    with monkeypatch.context() as stopped:
        stop_after_each_epoch(stopped, last=2)
        with pytest.raises(KeyboardInterrupt):
            train(settings, faces(COUNTS))
    run = train(settings, faces(COUNTS))
    whole = train(config(tmp_path / "whole", head=head, epochs=2), faces(COUNTS))
    assert same(run, whole)
    if head.name == "LDAM":
        assert torch.load(run / "head.pt", weights_only=True)["counts"].tolist() == COUNTS


SCHEDULE = {"tilt": 0.1, "by": "nearest", "schedule": [[0, 0.15], [0.5, 0.45]]}


@pytest.mark.parametrize("head", [HeadConfig(name="PerClass", options=SCHEDULE), "file"])
def test_margins_of_classes_train_and_resume(tmp_path, monkeypatch, head):
    images = faces(COUNTS)
    if head == "file":
        margins = {name: 0.1 * k for k, name in enumerate(images.identities)}
        (tmp_path / "m.json").write_text(json.dumps(margins | {"another": 1}), encoding="utf-8")
        head = HeadConfig(name="PerClass", kind="arc", margins=str(tmp_path / "m.json"))
    settings = config(tmp_path / "run", head=head, epochs=3)
    with monkeypatch.context() as stopped:
        stop_after_each_epoch(stopped, last=3)
        with pytest.raises(KeyboardInterrupt):
            train(settings, images)
    run = train(settings, images)
    assert same(run, train(config(tmp_path / "whole", head=head, epochs=3), images))
    state = torch.load(run / "head.pt", weights_only=True)
    mean = (state["margins"] * state["counts"]).sum() / state["counts"].sum()
    if head.margins is None:
        assert mean == pytest.approx(0.45)  # of 2/3 of the epochs
        assert state["margins"].std() > 0.01
    else:
        assert state["margins"].tolist() == pytest.approx(list(margins.values()))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.json", b'{"0": 0.1}', "m.json: margin of .*: expected a number, got none$"),
        ("m.json", b"[0.1]", "m.json: margins: expected those of 6 identities, got list"),
        ("m.json", b"{", "m.json: not JSON"),
        ("m.npy", b"junk", "m.npy: not a .npy file of numbers"),
        ("m.npy", b"PK\x03\x04", "m.npy: not a .npy file of numbers"),  # an .npz, renamed
        (
            "m.npy",
            np.zeros(5),
            r"margins: expected those of 6 identities, got shape \(5,\) float64",
        ),
        ("m.npy", np.full(6, np.nan), r"head.margins: expected finite numbers"),
    ],
)
def test_a_file_of_margins_that_does_not_fit_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    head = HeadConfig(name="PerClass", margins=str(path))
    with pytest.raises(ValueError, match=message):
        train(config(tmp_path / "run", head=head), faces(COUNTS))
    with pytest.raises(ValueError, match=r"head.margins: expected no margins for CosFace, as head"):
        train(config(tmp_path / "run", head=HeadConfig(margins=str(path))), faces(COUNTS))
    head = HeadConfig(name="PerClass", options={"margins": [0.1] * 6})
    with pytest.raises(ValueError, match=r"head.options: expected no margins, which head.margins="):
        train(config(tmp_path / "run", head=head), faces(COUNTS))


def test_a_backbone_needs_its_configuration(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model.pt does not exist"):
        load_backbone(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot be read"):
        load_backbone(tmp_path / "model.pt")
    run = train(config(tmp_path / "run", epochs=1), faces(COUNTS))
    with pytest.raises(ValueError, match="such as a run's model.pt"):
        load_backbone(run / "checkpoint-0001.pt")
    (run / "model.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be read"):
        load_backbone(run / "model.pt")
