from __future__ import annotations

import json
import re

import numpy as np
import pytest
from cli_cases import write_agedb_list, write_checkpoint
from command import refuse, succeed
from synthetic import write_folder

from fairloss.data import read_features, read_folder, write_arrays, write_pair_bin
from fairloss.gallery import Gallery


def test_all_pairs_are_printed_and_written(data, run):
    done = succeed("evaluate", "pairs", "--data", data, "--checkpoint", run / "model.pt")
    report = json.loads((run / "pairs.json").read_text(encoding="utf-8"))
    assert report["version"] == 1
    assert f"{report['auc']['value']:.4f}" in done.stdout
    assert "TAR@FAR=0.1" in done.stdout
    assert "not measurable with" in done.stdout  # 1e-6 of a few hundred impostors


def test_pairs_from_lists_and_bins_agree(images, model, features, tmp_path):
    listed = write_agedb_list(images, tmp_path / "pairs.txt")
    rows = [line.split() for line in listed.read_text(encoding="utf-8").splitlines()]
    encoded = [(images / name).read_bytes() for row in rows for name in row[:2]]
    write_pair_bin(tmp_path / "x.bin", encoded, [row[2] == "1" for row in rows])
    reports = []
    for number, options in enumerate(
        [
            ("--data", images, "--checkpoint", model, "--pairs", listed, "--layout", "agedb"),
            ("--features", features, "--pairs", listed, "--layout", "agedb"),
            ("--checkpoint", model, "--bin", tmp_path / "x.bin"),
        ]
    ):
        output = tmp_path / f"{number}.json"
        done = succeed("evaluate", "pairs", *options, "--output", output, "--replicates", 20)
        assert "fold accuracy" in done.stdout
        reports.append(json.loads(output.read_text(encoding="utf-8")))
    for report in reports:
        assert (report["genuine"], report["impostor"]) == (20, 20)
        assert report["auc"]["value"] == pytest.approx(reports[0]["auc"]["value"])
        assert report["insightface"]["accuracies"] == reports[0]["insightface"]["accuracies"]
        assert report["accuracy"]["value"] == reports[0]["accuracy"]["value"]


def test_lfw_in_png_gives_the_same_from_images_and_features(model, tmp_path):
    faces = write_folder(tmp_path / "lfw", [2] * 20)
    lines = ["10 1"]
    for number, folder in enumerate(sorted(faces.iterdir())):
        for image, file in enumerate(sorted(folder.iterdir()), 1):
            file.rename(folder / f"{folder.name}_{image:04d}.png")
        other = f"id{(number + 1) % 20}"
        lines.append(f"{folder.name}\t1\t2" if number % 2 else f"{folder.name}\t1\t{other}\t1")
    (tmp_path / "pairs.txt").write_text("\n".join(lines), encoding="utf-8")
    images = ("--data", faces, "--checkpoint", model)
    succeed("embed", *images, "--output", tmp_path / "f.npy")
    reports = []
    for source in (images, ("--features", tmp_path / "f.npy")):
        output = ("--output", tmp_path / "report.json", "--replicates", 5)
        succeed("evaluate", "pairs", *source, "--pairs", tmp_path / "pairs.txt", *output)
        reports.append(json.loads((tmp_path / "report.json").read_text(encoding="utf-8")))
    assert (reports[0]["genuine"], reports[0]["impostor"]) == (10, 10)
    assert reports[0]["auc"]["value"] == pytest.approx(reports[1]["auc"]["value"], abs=1e-3)


def test_difference_between_two_checkpoints(images, model, features, tmp_path):
    other = write_checkpoint(tmp_path / "b", seed=1)
    listed = write_agedb_list(images, tmp_path / "pairs.txt")
    options = ("--data", images, "--checkpoint", model, "--output", tmp_path / "d.json")
    done = succeed(
        *("evaluate", "pairs", *options, "--pairs", listed, "--layout", "agedb"),
        *("--against", other, "--replicates", 20),
    )
    report = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    gain = report["difference"]["auc"]["value"]
    assert gain == pytest.approx(report["b"]["auc"] - report["a"]["auc"])
    assert gain != 0
    assert "minus" in done.stdout
    assert done.stdout.count("a difference of two checkpoints, not of two methods") == 1
    assert done.stdout.count("intervals from fewer than 50 may be too narrow") == 1
    succeed("evaluate", "pairs", *options, "--against", features, "--replicates", 5)
    same = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))["difference"]
    assert same["auc"]["value"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("mirror", [True, False])
def test_a_folder_of_arrays_gives_the_same(images, model, tmp_path, mirror):
    faces, arrays = read_folder(images, (32, 32), 1), tmp_path / "arrays"
    pixels, labels = faces.images(range(len(faces))).numpy(), faces.labels.numpy()
    variants = [name.split("/")[1] for name in faces.names]
    numbers = np.arange(len(faces))
    write_arrays(arrays, [pixels], labels, numbers, faces.identities, variants, mirror)
    flip = () if mirror else ("--no-flip",)
    for folder, more in ((images, flip), (arrays, ())):
        output = ("--output", tmp_path / f"{folder.name}.npy")
        succeed("embed", "--data", folder, "--checkpoint", model, *output, *more)
    plain, packed = (read_features(tmp_path / f"{name}.npy") for name in ("faces", "arrays"))
    assert (packed.names, packed.identities) == (plain.names, plain.identities)
    np.testing.assert_allclose(packed.embeddings, plain.embeddings, atol=1e-5)
    listed = write_agedb_list(images, tmp_path / "pairs.txt")
    output = ("--output", tmp_path / "pairs.json", "--replicates", 5)
    for pairs in ((), ("--pairs", listed, "--layout", "agedb")):
        reports = []
        for source in (
            ("--data", arrays, "--checkpoint", model),
            ("--features", tmp_path / "faces.npy"),
        ):
            succeed("evaluate", "pairs", *source, *pairs, *output)
            reports.append(
                json.loads((tmp_path / "pairs.json").read_text(encoding="utf-8"))["auc"]["value"]
            )
        assert reports[0] == pytest.approx(reports[1])
    build = ("--data", arrays, "--checkpoint", model, "--output", tmp_path / "gallery")
    succeed("gallery", "build", *build)
    assert len(Gallery.load(tmp_path / "gallery")) == len(faces)
    query = ("--gallery", tmp_path / "gallery", "--checkpoint", model, "-k", 1)
    done = succeed("gallery", "query", images / faces.names[7], *query)
    assert re.search(re.escape(faces.names[7]) + r"\W+1\.0000", done.stdout)  # the same embedding


def test_missing_inputs_are_named(images, model, tmp_path):
    message = "features: expected --features, or --data and --checkpoint, got no --checkpoint"
    refuse(message, "evaluate", "pairs", "--data", images)
    write_pair_bin(tmp_path / "x.bin", [b"x"] * 40, [True, False] * 10)
    refuse("checkpoint: expected --checkpoint", "evaluate", "pairs", "--bin", tmp_path / "x.bin")


def test_several_checkpoints_a_side_are_compared_by_their_means(images, model, features, tmp_path):
    others = [write_checkpoint(tmp_path / f"b{seed}", seed=seed) for seed in (1, 2)]
    options = ["--data", images, "--output", tmp_path / "d.json", "--against", model]
    for other in others:
        options += ["--checkpoint", other]
    done = succeed("evaluate", "pairs", *options)
    report = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    values = [network["auc"] for network in report["b"]["networks"]]
    gain = report["difference"]["auc"]
    assert gain["value"] == pytest.approx(np.mean(values) - report["a"]["auc"])
    assert gain["standard_error"] >= np.std(values, ddof=1) / np.sqrt(2) > 0
    assert done.stdout.count("for a side of several networks, other seeds") == 1
    message = "checkpoint: expected one, or several with --against, got 2 without it"
    refuse(message, "evaluate", "pairs", *options[:4], *options[6:])


def test_features_of_several_networks_are_not_dropped_silently(images, model, features, tmp_path):
    several = ("--checkpoint", model, "--features", features, "--features", features)
    options = ("--data", images, *several, "--against", model, "--output", tmp_path / "d.json")
    refuse("expected one with --checkpoint, or several", "evaluate", "pairs", *options)
