"""KappaFace: margins after an epoch."""

from __future__ import annotations

import math

import torch

from fairloss import heads
from fairloss_ext import class_statistics


def test_compact_and_large_classes_get_smaller_margins():
    spread = torch.tensor([0.5, 0.5, 0.05, 0.05])
    count = [3, 12, 3, 12]
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(count))
    centers = torch.eye(4, 6)
    points = centers[labels] + spread[labels, None] * torch.randn(30, 6)
    unit = torch.nn.functional.normalize(points.double())
    kappa = []
    for c in range(4):
        r = unit[labels == c].sum(0).norm() / count[c]
        kappa.append(r * (6 - r**2) / (1 - r**2))
    kappa = torch.stack(kappa)
    z = (kappa - kappa.mean()) / kappa.std()
    large = torch.tensor([(math.cos(math.pi * n / (1.05 * 12)) + 1) / 2 for n in count])
    expected = 0.8 * (0.7 * (1 - torch.sigmoid(0.4 * z)) + 0.3 * large)
    head = heads.KappaFace(5, 6)
    head.end_of_epoch(class_statistics(points, labels, 5))
    torch.testing.assert_close(head.margins[:4].double(), expected, rtol=1e-4, atol=1e-5)
    assert head.margins[4] == 0.8  # no image, nothing learned
    assert head.margins[3] == head.margins[:4].min()


def test_margins_are_finite_with_one_image_a_class():
    head = heads.KappaFace(3, 4)
    head.end_of_epoch(class_statistics(torch.randn(3, 4), torch.arange(3), 3))
    assert head.margins.isfinite().all()
    points, labels = torch.randn(5, 4), torch.tensor([0, 0, 1, 1, 2])
    head.end_of_epoch(class_statistics(points, labels, 3))
    assert head.margins.isfinite().all()


def test_an_infinite_concentration_counts_as_the_largest_finite_one():
    """Class 1 is the most compact; the images of class 2 are all alike, that of class 3 is one."""
    labels = torch.arange(4).repeat_interleave(torch.tensor([6, 6, 6, 1]))
    spread = torch.tensor([0.5, 0.1, 0.0, 0.0])[labels, None]
    points = torch.randn(4, 8)[labels] + spread * torch.randn(19, 8)
    head = heads.KappaFace(4, 8, gamma=1.0)  # w_kappa alone
    head.end_of_epoch(class_statistics(points, labels, 4))
    assert head.margins[1] == head.margins[2] == head.margins[3]
    assert head.margins[0] > 1.1 * head.margins[1]
