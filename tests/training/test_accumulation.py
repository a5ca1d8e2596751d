"""A batch in micro-batches trains as the whole batch does."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from step_cases import BATCH, CLASSES, DIM, gradients, group_norm_model, losses, trainer, weights
from torch import nn

from fairloss import heads
from fairloss.data import augment, epoch_batches, to_input
from fairloss.models import SmallCNN


def relative(one, other):
    return float((one - other).norm() / other.norm())


def test_a_whole_batch_in_float32_is_the_plain_loop_to_the_bit():
    made = trainer(batches=2, batch_size=60)
    expected = []
    torch.manual_seed(1)
    model, head = group_norm_model(), heads.CosFace(CLASSES, DIM)
    head.load_state_dict(made.head.state_dict())
    optimizer = torch.optim.SGD(
        [*model.parameters(), *head.parameters()], lr=0.02, momentum=0.9, weight_decay=5e-4
    )
    for step, indices in enumerate(epoch_batches(2 * BATCH, 60, 0, 1)):
        optimizer.zero_grad()
        images = to_input(augment(made.faces.images(indices), 0, 1, step))
        loss = head(model(images), made.faces.labels[indices])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        expected.append(loss.item())
    assert made.run_epoch(1).loss == sum(expected) / len(expected)
    parameters = (*model.parameters(), *head.parameters())
    assert torch.equal(weights(made), torch.cat([p.detach().flatten() for p in parameters]))


@pytest.mark.parametrize("parts", [4, 3])  # 3: 43, 43 and 42 images
@pytest.mark.parametrize(
    "head", [heads.CosFace, partial(heads.ArcFace, ignore_index=3)], ids=["all", "some ignored"]
)
def test_micro_batches_have_the_gradient_of_the_batch(head, parts):
    whole, cut = trainer(head), trainer(head, accumulate=parts)
    assert losses(cut, 1) == pytest.approx(losses(whole, 1), rel=1e-6)
    assert relative(gradients(cut), gradients(whole)) < 2e-6


def test_losses_of_four_times_32_are_those_of_128():
    whole, cut = trainer(batches=2), trainer(batches=2, accumulate=4)
    assert losses(cut, 4) == pytest.approx(losses(whole, 4), rel=1e-5)


def test_batch_statistics_are_those_of_micro_batches():
    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Upsample(32), SmallCNN(DIM, (32, 32), 1, width=4))

    whole, cut = trainer(model=model()), trainer(model=model(), accumulate=4)
    losses(whole, 1)
    losses(cut, 1)
    assert relative(gradients(cut), gradients(whole)) > 1e-3


def test_a_micro_batch_that_is_not_finite_leaves_the_whole_step_out():
    reasons, seen = [], []
    made = trainer(batches=2, accumulate=4, on_skip=lambda step, reason: reasons.append(reason))
    before, terms = weights(made), iter([0, 0, math.nan, *[0] * 4])
    made.model.register_forward_hook(lambda model, images, x: x + next(terms))
    result = made.run_epoch(1, after_step=lambda so_far: seen.append(weights(made)))
    assert (result.steps, result.skipped, len(reasons)) == (2, 1, 1)
    assert reasons[0].startswith("32 embeddings are not finite: id")
    assert torch.equal(seen[0], before)
    assert not torch.equal(seen[1], before)
