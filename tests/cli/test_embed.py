from __future__ import annotations

import json

import numpy as np
from command import refuse, succeed

from fairloss.data import read_features


def test_embed_writes_features_and_names(data, run, tmp_path):
    output = tmp_path / "e.npy"
    succeed("embed", "--data", data, "--checkpoint", run / "model.pt", "--output", output)
    assert np.load(output).shape == (33, 16)
    assert len(json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))["names"]) == 33


def test_embed_formats_agree_and_resume(data, model, tmp_path):
    common = ("--data", data, "--checkpoint", model)
    succeed("embed", *common, "--output", tmp_path / "all.npy")
    whole = read_features(tmp_path / "all.npy")
    names = whole.names[:20]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    common += ("--names", tmp_path / "names.txt")
    succeed("embed", *common, "--output", tmp_path / "f.npy")
    part = read_features(tmp_path / "f.npy")
    np.testing.assert_allclose(part.embeddings, whole.embeddings[:20], atol=1e-5)
    succeed("embed", *common, "--output", tmp_path / "mf", "--suffix", "_x.bin")
    removed = tmp_path / "mf" / f"{names[7]}_x.bin"
    content, files = removed.read_bytes(), sorted((tmp_path / "mf").rglob("*.bin"))
    removed.unlink()
    before = {path: path.stat().st_mtime_ns for path in files if path != removed}
    succeed("embed", *common, "--output", tmp_path / "mf", "--suffix", "_x.bin")
    vectors = [np.frombuffer(c, "<f4", offset=16) for c in (removed.read_bytes(), content)]
    assert np.allclose(*vectors)
    assert before == {path: path.stat().st_mtime_ns for path in before}  # only the missing one


def test_landmarks_are_refused_with_names_or_a_suffix(tmp_path):
    common = ("embed", "--data", tmp_path, "--checkpoint", "c", "--output", tmp_path / "f.npy")
    landmarks = ("--landmarks", tmp_path / "points.txt")
    refuse("landmarks: expected none with --suffix", *common, *landmarks, "--suffix", "_x.bin")
    refuse("names: expected either --names or --landmarks", *common, *landmarks, "--names", "n")
