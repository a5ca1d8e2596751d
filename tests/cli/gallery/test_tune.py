from __future__ import annotations

import json
import shutil

import pytest
from command import refuse, succeed

from fairloss.gallery import Gallery

pytest.importorskip("faiss")


def test_tune_prints_writes_and_saves(built, tmp_path):
    output = tmp_path / "gallery"
    shutil.copytree(built, output)
    options = ("--recall", 0.6, "--index", "ivf")
    done = succeed("gallery", "tune", "--gallery", output, *options)
    report = json.loads((output / "tune.json").read_text(encoding="utf-8"))
    assert (report["version"], report["probes"], report["held_out"]) == (1, 3, True)
    kind = report["chosen"]
    assert kind in report["points"]
    assert {point["kind"] for point in report["points"]} == {"flat", "ivf"}
    assert kind["recall"] >= 0.6
    assert f"{kind['recall']:.4f}" in done.stdout
    assert Gallery.load(output).index == kind["kind"]
    refuse("recall: expected a number", "gallery", "tune", "--gallery", output, "--recall", 0)
