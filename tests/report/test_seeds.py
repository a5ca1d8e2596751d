"""Pages about demos with several networks an arm, and their verdicts."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairloss.report import write_report
from fairloss.report.verdict import verdict_lines

SECTIONS = ["classes", "groups", "policy", "seeds", "roc", "faces", "cost", "loss"]


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def lines(folder: Path, **result: Any) -> list[str]:
    evaluation = read(folder, "evaluation.json")
    evaluation["across_seeds"] |= result
    return verdict_lines(read(folder, "demo.json"), evaluation)


@pytest.fixture(scope="module")
def page(demo_of_seeds: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    return write_report(demo_of_seeds, path).read_text("utf-8")


def rows(page: str, name: str) -> list[dict[str, str]]:
    match = re.search(rf"<summary>{name} as CSV</summary>\s*<pre[^>]*>(.*?)</pre>", page, re.S)
    assert match
    return list(csv.DictReader(io.StringIO(html.unescape(match[1]))))


def test_the_page_has_every_section_and_the_verdict_on_top(page: str, demo_of_seeds: Path) -> None:
    assert re.findall(r'<section id="(\w+)">', page) == SECTIONS
    top = " ".join(html.unescape(page[: page.index("<section")]).split())
    for line in lines(demo_of_seeds):
        assert line in top


def test_every_network_has_its_numbers(page: str, demo_of_seeds: Path) -> None:
    evaluation = read(demo_of_seeds, "evaluation.json")
    table = rows(page, "Networks of all seeds")
    for arm, reports in evaluation["arms"].items():
        shown = [float(r["value"]) for r in table if (r["metric"], r["arm"]) == ("AUC", arm)]
        assert shown == [report["auc"]["value"] for report in reports]
        deviation = np.std(shown, ddof=1)
        assert f"{np.mean(shown):.4f} <span" in page
        assert f"({deviation:.4f})" in page
    assert {row["seed"] for row in table} == {"5", "6", "7", "8", "9"}
    assert "not measurable with" in page  # the smallest FARs
    figure = re.search(r'<section id="seeds">.*?</svg>', page, re.S)
    assert figure
    drawn = re.findall(r"<use ", figure[0])
    assert len(drawn) >= 10 + 2  # a dot for each network, a mean for each arm


def test_the_choice_of_the_margin_is_shown(page: str) -> None:
    text = " ".join(page.split())
    assert "The fixed margin is 0.45, the best of those below by the mean AUC over 2 folds" in text
    assert "<td>0.9100</td>" in text  # of 0.9 and 0.92
    assert "<td>0.9250</td>" in text


def test_each_network_has_a_curve(page: str) -> None:
    names = {row["run"] for row in rows(page, "Corners of the ROC curves")}
    assert names == {f"{arm} seed {seed}" for arm in ("fixed", "fair") for seed in range(5, 10)}


def test_intervals_are_translated_to_aucs(demo_of_seeds: Path) -> None:
    evaluation = read(demo_of_seeds, "evaluation.json")
    result = evaluation["across_seeds"]
    odds = [r["auc"]["value"] / (1 - r["auc"]["value"]) for r in evaluation["arms"]["fixed"]]
    level = np.exp(np.mean(np.log(odds)))

    def auc(difference: float) -> str:
        value = level * math.exp(difference)
        return f"{value / (1 + value):.4f}"

    text = " ".join(lines(demo_of_seeds))
    assert f"Fair Loss has {auc(result['mean'])}, 95% interval" in text
    assert f"[{auc(result['low'])}, {auc(result['high'])}]" in text
    assert f"An AUC of {auc(-math.log(1.25))} to {auc(math.log(1.25))} counts as equal" in text
    assert f"is an AUC of {auc(result['smallest_difference'])} beside {auc(0)}" in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("ahead", "Ahead: Fair Loss is better than the fixed margin by more than"),
        ("behind", "Behind: Fair Loss is worse than the fixed margin by more than"),
        ("tie", "Tie: the difference is within what counts as equal"),
        ("undecided", "Undecided: the interval does not separate"),
        (None, "No verdict: 5 seeds an arm are fewer than 5"),
    ],
)
def test_the_words_of_a_verdict(demo_of_seeds: Path, verdict: str | None, words: str) -> None:
    first, *others = lines(demo_of_seeds, verdict=verdict)
    assert first.startswith(words)
    assert not re.search(r"\b(ahead|behind|tie)\b", " ".join(others))


def test_the_costs_are_printed(demo_of_seeds: Path) -> None:
    # Phases of 100, 101, ... steps: pretrain, collect, fit-policy, tune, train fixed, train fair.
    last = lines(demo_of_seeds)[-1]
    assert last.startswith("Steps: 21 for each network of either arm, 103 to choose the fixed")
    assert "201 to learn the policy, by one collection" in last


def test_a_comparison_that_was_impossible_says_why(demo_of_seeds: Path) -> None:
    evaluation = read(demo_of_seeds, "evaluation.json") | {"across_seeds": "not measurable with 2"}
    first, costs = verdict_lines(read(demo_of_seeds, "demo.json"), evaluation)
    assert first == "No verdict: not measurable with 2."
    assert costs.startswith("Steps: ")


def test_intervals_of_any_width_have_words(demo_of_seeds: Path) -> None:
    text = " ".join(lines(demo_of_seeds, low=-2000.0, high=2000.0))
    assert "95% interval [0.0000, 1.0000]" in text
