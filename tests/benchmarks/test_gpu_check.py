"""The check of a GPU on a machine without one: its files, and its steps after a failure."""

from __future__ import annotations

import json

import gpu_check
import pytest
from gpu.clock import Clock
from gpu.results import Results, Row, Step, read
from gpu.steps import Missing, Plan
from torch import device


@pytest.fixture
def results():
    return Results("NVIDIA H100 80GB HBM3", False, {"torch": "2.13.0"})


def row(**changes):
    values = {"op": "head", "size": "B=1", "candidate": "ours", "seconds": 2.0, "peak_mib": 3.0}
    return Row(**values | {"operations": 4e12, "bytes": 1e9} | changes)


def test_a_table_of_shares(results, tmp_path):
    results.peaks = {"bf16": 8e12, "copy": 1e9}
    results.rows = [
        row(),
        row(candidate="eager", seconds=4.0),
        row(candidate="liger", seconds=None),
    ]
    results.steps = [Step("tests", "failed", 1.0, "a | b\nc")]
    json_path, page = results.write(tmp_path)
    assert json_path.name == "gpu-nvidia-h100-80gb-hbm3.json"
    assert read(json_path) == results
    text = page.read_text(encoding="utf-8")
    assert "| head, B=1 | ours | 2 s | 1.00 | 3 MiB | 2 | 0.25 | 0.5 | 0.50 |" in text
    assert "| head, B=1 | eager | 4 s | 2.00 | 3 MiB | 1 | 0.12 | 0.25 | 0.25 |" in text
    assert "| tests | failed | 1 s | a \\| b c |" in text
    columns = {line.count(" |") for line in text.splitlines() if line.startswith("| head")}
    assert len(columns) == 1


def test_a_failing_step_is_recorded_and_the_next_one_runs(results, tmp_path):
    def fail():
        raise OSError("no space")

    def miss():
        raise Missing("nothing there")

    for name, step in (("one", fail), ("two", miss), ("three", lambda: "fine")):
        gpu_check.attempt(results, tmp_path, name, step)
    steps = read(tmp_path / f"{results.slug}.json").steps
    assert [(s.status, s.detail) for s in steps] == [
        ("failed", "OSError: no space"),
        ("missing", "nothing there"),
        ("passed", "fine"),
    ]


def test_a_candidate_that_fails_is_left_out_of_the_comparison():
    def fail():
        raise RuntimeError("out of memory\nand more")

    times = Clock(device("cpu"), rounds=1).compare({"good": lambda: 1, "bad": fail})
    assert times["good"].seconds is not None
    assert times["bad"].seconds is None
    assert times["bad"].reason == "RuntimeError: out of memory"


@pytest.mark.parametrize(
    ("cuda", "has_gpu", "reason"),
    [(None, False, "built for CPU"), ("13.0", False, "finds no GPU"), ("13.0", True, None)],
)
def test_the_obstacle_on_a_machine_without_a_gpu_is_reported(cuda, has_gpu, reason):
    obstacle = gpu_check.find_obstacle(cuda, has_gpu)
    assert (obstacle is None) if reason is None else (reason in obstacle)


def test_without_a_gpu_nothing_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--results", str(tmp_path / "new")]) == gpu_check.NO_GPU
    assert "gpu-check: torch" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_dry_run_executes_every_line(tmp_path):
    assert gpu_check.main(["--dry-run", "--results", str(tmp_path)]) == 0
    results = read(tmp_path / "gpu-dry-run.json")
    assert [step.name for step in results.steps if step.status != "passed"] == []
    assert set(results.peaks) == {"bf16", "tf32", "fp32", "copy"}
    ops = {"margin_softmax_loss", "cosine_partition", "margin_loss", "margin_logits"}
    ops |= {"class_statistics", "distractor_ranks"}
    assert {r.op for r in results.rows if r.candidate == "ours" and r.seconds} == ops
    candidates = {r.candidate for r in results.rows}
    assert {"eager", "compiled", "metric_learning", "liger", "linear_cross_entropy"} <= candidates
    assert json.loads((tmp_path / "gpu-dry-run.json").read_text(encoding="utf-8"))["dry_run"]
    assert "mean nothing" in (tmp_path / "gpu-dry-run.md").read_text(encoding="utf-8")


def test_a_dry_run_uses_the_existing_library():
    folders = Plan("cpu", True).environment()["PYTHONPATH"].split(":")
    assert not any(folder.endswith("build/gpu/lib") for folder in folders)


def test_committed_results_are_read_under_the_present_names():
    results = read(gpu_check.RESULTS / "gpu-nvidia-h100-80gb-hbm3.json")
    assert set(results.peaks) == {"bf16", "tf32", "fp32", "copy"}
    assert "peaks" in {step.name for step in results.steps}
    assert "ours" in {row.candidate for row in results.rows}
