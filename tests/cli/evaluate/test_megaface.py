from __future__ import annotations

import json

import numpy as np
import pytest
from command import refuse, succeed

from fairloss.data import read_cmc, read_features, write_features, write_vector


def test_known_result_difference_and_refined_list(tmp_path):
    planted = tmp_path / "planted"
    sizes = ("--people", 4, "--probes", 22, "--distractors", 1000, "--dimension", 32)
    done = succeed("data", "megaface", planted, *sizes)
    expected = float(done.stdout.split("rank-1 must be ")[1].split(",")[0])
    common = ("--lists", planted / "templatelists", "--replicates", 10)
    packed = ("--facescrub", planted / "facescrub.npy", "--megaface", planted / "megaface.npy")
    out = tmp_path / "out"
    succeed("evaluate", "megaface", *common, *packed, "--size", 1000, "--output", out)
    report = json.loads((out / "report_fairloss_1000_1.json").read_text(encoding="utf-8"))
    assert report["rank_1"]["value"] == pytest.approx(expected, abs=1e-6)
    assert report["tar"] == "not measurable with 22000 impostors"
    curve = read_cmc(out / "cmc_facescrub_megaface_fairloss_1000_1.json")
    assert curve.rank_1() == report["rank_1"]["value"]
    poor = read_features(planted / "facescrub.npy")
    noise = np.random.default_rng(0).normal(size=poor.embeddings.shape)
    write_features(tmp_path / "poor.npy", poor.names, poor.embeddings + noise.astype(np.float32))
    baseline = ("--against", tmp_path / "poor.npy", planted / "megaface.npy")
    more = ("--size", 1000, "--output", out, "--algorithm", "baseline")
    done = succeed("evaluate", "megaface", *common, *packed, *more, *baseline)
    both = json.loads((out / "report_baseline_1000_1.json").read_text(encoding="utf-8"))
    gain = both["difference"]["rank_10"]["value"]
    assert gain == pytest.approx(report["rank_10"]["value"] - both["a"]["rank_10"])
    assert "minus" in done.stdout
    for name in ("facescrub", "megaface"):  # the same from the kit's file an image
        file = read_features(planted / f"{name}.npy")
        for image, vector in zip(file.names, file.embeddings, strict=True):
            write_vector(tmp_path / name / f"{image}_x.bin", vector)
    files = ("--facescrub", tmp_path / "facescrub", "--megaface", tmp_path / "megaface")
    sizes = ("--size", 10, "--size", 1000, "--suffix", "_x.bin", "--output", out)
    noises = tmp_path / "noises.txt"
    noises.write_text("# noisy\n0/3.jpg\n0/17.png\n", encoding="utf-8")
    more = ("--algorithm", "kit", "--megaface-noises", noises)
    done = succeed("evaluate", "megaface", *common, *files, *sizes, *more)
    assert "refined list" in done.stdout
    again = json.loads((out / "report_kit_1000_1.json").read_text(encoding="utf-8"))
    assert (again["noisy_distractors"], again["distractors"]) == (2, 1000)
    assert again["rank_1"]["value"] >= report["rank_1"]["value"]
    figure = tmp_path / "cmc.svg"
    succeed("evaluate", "plot", *sorted(out.glob("cmc_*_1000_1.json")), "--output", figure)
    assert "<svg" in figure.read_text(encoding="utf-8")
    broken = next((tmp_path / "megaface").rglob("*.bin"))
    broken.write_bytes(broken.read_bytes()[:-1])
    out2 = ("--size", 1000, "--suffix", "_x.bin", "--output", tmp_path / "none")
    refuse(str(broken), "evaluate", "megaface", *common, *files, *out2)
    assert not (tmp_path / "none").exists()
