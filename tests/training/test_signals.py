"""SIGTERM and SIGINT: a run saves a checkpoint and ends, and resumes to the same bits."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch
from synthetic import faces
from training_runs import COUNTS, config, same

from fairloss.training import RunFolder, Trainer, signals, train

TERM, INT = (signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)
SETTINGS = {"epochs": 2, "statistics": "always"}


@pytest.fixture(autouse=True)
def interruptible():
    """Handle SIGINT as Python does, also where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(config(tmp_path_factory.mktemp("whole"), **SETTINGS), faces(COUNTS))


def send_at(step, *numbers):
    """Return a callback for progress that sends signals during a step of the run."""

    def progress(label, done, total):
        if label.startswith("train") and done == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return progress


@pytest.mark.parametrize(  # of three steps an epoch
    ("step", "number", "exception"),
    [
        (1, *TERM),
        (5, *INT),
        pytest.param(3, *INT, marks=pytest.mark.slow),
        pytest.param(6, *TERM, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_run_after_the_step_and_it_resumes(
    tmp_path, whole, step, number, exception
):
    settings, handler = config(tmp_path, **SETTINGS), signal.getsignal(number)
    with pytest.raises(exception) as ended:
        train(settings, faces(COUNTS), progress=send_at(step, number))
    if exception is SystemExit:
        assert ended.value.code == 143
    assert signal.getsignal(number) == handler
    newest = max(path.name for path in tmp_path.glob("checkpoint-*"))
    assert newest == f"checkpoint-{(step + 2) // 3:04d}-{step:08d}.pt"
    torch.manual_seed(99)
    lines = []
    assert same(whole, train(settings, faces(COUNTS), report=lines.append))
    assert lines[0].endswith(f"resumes after step {step}")
    events = [line for line in RunFolder(tmp_path).metrics() if line["event"] in ("epoch", "end")]
    assert [line.get("epoch") for line in events] == [1, 2, None]


def test_a_signal_ends_the_statistics_and_the_steps_before_are_saved(tmp_path, whole, monkeypatch):
    original = Trainer.statistics

    def interrupted(self, intra_angle):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal came too late")

    monkeypatch.setattr(Trainer, "statistics", interrupted)
    settings = config(tmp_path, **SETTINGS)
    with pytest.raises(SystemExit):
        train(settings, faces(COUNTS))
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-0001-00000003.pt"]
    monkeypatch.setattr(Trainer, "statistics", original)
    assert same(whole, train(settings, faces(COUNTS)))


def test_a_second_signal_goes_to_the_handler_of_before(tmp_path):
    class Ended(Exception):
        pass

    def end(number, frame):
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Ended):
            train(config(tmp_path), faces(COUNTS), progress=send_at(2, *[signal.SIGTERM] * 2))
        assert signal.getsignal(signal.SIGTERM) is end
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.slow
def test_an_ignored_signal_stays_ignored(tmp_path, whole):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        settings = config(tmp_path, **SETTINGS)
        run = train(settings, faces(COUNTS), progress=send_at(2, signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert same(whole, run)


@pytest.mark.slow
def test_another_thread_trains_without_handlers(tmp_path, whole):
    handlers = []
    arguments = config(tmp_path, **SETTINGS), faces(COUNTS)

    def progress(*_):
        handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train, args=(*arguments, progress))
    thread.start()
    thread.join()
    assert set(handlers) == {signal.getsignal(signal.SIGTERM)}
    assert same(whole, tmp_path)


def test_a_signal_of_a_rank_ends_the_run_once_all_ranks_know_it(monkeypatch):
    monkeypatch.setattr(signals, "num_ranks", lambda: 2)
    ranks = signals.Signals()
    with ranks.handled():
        with ranks.held():
            os.kill(os.getpid(), signal.SIGTERM)
        ranks.end_if_received()
        assert (ranks.pending, ranks.number()) == (None, signal.SIGTERM)
    other = signals.Signals()
    monkeypatch.setattr(signals, "gather_objects", lambda number: [number, 0])
    other.end_together()
    monkeypatch.setattr(signals, "gather_objects", lambda number: [number, ranks.number()])
    with pytest.raises(SystemExit, match="143"):
        other.end_together()
    assert other.pending == signal.SIGTERM
