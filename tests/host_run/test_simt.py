"""The host run itself: its collectives, and its reports of faulty kernels."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import fairloss_ext

SCHEDULES = ("forward", "reverse", "shuffle", "greedy")
BUILD = Path(fairloss_ext.__file__).parents[1]  # build/host_run/<variant>


def run(name, schedule="forward"):
    return subprocess.run(
        [str(BUILD / "faults"), name],
        env=os.environ | {"HOST_RUN_SCHEDULE": schedule},
        capture_output=True,
        encoding="utf-8",
        timeout=20,
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_collectives(schedule):
    assert run("collectives", schedule).stdout.split() == ["1"] * 64


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("early_return", "returned: 40"),
        ("absent_lane", "in a vote of lanes 0xffffffff: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 32"),
        ("foreign_mask", "asks for a collective of other lanes"),
    ],
)
def test_threads_that_wait_for_one_another_are_reported(name, report, schedule):
    result = run(name, schedule)
    assert result.returncode == 1
    assert report in result.stdout


def test_shared_memory_begins_as_nan():
    assert run("unwritten").stdout.split() == ["0"] + ["1"] * 63


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_shared_memory_used_again(schedule):
    assert run("with_barrier", schedule).stdout.split() == ["64"] * 64


def test_a_missing_barrier_shows_where_one_warp_runs_ahead():
    assert run("without_barrier", "greedy").stdout.split() != ["64"] * 64


def test_an_unknown_schedule_is_named():
    assert "shuffle or greedy, got quick" in run("collectives", "quick").stdout


@pytest.mark.skipif(BUILD.name != "races", reason="for ThreadSanitizer")
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_missing_barrier_is_a_data_race_under_every_schedule(schedule):
    assert "data race" in run("without_barrier", schedule).stderr
    assert "data race" not in run("with_barrier", schedule).stderr


@pytest.mark.skipif(BUILD.name != "memory", reason="for AddressSanitizer")
def test_reading_beyond_shared_memory_is_reported():
    assert "heap-buffer-overflow" in run("beyond").stderr
