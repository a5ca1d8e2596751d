from __future__ import annotations

import json

from command import refuse, succeed
from synthetic import write_folder

from fairloss.data import decode


def test_counts_are_shown_without_decoding(tmp_path, monkeypatch):
    faces = write_folder(tmp_path / "faces", [1, 1, 2, 6], size=8)
    monkeypatch.setattr(decode, "as_pixels", None)
    report = tmp_path / "counts.json"
    done = succeed("data", "histogram", faces, "--output", report)
    assert "4, of which 2 have one image" in done.stdout
    assert "│ 1      │ 2          │ " + "#" * 50 in done.stdout
    assert "│ 6      │ 1          │ " + "#" * 25 in done.stdout
    written = json.loads(report.read_text(encoding="utf-8"))
    assert (written["identities"], written["images"], written["imbalance"]) == (4, 10, 6.0)
    assert {(bar["from"], bar["identities"]) for bar in written["histogram"]} >= {(1, 2), (2, 1)}
    # a third of the identities has one image, and two thirds have at most 2
    assert written["count_bins"] == {"cuts": [1.0, 2.0], "empty": []}


def test_count_bins_that_collapse_are_named(tmp_path):
    faces = write_folder(tmp_path / "faces", [2, 2, 2, 2], size=8)
    done = succeed("data", "histogram", faces)
    assert "Fair Loss: no class has some or many images by the cuts 2 and 2, so" in done.stdout
    refuse("got 2 images directly in it", "data", "histogram", faces / "id0")
