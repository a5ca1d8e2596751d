"""Heads that begin from the class weights of others."""

from __future__ import annotations

import pytest
import torch
from head_cases import CASES
from torch import nn

from fairloss import heads
from fairloss.agent import Policy

KEEP = Policy.constant("keep")


def make(name, classes=5):
    return CASES[name].make(classes, 3)


@pytest.mark.parametrize("name", list(heads.HEADS))
def test_class_weights_alone_are_a_state(name):
    head, weight = make(name), torch.randn(5, 3)
    before = {key: value for key, value in head.state_dict().items() if key != "weight"}
    head.load_state_dict({"weight": weight})
    after = head.state_dict()
    assert torch.equal(after.pop("weight"), weight)
    assert str(before) == str(dict(after))


@pytest.mark.parametrize("name", list(heads.HEADS))
def test_every_head_starts_from_every_other(name):
    for other in heads.HEADS:
        start = make(other)
        for source in (start, start.state_dict()):
            head = make(name)
            head.warm_start(source)
            assert torch.equal(head.weight, start.weight)


@pytest.mark.parametrize("name", list(heads.HEADS))
def test_new_classes_keep_their_weights(name):
    head, start = make(name), make(name, 3)
    first = head.weight.detach().clone()
    head.warm_start(start, rows=torch.tensor([2, -1, 0, -1, 1]))
    assert torch.equal(head.weight[[0, 2, 4]], start.weight[[2, 0, 1]])
    assert torch.equal(head.weight[[1, 3]], first[[1, 3]])


def test_fair_loss_takes_margins_of_its_kind_on_its_grid():
    head = heads.FairLoss(5, 3)
    head.warm_start(heads.ArcFace(5, 3, 0.45))
    assert head.margins.tolist() == pytest.approx([0.45] * 5)
    head.warm_start(heads.ArcFace(5, 3, 0.25005))  # within the grid's tolerance
    assert head.margins.tolist() == pytest.approx([0.25005] * 5)
    head.warm_start(heads.ArcFace(5, 3, 0.45))
    for other in (heads.ArcFace(5, 3, 0.5), heads.CosFace(5, 3, 0.25)):
        head.warm_start(other)
        assert head.margins.tolist() == pytest.approx([0.45] * 5)
    more = heads.FairLoss(5, 3)
    head.margins.copy_(torch.tensor([0.15, 0.25, 0.35, 0.45, 0.15]))
    more.warm_start(head, rows=torch.tensor([1, 0, -1, 3, 4]))
    assert more.margins.tolist() == pytest.approx([0.25, 0.15, 0.35, 0.45, 0.15])


def test_other_shapes_and_rows_are_refused():
    head = heads.ArcFace(5, 3)
    expected = r"other: expected class weights of shape \(5, 3\), got "
    for other, got in ((heads.ArcFace(4, 3), r"\(4, 3\)"), ({}, "none")):
        with pytest.raises(ValueError, match=expected + got):
            head.warm_start(other)
    with pytest.raises(ValueError, match=r"shape \(C, 3\), got \(5, 2\)"):
        head.warm_start(heads.ArcFace(5, 2), rows=torch.arange(5))
    with pytest.raises(ValueError, match="rows: expected -1 to 3, got 4 at position 4"):
        head.warm_start(heads.ArcFace(4, 3), rows=torch.arange(5))


@pytest.mark.parametrize(
    ("head", "source", "got"),
    [
        (heads.FairLoss(5, 3, policy=KEEP), heads.ArcFace(5, 3), 'ArcFace, kind "arc"'),
        (heads.AdaFace(5, 3), heads.Softmax(5, 3), "Softmax"),
        (heads.CosFace(5, 3), heads.ArcFace(5, 3, 0.5), 'ArcFace, kind "arc"'),
        (
            heads.MVSoftmax(5, 3, kind="cos"),
            heads.MVSoftmax(5, 3, kind="arc"),
            'MVSoftmax, kind "arc"',
        ),
        (heads.UniFace(5, 3), heads.SphereFace2(5, 3), "SphereFace2"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_state_of_another_head_is_refused_with_a_hint(head, source, got):
    before = {name: tensor.clone() for name, tensor in head.named_parameters()}
    message = f"(?s)state_dict: expected the state of {type(head).__name__}.*got {got}.*warm_start"
    for part in (head, nn.ModuleDict({"head": head})):
        state = (
            source.state_dict() if part is head else nn.ModuleDict({"head": source}).state_dict()
        )
        with pytest.raises(RuntimeError, match=message if part is head else message[:-12]):
            part.load_state_dict(state, strict=False)
    for name, tensor in head.named_parameters():
        assert torch.equal(tensor, before[name])
    head.warm_start(source.state_dict())  # class weights alone
    assert torch.equal(head.weight, source.weight)


def test_a_derived_loss_and_a_state_without_a_record_load():
    class Narrow(heads.CosFace):
        pass

    source = heads.CosFace(5, 3, 0.25)
    for state in (source.state_dict(), dict(source.state_dict())):
        head = Narrow(5, 3)
        head.load_state_dict(state)
        assert float(head.margins) == 0.25
