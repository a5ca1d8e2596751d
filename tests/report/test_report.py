from __future__ import annotations

import base64
import csv
import html
import io
import itertools
import json
import re
import shutil
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from fairloss.agent import Policy
from fairloss.report import losses, write_report
from fairloss.report.drawing import spread
from fairloss.report.run_view import read_run

DEMO_SECTIONS = ["classes", "groups", "policy", "roc", "verification", "faces", "cost", "loss"]
VOID = {"meta", "img"}


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def epoch_lines(folder: Path) -> list[dict[str, Any]]:
    lines = [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [line for line in lines if line["event"] == "epoch"]


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', page)


def table_of(page: str, name: str) -> list[dict[str, str]]:
    """The rows of one of the embedded CSV tables."""
    match = re.search(
        rf"<summary>{re.escape(name)} as CSV</summary>\s*<pre[^>]*>(.*?)</pre>", page, re.S
    )
    assert match, name
    return list(csv.DictReader(io.StringIO(html.unescape(match[1]))))


def number(text: str) -> float | None:
    return float(text) if text else None


@pytest.fixture
def part(demo: Path, tmp_path: Path) -> Any:
    """Copies demo.json and the named files or folders of the demo to a folder of their own."""

    def copy(*names: str) -> Path:
        folder = tmp_path / "part"
        folder.mkdir()
        for name in ("demo.json", *names):
            source = demo / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)
        return folder

    return copy


def test_demo_has_every_section_in_order(demo_page: str) -> None:
    assert sections(demo_page) == DEMO_SECTIONS
    assert demo_page.index("<h1>") < demo_page.index('class="verdict"') < demo_page.index("<svg")
    assert "811 images of 30 identities" in demo_page
    assert "80 images of 10 identities" in demo_page
    assert "Thirty identities made up for a test. Seed: 0." in demo_page


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], ["cost"]),
        (["policy.json"], ["policy", "cost"]),
        (["evaluation.json"], ["roc", "verification", "cost"]),
        (["queries.json", "queries.npz"], ["faces", "cost"]),
        (["queries.json"], ["cost"]),
    ],
)
def test_sections_without_files_are_left_out(part: Any, files: list[str], expected: Any) -> None:
    page = write_report(part(*files)).read_text("utf-8")
    assert sections(page) == expected
    assert "40 identities of one data set" in page


def test_training_folder(training: Path) -> None:
    path = write_report(training)
    assert path == training / "report.html"
    page = path.read_text("utf-8")
    assert sections(page) == ["classes", "groups", "cost", "loss"]
    assert "12 of 12 epochs, 120 steps" in page
    assert "data: &lt;here&gt;" in page  # config.yaml
    costs = {row["phase"]: float(row["seconds"]) for row in table_of(page, "Cost")}
    assert costs == {"train": 15.0, "statistics": 3.0}
    assert not list(training.glob(".*"))


def test_training_folder_before_its_first_epoch(training: Path) -> None:
    (training / "metrics.jsonl").write_text("", encoding="utf-8")
    page = write_report(training).read_text("utf-8")
    assert sections(page) == ["classes"]
    assert "no epoch has ended yet" in page


def test_one_network_an_arm_has_no_verdict(part: Any) -> None:
    folder = part("evaluation.json")
    evaluation = read(folder, "evaluation.json")
    interval = {"value": 0.02, "low": 0.01, "high": 0.03}
    evaluation["comparison"]["difference"]["auc"] |= interval
    (folder / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    page = " ".join(write_report(folder).read_text("utf-8").split())
    assert "<strong>+0.0200</strong>, 95% interval [+0.0100, +0.0300]" in page
    assert "the difference of two networks, of one seed each, and says nothing" in page
    assert "ahead" not in page
    assert "40 identities of one data set" in page


def test_names_are_escaped(demo_page: str, hostile: str) -> None:
    assert "<script" not in demo_page
    alternatives = [html.unescape(text) for text in re.findall(r'alt="([^"]*)"', demo_page)]
    assert f"{hostile}/2.png" in alternatives
    names = [row["match"] for row in table_of(demo_page, "Nearest faces")]
    assert f"{hostile}/2.png" in names


def test_names_that_utf8_or_a_reader_lacks_are_escaped(part: Any) -> None:
    folder = part("queries.json", "queries.npz")
    path = folder / "queries.json"
    text = path.read_text(encoding="utf-8").replace("s0/0.png", r"\udce9\u001b[1m/0.png")
    path.write_text(text, encoding="utf-8")
    page = write_report(folder).read_text("utf-8")
    assert r'alt="\udce9\x1b[1m/0.png"' in page
    assert r"\udce9\x1b[1m/0.png" in [row["match"] for row in table_of(page, "Nearest faces")]


def test_page_is_self_contained(demo_page: str) -> None:
    assert set(re.findall(r"https?://[^\"'\s<)]*", demo_page)) == {"http://www.w3.org/2000/svg"}
    assert all(
        source.startswith("data:image/png") for source in re.findall(r'src="(.{14})', demo_page)
    )
    assert set(re.findall(r"url\((.)", demo_page)) <= {"#"}
    assert "<link" not in demo_page
    assert "@import" not in demo_page


def test_page_is_well_formed(demo_page: str) -> None:
    class Balance(HTMLParser):
        open: list[str]

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in VOID:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balance()
    parser.open = []
    parser.feed(demo_page)
    assert parser.open == []
    ids = Counter(re.findall(r'\sid="([^"]+)"', demo_page))
    assert set(ids.values()) == {1}
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', demo_page)) <= set(ids)


def test_figures_keep_text_as_text(demo_page: str) -> None:
    texts = {html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", demo_page)}
    assert {"false accept rate (log)", "few images", "high variance", "▲", "Fair Loss"} <= texts


def test_same_input_gives_the_same_bytes(demo: Path, demo_page: str, tmp_path: Path) -> None:
    copy = shutil.copytree(demo, tmp_path / "elsewhere")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        assert write_report(copy).read_text("utf-8") == demo_page


def test_class_counts(demo: Path, demo_page: str) -> None:
    counts = sorted(read(demo, "fair/identities.json")["counts"], reverse=True)
    rows = table_of(demo_page, "Image counts")
    assert [int(row["images"]) for row in rows] == counts
    assert [int(row["rank"]) for row in rows] == list(range(1, 31))
    cuts = np.quantile(counts, (1 / 3, 2 / 3), method="lower")
    expected = [("few", "some", "many")[int((cuts < count).sum())] for count in counts]
    assert [row["bin"] for row in rows] == [f"{word} images" for word in expected]


def test_groups(demo: Path, demo_page: str) -> None:
    rows = table_of(demo_page, "Margins and angles (radians)")
    expected = [
        {"epoch": line["epoch"]} | group
        for line in epoch_lines(demo / "fair")
        for group in line["groups"]
    ]
    assert [{key: number(text) for key, text in row.items()} for row in rows] == expected
    assert rows[8]["margin"] == ""  # empty in the first epoch


def test_policy(demo: Path, demo_page: str) -> None:
    policy = Policy.load(demo / "policy.json")
    rows = table_of(demo_page, "Policy")
    assert [row["action"] for row in rows] == [("lower", "keep", "raise")[a] for a in policy.table]
    for action, name in enumerate(("lower", "keep", "raise")):
        assert [int(row[f"visits_{name}"]) for row in rows] == policy.visits[:, action].tolist()
        q = [np.nan if row[f"q_{name}"] == "" else float(row[f"q_{name}"]) for row in rows]
        np.testing.assert_array_equal(q, policy.q[:, action])
    for row, q in zip(rows, policy.q, strict=True):
        visited = q[np.isfinite(q)]
        assert number(row["q_spread"]) == (np.ptp(visited) if len(visited) > 1 else None)


def test_verification(demo: Path, demo_page: str) -> None:
    evaluation = read(demo, "evaluation.json")
    reports = evaluation["arms"] | {"difference": evaluation["comparison"]["difference"]}
    rows = {(row["metric"], row["column"]): row for row in table_of(demo_page, "Verification")}
    for column, report in reports.items():
        entries = {"AUC": report["auc"], "EER": report["eer"]}
        entries |= {f"TAR at FAR {far}": entry for far, entry in report["tar"].items()}
        entries["Accuracy over folds"] = report["accuracy"]
        for metric, entry in entries.items():
            row = rows.pop((metric, column))
            if isinstance(entry, str):
                assert row["words"] == entry
                assert entry in demo_page
            else:
                assert [float(row[k]) for k in ("value", "low", "high")] == [
                    entry[k] for k in ("value", "low", "high")
                ]
    assert not rows
    auc = reports["fair"]["auc"]
    assert f"<td>{auc['value']:.4f} " in demo_page
    assert f"[{auc['low']:.4f}, {auc['high']:.4f}]" in demo_page


def test_roc_corners_span_the_whole_curve(demo: Path, demo_page: str) -> None:
    rows = table_of(demo_page, "Corners of the ROC curves")
    for arm, curve in read(demo, "evaluation.json")["roc"].items():
        given = list(zip(curve["far"], curve["tar"], strict=True))
        corners = [(float(r["far"]), float(r["tar"])) for r in rows if r["run"] == arm]
        assert set(corners) < set(given)
        for x, y in given:
            assert any(
                a <= x <= c and b <= y <= d and (a == c or b == d or (x, y) in ((a, b), (c, d)))
                for (a, b), (c, d) in itertools.pairwise(corners)
            )


def test_faces(demo: Path, demo_page: str) -> None:
    rows = table_of(demo_page, "Nearest faces")
    assert [row["same_person"] for row in rows] == ["True", "True", "False", "False", "False"] * 4
    queries = read(demo, "queries.json")["queries"]
    scores = [match["score"] for query in queries for match in query["matches"]]
    assert [float(row["cosine"]) for row in rows] == scores
    tiles = re.findall(r'<div class="face (\w+)">.*?base64,([^"]+)".*?<b>([^<]*)</b>', demo_page)
    kinds = ["probe", "same", "same", "other", "other", "other"] * 4
    assert [kind for kind, *_ in tiles] == kinds
    signs = {"probe": "p", "same": "\N{CHECK MARK}", "other": "\N{BALLOT X}"}
    assert [label[0] for *_, label in tiles] == [signs[kind] for kind in kinds]
    with np.load(demo / "queries.npz") as arrays:
        faces = np.concatenate([arrays["probes"][:, None], arrays["matches"]], axis=1)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for _, data, _ in tiles]
    np.testing.assert_array_equal(shown, faces.reshape(24, 28, 23))


def test_color_faces_keep_their_channels(part: Any) -> None:
    folder = part("queries.json")
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (4, 6, 3, 5, 4), dtype=np.uint8)
    np.savez(folder / "queries.npz", probes=faces[:, 0], matches=faces[:, 1:])
    data = re.findall(r'base64,([^"]+)"', write_report(folder).read_text("utf-8"))
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[0]))))
    np.testing.assert_array_equal(first, faces[0, 0].transpose(1, 2, 0))


def test_cost_and_losses(demo: Path, demo_page: str) -> None:
    phases = read(demo, "demo.json")["phases"]
    rows = table_of(demo_page, "Cost")
    assert [(r["phase"], int(r["steps"]), float(r["seconds"])) for r in rows] == [
        (p["name"], p["steps"], p["seconds"]) for p in phases
    ]
    assert "</span> 24%</td>" in demo_page  # 8.5 of 36 seconds
    losses = [(r["run"], int(r["epoch"]), float(r["loss"])) for r in table_of(demo_page, "Losses")]
    assert losses == [
        (arm, line["epoch"], line["loss"])
        for arm in ("pretrain", "fair", "fixed")
        for line in epoch_lines(demo / arm)
    ]


def test_labels_are_spread_upwards() -> None:
    assert spread([3.0, 1.0, 1.5, 9.0], gap=2.0) == [5.0, 1.0, 3.0, 9.0]


def test_repeated_epochs_and_a_cut_off_line(training: Path) -> None:
    lines = (training / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    again = json.dumps(json.loads(lines[3]) | {"loss": float("nan")})
    (training / "metrics.jsonl").write_text(
        "\n".join([*lines[:4], again, lines[4][:50]]), encoding="utf-8"
    )
    run = read_run(training)
    assert [line["epoch"] for line in run.training["run"].epochs] == [1, 2, 3, 4]
    section = losses.section(run)
    assert section is not None
    assert np.isnan(section["rows"][4][3])
    page = write_report(training).read_text("utf-8")
    assert [row["loss"] for row in table_of(page, "Losses")][3] == "nan"


def test_a_demo_without_its_fair_arm_shows_the_fixed_one(part: Any) -> None:
    run = read_run(part("fixed"))
    assert run.main is run.training["fixed"]


def test_files_that_cannot_be_read(training: Path, part: Any) -> None:
    metrics = training / "metrics.jsonl"
    metrics.write_text("not JSON\n" + metrics.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 1"):
        write_report(training)
    folder = part()
    (folder / "demo.json").write_text('{"version": 2}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"demo\.json: expected .* version 1"):
        write_report(folder)


def test_images_that_do_not_fit_their_list(part: Any) -> None:
    folder = part("queries.json")
    np.savez(
        folder / "queries.npz",
        probes=np.zeros((3, 1, 2, 2), np.uint8),
        matches=np.zeros((3, 5, 1, 2, 2), np.uint8),
    )
    with pytest.raises(ValueError, match=r"queries\.npz: expected images for .* matches"):
        write_report(folder)


def test_neither_kind_of_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"demo\.json .* metrics\.jsonl"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_search_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"version": 1, "event": "round"}\n', encoding="utf-8")
    (tmp_path / "identities.json").write_text(
        '{"version": 1, "counts": [2], "held_out": ["a"]}', encoding="utf-8"
    )
    with pytest.raises(
        ValueError, match=r"run: expected .*the search .* trajectory\.svg .*head\.loss=.*\.json"
    ):
        write_report(tmp_path)


def test_missing_matplotlib(training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "fairloss-ext\[report\]"'):
        write_report(training)
