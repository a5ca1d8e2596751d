"""The check on a GPU, without one: what it writes, and that one failure does not end it."""

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
    values = {"op": "head", "size": "B=1", "contender": "ours", "seconds": 2.0, "peak_mib": 3.0}
    return Row(**values | {"operations": 4e12, "bytes": 1e9} | changes)


def test_a_table_of_shares(results, tmp_path):
    results.ceilings = {"bf16": 8e12, "copy": 1e9}
    results.rows = [
        row(),
        row(contender="eager", seconds=4.0),
        row(contender="liger", seconds=None),
    ]
    results.steps = [Step("tests", "failed", 1.0, "a | b\nc")]
    json_path, page = results.write(tmp_path)
    assert json_path.name == "gpu-nvidia-h100-80gb-hbm3.json"
    assert read(json_path) == results
    text = page.read_text()
    assert "| head, B=1 | ours | 2 s | 1.00 | 3 MiB | 2 | 0.25 | 0.5 | 0.50 |" in text
    assert "| head, B=1 | eager | 4 s | 2.00 | 3 MiB | 1 | 0.12 | 0.25 | 0.25 |" in text
    assert "| tests | failed | 1 s | a \\| b c |" in text
    columns = {line.count(" |") for line in text.splitlines() if line.startswith("| head")}
    assert len(columns) == 1


def test_a_failing_step_is_written_down_and_the_next_one_runs(results, tmp_path):
    def fail():
        raise OSError("no space")

    def miss():
        raise Missing("nothing there")

    for name, step in (("one", fail), ("two", miss), ("three", lambda: "fine")):
        gpu_check.attempt(results, tmp_path, name, step)
    found = read(tmp_path / f"{results.slug}.json").steps
    assert [(s.status, s.detail) for s in found] == [
        ("failed", "OSError: no space"),
        ("missing", "nothing there"),
        ("passed", "fine"),
    ]


def test_a_contender_that_fails_is_left_out_of_the_race():
    def fail():
        raise RuntimeError("out of memory\nand more")

    found = Clock(device("cpu"), rounds=1).race({"good": lambda: 1, "bad": fail})
    assert found["good"].seconds is not None
    assert found["bad"].seconds is None
    assert found["bad"].reason == "RuntimeError: out of memory"


@pytest.mark.parametrize(
    ("cuda", "has_gpu", "reason"),
    [(None, False, "built for CPU"), ("13.0", False, "finds no GPU"), ("13.0", True, None)],
)
def test_a_machine_without_a_gpu_is_told_what_is_missing(cuda, has_gpu, reason):
    said = gpu_check.why_not(cuda, has_gpu)
    assert (said is None) if reason is None else (reason in said)


def test_without_a_gpu_nothing_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--results", str(tmp_path / "new")]) == gpu_check.NO_GPU
    assert "gpu-check: torch" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_dry_run_goes_through_every_line(tmp_path):
    assert gpu_check.main(["--dry-run", "--results", str(tmp_path)]) == 0
    found = read(tmp_path / "gpu-dry-run.json")
    assert [step.name for step in found.steps if step.status != "passed"] == []
    assert set(found.ceilings) == {"bf16", "tf32", "fp32", "copy"}
    ops = {"margin_softmax_loss", "cosine_partition", "margin_loss", "margin_logits"}
    ops |= {"class_statistics", "distractor_ranks"}
    assert {r.op for r in found.rows if r.contender == "ours" and r.seconds} == ops
    contenders = {r.contender for r in found.rows}
    assert {"eager", "compiled", "metric_learning", "liger", "linear_cross_entropy"} <= contenders
    assert json.loads((tmp_path / "gpu-dry-run.json").read_text())["dry_run"]
    assert "mean nothing" in (tmp_path / "gpu-dry-run.md").read_text()


def test_a_dry_run_takes_the_library_that_is_there():
    folders = Plan("cpu", True).environment()["PYTHONPATH"].split(":")
    assert not any(folder.endswith("build/gpu/lib") for folder in folders)
