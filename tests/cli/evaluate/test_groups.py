from __future__ import annotations

import json

from command import refuse, succeed

from fairloss.data import read_features


def test_groups_by_attribute_and_by_frequency(images, features, tmp_path):
    file = read_features(features)
    lines = ["name,age"] + [
        f"{name},{'old' if identity in ('id0', 'id1', 'id2') else 'young'}"
        for name, identity in zip(file.names, file.identities, strict=True)
    ]
    (tmp_path / "ages.csv").write_text("\n".join(lines), encoding="utf-8")
    options = ("--features", features, "--output", tmp_path / "g.json", "--replicates", 10)
    done = succeed(
        "evaluate", "groups", *options, "--attributes", tmp_path / "ages.csv", "--column", "age"
    )
    report = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))
    assert report["groups"]["old"]["genuine"] == 3 * 15
    assert "worst" in done.stdout
    run = {
        "version": 1,
        "identities": sorted(set(file.identities)),
        "counts": [5] * 10 + [50] * 10,
    }
    (tmp_path / "identities.json").write_text(json.dumps(run), encoding="utf-8")
    succeed("evaluate", "groups", *options, "--frequency", tmp_path / "identities.json")
    assert set(json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))["groups"]) == {
        "tail",
        "mid",
    }
    more = ("--frequency", tmp_path / "identities.json", "--against", features)
    done = succeed("evaluate", "groups", *options, *more)
    difference = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))["difference"]
    for gain in (difference["mean_eer"], difference["groups"]["mid"]["auc"]):
        assert gain["low"] < gain["value"] == 0 < gain["high"]
    assert "minus" in done.stdout
    by_age = ("evaluate", "groups", *options, "--attributes", tmp_path / "ages.csv")
    refuse("ages.csv: expected a column 'group' after the image names", *by_age)
    refuse("either --attributes or --frequency, got both", *by_age, *more)
    refuse("either --attributes or --frequency, got neither", "evaluate", "groups", *options)
