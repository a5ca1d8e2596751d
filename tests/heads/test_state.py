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
