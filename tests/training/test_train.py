from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from synthetic import faces, write_folder

from fairloss.agent import Policy
from fairloss.io.atomic import write_atomic
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunFolder,
    TrainConfig,
    load_backbone,
    read_json,
    train,
)
from fairloss.training.build import build_trainer
from fairloss.training.schedule import step_schedule

COUNTS = [8, 6, 4, 3, 2, 1]


def config(output: Path, **changes) -> TrainConfig:
    settings = {
        "data": "made up",
        "output": str(output),
        "epochs": 4,
        "batch_size": 8,
        "image_size": [32, 32],
        "channels": 1,
        "model": ModelConfig(embedding_size=16),
        "optimizer": OptimizerConfig(learning_rate=0.02),
    }
    return TrainConfig(**settings | changes)


def weights(run: Path) -> list[torch.Tensor]:
    parts = [torch.load(run / name, weights_only=True) for name in ("model.pt", "head.pt")]
    return [value for part in parts for value in part.values() if isinstance(value, torch.Tensor)]


def same(a: Path, b: Path) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def stop_after_each_epoch(monkeypatch, last: int | None = None) -> None:
    """Interrupt training as soon as an epoch is saved, the last one excepted."""
    original = RunFolder.save_checkpoint

    def save_and_stop(self, epoch, state):
        original(self, epoch, state)
        if epoch != last:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save_checkpoint", save_and_stop)


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


def test_a_longer_run_resumed_after_every_epoch_is_the_same_run(tmp_path, monkeypatch):
    whole = train(config(tmp_path / "whole"), faces(COUNTS))
    settings = config(tmp_path / "parts")
    stop_after_each_epoch(monkeypatch, last=4)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            train(settings, faces(COUNTS))
        torch.manual_seed(time.time_ns())  # whatever the process did in between
    parts = train(settings, faces(COUNTS))
    assert same(whole, parts)
    events = [line["event"] for line in RunFolder(parts).metrics()]
    assert events.count("resume") == 3
    assert events.count("epoch") == 4


def test_sampled_classes_train_and_resume_with_the_same_bits(tmp_path, monkeypatch):
    counts = [4] * 20
    head = HeadConfig(sample_rate=0.3)
    whole = train(config(tmp_path / "whole", head=head), faces(counts))
    losses = [line["loss"] for line in RunFolder(whole).metrics() if line["event"] == "epoch"]
    assert losses[-1] < losses[0]
    stop_after_each_epoch(monkeypatch, last=4)
    settings = config(tmp_path / "parts", head=head)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            train(settings, faces(counts))
    assert same(whole, train(settings, faces(counts)))
    assert torch.load(whole / "head.pt", weights_only=True)["step"] == 4 * 10  # 80 images by 8


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


def test_killed_and_resumed_ends_with_the_same_bits(tmp_path):
    data = write_folder(tmp_path / "data", [12, 10, 8, 6, 4, 2])
    settings = ["epochs=6", "batch_size=4", "image_size=[32,32]", "channels=1"]
    settings += ["model.embedding_size=16", "optimizer.learning_rate=0.02", f"data={data}"]
    program = "from fairloss.cli import main; main()"
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "python")])}

    def start(run: str, **options) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, "train", *settings]
        return subprocess.Popen(
            [*command, f"output={tmp_path / run}", "resume=auto"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    whole = start("whole")
    assert whole.wait(120) == 0, whole.stderr.read()
    killed = start("killed")
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoint-0002.pt").exists():
        assert killed.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "model.pt").exists()
    resumed = start("killed")
    assert resumed.wait(120) == 0, resumed.stderr.read()
    events = RunFolder(tmp_path / "killed").metrics()
    resumes = [line for line in events if line["event"] == "resume"]
    assert len(resumes) == 1
    assert resumes[0]["step"] == resumes[0]["epoch"] * 11  # 42 images by 4: the log says where
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_a_half_written_file_is_never_read(tmp_path, monkeypatch):
    run = train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    whole = (run / "checkpoint-0002.pt").read_bytes()
    (run / ".checkpoint-0003.pt.17.tmp").write_bytes(whole[:100])  # killed while writing
    longer = train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    assert same(run, longer)
    (run / "checkpoint-0002.pt").write_bytes(whole[:100])
    with pytest.raises(ValueError, match=r"checkpoint-0002.pt: damaged.*remove it"):
        train(config(tmp_path / "run", epochs=2), faces(COUNTS))

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    (tmp_path / "old.json").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "old.json", fail)
    assert (tmp_path / "old.json").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.json", "run"]


def test_a_cut_off_log_line_is_repaired_on_resume(tmp_path):
    run = train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    (run / "model.pt").unlink()
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"version": 1, "event": "epo')
    train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    events = [
        json.loads(line)["event"] for line in (run / "metrics.jsonl").read_text().split("\n")[:-1]
    ]
    assert events == ["epoch", "epoch", "end", "resume", "end"]
    with (run / "metrics.jsonl").open("a") as log:
        log.write('no json\n{"event": "more"}\n')
    with pytest.raises(ValueError, match="line 6 is not JSON"):
        RunFolder(run).metrics()


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


def test_many_non_finite_steps_end_the_run(tmp_path):
    trainer = build_trainer(config(tmp_path, batch_size=2), faces(COUNTS), RunFolder(tmp_path))
    trainer.head.weight.data[4, 0] = math.nan
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
    head = HeadConfig(policy=str(tmp_path / "raise.json"), margin=0.15)
    run = train(config(tmp_path / "run", head=head, epochs=5), faces(COUNTS))
    epochs = [line for line in RunFolder(run).metrics() if line["event"] == "epoch"]
    margins = [{group["margin"] for group in line["groups"]} - {None} for line in epochs]
    expected = [0.15, 0.25, 0.35, 0.45, 0.45]  # of the epoch just trained
    for found, margin in zip(margins, expected, strict=True):
        assert list(found) == pytest.approx([margin] * len(found))
    final = torch.load(run / "head.pt", weights_only=True)["margins"]
    torch.testing.assert_close(final, torch.full((6,), 0.45))


def test_a_run_resumes_without_the_file_of_its_policy(tmp_path, monkeypatch):
    policy = tmp_path / "raise.json"
    Policy.constant("raise").save(policy)
    head = HeadConfig(policy=str(policy), margin=0.15)
    whole = train(config(tmp_path / "whole", head=head), faces(COUNTS))
    stop_after_each_epoch(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "run", head=head), faces(COUNTS))
    monkeypatch.undo()
    policy.unlink()
    monkeypatch.chdir(tmp_path)
    relative = HeadConfig(policy="raise.json", margin=0.15)  # the same file from here
    assert same(whole, train(config(tmp_path / "run", head=relative), faces(COUNTS)))


def test_other_data_is_refused_on_resume(tmp_path, monkeypatch):
    """A renamed identity shifts every label: the weights would belong to other identities."""
    stop_after_each_epoch(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "run"), faces(COUNTS))
    monkeypatch.undo()
    renamed = faces(COUNTS)
    renamed.identities[0] = "another"
    with pytest.raises(ValueError, match="output: .* 6 identities.* first difference is id0"):
        train(config(tmp_path / "run"), renamed)
    with pytest.raises(ValueError, match="others of the same identities"):
        train(config(tmp_path / "run"), faces([*COUNTS[:-1], 2]))
    train(config(tmp_path / "run"), faces(COUNTS))


def test_a_run_killed_before_its_model_was_written_says_so(tmp_path):
    run = train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    (run / "model.pt").unlink()
    train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    events = RunFolder(run).metrics()
    assert [line["event"] for line in events[-2:]] == ["resume", "end"]
    assert events[-2]["step"] == 6
    assert (run / "model.pt").exists()


def test_a_run_killed_between_its_two_results_writes_both(tmp_path, monkeypatch):
    original = os.replace
    replaced = []

    def replace_once(source, target):
        replaced.append(Path(target).name)
        if (
            replaced[-1] in ("model.pt", "head.pt")
            and len({"model.pt", "head.pt"} & set(replaced)) == 2
        ):
            raise KeyboardInterrupt
        original(source, target)

    monkeypatch.setattr(os, "replace", replace_once)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "run", epochs=1), faces(COUNTS))
    monkeypatch.undo()
    run = train(config(tmp_path / "run", epochs=1), faces(COUNTS))
    assert (run / "model.pt").exists()
    assert (run / "head.pt").exists()


def test_init_starts_from_another_run(tmp_path):
    head = HeadConfig(name="ArcFace", margin=0.25)
    first = train(config(tmp_path / "first", head=head), faces(COUNTS))
    folder = RunFolder(tmp_path / "second")
    trainer = build_trainer(config(folder.path, init=str(first)), faces(COUNTS), folder)
    for head, message in (
        (HeadConfig(margin=0.45), "head.margin: expected none beside init"),
        (HeadConfig(kind="cos"), "expected a run with cos margins, got .* with arc"),
    ):
        other = config(folder.path, init=str(first), head=head)
        with pytest.raises(ValueError, match=message):
            build_trainer(other, faces(COUNTS), folder)
    assert torch.equal(
        trainer.head.weight, torch.load(first / "head.pt", weights_only=True)["weight"]
    )
    torch.testing.assert_close(trainer.head.margins, torch.full((6,), 0.25))
    with pytest.raises(ValueError, match="init: .*the 6 identities that .*, got 3"):
        build_trainer(config(folder.path, init=str(first)), faces(COUNTS[:3]), folder)
    with pytest.raises(ValueError, match="init: expected a finished run"):
        build_trainer(config(folder.path, init=str(tmp_path)), faces(COUNTS), folder)


def test_learning_rate_falls_after_the_given_fractions():
    settings = OptimizerConfig(learning_rate=0.1)
    expected = {1: 0.1, 20: 0.1, 21: 0.01, 28: 0.01, 29: 0.001, 32: 0.001}
    optimizer = torch.optim.SGD([torch.zeros(1)])
    schedule = step_schedule(optimizer, settings, epochs=32)
    rates = {}
    for epoch in range(1, 33):
        rates[epoch] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
    assert {epoch: rates[epoch] for epoch in expected} == pytest.approx(expected)
    for epoch, rate in rates.items():  # a resumed run
        step_schedule(optimizer, settings, epochs=32, finished=epoch - 1)
        assert optimizer.param_groups[0]["lr"] == rate


def test_an_existing_run_with_other_settings_is_left_alone(tmp_path):
    run = train(config(tmp_path / "run", epochs=1), faces(COUNTS))
    with pytest.raises(ValueError, match="seed was 0, is 5"):
        train(config(tmp_path / "run", epochs=1, seed=5), faces(COUNTS))
    with pytest.raises(ValueError, match="output: expected a folder without a run"):
        train(config(tmp_path / "run", epochs=1, resume="never"), faces(COUNTS))
    assert read_json(run / "identities.json")["counts"] == COUNTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": HeadConfig(name="Arc")}, "head.name: expected one of .*'FairLoss', .*got 'Arc'"),
        ({"head": HeadConfig(kind="sphere")}, "head.kind: .*got 'sphere'"),
        (
            {"head": HeadConfig(name="ArcFace", policy="p.json")},
            "head.policy: expected no policy for ArcFace",
        ),
        (
            {"head": HeadConfig(name="ArcFace", kind="cos")},
            "head.kind: expected no kind for ArcFace",
        ),
        (
            {"head": HeadConfig(name="NormFace", margin=0.5)},
            "head.margin: expected no margin for NormFace",
        ),
        (
            {"head": HeadConfig(name="Softmax", scale=8.0)},
            "head.scale: expected no scale for Softmax",
        ),
        (
            {"head": HeadConfig(name="Softmax", sample_rate=0.5)},
            "head.sample_rate: expected no sample_rate for Softmax",
        ),
        ({"head": HeadConfig(name="MVSoftmax", options={"t": 0.5})}, "head.t: .*got 0.5"),
        ({"head": HeadConfig(name="MVSoftmax", options={"tt": 2})}, "head.options: tt: "),
        ({"head": HeadConfig(policy="p.json")}, "head.policy: .*p.json does not exist"),
        (
            {"head": HeadConfig(sample_rate=0.0)},
            r"head.sample_rate: expected a number in \(0, 1\], got 0.0",
        ),
        ({"model": ModelConfig(name="vgg")}, "name must be one of small_cnn"),
    ],
)
def test_bad_choices_are_named(tmp_path, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(config(tmp_path, **changes))  # before a single image is read


@pytest.mark.parametrize(
    "head",
    [
        HeadConfig(name="Softmax"),
        HeadConfig(name="Combined"),
        HeadConfig(name="MVSoftmax", kind="arc", margin=0.3, scale=16.0, options={"t": 1.1}),
        HeadConfig(name="LDAM", options={"reweight_from": 1}),
    ],
)
def test_any_head_trains_and_resumes_from_its_name(tmp_path, monkeypatch, head):
    settings = config(tmp_path, head=head, epochs=2)
    with monkeypatch.context() as stopped:
        stop_after_each_epoch(stopped, last=2)
        with pytest.raises(KeyboardInterrupt):
            train(settings, faces(COUNTS))
    run = train(settings, faces(COUNTS))
    whole = train(config(tmp_path / "whole", head=head, epochs=2), faces(COUNTS))
    assert same(run, whole)
    if head.name == "LDAM":
        assert torch.load(run / "head.pt", weights_only=True)["counts"].tolist() == COUNTS


def test_tensorboard_scalars_are_written(tmp_path):
    run = train(config(tmp_path / "run", epochs=1, tensorboard=True), faces(COUNTS))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    logged = RunFolder(run).metrics()[0]
    assert events.Scalars("loss")[0].value == pytest.approx(logged["loss"], rel=1e-6)
    assert any(tag.startswith("margin/") for tag in events.Tags()["scalars"])


def test_one_identity_and_several_ranks_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="data: expected at least two identities, got one"):
        train(config(tmp_path), faces([5]))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE"):
        train(config(tmp_path), faces(COUNTS))


def test_a_policy_of_another_kind_is_refused(tmp_path):
    keep = Policy.constant("keep")
    policy = Policy(keep.grid, keep.table, keep.q, keep.visits, {"kind": "arc"})
    policy.save(tmp_path / "arc.json")
    head = HeadConfig(kind="cos", policy=str(tmp_path / "arc.json"))
    with pytest.raises(ValueError, match="learned with head.kind=cos, .* learned with arc"):
        train(config(tmp_path / "run", head=head), faces(COUNTS))


def test_a_backbone_needs_its_configuration(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model.pt does not exist"):
        load_backbone(tmp_path / "model.pt")
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no config.yaml beside"):
        load_backbone(tmp_path / "model.pt")
    run = train(config(tmp_path / "run", epochs=1), faces(COUNTS))
    with pytest.raises(ValueError, match="give the run's model.pt"):
        load_backbone(run / "checkpoint-0001.pt")
    (run / "model.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot be read"):
        load_backbone(run / "model.pt")
