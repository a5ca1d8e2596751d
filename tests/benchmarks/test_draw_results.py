"""The pages of docs/results: their tables and figures, from all results or a part of them."""

from __future__ import annotations

import json
import re

import draw_results
import pytest
import result_tables
from draw_results import PARTS, RESULTS
from result_tables import Task

METRICS = {"test_mean_tar": 0.0, "closed_accuracy": 0.5, "closed_accuracy_tail": 0.25}
PAGE = (
    "before\n<!-- t arms -->\nold\n<!-- /t arms -->\nbetween\n<!-- u cost -->\n<!-- /u cost -->\n"
)


def run(arm, seed, tar, cost=10.0, collection=0.0):
    metrics = METRICS | {"test_mean_tar": tar, "closed_angle_head": 0.1}
    steps = {"train_steps": 10, "cost_steps": cost, "collection_steps": collection}
    return {"arm": arm, "seed": seed, **steps, "metrics": metrics}


@pytest.fixture
def content():
    """A task whose last arm has one seed, and whose arm `best` selects fixed, then fair."""
    runs = [run("fixed", 0, 0.6), run("fixed", 1, 0.7)]
    runs += [run("fair", 0, 0.5, 36.0, 26.0), run("fair", 1, 0.9, 36.0, 26.0), run("late", 1, 0.8)]
    runs += [run("best", 0, 0.6, 46.0) | {"chosen": "fixed"}]
    runs += [run("best", 1, 0.9, 46.0) | {"chosen": "fair"}]
    row = {"arm": "fair", "reference": "fixed", "seeds": [0, 1], "differences": [-0.1, 0.2]}
    row |= {"mean": 0.05, "low": -1.85593, "high": 1.95593, "tost_p": 0.25, "holm_p": 0.8}
    alone = {"arm": "late", "reference": "fixed", "seeds": [1], "differences": [0.1], "mean": 0.1}
    differences = [
        row | {"metric": "test_mean_tar", "decision": "undecided"},
        alone | {"metric": "test_mean_tar", "decision": "undecided"},
        row | {"metric": "closed_accuracy"},
    ]
    seeds = {"fixed": 2, "fair": 2, "late": 1, "best": 2}
    task = {"name": "t", "primary_metric": "test_mean_tar", "bound": 0.005, "seeds": seeds}
    return task | {"runs": runs, "differences": differences}


@pytest.fixture
def task(content, tmp_path):
    return Task(content, tmp_path)


def rows(table):
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_the_pages_in_the_docs_are_those_of_the_results():
    tasks = draw_results.read_tasks(RESULTS)
    pages = sorted(RESULTS.glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert draw_results.with_results(text, tasks) == text
        for image in re.findall(r"\]\((images/[^)]+)\)", text):
            assert (RESULTS / image).is_file()


def test_means_have_t_intervals_over_seeds(task):
    # of two values the half-width is 12.7062 times half their distance
    assert rows(result_tables.arms_table(task)) == [
        ["`fixed`", "2", "65.00 [1.47, 128.53]", "50.00 [50.00, 50.00]"],
        ["`fair`", "2", "70.00 [-184.12, 324.12]", "50.00 [50.00, 50.00]"],
        ["`late`", "1", "80.00", "50.00"],
        ["`best`", "2", "75.00 [-115.59, 265.59]", "50.00 [50.00, 50.00]"],
    ]


def test_differences_with_a_decision_stand_apart(task):
    assert rows(result_tables.contrasts_table(task)) == [
        [
            "mean TAR",
            "`fair` - `fixed`",
            "2",
            "+5.00 [-185.59, +195.59]",
            "0.25",
            "0.8",
            "undecided",
        ],
        ["mean TAR", "`late` - `fixed`", "1", "+10.00", "", "", "undecided"],
    ]
    assert rows(result_tables.secondary_table(task)) == [
        ["closed-set accuracy", "`fair` - `fixed`", "2", "+5.00 [-185.59, +195.59]", "0.8"]
    ]


def test_means_are_over_the_seeds_that_measure_a_metric(task):
    assert rows(result_tables.bins_table(task))[0] == ["`fixed`", "25.0", "5.7"]
    for name in ("closed_accuracy_tail", "closed_accuracy"):
        task.runs["late", 1]["metrics"][name] = "not measurable"
    task.runs["fixed", 0]["metrics"]["closed_accuracy"] = "not measurable"
    assert [row[1] for row in rows(result_tables.bins_table(task))[:3]] == ["25.0", "25.0", ""]
    assert [row[-1] for row in rows(result_tables.arms_table(task))[:3]] == [
        "50.00, 1 of 2 seeds", "50.00 [50.00, 50.00]", "80.00"
    ]  # fmt: skip
    for each in task.runs.values():
        each["metrics"]["closed_accuracy_tail"] = "not measurable"
    assert rows(result_tables.bins_table(task))[0] == ["`fixed`", "5.7"]


def test_tuning_is_paid_by_each_run_or_once_for_all_seeds(task):
    costs = {row[0].strip("`"): row[1:] for row in rows(result_tables.cost_table(task))}
    assert costs["fixed"] == ["1.00", "1.00", "65.00"]
    assert costs["fair"] == ["3.60", "2.30", "70.00"]  # 1 + 2.6 / 2
    assert costs["best"] == ["4.60", "2.80", "75.00"]  # 1 + 3.6 / 2


def test_a_cost_is_in_trainings_of_its_own_seed(task):
    task.runs["fixed", 1] |= {"train_steps": 20, "cost_steps": 20.0}
    task.runs["fair", 1] |= {"train_steps": 20, "cost_steps": 46.0}
    assert task.cost("fixed") == (1, 1)
    # 1 + 2.6 and 1 + 1.3 trainings
    assert task.cost("fair") == pytest.approx((1 + 1.95, 1 + 1.95 / 2))
    del task.runs["fixed", 0]  # not finished yet: as seed 1
    assert task.cost("fair")[0] == pytest.approx((36 / 20 + 46 / 20) / 2)


def test_sensitivity_is_in_standard_errors_of_a_mean_difference(content, tmp_path):
    # two arms: the standard deviation of their differences .1 and -.2 is .2121
    tars = {"fixed_0.2": (0.6, 0.7), "fixed_0.1": (0.5, 0.9)}
    runs = [run(arm, seed, tar) for arm, pair in tars.items() for seed, tar in enumerate(pair)]
    for each in runs:
        each["metrics"] = {"test_mean_tar": each["metrics"]["test_mean_tar"]}
    task = Task(content | {"runs": runs, "seeds": dict.fromkeys(tars, 2)}, tmp_path)
    ends = ["65.00 (`fixed_0.2`)", "70.00 (`fixed_0.1`)"]
    numbers = ["21.21", "0.7 / 0.8 / 1.2", "17.73 / 13.48 / 8.96"]
    assert rows(result_tables.sensitivity_table(task))[0] == ["mean TAR", *ends, *numbers]


def test_only_the_text_between_the_markers_is_replaced(task):
    page = draw_results.with_results(PAGE, {"t": task})
    assert page.startswith("before\n<!-- t arms -->\n![")
    assert result_tables.arms_table(task) in page
    assert "\nbetween\n<!-- u cost -->\nNo results yet.\n<!-- /u cost -->\n" in page
    assert "old" not in page
    assert draw_results.with_results(page, {"t": task}) == page


def test_pages_and_figures_are_written_from_a_part_of_the_results(content, tmp_path):
    (tmp_path / "long_tail.json").write_text(json.dumps({"tasks": [content]}), encoding="utf-8")
    raw = tmp_path / "raw" / "t"
    raw.mkdir(parents=True)
    for arm, name in (("fair", "FairLoss"), ("fixed", "CosFace")):
        margins = [[0.35, 0.35, 0.35], [0.25, 0.35, 0.45]] if arm == "fair" else [None, None]
        record = {"settings": {"head": {"name": name}}, "margins": margins}
        (raw / f"{arm}-seed-1.json").write_text(json.dumps(record), encoding="utf-8")
    parts = [
        f"<!-- {name} {part} -->\n<!-- /{name} {part} -->\n" for name in "tu" for part in PARTS
    ]
    page = tmp_path / "README.md"
    page.write_text("".join(parts), encoding="utf-8")
    draw_results.draw_results(tmp_path)
    images = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert images == [f"t-{part}.svg" for part in ("arms", "contrasts", "cost", "margins")]
    nothing = len(PARTS) + 1  # of u, and as t has no fixed margins, the sensitivity to them
    assert page.read_text(encoding="utf-8").count("No results yet.") == nothing
    assert ">fair - fixed<" in (tmp_path / "images" / "t-contrasts.svg").read_text("utf-8")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    draw_results.draw_results(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
