"""Feature files and evaluation reports of version 0.1.0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compatibility_files import assert_same_report, succeed

from fairloss.data import read_cmc, read_features

CMC = "cmc_facescrub_megaface_{}_100_1.json"


def compare(actual: Path, stored: Path) -> None:
    assert_same_report(
        json.loads(actual.read_text(encoding="utf-8")),
        json.loads(stored.read_text(encoding="utf-8")),
    )


def embed(root: Path, output: Path) -> None:
    checkpoint = root / "training" / "fair" / "model.pt"
    succeed(
        "embed", "--data", root / "data" / "faces", "--checkpoint", checkpoint, "--output", output
    )


def test_an_old_network_computes_the_features_it_computed(unpack, tmp_path):
    root = unpack("data", "training", "experience", "features")
    embed(root, tmp_path / "new.npy")
    stored, actual = (
        read_features(root / "features" / "whole.npy"),
        read_features(tmp_path / "new.npy"),
    )
    np.testing.assert_allclose(actual.embeddings, stored.embeddings, rtol=1e-3, atol=1e-3)
    compare(tmp_path / "new.json", root / "features" / "whole.json")


def test_interrupted_features_are_completed_not_begun_again(unpack, expected):
    root = unpack("data", "training", "experience", "features")
    folder, done = root / "features", expected["features"]["done"]
    partial = np.load(folder / ".part.npy.partial", mmap_mode="r+")
    assert partial[:done].any()
    partial[:done] = 7  # no network computes this
    partial.flush()
    del partial
    embed(root, folder / "part.npy")
    actual, stored = (read_features(folder / f"{name}.npy") for name in ("part", "whole"))
    assert (actual.embeddings[:done] == 7).all()
    np.testing.assert_allclose(actual.embeddings[done:], stored.embeddings[done:], atol=1e-3)
    assert (actual.names, actual.identities) == (stored.names, stored.identities)
    assert not list(folder.glob(".part*"))


def test_pairs_of_old_features(unpack, tmp_path):
    root = unpack("features", "evaluation")
    report = tmp_path / "pairs.json"
    features = root / "features" / "whole.npy"
    succeed("evaluate", "pairs", "--features", features, "--replicates", 20, "--output", report)
    compare(report, root / "evaluation" / "pairs.json")


def test_groups_by_the_images_of_an_old_run(unpack, tmp_path):
    root = unpack("features", "training", "evaluation")
    report, features = tmp_path / "groups.json", root / "features" / "whole.npy"
    run = ("--frequency", root / "training" / "fair" / "identities.json", "--cuts", 3, 5)
    options = (*run, "--far", 0.1, "--replicates", 20, "--output", report)
    succeed("evaluate", "groups", "--features", features, *options)
    compare(report, root / "evaluation" / "groups.json")


def test_megaface_results_are_computed_again(unpack, tmp_path):
    old = unpack("evaluation") / "evaluation"
    kit = old / "planted"
    files = ("--facescrub", kit / "facescrub.npy", "--megaface", kit / "megaface.npy")
    options = ("--size", 100, "--algorithm", "ours", "--replicates", 20, "--output", tmp_path)
    succeed("evaluate", "megaface", "--lists", kit / "templatelists", *files, *options)
    for name in (CMC.format("ours"), "report_ours_100_1.json"):
        compare(tmp_path / name, old / "megaface" / name)


def test_megaface_results_are_drawn(unpack, tmp_path):
    pytest.importorskip("matplotlib")
    folder = unpack("evaluation") / "evaluation" / "megaface"
    results = [folder / CMC.format(name) for name in ("ours", "theirs")]
    report = json.loads((folder / "report_ours_100_1.json").read_text(encoding="utf-8"))
    rank_1 = report["rank_1"]["value"]
    assert read_cmc(results[0]).rank_1() == rank_1
    printed = succeed("evaluate", "plot", *results, "--output", tmp_path / "cmc.svg")
    assert printed.count(f"{rank_1:.4f}") == 2
    assert (tmp_path / "cmc.svg").read_text(encoding="utf-8").count("<path") > 10
