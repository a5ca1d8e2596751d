"""Training resumes inside an epoch to the same bits."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from synthetic import faces
from torch import nn
from training_runs import COUNTS, config

from fairloss.training import Diverged, EpochSoFar, HeadConfig, RunFolder
from fairloss.training.build import build_trainer


class Stopped(Exception):
    pass


def made(folder, counts=COUNTS, **settings):
    trainer = build_trainer(config(folder, **settings), faces(counts), RunFolder(folder))
    trainer.model.register_forward_hook(lambda model, images, x: nn.functional.dropout(x, 0.2))
    return trainer


def stopped_at(trainer, step, epoch):
    """The state and the steps so far, saved when `step` steps of an epoch are done."""
    saved = []

    def save(so_far):
        if so_far.steps == step:
            saved.extend(copy.deepcopy([trainer.state(), so_far]))
            raise Stopped

    with pytest.raises(Stopped):
        trainer.run_epoch(epoch, 0.02, after_step=save)
    return saved


def tensors(state):
    parts = [state["model"], state["head"], *state["optimizer"]["state"].values()]
    return [value for part in parts for value in part.values() if isinstance(value, torch.Tensor)]


def assert_same(one, other):
    assert all(map(torch.equal, tensors(one), tensors(other)))
    assert torch.equal(one["rng"], other["rng"])


@pytest.mark.parametrize(("head", "step"), [(HeadConfig(), 1), (HeadConfig(sample_rate=0.3), 3)])
def test_an_epoch_resumed_after_any_step_ends_with_the_same_bits(tmp_path, head, step):
    whole = made(tmp_path, head=head)
    expected = whole.run_epoch(2, 0.02)
    state, so_far = stopped_at(made(tmp_path, head=head), step, 2)
    resumed = made(tmp_path, head=head)
    torch.manual_seed(99)  # whatever the process did in between
    resumed.restore(state)
    before = copy.deepcopy(so_far)
    result = resumed.run_epoch(2, 0.02, done=so_far)
    assert so_far == before
    assert result[:3] == expected[:3]
    assert_same(resumed.state(), whole.state())


def make_non_finite(trainer, skipped):
    """Make the gradients of the given steps, counted from 1, not finite."""
    trainer.head.weight.register_hook(
        lambda gradient: gradient * (math.nan if trainer.step in skipped else 1.0)
    )


def test_left_out_steps_of_a_resumed_epoch_are_counted(tmp_path):
    def left_out():
        trainer = made(tmp_path)
        make_non_finite(trainer, {1, 3})
        return trainer

    expected = left_out().run_epoch(1, 0.02)
    assert (expected.steps, expected.skipped) == (3, 2)
    state, so_far = stopped_at(left_out(), 2, 1)
    assert (so_far.steps, so_far.skipped, len(so_far.losses)) == (2, 1, 1)
    resumed = left_out()
    resumed.restore(state)
    assert resumed.run_epoch(1, 0.02, done=so_far)[:3] == expected[:3]


def test_steps_left_out_in_a_row_are_counted_on_after_a_resume(tmp_path):
    trainer = made(tmp_path, batch_size=2)
    make_non_finite(trainer, range(2, 99))
    state, so_far = stopped_at(trainer, 8, 1)
    resumed = made(tmp_path, batch_size=2)
    make_non_finite(resumed, range(2, 99))
    resumed.restore(state)
    with pytest.raises(Diverged, match="10 steps in a row were left out, the last at step 11:"):
        resumed.run_epoch(1, 0.02, done=so_far)


def test_an_epoch_whose_steps_are_done_trains_no_more(tmp_path):
    trainer = made(tmp_path)
    before = copy.deepcopy(trainer.state())
    result = trainer.run_epoch(1, 0.02, done=EpochSoFar(3, [1.0, 2.0], 1, 5.0))
    assert (result.loss, result.steps, result.skipped) == (1.5, 3, 1)
    assert result.seconds == 5.0
    assert_same(trainer.state(), before)
    run = partial(trainer.run_epoch, 1, done=EpochSoFar(4, [1.0]))
    with pytest.raises(ValueError, match=r"^done: expected at most 3 steps, got 4$"):
        run()
