"""Classification of held-out images against a count by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fairloss.data import FaceImages
from fairloss.experiments.closed_set import CLOSED_METRICS, check_identities, classify

AXES = torch.eye(3)


class Lookup(nn.Module):
    """Return the row of a table that the first pixel names."""

    def __init__(self, rows):
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def forward(self, images):
        return self.rows[((images[:, 0, 0, 0] + 1) / 2 * 255).round().long()]


def images(pixels, labels, identities):
    """Images whose first pixel is the number of their embedding."""
    values = torch.tensor(pixels, dtype=torch.uint8)[:, None, None, None]
    values = values.expand(-1, 1, 32, 32).contiguous()
    names = [str(number) for number in range(len(pixels))]
    return FaceImages(values, torch.tensor(labels), identities, names, mirror=False)


def test_accuracies_and_angles_by_the_number_of_training_images():
    upward, second = [0.0, 0.0, 1.0], [math.sin(0.3), math.cos(0.3), 0.0]
    model = Lookup([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], upward, second, [0.0, 0.8, 0.6]])
    faces = images([0, 1, 1, 2, 2, 2], [0, 1, 1, 2, 2, 2], ["few", "medium", "many"])
    closed = images([0, 3, 4, 2], [2, 1, 0, 0], ["many", "medium", "few"])
    weight = torch.stack([AXES[0], 5 * AXES[2], AXES[1]])
    metrics = classify(model, weight, faces, closed)
    # The image of "few" is right. Those of "medium" and "many" lie nearest to their centers, but
    # their weights are those of the other one; 4 of "many" is nearer to the center of "medium".
    assert [metrics[f"accuracy_{b}"] for b in ("tail", "mid", "head")] == [1, 0, 0.5]
    assert [metrics[f"ncm_{b}"] for b in ("tail", "mid", "head")] == [1, 1, 0.5]
    assert metrics["accuracy"] == pytest.approx(0.5)
    assert metrics["accuracy_gap"] == -0.5
    assert metrics["ncm_gap"] == -0.5
    assert metrics["angle_tail"] == pytest.approx(0, abs=1e-6)
    assert metrics["angle_mid"] == pytest.approx(0.3, abs=1e-6)
    assert metrics["angle_head"] == pytest.approx(math.acos(0.6) / 2, abs=1e-6)


def test_a_bin_without_classes_is_not_measured():
    model = Lookup(AXES.tolist())
    faces = images([0, 1], [0, 1], ["a", "b"])
    metrics = classify(model, AXES[:2], faces, faces)
    assert metrics.keys() == set(CLOSED_METRICS)
    assert metrics["accuracy_tail"] == 1
    assert metrics["accuracy_head"] == metrics["accuracy_gap"] == "not measurable without classes"


def test_identities_that_are_not_trained_are_named():
    faces = images([0, 1], [0, 1], ["a", "b"])
    others = images([0, 1], [0, 1], ["a", "c"])
    message = "closed: expected images of identities of data alone, got 1 others, the first 'c'"
    with pytest.raises(ValueError, match=message):
        check_identities("closed", others, faces)
