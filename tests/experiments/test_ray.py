"""Comparisons on a local Ray cluster."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import write_folder

from fairloss.experiments import CompareConfig, compare
from fairloss.loss_search import RayMap
from fairloss.training import RunFolder

SETTINGS = {"epochs": 30, "image_size": [32, 32], "channels": 1, "batch_size": 16}
SETTINGS |= {"model.embedding_size": 16}
ARMS = {"cosface": {"head.name": "CosFace"}, "arcface": {"head.name": "ArcFace"}}


@pytest.fixture(scope="module")
def cluster():
    """Two processes; `ray` is no part of the extra `test`."""
    ray = pytest.importorskip("ray")
    with ray.init(num_cpus=2, include_dashboard=False) as context:
        yield context


def results(config):
    """Return the results without what may differ: times, the machine and the folders of runs."""
    contents = {}
    for run in config.runs:
        content = json.loads(config.result_path(run).read_text(encoding="utf-8"))
        del content["seconds"], content["machine"], content["settings"]["output"]
        contents[run] = content
    return contents


def kill_a_run_at_work(output, killed):
    """Kill the process of the first run with a checkpoint, which its lock names."""
    while not (checkpoints := list(output.glob("runs/*/checkpoint*"))):
        time.sleep(0.01)
    folder = checkpoints[0].parent
    process = int((folder / ".run.lock").read_text(encoding="utf-8"))
    os.kill(process, signal.SIGKILL)
    killed.append((folder, process))


@pytest.mark.slow
def test_a_process_that_is_killed_changes_nothing(cluster, tmp_path):
    data = str(write_folder(tmp_path / "faces", [3] * 12))
    config = CompareConfig(str(tmp_path / "plain" / "x"), SETTINGS | {"data": data}, ARMS, seeds=2)
    other = replace(config, output=str(tmp_path / "ray" / "x"))
    summary = compare(config)
    killed = []
    killer = threading.Thread(target=kill_a_run_at_work, args=(Path(other.output), killed))
    killer.start()
    assert compare(other, map=RayMap()) == summary
    killer.join()
    ((folder, process),) = killed
    assert process != os.getpid()
    assert "resume" in [line["event"] for line in RunFolder(folder).metrics()]
    assert results(other) == results(config)


@pytest.mark.slow
def test_an_error_of_a_call_is_raised_when_the_other_calls_have_ended(cluster, tmp_path):
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    def fail_or_sleep(number):
        if number == 0:
            while not begun.exists():
                time.sleep(0.01)
            raise ValueError("data: not there")
        begun.touch()
        try:
            while True:
                time.sleep(0.01)
        finally:
            time.sleep(0.5)
            ended.touch()

    with pytest.raises(ValueError, match="data: not there"):
        list(RayMap()(fail_or_sleep, [0, 1]))
    assert ended.exists()
