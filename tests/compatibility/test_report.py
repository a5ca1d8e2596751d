"""Pages about run folders of version 0.1.0, and a demo that is called again."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import sys
from pathlib import Path

import pytest
from compatibility_files import lines, succeed

from fairloss.agent import Policy
from fairloss.demo import DemoConfig, demo
from fairloss.training import load_config

pytest.importorskip("matplotlib")

SECTIONS = ["classes", "groups", "policy", "roc", "verification", "faces", "cost", "loss"]
ARMS = ["pretrain", "fair", "fixed"]


def report(run: Path) -> str:
    succeed("report", run)
    return (run / "report.html").read_text("utf-8")


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', page)


def table_with(page: str, *columns: str) -> list[dict[str, str]]:
    """The rows of the embedded CSV table with these columns."""
    for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.S):
        rows = csv.DictReader(io.StringIO(html.unescape(text)))
        if set(columns) <= set(rows.fieldnames or ()):
            return list(rows)
    raise AssertionError(f"no table has the columns {columns}")


def test_a_demo_has_every_section(unpack):
    folder = unpack("demo") / "demo"
    page = report(folder)
    assert sections(page) == SECTIONS
    assert page.count("<svg") == 6
    queries = json.loads((folder / "queries.json").read_text(encoding="utf-8"))["queries"]
    assert page.count("<img") == sum(1 + len(query["matches"]) for query in queries)
    summary = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    assert summary["data"] in page
    costs = {row["phase"]: float(row["seconds"]) for row in table_with(page, "phase", "seconds")}
    assert costs == {phase["name"]: phase["seconds"] for phase in summary["phases"]}


def test_a_demo_shows_the_numbers_of_its_runs(unpack):
    folder = unpack("demo") / "demo"
    page = report(folder)
    shown = {(row["run"], row["epoch"]): row for row in table_with(page, "run", "epoch", "loss")}
    for arm in ARMS:
        for line in lines(folder / arm, "epoch"):
            assert float(shown[arm, str(line["epoch"])]["loss"]) == line["loss"]
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    rows = table_with(page, "metric", "value", "low")
    auc = {float(row["value"]) for row in rows if row["metric"] == "AUC"}
    reports = [*evaluation["arms"].values(), evaluation["comparison"]["difference"]]
    assert auc == {entry["auc"]["value"] for entry in reports}
    margins = {float(r["margin"]) for r in table_with(page, "margin", "intra_angle") if r["margin"]}
    groups = [group for line in lines(folder / "fair", "epoch") for group in line["groups"]]
    assert margins == {group["margin"] for group in groups if group["margin"] is not None}
    policy = Policy.load(folder / "policy.json")
    visits = [int(row["visits_keep"]) for row in table_with(page, "state", "visits_keep")]
    assert visits == policy.visits[:, 1].tolist()


def test_a_training_run_has_its_sections(unpack):
    folder = unpack("training") / "training" / "fair"
    page = report(folder)
    assert sections(page) == ["classes", "groups", "policy", "cost", "loss"]
    losses = [float(row["loss"]) for row in table_with(page, "epoch", "loss")]
    assert losses == [line["loss"] for line in lines(folder, "epoch")]
    counts = [int(row["images"]) for row in table_with(page, "rank", "images")]
    assert counts == [7, 6, 5, 4, 4, 3, 2, 2]


def test_a_search_is_refused(unpack):
    from command import fairloss

    done = fairloss("report", unpack("search") / "search" / "softmax")
    assert done.returncode == 2
    assert "search" in done.stderr


def test_a_finished_demo_of_one_network_an_arm_only_gets_its_page_again(unpack, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)  # only a comparison of seeds needs it
    folder = unpack("data", "demo") / "demo"
    stored = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len([path for path in stored if path.suffix == ".pt"]) == 10
    assert demo(load_config(folder / "config.yaml", [], DemoConfig)) == folder / "report.html"
    kept = {path: path.read_bytes() for path in stored if path.name != "report.html"}
    assert kept == {path: content for path, content in stored.items() if path in kept}
