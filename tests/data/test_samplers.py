"""Balanced batches and M images of each class: against counts, and repeatable from a seed."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from fairloss.data import balanced_batches, epoch_batches, per_class_batches

COUNTS = [1, 2, 3, 5, 8, 13, 40]
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
LABELS = LABELS[torch.randperm(len(LABELS), generator=GENERATOR)]


def per_class(seed: int = 0, epoch: int = 0, batch_size: int = 12, images: int = 3) -> list[Tensor]:
    return per_class_batches(LABELS, batch_size, images, seed, epoch)


def balanced(seed: int = 0, epoch: int = 0) -> list[Tensor]:
    return balanced_batches(LABELS, 12, seed, epoch)


@pytest.mark.parametrize("draw", [balanced, per_class])
def test_batches_are_a_function_of_seed_and_epoch(draw):
    torch.manual_seed(99)
    state = torch.get_rng_state()
    first = torch.cat(draw(1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.dtype == torch.int64
    assert torch.equal(torch.cat(draw(1, 2)), first)
    others = {tuple(torch.cat(draw(*key)).tolist()) for key in ((1, 3), (2, 2), (2, 1), (0, 3))}
    assert len(others) == 4
    assert tuple(first.tolist()) not in others


def test_batches_do_not_change_between_versions():
    # a run saved by one release must resume with the same batches in the next
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    assert [batch.tolist() for batch in balanced_batches(labels, 4, 0, 0)] == [[3, 5, 2], [4, 0, 5]]
    assert [batch.tolist() for batch in per_class_batches(labels, 4, 2, 0, 0)] == [
        [3, 4, 1, 0],
        [3, 4, 5, 5],
    ]


def test_balanced_batches_are_as_many_and_as_large_as_plain_ones():
    for batch_size in (1, 5, 12, 71, 72, 100):
        plain = epoch_batches(len(LABELS), batch_size, 0, 0)
        sizes = [len(batch) for batch in balanced_batches(LABELS, batch_size, 0, 0)]
        assert sizes == [len(batch) for batch in plain]


def test_every_class_is_equally_frequent_in_a_balanced_epoch():
    for epoch in range(20):
        counts = LABELS[torch.cat(balanced(epoch=epoch))].bincount()
        assert counts.sum() == len(LABELS) == 72
        assert set(counts.tolist()) <= {10, 11}  # 72 / 7


@pytest.mark.parametrize("draw", [balanced, per_class])
def test_all_images_of_a_class_are_equally_frequent(draw):
    epochs = 400
    drawn = torch.cat([torch.cat(draw(epoch=epoch)) for epoch in range(epochs)])
    seen = drawn.bincount(minlength=len(LABELS))
    for label, count in enumerate(COUNTS):
        images = seen[label == LABELS].double()
        expected = len(drawn) / len(COUNTS) / count
        # draws within a class are without replacement: less than a binomial deviates
        assert (images - expected).abs().max() < 5 * expected**0.5


@pytest.mark.parametrize("draw", [balanced, per_class])
def test_no_image_repeats_before_the_others_of_its_class(draw):
    for epoch in range(20):
        images = torch.cat(draw(epoch=epoch))
        for label, count in enumerate(COUNTS):
            drawn = images[LABELS[images] == label].tolist()
            for start in range(0, len(drawn), count):
                part = drawn[start : start + count]
                assert len(set(part)) == len(part)


@pytest.mark.parametrize(("batch_size", "images"), [(12, 3), (7, 1), (21, 3), (4, 4), (8, 2)])
def test_each_batch_has_m_images_of_its_classes(batch_size, images):
    batches = per_class(0, 5, batch_size, images)
    assert len(batches) == -(-72 // batch_size)
    for batch in batches:
        classes, counts = LABELS[batch].unique(return_counts=True)
        assert len(classes) == batch_size // images
        assert set(counts.tolist()) == {images}
        labels = LABELS[batch].view(-1, images)
        assert (labels == labels[:, :1]).all()
        for label in classes.tolist():
            different = batch[LABELS[batch] == label].unique()
            assert len(different) == min(images, COUNTS[label])


def test_classes_come_equally_often_in_batches_of_m_images():
    # 6 batches of 4 of 7 classes: each class is in a batch with probability 4 / 7
    epochs = 500
    drawn = torch.cat([torch.cat(per_class(epoch=epoch)) for epoch in range(epochs)])
    counts = LABELS[drawn].bincount() / 3
    expected = epochs * 6 * 4 / 7
    deviation = (epochs * 6 * 4 / 7 * 3 / 7) ** 0.5
    assert (counts - expected).abs().max() < 5 * deviation


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1, got 0"),
        ({"images_per_class": 0}, "images_per_class: expected an integer of at least 1, got 0"),
        ({"images_per_class": 5}, "images_per_class: expected a divisor of batch_size=12, got 5"),
        ({"batch_size": 24}, "batch_size: expected at most 21, 3 images of 7 classes, got 24"),
        ({"labels": LABELS + 1}, "labels: expected an image of each class, got none of 0"),
        ({"labels": -LABELS}, "labels: expected integers >= 0, got -6"),
        ({"labels": LABELS[:0]}, "labels: expected int64 (N,), N >= 1, got torch.int64 of shape"),
        ({"labels": LABELS.float()}, "labels: expected int64 (N,), N >= 1, got torch.float32"),
    ],
)
def test_refused(change, problem):
    arguments = {"labels": LABELS, "batch_size": 12, "images_per_class": 3, "seed": 0, "epoch": 0}
    with pytest.raises(ValueError, match=re.escape(problem)):
        per_class_batches(**(arguments | change))
    if "images_per_class" not in change and change.get("batch_size") != 24:
        del arguments["images_per_class"]
        with pytest.raises(ValueError, match=re.escape(problem)):
            balanced_batches(**(arguments | change))
