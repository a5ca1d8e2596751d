"""Cases of sampled_classes beyond the other tests: invalid labels on a GPU, and huge sizes."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from fairloss_ext import reference, sampled_classes


@pytest.mark.parametrize("bad", [-2, 50, 2**40])
@pytest.mark.parametrize("samples", [0, 20, 50])
def test_an_invalid_label_has_an_invalid_position_and_no_slot(monkeypatch, bad, samples):
    labels = torch.randint(-1, 50, (300,))
    labels[[7, 8, 299]] = -1
    classes, positions = reference.sampled_classes(labels, 50, samples, 4)
    labels[[7, 8, 299]] = bad
    positions[[7, 8, 299]] = -2
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    results = sampled_classes(labels, 50, samples, 4)
    assert torch.equal(results[0], classes)
    assert torch.equal(results[1], positions)


@pytest.mark.parametrize("batch", [0, 1, 31, 32, 33, 65, 300])
@pytest.mark.parametrize(("size", "samples"), [(1, 0), (1, 1), (7, 3), (40, 0), (1_000_003, 900)])
def test_odd_shapes(batch, size, samples):
    labels = torch.randint(-1, min(size, 40), (batch,))
    results = sampled_classes(labels, size, samples, 2**40, -1)
    expected = reference.sampled_classes(labels, size, samples, 2**40, -1)
    for ours, theirs in zip(results, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("other", [0, 1, 31, 32, 63, 64, 95])
def test_the_first_of_a_class_wherever_it_stands(other):
    labels = torch.full((97,), 2)
    labels[[other, 96]] = 5
    classes, positions = sampled_classes(labels, 9, 0, 0)
    assert positions[96] == positions[other] == other
    assert classes[other] == 5
    assert (classes >= 0).sum() == 2


def test_the_end_of_a_draw_of_2_to_the_31_classes(monkeypatch):
    """Only the last block runs, so little memory is touched."""
    size = 2**31 - 1
    monkeypatch.setenv("HOST_RUN_BLOCKS", "last")
    monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", str(2**31 - 1))
    classes, _ = sampled_classes(torch.empty(0, dtype=torch.int64), size, size, 6)
    plain = import_module("fairloss_ext.reference.sampled_classes")
    key = plain.splitmix64(torch.tensor(0), torch.tensor(6))
    last = plain._forward(torch.arange(size - 9, size), key, 31)
    assert (last < size).all()  # only one number of 31 bits lies beyond
    assert torch.equal(classes[-9:], last)
