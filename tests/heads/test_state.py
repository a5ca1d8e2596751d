"""What single heads remember, and how it moves."""

from __future__ import annotations

import math

import pytest
import torch

from fairloss import heads
from fairloss_ext import class_statistics


def test_kappaface_gives_compact_and_large_classes_less():
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
    assert head.margins[4] == 0.8  # no image, nothing learnt
    assert head.margins[3] == head.margins[:4].min()


def test_kappaface_survives_one_image_a_class():
    head = heads.KappaFace(3, 4)
    head.end_of_epoch(class_statistics(torch.randn(3, 4), torch.arange(3), 3))
    assert head.margins.isfinite().all()
    points, labels = torch.randn(5, 4), torch.tensor([0, 0, 1, 1, 2])
    head.end_of_epoch(class_statistics(points, labels, 3))
    assert head.margins.isfinite().all()


def test_kappaface_counts_an_infinite_concentration_as_the_largest_finite_one():
    """Class 1 is the most compact; the images of class 2 are all alike, that of class 3 is one."""
    labels = torch.arange(4).repeat_interleave(torch.tensor([6, 6, 6, 1]))
    spread = torch.tensor([0.5, 0.1, 0.0, 0.0])[labels, None]
    points = torch.randn(4, 8)[labels] + spread * torch.randn(19, 8)
    head = heads.KappaFace(4, 8, gamma=1.0)  # w_kappa alone
    head.end_of_epoch(class_statistics(points, labels, 4))
    assert head.margins[1] == head.margins[2] == head.margins[3]
    assert head.margins[0] > 1.1 * head.margins[1]


def test_ldam_waits_with_its_weights():
    head = heads.LDAM(3, 4, counts=[1, 10, 100], reweight_from=2, reduction="none")
    embeddings, labels = torch.randn(9, 4), torch.arange(9) % 3
    statistics = class_statistics(embeddings, labels, 3)
    torch.testing.assert_close(head.margins, 0.5 / torch.tensor([1, 10, 100.0]) ** 0.25)
    plain = head(embeddings, labels)
    for epoch in range(2):
        assert torch.equal(head(embeddings, labels), plain), epoch
        head.end_of_epoch(statistics)
    ratio = (head(embeddings, labels) / plain)[:3]
    assert ratio.mean().item() == pytest.approx(1, rel=1e-4)
    assert ratio[0] > 9 * ratio[1]  # about as 1 / n while n is far below 1 / (1 - beta)


@pytest.mark.parametrize(
    ("head", "step", "expected"),
    [
        (heads.SphereFace, 1, 1000 / 1.12),
        (heads.SphereFace, 1000, 1000 / 121),
        (heads.SphereFace, 16000, 5.0),
        (heads.LSoftmax, 10_000, 1000 * 1.25**-35),
    ],
)
def test_lambda_falls_as_scheduled(head, step, expected):
    made = head(3, 4)
    made.step.fill_(step - 1)
    made(torch.randn(2, 4), torch.tensor([0, 1]))
    assert made.step == step
    assert made.ease().item() == pytest.approx(expected, rel=1e-5)
    made.eval()(torch.randn(2, 4), torch.tensor([0, 1]))
    assert made.step == step


def test_curricular_t_is_a_moving_average_of_the_target_cosine():
    head = heads.CurricularFace(2, 2)
    head.weight.data = torch.eye(2)
    points = torch.tensor([[0.6, 0.8], [1.0, 0.0], [3.0, 4.0]])
    head(points, torch.tensor([0, 1, -1]))  # target cosines 0.6 and 0
    assert head.t.item() == pytest.approx(0.003)
    head(points, torch.tensor([-1, -1, 1]))  # 0.8
    assert head.t.item() == pytest.approx(0.99 * 0.003 + 0.008)
    head.eval()(points, torch.tensor([0, 0, 0]))
    assert head.t.item() == pytest.approx(0.99 * 0.003 + 0.008)


def test_adaface_clips_the_angle_and_asks_more_of_long_embeddings():
    head = heads.AdaFace(2, 2, reduction="none").eval()
    head.norm_mean.fill_(20)
    head.norm_std.fill_(1)
    head.weight.data = torch.eye(2)
    # z = 1: theta - 0.4 is clipped to 1e-3, and 0.8 is taken off; the other cosine is sin 0.1
    loss = head(100 * torch.tensor([[math.cos(0.1), math.sin(0.1)]]), torch.tensor([0]))
    gap = 64 * (math.sin(0.1) - (math.cos(1e-3) - 0.8))
    assert loss.item() == pytest.approx(math.log1p(math.exp(gap)), rel=1e-4)
    # z = -1: theta + 0.4 is clipped to pi - 1e-3; nothing is taken off
    loss = head(0.1 * torch.tensor([[-math.cos(0.1), math.sin(0.1)]]), torch.tensor([0]))
    gap = 64 * (math.sin(0.1) - math.cos(math.pi - 1e-3))
    assert loss.item() == pytest.approx(gap, rel=1e-6)
    theta = math.acos(-math.cos(0.1))
    clipped = head.sample_margins(
        torch.tensor([[0.1, 0]]), torch.tensor([-math.cos(0.1)]), torch.tensor([0])
    )
    assert clipped[0, 1].item() == pytest.approx(math.pi - 1e-3 - theta, abs=1e-5)
    short, long = head.sample_margins(
        torch.tensor([[1.0, 0], [100, 0]]), torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    ).tolist()
    assert short == pytest.approx([1, 0.4, 0])
    assert long == pytest.approx([1, -0.4, 0.8])


def test_elasticface_draws_around_the_margin():
    head = heads.ElasticFace(3, 4, kind="cos", sigma=0.1)
    drawn = head.sample_margins(torch.zeros(1), torch.zeros(20_000), torch.zeros(1))
    assert drawn.mean().item() == pytest.approx(0.35, abs=0.004)
    assert drawn.std().item() == pytest.approx(0.1, rel=0.03)
    assert head.eval().sample_margins(torch.zeros(1), torch.zeros(5), torch.zeros(1)) is None


def test_adaptive_margins_stay_between_0_and_1():
    head = heads.AdaptiveFace(3, 4)
    assert ((head.margins >= 0.3) & (head.margins <= 0.4)).all()
    head.margins.data = torch.tensor([-1.0, 0.5, 3.0])
    head(torch.randn(2, 4), torch.tensor([0, 1])).backward()
    assert head.margins.tolist() == [0, 0.5, 1]
    assert head.margins.grad[2].item() == pytest.approx(-70 / 3, rel=1e-5)  # no sample of its own


def test_sphereface2_starts_where_the_bias_has_no_slope():
    head = heads.SphereFace2(50, 4)
    head.weight.data[:] = torch.tensor([0.0, 0, 0, 1])
    head(torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([7])).backward()
    assert abs(head.bias.grad.item()) < 1e-4


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("scale", [20.0, 64.0])
def test_sphereface2_starts_there_with_few_classes_too(classes, scale):
    head = heads.SphereFace2(classes, 4, scale=scale)

    def slope(b):  # of the loss of all-zero cosines, by the formula
        g = 2 * 0.5**3 - 1
        own = -0.7 / (1 + math.exp(scale * (g - 0.4) + b))
        return own + 0.3 * (classes - 1) / (1 + math.exp(-scale * (g + 0.4) - b))

    b = head.bias.item()
    assert slope(b - 1e-3) < 0 < slope(b + 1e-3)


def test_uniface_weighs_its_negatives():
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    losses = []
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(1)
        head = heads.UniFace(3, 4, negative_weight=weight, reduction="none")
        losses.append(head(x, y).detach())
    torch.testing.assert_close(losses[2] - losses[0], 3 * (losses[1] - losses[0]))
    assert (losses[1] > losses[0]).any()


def test_adacos_follows_the_median_angle():
    angles = torch.linspace(0.1, 0.6, 5)
    head = heads.AdaCos(50, 52)
    head.weight.data = torch.eye(50, 52)
    points = torch.zeros(5, 52)
    points[range(5), range(5)], points[:, 51] = angles.cos(), angles.sin()
    before = head.scale.item()
    head(points, torch.arange(5))
    assert before != pytest.approx(math.log(49) / math.cos(0.35), rel=1e-2)
    assert head.scale.item() == pytest.approx(math.log(49) / math.cos(0.35), rel=1e-5)


def test_adacos_takes_two_forward_passes_before_their_backward_pass():
    torch.manual_seed(2)
    head = heads.AdaCos(30, 8)
    x, y = torch.randn(2, 12, 8, requires_grad=True), torch.arange(12)
    first, second = head(x[0], y), head(3 * x[1], y)
    (first + second).backward()
    together = head.weight.grad.clone()
    torch.manual_seed(2)
    alone = heads.AdaCos(30, 8)
    for number in range(2):
        alone((1, 3)[number] * x[number].detach(), y).backward()
    torch.testing.assert_close(together, alone.weight.grad)


def test_adacos_scale_starts_and_stays_sensible():
    assert heads.AdaCos(1001, 4).scale.item() == pytest.approx(math.sqrt(2) * math.log(1000))
    for classes in (1, 2, 3):
        head = heads.AdaCos(classes, 4)
        head(torch.randn(4, 4), torch.zeros(4, dtype=torch.int64)).backward()
        assert head.scale >= 1
    fixed = heads.AdaCos(9, 4, dynamic=False)
    before = fixed.scale.item()
    fixed(torch.randn(4, 4), torch.zeros(4, dtype=torch.int64))
    assert fixed.scale.item() == before
