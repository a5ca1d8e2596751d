from __future__ import annotations

import json

import numpy as np
from cli_cases import clustered_embeddings
from command import refuse, succeed

from fairloss.data import write_features


def test_subsets_and_their_difference(tmp_path):
    names, lists = [], tmp_path / "txts"
    for subset in ("African", "Asian"):
        lines = []
        for n in range(10):
            lines += [f"m.{2 * n}\t1\t2", f"m.{2 * n}\t1\tm.{2 * n + 1}\t3"]
        (lists / subset).mkdir(parents=True)
        (lists / subset / f"{subset}_pairs.txt").write_text("\n".join(lines), encoding="utf-8")
        names += [f"{subset}/m.{n}/m.{n}_{i:04d}.jpg" for n in range(20) for i in range(1, 5)]
    write_features(tmp_path / "f.npy", names, np.tile(clustered_embeddings(), (2, 1)))
    output = tmp_path / "rfw.json"
    options = ("--features", tmp_path / "f.npy", "--output", output, "--replicates", 10)
    done = succeed("evaluate", "rfw", "--lists", lists, *options)
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["std"]["value"] == 0.0
    assert report["subsets"]["Asian"]["genuine"] == 10
    assert "African" in done.stdout
    write_features(tmp_path / "poor.npy", names, np.tile(clustered_embeddings(noise=2.0), (2, 1)))
    done = succeed(
        *("evaluate", "rfw", "--lists", lists, *options, "--against", tmp_path / "poor.npy")
    )
    assert "minus" in done.stdout
    assert json.loads(output.read_text(encoding="utf-8"))["difference"]["mean"]["value"] > 0
    (lists / "Indian").mkdir()
    message = "lists: expected one list of pairs in each folder, got 0 in Indian"
    refuse(message, "evaluate", "rfw", "--lists", lists, *options)
    (lists / "Indian").rmdir()
    (lists / "Asian" / "old_pairs.txt").write_text("m.0\t1\t2\n", encoding="utf-8")
    message = "lists: expected one list of pairs in each folder, got 2 in Asian"
    refuse(message, "evaluate", "rfw", "--lists", lists, *options)
    (lists / "Asian" / "old_pairs.txt").unlink()
    (lists / "Asian" / "Asian_pairs.txt").unlink()
    refuse("lists: expected two files", "evaluate", "rfw", "--lists", lists, *options)
