"""The learning rate of every step."""

import warnings

import pytest
import torch
from synthetic import faces
from torch.optim.lr_scheduler import LambdaLR, LinearLR, PolynomialLR, SequentialLR
from training_runs import COUNTS, config

from fairloss.optim import step_schedule
from fairloss.training import HeadConfig, OptimizerConfig, RunFolder, train
from fairloss.training.build import build_trainer
from fairloss.training.config import learning_rate_at

EPOCHS, STEPS = 32, 5


def rates(settings, epochs=EPOCHS, steps=STEPS):
    return [learning_rate_at(settings, epochs, steps, step) for step in range(epochs * steps)]


def test_the_step_schedule_is_that_of_lambda_lr_to_the_bit():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.07)
    cuts = (0.625, 0.875)
    schedule = LambdaLR(optimizer, lambda done: 0.1 ** sum(done + 1 > cut * 32 for cut in cuts))
    expected = []
    for _ in range(EPOCHS):
        expected += [optimizer.param_groups[0]["lr"]] * STEPS
        optimizer.step()
        schedule.step()
    assert rates(OptimizerConfig(learning_rate=0.07)) == expected
    by_epoch = dict(enumerate(expected[::STEPS], 1))
    assert by_epoch[20] == 0.07
    assert [by_epoch[epoch] for epoch in (21, 28, 29, 32)] == pytest.approx([7e-3] * 2 + [7e-4] * 2)


def test_the_deprecated_scheduler_has_the_rates_of_the_step_schedule():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    for finished, expected in ((0, 0.07), (20, 0.007), (31, 0.0007)):
        with pytest.warns(DeprecationWarning, match="use torch's LambdaLR"):
            schedule = step_schedule(optimizer, 0.07, (0.625, 0.875), 32, finished)
        assert schedule.get_last_lr() == pytest.approx([expected])


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_polynomial_with_warmup_is_that_of_torch(power):
    warmup, total = 2 * STEPS, EPOCHS * STEPS
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    rising = LinearLR(optimizer, 1 / warmup, 1, warmup - 1)
    falling = PolynomialLR(optimizer, total - warmup, power)
    schedule = SequentialLR(optimizer, [rising, falling], [warmup])
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():  # torch's own call of a deprecated argument
            warnings.simplefilter("ignore")
            schedule.step()
    settings = OptimizerConfig(schedule="polynomial", power=power, warmup=2.0)
    assert rates(settings) == pytest.approx(expected, rel=1e-9)
    assert min(expected) > 0


def test_a_warmup_of_part_of_an_epoch_rises_evenly_and_then_steps_down():
    settings = OptimizerConfig(learning_rate=1.0, warmup=0.5, decay_at=[0.5])
    assert rates(settings, 2, 8) == pytest.approx([0.25, 0.5, 0.75, *[1] * 5, *[0.1] * 8])


def test_every_step_of_a_run_has_its_rate_also_inside_an_epoch(tmp_path):
    settings = OptimizerConfig(schedule="polynomial", warmup=1.0)
    trainer = build_trainer(config(tmp_path), faces(COUNTS), RunFolder(tmp_path))
    trainer.start_schedule(settings, 4)
    seen, saved = [], []

    def record(so_far):
        seen.append(trainer.learning_rate)
        if so_far.steps == 2:
            saved[:] = [so_far]
            raise KeyboardInterrupt

    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            trainer.run_epoch(epoch, after_step=record)
        trainer.run_epoch(epoch, done=saved[0], after_step=record)
    assert seen == rates(settings, 4, 3)[:6]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"warmup": 4.0}, "optimizer.warmup: expected fewer epochs than epochs=4, got 4.0"),
        (
            {"schedule": "cosine"},
            "optimizer.schedule: expected one of 'step', 'polynomial', got 'cosine'",
        ),
        (
            {"name": "adamw"},
            "optimizer.name: expected sgd where head.sample_rate is below 1, as gradients are "
            "sparse there without head.options.sparse=false, got adamw",
        ),
        ({"power": 0.0}, "optimizer.power: expected a number above 0, got 0.0"),
        ({"name": "adam"}, "optimizer.name: expected one of 'sgd', 'adamw', got 'adam'"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, changes, error):
    head = HeadConfig(sample_rate=0.5)
    settings = config(tmp_path, head=head, optimizer=OptimizerConfig(**changes))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        settings.check()
    assert str(caught.value) == error


def test_dense_gradients_of_sampled_classes_may_have_adamw(tmp_path):
    head = HeadConfig(sample_rate=0.5, options={"sparse": False})
    adamw = OptimizerConfig(learning_rate=1e-3, name="adamw")
    train(config(tmp_path, head=head, optimizer=adamw, epochs=1), faces(COUNTS))
    assert (tmp_path / "model.pt").exists()
