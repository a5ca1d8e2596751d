"""Checkpoints inside an epoch: their names and number, and what follows if one is damaged."""

from __future__ import annotations

import pytest
import torch
from synthetic import faces
from training_runs import COUNTS, config, same

from fairloss.io.atomic import FormatError
from fairloss.training import RunFolder, train

SETTINGS = {"epochs": 2, "checkpoint_every": 2, "keep_checkpoints": 3}  # of three steps an epoch


class Killed(BaseException):
    pass


def run_to(step, settings):
    """Train until a step of the run is done, and end as a killed process: without a checkpoint."""

    def kill(label, done, total):
        if done == step:
            raise Killed

    with pytest.raises(Killed):
        train(settings, faces(COUNTS), progress=kill)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(config(tmp_path_factory.mktemp("whole"), epochs=2), faces(COUNTS))


def names(run):
    return sorted(path.name for path in run.glob("checkpoint-*"))


def test_a_run_with_more_checkpoints_is_the_same_run_and_keeps_the_newest(tmp_path, whole):
    run = train(config(tmp_path, **SETTINGS), faces(COUNTS))
    assert same(whole, run)
    assert names(run) == [
        "checkpoint-0002-00000004.pt",
        "checkpoint-0002-00000006.pt",
        "checkpoint-0002.pt",
    ]
    inside = torch.load(run / "checkpoint-0002-00000004.pt", weights_only=True)
    assert (inside["epoch"], inside["step"], inside["so_far"]["steps"]) == (1, 4, 1)


def test_a_killed_run_resumes_inside_the_epoch_and_logs_each_step_once(tmp_path, whole):
    settings = config(tmp_path, **SETTINGS, log_every=1)
    run_to(3, settings)  # the first epoch has not ended: after the checkpoint of step 2
    run_to(6, settings)
    assert same(whole, train(settings, faces(COUNTS)))
    lines = RunFolder(tmp_path).metrics()
    assert [line["step"] for line in lines if line["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2]
    assert [line["step"] for line in lines if line["event"] == "resume"] == [2, 4]
    losses = [line["loss"] for line in lines if line["event"] == "step"]
    (first, second) = (line["loss"] for line in lines if line["event"] == "epoch")
    assert [sum(losses[:3]) / 3, sum(losses[3:]) / 3] == pytest.approx([first, second])


def test_an_epoch_that_ended_after_the_newest_checkpoint_is_logged_once(tmp_path, monkeypatch):
    """The line is written before the checkpoint, at the step of one inside the epoch."""
    original = RunFolder.save_checkpoint

    def die(self, epoch, state, step=None):
        if step is None:
            raise Killed
        original(self, epoch, state, step)

    settings = config(tmp_path, epochs=1, checkpoint_every=3)
    monkeypatch.setattr(RunFolder, "save_checkpoint", die)
    with pytest.raises(Killed):
        train(settings, faces(COUNTS))
    monkeypatch.undo()
    train(settings, faces(COUNTS))
    events = [line["event"] for line in RunFolder(tmp_path).metrics()]
    assert events == ["resume", "epoch", "end"]


def flip(path, offset=1000):
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used_on_request(tmp_path, whole):
    settings = config(tmp_path, **SETTINGS)
    run_to(6, settings)
    newest, before = names(tmp_path)[:0:-1]
    flip(tmp_path / newest)
    content = (tmp_path / newest).read_bytes()
    remedy = f"{newest}: damaged .*; give resume=previous, or remove it, to resume from {before}$"
    with pytest.raises(FormatError, match=remedy):
        train(settings, faces(COUNTS))
    settings.resume = "previous"
    run_to(4, settings)
    assert (tmp_path / f"{newest}.damaged").read_bytes() == content
    settings.resume = "auto"
    assert same(whole, train(settings, faces(COUNTS)))


@pytest.mark.slow
def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(tmp_path):
    settings = config(tmp_path, **SETTINGS, resume="previous")
    run_to(6, settings)
    files = names(tmp_path)
    for name in files:
        flip(tmp_path / name)
    with pytest.raises(
        FormatError, match=f"{files[-1]}: damaged .*remove all checkpoints to begin"
    ):
        train(settings, faces(COUNTS))
    assert names(tmp_path) == files


def test_a_finished_run_is_not_trained_again(tmp_path, whole):
    settings = config(tmp_path / "run", epochs=2, data=str(tmp_path / "missing"))
    run = train(settings, faces(COUNTS))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    lines = []
    train(settings, report=lines.append)  # whose data is not read
    assert lines == [f"{run} is finished"]
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    flip(run / "model.pt")
    with pytest.raises(FormatError, match="model.pt: damaged .*; remove it to write it again$"):
        train(settings)
    (run / "model.pt").unlink()
    assert same(whole, train(settings, faces(COUNTS)))
    for path in run.glob("checkpoint-*.pt"):
        path.unlink()
    before = (run / "model.pt").read_bytes(), (run / "metrics.jsonl").read_bytes()
    train(settings)
    assert ((run / "model.pt").read_bytes(), (run / "metrics.jsonl").read_bytes()) == before
