"""Heads, backbones and trainers from a configuration."""

from __future__ import annotations

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
