"""The table of heads, and heads built from settings."""

from __future__ import annotations

import inspect

import pytest
import torch

from fairloss import heads
from fairloss.agent import Policy
from fairloss.heads import registry
from fairloss.heads.registry import build_head

SETTINGS = {"margin": 0.35, "kind": "cos", "scale": 16.0, "policy": Policy.constant("keep")}


@pytest.mark.parametrize("setting", [*SETTINGS, "counts"])
@pytest.mark.parametrize("name", list(heads.HEADS))
def test_a_setting_is_accepted_where_the_class_has_the_argument(name, setting):
    arguments = inspect.signature(heads.HEADS[name]).parameters
    argument = "initial_margin" if (name, setting) == ("FairLoss", "margin") else setting
    if setting == "counts":
        head = build_head(name, 3, 4, counts=[1, 2, 30])
        assert hasattr(head, "counts") == ("counts" in arguments)
        return
    value = 2 if name in ("LSoftmax", "SphereFace", "SphereFaceR") else SETTINGS[setting]
    if argument in arguments:
        assert isinstance(build_head(name, 3, 4, **{setting: value}), heads.HEADS[name])
    else:
        with pytest.raises(ValueError, match=f"^{setting}: expected no {setting} for {name}, got "):
            build_head(name, 3, 4, **{setting: value})


def test_settings_reach_the_head():
    head = build_head("FairLoss", 3, 4, margin=0.45, kind="cos", policy=SETTINGS["policy"])
    assert head.margins.tolist() == pytest.approx([0.45] * 3)
    assert head.kind == "cos"
    assert head.policy is SETTINGS["policy"]
    assert head.scale == registry.DEFAULT_SCALE
    head = build_head("ArcFace", 9, 4, scale=16, sample_rate=0.5, sample_seed=3)
    assert (head.scale, head.sample_rate, head.sample_seed) == (16, 0.5, 3)
    head = build_head("LDAM", 3, 4, options={"largest_margin": 0.3})
    assert torch.equal(head.margins, torch.full((3,), 0.3))


def test_settings_that_a_head_does_not_have_are_named():
    for arguments, message in (
        (("ArcFaces", 3, 4), "name: expected one of .*'ArcFace'.*, got 'ArcFaces'"),
        (("ArcFace", 0, 4), "num_classes: expected an integer of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            build_head(*arguments)
    with pytest.raises(ValueError, match="sample_rate: expected no sample_rate for Softmax"):
        build_head("Softmax", 3, 4, sample_rate=0.1)
    with pytest.raises(ValueError, match="options: color: expected an option of ArcFace"):
        build_head("ArcFace", 3, 4, options={"color": "red"})
