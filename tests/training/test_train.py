"""Training runs."""

from __future__ import annotations

import math

import pytest
import torch
from synthetic import faces
from training_runs import COUNTS, config, same

from fairloss.agent import Policy
from fairloss.training import (
    HeadConfig,
    RunFolder,
    load_backbone,
    read_json,
    train,
)
from fairloss.training.build import build_trainer


def test_a_run_leaves_its_folder_and_learns(tmp_path):
    run = train(config(tmp_path / "run", epochs=12), faces(COUNTS))
    metrics = RunFolder(run).metrics()
    epochs = [line for line in metrics if line["event"] == "epoch"]
    assert [line["epoch"] for line in epochs] == list(range(1, 13))
    assert [line["step"] for line in epochs] == [3 * n for n in range(1, 13)]  # 24 images by 8
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    assert metrics[-1]["event"] == "end"
    assert sum(group["classes"] for group in epochs[0]["groups"]) == 6
    assert read_json(run / "identities.json")["counts"] == COUNTS
    assert len(list(run.glob("checkpoint-*.pt"))) == 2
    assert not list(run.glob("*.tmp")) + list(run.glob(".*.tmp"))
    model, saved = load_backbone(run / "model.pt")
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 16)
    assert saved.epochs == 12


def test_one_seed_one_result_another_seed_another(tmp_path):
    runs = {
        name: train(config(tmp_path / name, seed=seed), faces(COUNTS))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    }
    assert same(runs["a"], runs["b"])
    assert not same(runs["a"], runs["c"])


def test_a_sampled_step_with_nan_is_left_out_and_the_seed_draws_the_classes(tmp_path):
    settings = config(tmp_path, head=HeadConfig(sample_rate=0.3), seed=7)
    trainer = build_trainer(settings, faces([4] * 20), RunFolder(tmp_path))
    assert trainer.head.sample_seed == 7
    calls = iter([False, True, *[False] * 8])

    def make_non_finite(gradient):
        return gradient * (math.nan if next(calls) else 1.0)

    trainer.head.weight.register_hook(make_non_finite)
    done = trainer.run_epoch(1, 0.02)
    assert (done.steps, done.skipped) == (10, 1)
    assert trainer.head.weight.isfinite().all()


def test_nan_weight_row_is_named_and_its_step_left_out(tmp_path):
    folder = RunFolder(tmp_path)
    trainer = build_trainer(config(tmp_path), faces(COUNTS), folder)
    trainer.head.weight.data[4, 0] = math.nan
    before = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(RuntimeError, match=r"all 3 steps of epoch 1 were left out.*class 4"):
        trainer.run_epoch(1, 0.1)
    skips = [line for line in folder.metrics() if line["event"] == "skip"]
    assert [line["step"] for line in skips] == [1, 2, 3]
    assert "class 4 (id4)" in skips[0]["reason"]
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_non_finite_step_is_left_out_and_training_continues(tmp_path):
    folder = RunFolder(tmp_path)
    trainer = build_trainer(config(tmp_path), faces(COUNTS), folder)
    calls = iter([False, True, False])

    def make_non_finite(gradient):
        return gradient * (math.nan if next(calls) else 1.0)

    trainer.head.weight.register_hook(make_non_finite)  # the head's gradient alone
    done = trainer.run_epoch(1, 0.1)
    assert (done.steps, done.skipped) == (3, 1)
    assert folder.metrics()[0]["reason"] == "the gradient is not finite"
    assert trainer.head.weight.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_many_non_finite_steps_end_the_run(tmp_path, value):
    trainer = build_trainer(config(tmp_path, batch_size=2), faces(COUNTS), RunFolder(tmp_path))
    trainer.head.weight.data[4, 0] = value
    with pytest.raises(RuntimeError, match=r"10 steps in a row were left out.*class 4"):
        trainer.run_epoch(1, 0.1)


def test_nan_embedding_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    trainer = build_trainer(config(tmp_path, augment=False), faces(COUNTS), folder)
    trainer.model.register_forward_hook(
        lambda module, inputs, output: output.index_fill(0, torch.tensor([2]), math.nan)
    )
    with pytest.raises(RuntimeError, match="all 3 steps"):
        trainer.run_epoch(1, 0.1)
    reason = folder.metrics()[0]["reason"]
    assert reason.startswith("1 embeddings are not finite: id")
    assert trainer.head.weight.isfinite().all()


def test_fair_loss_moves_margins_after_each_epoch(tmp_path):
    Policy.constant("raise").save(tmp_path / "raise.json")
    head = HeadConfig(name="FairLoss", policy=str(tmp_path / "raise.json"), margin=0.15)
    run = train(config(tmp_path / "run", head=head, epochs=5), faces(COUNTS))
    epochs = [line for line in RunFolder(run).metrics() if line["event"] == "epoch"]
    margins = [{group["margin"] for group in line["groups"]} - {None} for line in epochs]
    expected = [0.15, 0.25, 0.35, 0.45, 0.45]  # of the epoch just trained
    for found, margin in zip(margins, expected, strict=True):
        assert list(found) == pytest.approx([margin] * len(found))
    final = torch.load(run / "head.pt", weights_only=True)["margins"]
    torch.testing.assert_close(final, torch.full((6,), 0.45))


def test_tensorboard_scalars_are_written(tmp_path):
    run = train(config(tmp_path / "run", epochs=1, tensorboard=True), faces(COUNTS))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    logged = RunFolder(run).metrics()[0]
    assert events.Scalars("loss")[0].value == pytest.approx(logged["loss"], rel=1e-6)
    assert any(tag.startswith("margin/") for tag in events.Tags()["scalars"])


def test_one_identity_is_refused(tmp_path):
    with pytest.raises(ValueError, match="data: expected at least two identities, got one"):
        train(config(tmp_path), faces([5]))
