from __future__ import annotations

import argparse
import json

import million
import numpy as np
import pytest

from fairloss.data import write_features

CHARACTERS, DESIGNS, FACES = 20, 4, 2


@pytest.fixture
def given():
    return argparse.Namespace(enrolled=5, strangers=4, images=2, seed=0, replicates=20)


@pytest.fixture
def layout():
    """(N,) character and design of two faces of each design."""
    rows = np.arange(CHARACTERS * DESIGNS * FACES)
    return rows // (DESIGNS * FACES), rows // FACES % DESIGNS


def test_parts_share_no_character_and_mates_no_design(layout, given):
    character, design = layout
    roles = million.split_roles(character, design, given)
    parts = [set(character[rows]) for rows in (roles.mated, roles.strangers, roles.distractors)]
    assert [len(part) for part in parts] == [5, 4, 11]
    assert len(set.union(*parts)) == 20
    assert len(roles.distractors) == 11 * DESIGNS * FACES
    assert sorted(character[roles.gallery]) == sorted(parts[0])
    for row in roles.gallery:
        mates = roles.mated[character[roles.mated] == character[row]]
        assert len({design[row], *design[mates]}) == 1 + given.images


def test_one_hot_features_are_all_found(layout, given, tmp_path, monkeypatch, capsys):
    character, design = layout
    names = [f"{c}/face {d}-{n % FACES}" for n, (c, d) in enumerate(zip(*layout, strict=True))]
    write_features(tmp_path / "f.npy", names, np.eye(20)[character], [f"{c}" for c in character])
    faces = [
        {"name": name.split("/")[1], "design": f"{d}"}
        for name, d in zip(names, design, strict=True)
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"typefaces": faces}), encoding="utf-8")
    options = [f"--{name}={getattr(given, name)}" for name in vars(given)]
    results = tmp_path / "r.json"
    arguments = ["million.py", f"{tmp_path}/test", f"{tmp_path}/f.npy", f"--results={results}"]
    monkeypatch.setattr("sys.argv", arguments + options)
    million.main()
    record = json.loads(results.read_text(encoding="utf-8"))
    assert [one["distractors"] for one in record["challenge"]] == [10, 88]
    assert all(one["rank_1"]["value"] == 1 for one in record["challenge"])
    alone, among = record["open_set"]
    assert (alone["gallery"], among["gallery"]) == (5, 93)
    assert among["rank"]["1"]["value"] == 1
    assert "| 93 | 1.000 (1.000 to 1.000)" in capsys.readouterr().out
