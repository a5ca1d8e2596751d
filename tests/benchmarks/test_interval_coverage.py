"""The simulation of interval coverage: its truth, its table, and the table in the docs."""

from __future__ import annotations

import json
from pathlib import Path

import coverage_table
import interval_coverage
import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "interval-coverage.json"


def test_the_table_in_the_docs_is_that_of_the_results():
    records = json.loads(RESULTS.read_text(encoding="utf-8"))["records"]
    docs = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert coverage_table.markdown(records) in docs


def test_intervals_cover_as_the_docs_say():
    records = json.loads(RESULTS.read_text(encoding="utf-8"))["records"]
    failed = [
        (record["scores"], record["cell"], record["statistic"])
        for record in records
        if record["method"] == "analytic" and record["measurable"] and not record["covers"]
    ]
    assert failed == [("strong", "10 x 10", "auc")] * 2
    few, many = [], []
    for record in records:
        if record["method"] == "analytic" and record["measurable"]:
            (few if record["identities"] < 20 else many).append(record)
    assert (len(few), sum(not record["narrow"] for record in few)) == (38, 22)
    assert max(record["width"] for record in few) < 1.45
    wide = [record for record in many if not record["narrow"]]
    assert len(wide) == 6
    assert max(record["width"] for record in wide) < 1.2
    assert all(record["width_interval"][0] <= 1.15 for record in wide)
    boot = [r for r in records if (r["method"], r["cell"]) == ("bootstrap", "20 x 5")]
    low = [r["coverage"] for r in boot if r["measurable"] and r["kind"] == "value"]
    assert 0.865 < min(low) <= max(low) < 0.895


def test_widths_have_intervals_that_contain_them():
    estimate = np.random.default_rng(0).normal(0.5, 0.01, size=500)
    ends = [(each, each - 0.0196, each + 0.0196) for each in estimate]
    record = interval_coverage.summarize(ends, truth=0.5, errors=100, identities=50)
    low, high = record["width_interval"]
    assert low < record["width"] < high
    assert low < 1 < high
    assert high - low < 0.4


def test_one_number_of_a_cell_is_that_of_all():
    alone = interval_coverage.run_cell("weak", "10 x 10", 3, number="eer")
    every = interval_coverage.run_cell("weak", "10 x 10", 3)
    assert alone == [record for record in every if record["statistic"] == "eer"]


def test_numbers_that_cannot_be_measured_have_no_coverage():
    record = {"coverage": 0.95, "width": 1.0, "covers": True, "narrow": True, "measurable": False}
    assert coverage_table.entry(record) == "not measurable"
    record["measurable"] = True
    assert coverage_table.entry(record) == "0.950 (1.00)"
    record |= {"coverage": 0.8, "covers": False, "width": 1.3, "narrow": False}
    assert coverage_table.entry(record) == "0.800 (1.30) low, wide"


def test_truth_of_the_score_model_is_that_of_its_normal_distributions():
    model = interval_coverage.MODELS["strong"]
    truth = interval_coverage.score_truth(model)
    genuine, impostor = model.deviations()
    assert truth["auc",] == pytest.approx(stats.norm.cdf(0.45 / np.hypot(genuine, impostor)))
    assert truth["eer",] == pytest.approx(stats.norm.cdf(-0.45 / (genuine + impostor)), abs=1e-4)
    cut = impostor * stats.norm.isf(0.01)
    tar = stats.norm.sf((cut - 0.45) / genuine)
    assert truth["tar", "0.01"] == pytest.approx(tar, abs=1e-4)


def test_scores_have_the_correlations_of_the_model():
    cell, generator = interval_coverage.Cell("200 x 3"), np.random.default_rng(0)
    a, b = interval_coverage.draw_scores("strong", cell, generator)
    genuine, impostor = interval_coverage.MODELS["strong"].deviations()
    assert a[cell.pairs.genuine].std() == pytest.approx(genuine, rel=0.1)
    assert a[~cell.pairs.genuine].std() == pytest.approx(impostor, rel=0.1)
    assert np.corrcoef(a[~cell.pairs.genuine], b[~cell.pairs.genuine])[0, 1] == pytest.approx(
        0.7, abs=0.05
    )


def test_a_run_keeps_the_records_of_other_cells(tmp_path, monkeypatch, capsys):
    results = tmp_path / "r.json"
    for cell in (("weak", "10 x 10"), ("megaface", "20 x 5"), ("weak", "10 x 10")):
        arguments = ["x", "--runs", "3", "--results", str(results), "--cell", *cell]
        monkeypatch.setattr("sys.argv", arguments)
        interval_coverage.main()
    records = json.loads(results.read_text(encoding="utf-8"))["records"]
    assert len(records) == 2 + 2 * 6
    assert {record["runs"] for record in records} == {3}
    assert "| weak | AUC |" in capsys.readouterr().out
