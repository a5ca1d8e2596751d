"""Training in bfloat16, and in float16 with a loss scale."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from step_cases import gradients, losses, trainer, weights

from fairloss import heads
from fairloss.training import Diverged, OptimizerConfig

half = partial(trainer, precision="float16")


def scaled(scale, **options):
    """A trainer in float16 that begins with this loss scale, and the reasons of left-out steps."""
    reasons = []
    made = half(on_skip=lambda step, reason: reasons.append((step, reason)), **options)
    made._take_step.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return made, reasons


def scale_of(made):
    return made.state()["scaler"]["scale"]


@pytest.mark.parametrize("parts", [1, 4])
def test_bfloat16_has_the_loss_and_gradient_of_float32_to_its_rounding(parts):
    whole, low = trainer(), trainer(precision="bfloat16", accumulate=parts)
    dtypes = []
    low.model[0].register_forward_hook(lambda layer, images, x: dtypes.append(x.dtype))
    assert losses(low, 1) == pytest.approx(losses(whole, 1), rel=1e-3)
    assert dtypes == [torch.bfloat16] * parts
    assert {p.dtype for p in low.model.parameters()} == {torch.float32}
    difference = (gradients(low) - gradients(whole)).norm() / gradients(whole).norm()
    assert 0 < difference < 0.01


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_learns(precision):
    before, *_, after = losses(trainer(batch_size=16, precision=precision), 4)
    assert after < before / 2


def test_an_overflow_is_skipped_at_half_the_scale_until_steps_fit():
    made, reasons = scaled(2.0**40, batches=2, batch_size=8)
    seen = []
    result = made.run_epoch(1, after_step=lambda so_far: seen.append(weights(made)))
    assert result.skipped > 10  # more than are a divergence
    assert result.skipped < result.steps
    steps, texts = zip(*reasons, strict=True)
    assert list(steps) == list(range(1, len(reasons) + 1))
    assert texts[0] == (
        "the gradient overflows float16 at a loss scale of 1.09951e+12, now 5.49756e+11"
    )
    assert scale_of(made) == 2.0 ** (40 - len(reasons))
    assert torch.equal(seen[0], seen[len(reasons) - 1])
    assert not torch.equal(seen[-1], seen[0])
    assert weights(made).isfinite().all()
    assert math.isfinite(result.loss)


def test_an_epoch_of_overflows_alone_is_no_divergence():
    made, _ = scaled(2.0**40)
    result = made.run_epoch(1)
    assert (result.steps, result.skipped) == (1, 1)
    assert math.isnan(result.loss)


@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_a_gradient_that_no_scale_makes_finite_is_a_divergence(sample_rate):
    made, reasons = scaled(
        4.0, head=partial(heads.CosFace, sample_rate=sample_rate), batches=2, batch_size=8
    )
    made.head.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(Diverged, match=r"10 steps in a row .* at step 12: .* loss scale of"):
        made.run_epoch(1)
    assert len(reasons) == 12
    assert weights(made).isfinite().all()


@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_the_gradient_is_clipped_as_it_is_without_a_scale(sample_rate):
    head = partial(heads.CosFace, sample_rate=sample_rate)
    optimizer = OptimizerConfig(learning_rate=0.02, clip=0.1)
    made = [
        trainer(head, optimizer=optimizer),
        *(scaled(scale, head=head, optimizer=optimizer)[0] for scale in (64.0, 1024.0)),
    ]
    before = weights(made[0])
    moves = []
    for each in made:
        assert each.run_epoch(1).skipped == 0
        moves.append(weights(each) - before)
    for move in moves[1:]:
        assert (move - moves[0]).norm() < 0.02 * moves[0].norm()


def test_float16_resumes_inside_an_epoch_with_its_scale():
    made, _ = scaled(2.0**22, batches=2, batch_size=32)
    saved = []

    def save(so_far):
        if so_far.steps == 3:
            saved.extend(copy.deepcopy([made.state(), so_far]))

    result = made.run_epoch(1, after_step=save)
    state, so_far = saved
    assert so_far.skipped > 0
    resumed = half(batches=2, batch_size=32)
    resumed.restore(state)
    assert resumed.run_epoch(1, done=so_far)[:3] == result[:3]
    assert torch.equal(weights(resumed), weights(made))
    assert scale_of(resumed) == scale_of(made)
