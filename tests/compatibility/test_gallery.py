"""Galleries of version 0.1.0: searched, extended, merged."""

from __future__ import annotations

import re

import numpy as np
import pytest
from command import fairloss
from compatibility_files import succeed

pytest.importorskip("faiss")

from fairloss.gallery import Gallery
from fairloss.training import read_embedder

KINDS = ["flat", "ivf", "hnsw", "ivf-pq"]


def assert_answers(actual, expected) -> None:
    names = [[match.name for match in matches] for matches in actual]
    assert names == [[name for name, _ in matches] for matches in expected]
    scores = [[match.score for match in matches] for matches in actual]
    stored = [[score for _, score in matches] for matches in expected]
    np.testing.assert_allclose(scores, stored, atol=1e-5)


@pytest.mark.parametrize("kind", ["faces", *KINDS])
def test_a_gallery_gives_the_answers_it_gave(unpack, expected, kind):
    folder = unpack("gallery") / "gallery"
    gallery = Gallery.load(folder / kind)
    assert gallery.index == ("flat" if kind == "faces" else kind)
    assert_answers(gallery.search(np.load(folder / "probes.npy"), 3), expected["gallery"][kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_gallery_takes_more_faces(unpack, expected, kind, tmp_path):
    folder = unpack("gallery") / "gallery"
    probes = np.load(folder / "probes.npy")
    gallery = Gallery.load(folder / kind)
    gallery.add(["opposite"], -probes[:1])
    gallery.save(folder / kind)
    again = Gallery.load(folder / kind)
    assert len(again) == 301
    assert_answers(again.search(probes, 3), expected["gallery"][kind])
    nearest = again.search(-probes[:1], 1)[0][0]
    assert nearest.name == "opposite"
    assert nearest.score == pytest.approx(1, abs=1e-5)


def test_galleries_merge(unpack, expected):
    folder = unpack("gallery") / "gallery"
    succeed("gallery", "merge", folder / "flat", folder / "ivf", "--output", folder / "all")
    merged = Gallery.load(folder / "all")
    assert len(merged) == 600
    first = merged.search(np.load(folder / "probes.npy"), 2)[0]
    assert [match.name for match in first] == 2 * [expected["gallery"]["flat"][0][0][0]]


def test_a_gallery_knows_its_network(unpack):
    root = unpack("data", "training", "experience", "gallery")
    faces, gallery = root / "data" / "faces", root / "gallery" / "faces"
    assert read_embedder(gallery).flip
    name = Gallery.load(gallery).names[0]
    options = ("gallery", "query", faces / name, "--gallery", gallery, "-k", 1, "--checkpoint")
    printed = succeed(*options, root / "training" / "fair" / "model.pt")
    assert re.search(re.escape(name) + r"\W+1\.0000", printed)
    refused = fairloss(*options, root / "training" / "arcface" / "model.pt")
    assert refused.returncode == 2
    assert "checkpoint" in refused.stderr


def test_a_build_adds_what_is_missing(unpack):
    root = unpack("data", "training", "experience", "gallery")
    faces, gallery = root / "data" / "faces", root / "gallery" / "faces"
    before = Gallery.load(gallery).names
    first = faces / before[0]
    (first.parent / "more.png").write_bytes(first.read_bytes())
    checkpoint = root / "training" / "fair" / "model.pt"
    succeed("gallery", "build", "--data", faces, "--checkpoint", checkpoint, "--output", gallery)
    assert Gallery.load(gallery).names == [*before, f"{first.parent.name}/more.png"]
