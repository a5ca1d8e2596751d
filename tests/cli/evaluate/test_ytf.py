from __future__ import annotations

import json

import pytest
from cli_cases import clustered_embeddings
from command import refuse, succeed

from fairloss.data import write_features


def test_videos_and_their_difference(tmp_path):
    output = tmp_path / "ytf.json"
    (tmp_path / "splits.txt").write_text(
        "split, first, second, same\n"
        + "".join(
            f"{fold + 1}, p{a}/0, p{a}/1, 1\n{fold + 1}, p{a}/0, p{a + 1}/1, 0\n"
            for fold, a in enumerate(range(0, 20, 2))
        ),
        encoding="utf-8",
    )
    frames = [f"p{n}/{i % 2}/{i}.jpg" for n in range(20) for i in range(4)]
    write_features(tmp_path / "frames.npy", frames, clustered_embeddings())
    for more in ((), ("--pairwise",)):
        options = ("--splits", tmp_path / "splits.txt", "--features", tmp_path / "frames.npy")
        succeed("evaluate", "ytf", *options, "--output", output, "--replicates", 10, *more)
        report = json.loads(output.read_text(encoding="utf-8"))
        assert (report["genuine"], report["fold_accuracy"]["folds"]) == (10, 10)
        assert report["accuracy"]["value"] > 0.9
        write_features(tmp_path / "poor.npy", frames[::-1], clustered_embeddings(noise=2.0)[::-1])
        baseline = ("--against", tmp_path / "poor.npy", "--replicates", 10, "--output", output)
        succeed("evaluate", "ytf", *options, *baseline, *more)
        both = json.loads(output.read_text(encoding="utf-8"))
        gain = both["difference"]["accuracy"]["value"]
        assert gain == pytest.approx(report["accuracy"]["value"] - both["a"]["accuracy"])
        assert gain > 0
    write_features(tmp_path / "few.npy", frames[4:], clustered_embeddings()[4:])
    few = ("--splits", tmp_path / "splits.txt", "--features", tmp_path / "few.npy")
    refuse("few.npy of 2 videos, the first 'p0/0'", "evaluate", "ytf", *few)
