"""Heads that begin from the class weights of others."""

from __future__ import annotations

import pytest
import torch
from head_cases import CASES

from fairloss import heads


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


def test_the_state_of_another_head_is_refused_with_a_hint():
    with pytest.raises(RuntimeError, match="(?s)size mismatch for margins.*warm_start"):
        heads.FairLoss(5, 3).load_state_dict(heads.ArcFace(5, 3).state_dict(), strict=False)
    with pytest.raises(RuntimeError, match="(?s)Missing key.*warm_start"):
        heads.AdaFace(5, 3).load_state_dict(heads.Softmax(5, 3).state_dict())


def test_a_whole_state_keeps_the_margins_it_was_saved_with():
    head, start = heads.CosFace(5, 3, 0.35), heads.ArcFace(5, 3, 0.5, scale=48.0)
    head.load_state_dict(start.state_dict())  # same names and shapes: a cosine head of margin 0.5
    assert (head.kind, float(head.margins), float(head.scale)) == ("cos", 0.5, 48.0)
    head = heads.CosFace(5, 3, 0.35)
    head.warm_start(start.state_dict())  # class weights alone
    assert (head.kind, float(head.scale)) == ("cos", 64.0)
    assert float(head.margins) == pytest.approx(0.35)
    assert torch.equal(head.weight, start.weight)
