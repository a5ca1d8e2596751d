"""Several networks a side of `fairloss evaluate`, of every protocol that reads features."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
from command import refuse, succeed
from several_networks import assert_difference_of_means

from fairloss.cli.evaluate import megaface
from fairloss.data import read_features, write_features

PROTOCOLS = {
    "rfw": ("rfw.npy", "--lists", "txts"),
    "ytf": ("frames [b].npy", "--splits", "splits.txt"),
    "groups": ("f [b].npy", "--attributes", "groups.csv", "--column", "group [b]"),
    "ijb": ("f [b].npy", "--meta", "meta [b]"),
}


@pytest.fixture
def networks(inputs, monkeypatch):
    """Write features of four networks, the features of a file with more and more noise."""
    monkeypatch.chdir(inputs)

    def write(name):
        file = read_features(name)
        for number in range(4):
            noise = np.random.default_rng(number).normal(size=file.embeddings.shape)
            noisy = file.embeddings + 0.4 * (number + 1) * noise.astype(np.float32)
            write_features(f"{number}-{name}", file.names, noisy, file.identities)
        return [f"{number}-{name}" for number in range(4)]

    return write


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_difference_is_that_of_the_means(networks, protocol):
    name, *data = PROTOCOLS[protocol]
    files = networks(name)
    command = ("evaluate", protocol, *data, "--output", "r.json")
    single = []
    for file in files:
        succeed(*command, "--features", file)
        single.append(read_json("r.json"))
    sides = ("--features", files[0], "--features", files[1])
    against = ("--against", files[2], "--against", files[3])
    done = succeed(*command, *sides, *against)
    report = read_json("r.json")
    if protocol == "ijb":
        report, single = report["verification"], [each["verification"] for each in single]
    assert_difference_of_means(report, single[2:], single[:2])
    assert f"minus {files[2]}, {files[3]}" in " ".join(done.stdout.split())
    assert "for a side of several networks, other seeds" in done.stdout
    message = "features: expected one, or several with --against, got 2 without it"
    refuse(message, *command, *sides)


def test_megaface_reads_the_distractors_of_one_network_at_a_time(networks, monkeypatch):
    read, arrays = megaface._read, []

    def read_and_count(*arguments):
        if str(arguments[0]).endswith("distractors.npy"):
            assert not any(each() is not None for each in arrays)
            features = np.array(read(*arguments))
            arrays.append(weakref.ref(features))
            return features
        return read(*arguments)

    monkeypatch.setattr(megaface, "_read", read_and_count)
    probes, distractors = networks("probes [b].npy"), networks("distractors.npy")
    command = ("evaluate", "megaface", "--lists", "lists", "--size", 100, "--output", "out")
    single = []
    for pair in zip(probes, distractors, strict=True):
        succeed(*command, "--facescrub", pair[0], "--megaface", pair[1])
        single.append(read_json("out/report_fairloss_100_1.json"))
    curve = read_json("out/cmc_facescrub_megaface_fairloss_100_1.json")
    sides = []
    for number, side in enumerate(("--", "--", "--against-", "--against-")):
        more = (f"{side}facescrub", probes[number], f"{side}megaface", distractors[number])
        sides.extend(more)
    arrays.clear()
    succeed(*command, *sides)
    assert len(arrays) == 4
    report = read_json("out/report_fairloss_100_1.json")
    assert_difference_of_means(report, single[2:], single[:2])
    curves = [read_json(f"out/cmc_facescrub_megaface_fairloss-{n}_100_1.json") for n in (1, 2)]
    for number, each in enumerate(curves):
        assert each["cmc"][1][0] == single[number]["rank_1"]["value"]
    assert curve["cmc"][1][0] == single[3]["rank_1"]["value"]
    # of three baselines the first is that of --against
    succeed(*command, *sides, "--against", probes[0], distractors[0])
    report = read_json("out/report_fairloss_100_1.json")
    assert_difference_of_means(report, [single[0], *single[2:]], single[:2])
    refuse("facescrub: expected one, or several with --against, got 2", *command, *sides[:8])
    message = "against-megaface: expected 2 files, one for each of the probes, got 1"
    refuse(message, *command, *sides[:-2])
