"""Runs that are interrupted resume to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from synthetic import faces, write_folder
from training_runs import COUNTS, config, same, stop_after_each_epoch

from fairloss.agent import Policy
from fairloss.io.atomic import write_atomic
from fairloss.training import (
    HeadConfig,
    RunFolder,
    as_yaml,
    read_json,
    train,
)


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


@pytest.mark.parametrize(
    ("head", "old"),
    [
        (HeadConfig("SphereFace2"), {"margin_grad": "exact"}),
        (HeadConfig("SphereFace2", options={"margin_grad": "straight_through"}), {}),
        (HeadConfig("AdaptiveFace", scale=64.0), {"regularizer_ratio": 70 / 64}),
        (HeadConfig("AdaptiveFace", scale=64.0, options={"regularizer_ratio": 2.0}), {}),
    ],
)
def test_a_run_of_version_0_1_resumes_with_its_defaults(head, old, tmp_path, monkeypatch):
    options = dict(head.options)
    head.options |= old
    whole = train(config(tmp_path / "whole", head=head), faces(COUNTS))
    settings = config(tmp_path / "parts", head=head)
    stop_after_each_epoch(monkeypatch, last=4)
    with pytest.raises(KeyboardInterrupt):
        train(settings, faces(COUNTS))
    head.options = options
    written = as_yaml(settings).replace("statistics: when_needed\n", "")  # a later setting
    (tmp_path / "parts" / "config.yaml").write_text(written, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(settings, faces(COUNTS))
    assert same(whole, train(settings, faces(COUNTS)))


def test_a_policy_in_the_folder_of_another_loss_is_not_its_own(tmp_path):
    run = train(config(tmp_path, head=HeadConfig("CosFace")), faces(COUNTS))
    Policy.constant("raise").save(run / "policy.json")
    assert train(config(tmp_path, head=HeadConfig("CosFace")), faces(COUNTS)) == run


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
            encoding="utf-8",
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
    with pytest.raises(ValueError, match=r"0002.pt: damaged .*to resume from checkpoint-0001.pt$"):
        train(config(tmp_path / "run", epochs=2), faces(COUNTS))

    def fail(path):
        path.write_text("half", encoding="utf-8")
        raise OSError("disk full")

    (tmp_path / "old.json").write_text("old", encoding="utf-8")
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "old.json", fail)
    assert (tmp_path / "old.json").read_text(encoding="utf-8") == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.json", "run"]


def test_a_cut_off_log_line_is_repaired_on_resume(tmp_path):
    run = train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    (run / "model.pt").unlink()
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"version": 1, "event": "epo')
    train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    events = [
        json.loads(line)["event"]
        for line in (run / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    ]
    assert events == ["epoch", "epoch", "end", "resume", "end"]
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write('no json\n{"event": "more"}\n')
    with pytest.raises(ValueError, match="line 6 is not JSON"):
        RunFolder(run).metrics()


def test_a_run_resumes_without_the_file_of_its_policy(tmp_path, monkeypatch):
    policy = tmp_path / "raise.json"
    Policy.constant("raise").save(policy)
    head = HeadConfig(name="FairLoss", policy=str(policy), margin=0.15)
    whole = train(config(tmp_path / "whole", head=head), faces(COUNTS))
    stop_after_each_epoch(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "run", head=head), faces(COUNTS))
    monkeypatch.undo()
    policy.unlink()
    monkeypatch.chdir(tmp_path)
    relative = HeadConfig(
        name="FairLoss", policy="raise.json", margin=0.15
    )  # the same file from here
    assert same(whole, train(config(tmp_path / "run", head=relative), faces(COUNTS)))


def test_other_data_is_refused_on_resume(tmp_path, monkeypatch):
    """A renamed identity shifts every label: the weights would belong to other identities."""
    stop_after_each_epoch(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "run"), faces(COUNTS))
    monkeypatch.undo()
    renamed = faces(COUNTS)
    renamed.identities[0] = "zz"
    with pytest.raises(ValueError, match="output: .* 6 identities.* first difference is id0"):
        train(config(tmp_path / "run"), renamed)
    with pytest.raises(ValueError, match="different images of the same identities"):
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


def test_an_existing_run_with_other_settings_is_left_alone(tmp_path):
    run = train(config(tmp_path / "run", epochs=1), faces(COUNTS))
    with pytest.raises(ValueError, match="seed was 0, is 5"):
        train(config(tmp_path / "run", epochs=1, seed=5), faces(COUNTS))
    with pytest.raises(ValueError, match="output: expected a folder without a run"):
        train(config(tmp_path / "run", epochs=1, resume="never"), faces(COUNTS))
    assert read_json(run / "identities.json")["counts"] == COUNTS
