"""The protocols from the command line, on small made-up sets in their published layouts."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from command import fairloss
from PIL import Image
from synthetic import write_folder

from fairloss.data import (
    read_cmc,
    read_features,
    read_folder,
    write_arrays,
    write_features,
    write_pair_bin,
    write_vector,
)
from fairloss.gallery import Gallery
from fairloss.models import build_model
from fairloss.training import load_config
from fairloss.training.config import TrainConfig, as_yaml


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "faces", [6] * 20)


def checkpoint(folder: Path, seed: int) -> Path:
    """A run folder of a network that nobody trained."""
    torch.manual_seed(seed)
    options = ["data=x", f"output={folder}", "image_size=[32,32]", "channels=1"]
    config = load_config(None, [*options, "model.embedding_size=16"], TrainConfig)
    folder.mkdir()
    (folder / "config.yaml").write_text(as_yaml(config))
    model = build_model("small_cnn", 16, (32, 32), 1)
    torch.save(model.state_dict(), folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("runs") / "a", 0)


@pytest.fixture(scope="module")
def features(images, model, tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "f.npy"
    done = fairloss("embed", "--data", images, "--checkpoint", model, "--output", path)
    assert done.returncode == 0, done.stderr
    return path


def succeed(*arguments):
    done = fairloss(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def agedb_list(images: Path, path: Path, folds: int = 10) -> Path:
    """Two genuine and two impostor pairs for each fold."""
    lines = []
    for fold in range(folds):
        a, b = (sorted((images / f"id{2 * fold + n}").iterdir()) for n in range(2))
        for n, (one, two) in enumerate([(a[0], a[1]), (b[0], b[1]), (a[0], b[1]), (a[2], b[3])]):
            first, second = (f"{p.parent.name}/{p.name}" for p in (one, two))
            lines.append(f"{first} {second} {1 if n < 2 else -1}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pairs_from_lists_and_bins_agree(images, model, features, tmp_path):
    listed = agedb_list(images, tmp_path / "pairs.txt")
    rows = [line.split() for line in listed.read_text().splitlines()]
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
        reports.append(json.loads(output.read_text()))
    for report in reports:
        assert (report["genuine"], report["impostor"]) == (20, 20)
        assert report["auc"]["value"] == pytest.approx(reports[0]["auc"]["value"])
        assert report["insightface"]["accuracies"] == reports[0]["insightface"]["accuracies"]
        assert report["accuracy"]["value"] == reports[0]["accuracy"]["value"]


def test_difference_between_two_checkpoints(images, model, features, tmp_path):
    other = checkpoint(tmp_path / "b", 1)
    listed = agedb_list(images, tmp_path / "pairs.txt")
    options = ("--data", images, "--checkpoint", model, "--output", tmp_path / "d.json")
    done = succeed(
        *("evaluate", "pairs", *options, "--pairs", listed, "--layout", "agedb"),
        *("--against", other, "--replicates", 20),
    )
    found = json.loads((tmp_path / "d.json").read_text())
    gain = found["difference"]["auc"]["value"]
    assert gain == pytest.approx(found["b"]["auc"] - found["a"]["auc"])
    assert gain != 0
    assert "minus" in done.stdout
    succeed("evaluate", "pairs", *options, "--against", features, "--replicates", 5)
    same = json.loads((tmp_path / "d.json").read_text())["difference"]
    assert same["auc"]["value"] == pytest.approx(0, abs=1e-6)


def test_embed_formats_agree_and_resume(images, model, features, tmp_path):
    names = read_features(features).names[:40]
    (tmp_path / "names.txt").write_text("\n".join(names))
    common = ("--data", images, "--checkpoint", model, "--names", tmp_path / "names.txt")
    succeed("embed", *common, "--output", tmp_path / "f.npy")
    found = read_features(tmp_path / "f.npy")
    np.testing.assert_allclose(found.embeddings, read_features(features).embeddings[:40], atol=1e-5)
    succeed("embed", *common, "--output", tmp_path / "mf", "--suffix", "_x.bin")
    gone = tmp_path / "mf" / f"{names[7]}_x.bin"
    whole, others = gone.read_bytes(), sorted((tmp_path / "mf").rglob("*.bin"))
    gone.unlink()
    before = {path: path.stat().st_mtime_ns for path in others if path != gone}
    succeed("embed", *common, "--output", tmp_path / "mf", "--suffix", "_x.bin")
    assert np.allclose(
        np.frombuffer(gone.read_bytes(), "<f4", offset=16), np.frombuffer(whole, "<f4", offset=16)
    )
    assert before == {path: path.stat().st_mtime_ns for path in before}  # only the missing one


@pytest.mark.parametrize("mirror", [True, False])
def test_a_folder_of_arrays_serves_as_well(images, model, tmp_path, mirror):
    faces, arrays = read_folder(images, (32, 32), 1), tmp_path / "arrays"
    pixels, labels = faces.images(range(len(faces))).numpy(), faces.labels.numpy()
    variants = [name.split("/")[1] for name in faces.names]
    numbers = np.arange(len(faces))
    write_arrays(arrays, [pixels], labels, numbers, faces.identities, variants, mirror)
    flip = () if mirror else ("--no-flip",)
    for folder, more in ((images, flip), (arrays, ())):
        output = ("--output", tmp_path / f"{folder.name}.npy")
        succeed("embed", "--data", folder, "--checkpoint", model, *output, *more)
    plain, found = (read_features(tmp_path / f"{name}.npy") for name in ("faces", "arrays"))
    assert (found.names, found.identities) == (plain.names, plain.identities)
    np.testing.assert_allclose(found.embeddings, plain.embeddings, atol=1e-5)
    listed = agedb_list(images, tmp_path / "pairs.txt")
    output = ("--output", tmp_path / "pairs.json", "--replicates", 5)
    for pairs in ((), ("--pairs", listed, "--layout", "agedb")):
        reports = []
        for source in (
            ("--data", arrays, "--checkpoint", model),
            ("--features", tmp_path / "faces.npy"),
        ):
            succeed("evaluate", "pairs", *source, *pairs, *output)
            reports.append(json.loads((tmp_path / "pairs.json").read_text())["auc"]["value"])
        assert reports[0] == pytest.approx(reports[1])
    build = ("--data", arrays, "--checkpoint", model, "--output", tmp_path / "gallery")
    succeed("gallery", "build", *build)
    assert len(Gallery.load(tmp_path / "gallery")) == len(faces)
    query = ("--gallery", tmp_path / "gallery", "--checkpoint", model, "-k", 1)
    done = succeed("gallery", "query", images / faces.names[7], *query)
    assert re.search(re.escape(faces.names[7]) + r"\W+1\.0000", done.stdout)  # embedded alike


def test_groups(images, features, tmp_path):
    found = read_features(features)
    lines = ["name,age"] + [
        f"{name},{'old' if who in ('id0', 'id1', 'id2') else 'young'}"
        for name, who in zip(found.names, found.identities, strict=True)
    ]
    (tmp_path / "people.csv").write_text("\n".join(lines))
    options = ("--features", features, "--output", tmp_path / "g.json", "--replicates", 10)
    done = succeed(
        "evaluate", "groups", *options, "--attributes", tmp_path / "people.csv", "--column", "age"
    )
    report = json.loads((tmp_path / "g.json").read_text())
    assert report["groups"]["old"]["genuine"] == 3 * 15
    assert "worst" in done.stdout
    run = {
        "version": 1,
        "identities": sorted(set(found.identities)),
        "counts": [5] * 10 + [50] * 10,
    }
    (tmp_path / "identities.json").write_text(json.dumps(run))
    succeed("evaluate", "groups", *options, "--frequency", tmp_path / "identities.json")
    assert set(json.loads((tmp_path / "g.json").read_text())["groups"]) == {"tail", "mid"}
    more = ("--frequency", tmp_path / "identities.json", "--against", features)
    done = succeed("evaluate", "groups", *options, *more)
    difference = json.loads((tmp_path / "g.json").read_text())["difference"]
    assert difference["mean_eer"]["high"] == difference["groups"]["mid"]["auc"]["low"] == 0
    assert "minus" in done.stdout
    done = fairloss("evaluate", "groups", *options, "--attributes", tmp_path / "people.csv")
    assert done.returncode == 2
    assert "has no column 'group'" in done.stderr


def unit_people(people=20, images=4, noise=0.4, seed=0):
    generator = np.random.default_rng(seed)
    centers = np.repeat(generator.normal(size=(people, 16)), images, axis=0)
    return (centers + noise * generator.normal(size=centers.shape)).astype(np.float32)


def test_rfw_and_ytf(tmp_path):
    names, lists = [], tmp_path / "txts"
    for subset in ("African", "Asian"):
        lines = []
        for n in range(10):
            lines += [f"m.{2 * n}\t1\t2", f"m.{2 * n}\t1\tm.{2 * n + 1}\t3"]
        (lists / subset).mkdir(parents=True)
        (lists / subset / f"{subset}_pairs.txt").write_text("\n".join(lines))
        names += [f"{subset}/m.{n}/m.{n}_{i:04d}.jpg" for n in range(20) for i in range(1, 5)]
    write_features(tmp_path / "f.npy", names, np.tile(unit_people(), (2, 1)))
    output = tmp_path / "rfw.json"
    options = ("--features", tmp_path / "f.npy", "--output", output, "--replicates", 10)
    done = succeed("evaluate", "rfw", "--lists", lists, *options)
    report = json.loads(output.read_text())
    assert report["std"]["value"] == 0.0
    assert report["subsets"]["Asian"]["genuine"] == 10
    assert "African" in done.stdout
    write_features(tmp_path / "poor.npy", names, np.tile(unit_people(noise=2.0), (2, 1)))
    done = succeed(
        *("evaluate", "rfw", "--lists", lists, *options, "--against", tmp_path / "poor.npy")
    )
    assert "minus" in done.stdout
    assert json.loads(output.read_text())["difference"]["mean"]["value"] > 0
    (tmp_path / "splits.txt").write_text(
        "split, first, second, same\n"
        + "".join(
            f"{fold + 1}, p{a}/0, p{a}/1, 1\n{fold + 1}, p{a}/0, p{a + 1}/1, 0\n"
            for fold, a in enumerate(range(0, 20, 2))
        )
    )
    frames = [f"p{n}/{i % 2}/{i}.jpg" for n in range(20) for i in range(4)]
    write_features(tmp_path / "frames.npy", frames, unit_people())
    for more in ((), ("--pairwise",)):
        options = ("--splits", tmp_path / "splits.txt", "--features", tmp_path / "frames.npy")
        succeed("evaluate", "ytf", *options, "--output", output, "--replicates", 10, *more)
        report = json.loads(output.read_text())
        assert (report["genuine"], report["fold_accuracy"]["folds"]) == (10, 10)
        assert report["accuracy"]["value"] > 0.9
        write_features(tmp_path / "poor.npy", frames[::-1], unit_people(noise=2.0)[::-1])
        rival = ("--against", tmp_path / "poor.npy", "--replicates", 10, "--output", output)
        succeed("evaluate", "ytf", *options, *rival, *more)
        found = json.loads(output.read_text())
        gain = found["difference"]["accuracy"]["value"]
        assert gain == pytest.approx(report["accuracy"]["value"] - found["a"]["accuracy"])
        assert gain > 0


def test_ijb(tmp_path):
    meta = tmp_path / "meta"
    meta.mkdir()
    names = [f"{n}.jpg" for n in range(80)]  # template n // 2, person n // 4, two templates each
    media = "".join(f"{name} {n // 2} {n}\n" for n, name in enumerate(names))
    (meta / "ijbc_face_tid_mid.txt").write_text(media)
    points = "".join(f"{name} 1 2 3 4 5 6 7 8 9 10 0.9\n" for name in names)
    (meta / "ijbc_name_5pts_score.txt").write_text(points)
    pairs = [(a, b, int(a // 2 == b // 2)) for a in range(0, 40, 2) for b in range(1, 40, 2)]
    (meta / "ijbc_template_pair_label.txt").write_text(
        "".join(f"{a} {b} {same}\n" for a, b, same in pairs)
    )
    write_features(tmp_path / "f.npy", names, unit_people())
    options = ("--features", tmp_path / "f.npy", "--output", tmp_path / "o.json")
    succeed("evaluate", "ijb", "--meta", meta, *options, "--replicates", 10)
    report = json.loads((tmp_path / "o.json").read_text())
    assert (report["verification"]["genuine"], report["verification"]["impostor"]) == (20, 380)
    assert "identification" not in report
    for file, templates in (
        ("1N_gallery_G1", range(0, 20, 2)),
        ("1N_gallery_G2", range(20, 40, 2)),
        ("1N_probe_mixed", range(1, 40, 2)),
    ):
        rows = "".join(f"{t},{t // 2},img\n" for t in templates)
        (meta / f"ijbc_{file}.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n" + rows)
    done = succeed("evaluate", "ijb", "--meta", meta, *options, "--replicates", 10)
    found = json.loads((tmp_path / "o.json").read_text())["identification"]
    assert found["galleries"]["G1"]["mated"] == found["galleries"]["G1"]["unmated"] == 10
    assert found["mean"]["rank"]["1"]["value"] == 1.0
    assert found["mean"]["tpir"]["0.01"] == "not measurable with 10 unmated probes"
    assert "TPIR@FPIR=0.1" in done.stdout
    write_features(tmp_path / "poor.npy", names, unit_people(noise=2.0))
    rival = ("--against", tmp_path / "poor.npy", "--replicates", 10)
    done = succeed("evaluate", "ijb", "--meta", meta, *options, *rival)
    found = json.loads((tmp_path / "o.json").read_text())
    assert found["verification"]["difference"]["auc"]["value"] > 0
    assert found["identification"]["difference"]["mean"]["rank"]["1"]["value"] > 0
    assert done.stdout.count("minus") == 2


def test_megaface(tmp_path):
    planted = tmp_path / "planted"
    sizes = ("--people", 4, "--probes", 22, "--distractors", 1000, "--dimension", 32)
    done = succeed("data", "megaface", planted, *sizes)
    expected = float(done.stdout.split("rank-1 must be ")[1].split(",")[0])
    common = ("--lists", planted / "templatelists", "--replicates", 10)
    packed = ("--facescrub", planted / "facescrub.npy", "--megaface", planted / "megaface.npy")
    out = tmp_path / "out"
    succeed("evaluate", "megaface", *common, *packed, "--size", 1000, "--output", out)
    report = json.loads((out / "report_fairloss_1000_1.json").read_text())
    assert report["rank_1"]["value"] == pytest.approx(expected, abs=1e-6)
    assert report["tar"] == "not measurable with 22000 impostors"
    curve = read_cmc(out / "cmc_facescrub_megaface_fairloss_1000_1.json")
    assert curve.rank_1() == report["rank_1"]["value"]
    poor = read_features(planted / "facescrub.npy")
    noise = np.random.default_rng(0).normal(size=poor.embeddings.shape)
    write_features(tmp_path / "poor.npy", poor.names, poor.embeddings + noise.astype(np.float32))
    rival = ("--against", tmp_path / "poor.npy", planted / "megaface.npy")
    more = ("--size", 1000, "--output", out, "--algorithm", "rival")
    done = succeed("evaluate", "megaface", *common, *packed, *more, *rival)
    found = json.loads((out / "report_rival_1000_1.json").read_text())
    gain = found["difference"]["rank_10"]["value"]
    assert gain == pytest.approx(report["rank_10"]["value"] - found["a"]["rank_10"])
    assert "minus" in done.stdout
    for name in ("facescrub", "megaface"):  # the same from the kit's file an image
        found = read_features(planted / f"{name}.npy")
        for image, vector in zip(found.names, found.embeddings, strict=True):
            write_vector(tmp_path / name / f"{image}_x.bin", vector)
    files = ("--facescrub", tmp_path / "facescrub", "--megaface", tmp_path / "megaface")
    sizes = ("--size", 10, "--size", 1000, "--suffix", "_x.bin", "--output", out)
    noises = tmp_path / "noises.txt"
    noises.write_text("# noisy\n0/3.jpg\n0/17.jpg\n")
    more = ("--algorithm", "kit", "--megaface-noises", noises)
    done = succeed("evaluate", "megaface", *common, *files, *sizes, *more)
    assert "refined list" in done.stdout
    again = json.loads((out / "report_kit_1000_1.json").read_text())
    assert (again["noisy_distractors"], again["distractors"]) == (2, 1000)
    assert again["rank_1"]["value"] >= report["rank_1"]["value"]
    figure = tmp_path / "cmc.svg"
    succeed("evaluate", "plot", *sorted(out.glob("cmc_*_1000_1.json")), "--output", figure)
    assert "<svg" in figure.read_text()
    broken = next((tmp_path / "megaface").rglob("*.bin"))
    broken.write_bytes(broken.read_bytes()[:-1])
    out2 = ("--size", 1000, "--suffix", "_x.bin", "--output", tmp_path / "none")
    done = fairloss("evaluate", "megaface", *common, *files, *out2)
    assert done.returncode == 2
    assert str(broken) in done.stderr
    assert not (tmp_path / "none").exists()


def test_align(tmp_path):
    pixels = np.zeros((200, 200), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.png").write_bytes(content.getvalue())
    points = tmp_path / "points.txt"
    points.write_text("a.png 60 80 120 80 90 110 65 140 115 140 0.9\n")
    options = ("--data", tmp_path / "raw", "--landmarks", points, "--output", tmp_path / "out")
    succeed("data", "align", *options)
    with Image.open(tmp_path / "out" / "a.png") as aligned:
        assert aligned.size == (112, 112)
    points.write_text("a.png 6 8 6 8 6 8 6 8 6 8 0.9\n")
    (tmp_path / "out" / "a.png").unlink()
    done = fairloss("data", "align", *options)
    assert done.returncode == 2
    assert "points that all coincide" in done.stderr
    assert not (tmp_path / "out" / "a.png").exists()
