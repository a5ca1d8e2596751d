"""Native pair lists: by hand, at full size, and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz import survive

from fairloss.data import contiguous_folds, identity_of, interleaved_folds, read_pairs
from fairloss.io.atomic import FormatError


def lfw_lines(folds=10, each=3):
    lines = []
    for fold in range(folds):
        lines += [f"Same_{fold}\t{n + 1}\t{n + 2}" for n in range(each)]
        lines += [f"One_{fold}\t{n + 1}\tOther_{fold}\t{n + 7}" for n in range(each)]
    return lines


def write(path: Path, lines) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def example(folder: Path, layout: str) -> tuple[Path, Path]:
    """Return the path to read, and the file to damage."""
    if layout == "cfp":
        for side in "FP":
            kind = "frontal" if side == "F" else "profile"
            names = [f"{n} ../Data/Images/{n:03d}/{kind}/01.jpg" for n in range(1, 5)]
            write(folder / f"Pair_list_{side}.txt", names)
        for fold in range(1, 11):
            write(folder / "Split" / "FP" / f"{fold:02d}" / "same.txt", ["1,1", "2,2"])
            write(folder / "Split" / "FP" / f"{fold:02d}" / "diff.txt", ["1,2", "3,1"])
        return folder, folder / "Split" / "FP" / "04" / "diff.txt"
    lines = {
        "lfw": ["10 3", *lfw_lines()],
        "rfw": lfw_lines(),
        "calfw": [f"A_{n // 2}_000{n % 2}.jpg {int(n < 20) * (n // 4 + 1)}" for n in range(40)],
        "sllfw": [f"A{n // 2}/a{n}.jpg" for n in range(20)] + [f"B{n}/b.jpg" for n in range(20)],
        "agedb": [f"{n}_Ann_20_f.jpg {n}_Bob_50_m.jpg {-1 if n % 2 else 1}" for n in range(30)],
    }[layout]
    path = write(folder / "list.txt", lines)
    return path, path


def test_lfw_by_hand(tmp_path):
    path = write(tmp_path / "pairs.txt", ["2\t1", "Ann 1 12", "Ann 3 Bo 4", "Cy 1 2", "Di 5 Ed 6"])
    pairs = read_pairs(path, "lfw")
    assert pairs.first == [
        "Ann/Ann_0001.jpg",
        "Ann/Ann_0003.jpg",
        "Cy/Cy_0001.jpg",
        "Di/Di_0005.jpg",
    ]
    assert pairs.second[:2] == ["Ann/Ann_0012.jpg", "Bo/Bo_0004.jpg"]
    assert pairs.genuine.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert pairs.names()[:4] == [
        "Ann/Ann_0001.jpg",
        "Ann/Ann_0012.jpg",
        "Ann/Ann_0003.jpg",
        "Bo/Bo_0004.jpg",
    ]
    assert identity_of(pairs.second[1], "lfw") == "Bo"


def test_lfw_at_its_published_size(tmp_path):
    pairs = read_pairs(write(tmp_path / "pairs.txt", ["10\t300", *lfw_lines(each=300)]), "lfw")
    assert (len(pairs.first), int(pairs.genuine.sum())) == (6000, 3000)
    for fold in range(10):
        assert int(pairs.genuine[pairs.fold == fold].sum()) == 300


def test_rfw_has_no_header(tmp_path):
    pairs = read_pairs(write(tmp_path / "African_pairs.txt", lfw_lines(each=2)), "rfw")
    assert len(pairs.first) == 40
    assert pairs.fold.tolist() == np.repeat(range(10), 4).tolist()
    with pytest.raises(FormatError, match="line 1: expected `folds pairs-per-class`"):
        read_pairs(tmp_path / "African_pairs.txt", "lfw")


def test_calfw_folds_interleave(tmp_path):
    lines = []
    for pair in range(40):  # 20 positives with labels above 1, then 20 negatives
        label = pair % 3 + 1 if pair < 20 else 0
        lines += [f"A_B_{pair:04d}.jpg {label}", f"A_B_{pair + 100:04d}.jpg {label}"]
    pairs = read_pairs(write(tmp_path / "pairs.txt", lines), "calfw")
    assert int(pairs.genuine.sum()) == 20
    for fold in range(10):
        inside = np.flatnonzero(pairs.fold == fold).tolist()
        assert inside == [2 * fold, 2 * fold + 1, 20 + 2 * fold, 21 + 2 * fold]
    assert identity_of(pairs.first[0], "calfw") == "A_B"


def test_sllfw_agedb_and_cfp(tmp_path):
    sllfw = read_pairs(example(tmp_path / "s", "sllfw")[0], "sllfw")
    assert sllfw.genuine.tolist() == [True] * 10 + [False] * 10
    agedb = read_pairs(example(tmp_path / "a", "agedb")[0], "agedb")
    assert agedb.genuine.tolist() == [True, False] * 15
    assert identity_of(agedb.first[3], "agedb") == "Ann"
    cfp = read_pairs(example(tmp_path / "c", "cfp")[0], "cfp")
    assert (cfp.first[3], cfp.second[3]) == ("003/frontal/01.jpg", "001/profile/01.jpg")
    assert cfp.genuine.tolist() == [True, True, False, False] * 10
    assert cfp.fold.tolist() == np.repeat(range(10), 4).tolist()
    assert identity_of(cfp.second[3], "cfp") == "001"


def test_identities_of_names_with_dots():
    assert identity_of("12_J.Lo_35_f", "agedb") == "J.Lo"
    assert identity_of("J.Lo_0001", "calfw") == identity_of("J.Lo_0001.jpg", "calfw") == "J.Lo"


@pytest.mark.parametrize("line", ["Ann 1\t2", "Ann\t1 2", "Ann\t\t1\t2"])
def test_tabs_may_be_mixed_with_spaces(tmp_path, line):
    (tmp_path / "pairs.txt").write_text(f"{line}\n" * 10, encoding="utf-8")
    assert read_pairs(tmp_path / "pairs.txt", "rfw").second[0] == "Ann/Ann_0002.jpg"


def test_folds():
    assert np.bincount(contiguous_folds(23)).tolist() == [3, 3, 3] + [2] * 7
    assert interleaved_folds([1, 1, 1, 0, 0, 0], 3).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("layout", "lines", "problem"),
    [
        ("lfw", ["10 300", "Ann 1 2"], "promises 10 folds of 2 x 300 pairs, found 1"),
        ("lfw", ["1 1", "Ann 1 2", "Ann one Bo 2"], "line 3: expected"),
        ("rfw", ["Ann 1 2 3 4"] * 10, "line 1: expected"),
        ("rfw", ["Ann 1 2"] * 9, "holds 9 pairs, too few for 10 folds"),
        ("calfw", ["a.jpg 1", "b.jpg 0"] * 10, "line 1: expected two lines `file label`"),
        ("calfw", ["a.jpg 1"] * 21, "expected two lines for a pair"),
        ("agedb", ["a.jpg b.jpg 2"] * 10, "line 1: expected `file file label`"),
        ("sllfw", ["a.jpg", "b/b.jpg"] * 10, "line 1: expected two lines"),
    ],
)
def test_mistakes_name_the_file_and_line(tmp_path, layout, lines, problem):
    path = write(tmp_path / "list.txt", lines)
    with pytest.raises(FormatError, match=problem) as caught:
        read_pairs(path, layout)
    assert str(path) in str(caught.value)


def test_unknown_layout_and_missing_file(tmp_path):
    with pytest.raises(ValueError, match="layout: expected one of 'lfw', 'rfw'"):
        read_pairs(tmp_path, "ytf")
    with pytest.raises(FormatError, match="cannot be read"):
        read_pairs(tmp_path / "none.txt", "lfw")


FUZZED = ["lfw", "rfw", "calfw", "sllfw", "agedb", "cfp"]


@pytest.mark.parametrize("layout", FUZZED)
def test_damage(tmp_path, layout):
    path, file = example(tmp_path, layout)
    assert survive(path, lambda p: read_pairs(p, layout), 300, file) > 30


@pytest.mark.slow
@pytest.mark.parametrize("layout", FUZZED)
def test_much_damage(tmp_path, layout):
    path, file = example(tmp_path, layout)
    assert survive(path, lambda p: read_pairs(p, layout), 10_000, file) > 1000
