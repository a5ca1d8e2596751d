"""Names of images in lists, tables and features: dots, suffixes, byte-order marks, tabs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_cases import clustered_embeddings, write_agedb_list, write_checkpoint
from command import succeed
from PIL import Image
from synthetic import write_folder

from fairloss.data import (
    Features,
    read_features,
    read_groups,
    read_pairs,
    read_ytf_splits,
    write_features,
)

BOM = "\ufeff"


def features(*names: str) -> Features:
    return Features(np.eye(len(names), dtype=np.float32), list(names))


@pytest.mark.parametrize(
    ("held", "wanted", "rows"),
    [
        (["J.Smith", "J.Jones", "J"], ["J", "J.Jones", "J.Smith"], [2, 1, 0]),
        (["Q/face.2019", "Q/face.2020"], ["Q/face.2020.jpg", "Q/face.2019.PNG"], [1, 0]),
        (["a/1.jpg", "a/1.png"], ["a/1.png", "a/1.jpg"], [1, 0]),
        (["v1.2/a.JPG", "v1/a.png"], ["v1.2/a", "v1\\a.jpeg"], [0, 1]),
        (["a/1.5m.png", "a/1.png"], ["a/1.5m", "a/1", "a/1.5m.jpg"], [0, 1, 0]),
        (["a/x.crop.jpg", "a/x.full.jpg"], ["a/x.full", "a/x.crop"], [1, 0]),
        (["a/1", "a/1.png"], ["a/1.png", "a/1"], [1, 0]),
        (["a/photo.final", "a/photo"], ["a/photo", "a/photo.jpg"], [1, 1]),
        (["m.0123/m.0123_0001.jpg", "m.012/m.012_0001.jpg"], ["m.012/m.012_0001"], [1]),
        (["a/.5", "a/.75"], ["a/.75", "a/.5"], [1, 0]),
        (["a/1.webp", "b/1.bmp"], ["b/1.jpg", "a/1.pgm"], [1, 0]),
    ],
)
def test_only_the_suffix_of_an_image_is_left_out(held, wanted, rows):
    assert features(*held).rows(wanted).tolist() == rows


@pytest.mark.parametrize("wanted", ["a/1", "a/1.bmp"])
def test_a_name_of_two_rows_is_refused(wanted):
    held = features("a/1.jpg", "a/1.png", "b/1.jpg")
    assert held.rows(["b/1.jpg", "a/1.png"]).tolist() == [2, 1]
    with pytest.raises(ValueError, match="a/1"):
        held.rows(["b/1.jpg", wanted])


def test_a_name_with_a_dot_is_not_that_of_another_row():
    with pytest.raises(ValueError, match=r"a/shot\.3"):
        features("a/shot.jpg", "b/shot.jpg").rows(["a/shot.3"])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_a_list(tmp_path, end):
    lines = ["Ann 1 2", "Ann 1 Bo 3"] * 10
    path = tmp_path / "pairs.txt"
    path.write_bytes((BOM + end.join(["10 1", *lines])).encode())
    assert read_pairs(path, "lfw").first[0] == "Ann/Ann_0001.jpg"
    path.write_bytes((BOM + end.join(lines)).encode())
    assert read_pairs(path, "rfw").names()[0] == "Ann/Ann_0001.jpg"
    path.write_bytes((BOM + end.join(["a/1.jpg b/1.jpg 1"] * 10)).encode())
    assert read_pairs(path, "agedb").names() == ["a/1.jpg", "b/1.jpg"]
    path.write_bytes((BOM + end.join(["a/1.jpg", "b/1.jpg"] * 10)).encode())
    assert read_pairs(path, "sllfw").names() == ["a/1.jpg", "b/1.jpg"]


def test_a_byte_order_mark_costs_no_pair_of_videos(tmp_path):
    rows = [f"{fold}, p{fold}/0, p{fold}/1, 1" for fold in range(1, 11)]
    path = tmp_path / "splits.txt"
    path.write_text("\n".join(rows), encoding="utf-8-sig")
    pairs = read_ytf_splits(path)
    assert pairs.first == [f"p{fold}/0" for fold in range(1, 11)]


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("identity,group\r\nAnn,x\r\nBo,y\r\n", encoding="utf-8-sig", newline="")
    names, group = read_groups(path, ["Bo", "Ann"])
    assert names == ["x", "y"]
    assert group.tolist() == [1, 0]


@pytest.mark.parametrize("layout", ["lfw", "rfw"])
def test_names_with_spaces_are_read_from_lines_with_tabs(tmp_path, layout):
    lines = ["Ann Lee\t1\t2", "Ann Lee\t3\tBo van Dam\t4"] * 10
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join((["10\t1"] if layout == "lfw" else []) + lines), encoding="utf-8")
    pairs = read_pairs(path, layout)
    assert pairs.first[:2] == ["Ann Lee/Ann Lee_0001.jpg", "Ann Lee/Ann Lee_0003.jpg"]
    assert pairs.second[:2] == ["Ann Lee/Ann Lee_0002.jpg", "Bo van Dam/Bo van Dam_0004.jpg"]
    assert pairs.genuine.tolist() == [True, False] * 10


def test_files_with_spaces_are_read_from_lines_with_tabs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("Ann Lee/a 1.jpg\tBo/b.jpg\t-1\n" * 10, encoding="utf-8")
    pairs = read_pairs(path, "agedb")
    assert pairs.names() == ["Ann Lee/a 1.jpg", "Bo/b.jpg"]
    assert not pairs.genuine.any()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("names") / "run", seed=0)


def write_named(folder: Path, names: list[str]) -> None:
    """Write noise under the given names."""
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = random.integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)


def agree(command: tuple, data: Path, model: Path, folder: Path) -> dict:
    """Return the report of pairs, which must be the same over features and over images."""
    succeed("embed", "--data", data, "--checkpoint", model, "--output", folder / "f.v1.npy")
    reports = []
    for source in (("--features", folder / "f.v1.npy"), ("--data", data, "--checkpoint", model)):
        output = folder / "report.json"
        succeed(*command, *source, "--output", output, "--replicates", 5)
        reports.append(json.loads(output.read_text(encoding="utf-8")))
    assert reports[0]["auc"]["value"] == pytest.approx(reports[1]["auc"]["value"], abs=1e-3)
    return reports[0]


@pytest.mark.parametrize("suffix", [".PNG", ".jpeg", ".bmp"])
def test_a_list_finds_images_of_another_suffix(tmp_path, model, suffix):
    names = [f"id{n}/{i:03d}{suffix}" for n in range(20) for i in range(4)]
    write_named(tmp_path / "faces", names)
    listed = write_agedb_list(tmp_path / "faces", tmp_path / "pairs.txt")
    listed.write_text(listed.read_text(encoding="utf-8").replace(suffix, ".jpg"), encoding="utf-8")
    command = ("evaluate", "pairs", "--pairs", listed, "--layout", "agedb")
    report = agree(command, tmp_path / "faces", model, tmp_path)
    assert (report["genuine"], report["impostor"]) == (20, 20)


def test_subsets_of_another_suffix_are_found(tmp_path, model):
    pictures = tmp_path / "data"
    for subset in ("African", "Asian"):
        who = [f"m.0{n}" for n in range(20)]
        write_named(pictures / subset, [f"{p}/{p}_{i:04d}.png" for p in who for i in (1, 2)])
        lines = [f"{who[n]}\t1\t2\n{who[n]}\t1\t{who[n + 1]}\t1" for n in range(0, 20, 2)]
        (tmp_path / "txts" / subset).mkdir(parents=True)
        (tmp_path / "txts" / subset / f"{subset}_pairs.txt").write_text(
            "\n".join(lines), encoding="utf-8"
        )
    names = sorted(str(path.relative_to(pictures)) for path in pictures.glob("*/*/*"))
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    output = ("--names", tmp_path / "names.txt", "--output", tmp_path / "f.npy")
    succeed("embed", "--data", pictures, "--checkpoint", model, *output)
    reports = []
    images = ("--data", pictures, "--checkpoint", model)
    for source in (("--features", tmp_path / "f.npy"), images):
        options = ("--output", tmp_path / "rfw.json", "--replicates", 5)
        succeed("evaluate", "rfw", "--lists", tmp_path / "txts", *source, *options)
        reports.append(json.loads((tmp_path / "rfw.json").read_text(encoding="utf-8")))
    assert reports[0]["mean"]["value"] == pytest.approx(reports[1]["mean"]["value"], abs=0.05)
    assert reports[0]["subsets"]["Asian"]["genuine"] == 10


def test_a_list_to_embed_may_begin_with_a_byte_order_mark(tmp_path, model):
    names = ["v1.2/b.png", "v1.2/a.png"]
    write_named(tmp_path / "faces", names)
    (tmp_path / "names.txt").write_text("\r\n".join(names), encoding="utf-8-sig", newline="")
    output = ("--names", tmp_path / "names.txt", "--output", tmp_path / "f.npy")
    succeed("embed", "--data", tmp_path / "faces", "--checkpoint", model, *output)
    assert read_features(tmp_path / "f.npy").names == names


def test_an_exact_image_is_taken_before_one_of_another_suffix(tmp_path, model):
    write_folder(tmp_path / "faces", [4] * 20, size=8)
    listed = write_agedb_list(tmp_path / "faces", tmp_path / "pairs.txt")
    command = ("evaluate", "pairs", "--pairs", listed, "--layout", "agedb")
    before = agree(command, tmp_path / "faces", model, tmp_path)
    for name in ("id0/000.bmp", "id1/004.jpg"):  # other pictures
        write_named(tmp_path / "faces", [name])
    (tmp_path / "f.v1.npy").unlink()
    after = agree(command, tmp_path / "faces", model, tmp_path)
    assert after["auc"]["value"] == pytest.approx(before["auc"]["value"], abs=1e-3)


def test_a_table_of_attributes_names_images_of_another_suffix(tmp_path):
    names = [f"p.{n}/{i}.1.png" for n in range(20) for i in range(4)]
    who = [name.partition("/")[0] for name in names]
    write_features(tmp_path / "f.npy", names, clustered_embeddings(), who)
    rows = [f"{name[:-4]}.jpg,{'old' if n < 40 else 'new'}" for n, name in enumerate(names)]
    table = tmp_path / "ages.csv"
    table.write_text("\r\n".join(["name,age", *rows]), encoding="utf-8-sig", newline="")
    options = ("--column", "age", "--output", tmp_path / "g.json", "--replicates", 5)
    succeed("evaluate", "groups", "--features", tmp_path / "f.npy", "--attributes", table, *options)
    report = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))
    assert {name: group["genuine"] for name, group in report["groups"].items()} == {
        "old": 60,
        "new": 60,
    }
