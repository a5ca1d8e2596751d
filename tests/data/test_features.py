"""Feature files and the meta files that name them: round trips, by hand, and damaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from fuzz import survive

from fairloss.data import (
    DevkitList,
    read_cmc,
    read_devkit_list,
    read_enrolled,
    read_features,
    read_landmarks,
    read_matrix,
    read_noise_list,
    read_template_media,
    read_template_pairs,
    read_vector,
    read_vectors,
    read_ytf_splits,
    write_cmc,
    write_devkit_list,
    write_features,
    write_vector,
)
from fairloss.data import features as feature_files
from fairloss.io.atomic import FormatError

NAMES = ["Ann/1.jpg", "Ann/2.png", "Bo/1.jpg"]
EMBEDDINGS = np.arange(12, dtype=np.float32).reshape(3, 4) + 0.5


@pytest.fixture
def features(tmp_path) -> Path:
    path = tmp_path / "f.npy"
    write_features(path, NAMES, EMBEDDINGS, ["Ann", "Ann", "Bo"])
    return path


def test_features_round_trip_and_stay_on_disk(features):
    result = read_features(features)
    assert isinstance(result.embeddings, np.memmap)
    np.testing.assert_array_equal(result.embeddings, EMBEDDINGS)
    assert result.names == NAMES
    assert result.identities == ["Ann", "Ann", "Bo"]
    assert result.rows(["Bo/1.png", "Ann\\2", "Bo/1.jpg"]).tolist() == [2, 1, 2]
    message = r"f\.npy: expected .*, got none for 1 of 2 images, the first 'Cy/1.jpg'"
    with pytest.raises(FormatError, match=message):
        result.rows(["Bo/1.jpg", "Cy/1.jpg"])


def test_names_with_dots_have_their_own_rows(tmp_path):
    write_features(tmp_path / "f.v1.npy", ["p/shot.jpg", "p/shot.1.jpg", "p/shot.2.jpg"], np.eye(3))
    assert (tmp_path / "f.v1.json").is_file()
    result = read_features(tmp_path / "f.v1.npy")
    assert result.rows(["p/shot.1", "p/shot.2"]).tolist() == [1, 2]


def test_features_refused(features, tmp_path):
    content = features.read_bytes()
    for kept in (0, 5, 100, len(content) - 1):
        features.write_bytes(content[:kept])
        with pytest.raises(FormatError, match=r"f\.npy: "):
            read_features(features)
    features.write_bytes(content + b"more")
    with pytest.raises(FormatError, match="bytes, but its header promises"):
        read_features(features)
    for wrong in (np.zeros(3), np.zeros((2, 2), int), np.zeros((0, 2)), np.array([[None]])):
        np.save(features, wrong, allow_pickle=True)
        with pytest.raises(FormatError, match=r"f\.npy: "):
            read_matrix(features)
    write_features(features, NAMES, EMBEDDINGS[:2])
    with pytest.raises(FormatError, match=r"f\.json: 3 names for the 2 rows"):
        read_features(features)
    manifest = features.with_suffix(".json")
    for value in ([], {"version": 2}, {"version": 1, "names": ["a", 1]}):
        manifest.write_text(json.dumps(value), encoding="utf-8")
        with pytest.raises(FormatError, match=r"f\.json: "):
            read_features(features)
    with pytest.raises(ValueError, match="ends in .npy"):
        write_features(tmp_path / "f.txt", NAMES, EMBEDDINGS)


def test_vector_bytes_are_insightfaces(tmp_path):
    path = tmp_path / "x.bin"
    write_vector(path, np.array([1.0, -2.5]))
    assert path.read_bytes() == struct.pack("<4i2f", 2, 1, 4, 5, 1.0, -2.5)
    assert read_vector(path).tolist() == [1.0, -2.5]
    path.write_bytes(struct.pack("<4i2f", 1, 2, 8, 5, 1.0, -2.5))  # a row, as OpenCV writes it
    assert read_vector(path).tolist() == [1.0, -2.5]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"short", "shorter than the header"),
        (struct.pack("<4i2f", 2, 1, 4, 6, 1, 1), "type 5"),  # double
        (struct.pack("<4i2f", 2, 1, 8, 5, 1, 1), "stride"),
        (struct.pack("<4i4f", 2, 2, 8, 5, 1, 1, 1, 1), "one row or one column"),
        (struct.pack("<4i2f", -2, 1, 4, 5, 1, 1), "one row or one column"),
        (struct.pack("<4i2f", 0, 1, 4, 5, 1, 1), "one row or one column"),
        (struct.pack("<4i1f", 2, 1, 4, 5, 1), "20 bytes, but its header promises 24"),
        (struct.pack("<4i3f", 2, 1, 4, 5, 1, 1, 1), "28 bytes, but"),
        (struct.pack("<4i2f", 2, 1, 4, 5, 1, np.nan), "NaN"),
    ],
)
def test_vector_refused(tmp_path, content, problem):
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=problem) as caught:
        read_vector(path)
    assert str(path) in str(caught.value)


def test_vectors_of_mixed_dimension_or_missing_name_the_file(tmp_path):
    for name, vector in (("a/1.jpg", [1, 2]), ("a/2.jpg", [3, 4]), ("b/1.jpg", [1, 2, 3])):
        write_vector(tmp_path / f"{name}_x.bin", np.array(vector, dtype=float))
    assert read_vectors(tmp_path, ["a/1.jpg", "a/2.jpg"], "_x.bin").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(FormatError, match=r"b/1.jpg_x.bin: 3 dimensions, .* have 2"):
        read_vectors(tmp_path, ["a/1.jpg", "b/1.jpg"], "_x.bin")
    with pytest.raises(FormatError, match=r"b/2.jpg_x.bin: cannot be read"):
        read_vectors(tmp_path, ["a/1.jpg", "b/2.jpg"], "_x.bin")


def test_devkit_lists(tmp_path):
    path = tmp_path / "facescrub_features_list.json"
    write_devkit_list(path, DevkitList(["Ann/1.jpg", "Bo/2.jpg"], ["Ann", "Bo"]))
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "path": ["Ann/1.jpg", "Bo/2.jpg"],
        "id": ["Ann", "Bo"],
    }
    assert read_devkit_list(path) == DevkitList(["Ann/1.jpg", "Bo/2.jpg"], ["Ann", "Bo"])
    path.write_text('{"path": ["1/2/3.jpg"]}', encoding="utf-8")
    assert read_devkit_list(path).identities is None
    for wrong in ("[]", '{"path": []}', '{"path": ["a", "a"]}', '{"path": ["a"], "id": []}', "{"):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(FormatError, match=str(path)):
            read_devkit_list(path)


def test_noise_list(tmp_path):
    path = tmp_path / "noises.txt"
    path.write_text("# by hand\nAnn_12.jpg\n\n7\t1/2/3.jpg\n", encoding="utf-8")
    assert read_noise_list(path) == {"Ann_12.jpg", "1/2/3.jpg"}


META = {
    "media": ("1.jpg 1 69544\n2.jpg 1 69544\n3.jpg 2 7\n", read_template_media),
    "landmarks": (
        "1.jpg 1 2 3 4 5 6 7 8 9 10 0.5\n2.jpg 1 2 3 4 5 6 7 8 9 10.5 1\n",
        read_landmarks,
    ),
    "pairs": ("1 2 1\n3 4 0\n", read_template_pairs),
    "enrolled": (
        "TEMPLATE_ID,SUBJECT_ID,FILENAME\n7,1,img/1.jpg\n7,1,img/2.jpg\n8,2,x\n",
        read_enrolled,
    ),
    "ytf": ("split, first, second, same\n1, Ann/0, Ann/3, 1\n2, Bo/1, Cy/0, 0\n", read_ytf_splits),
}


def write_meta(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.txt"
    path.write_text(META[kind][0], encoding="utf-8")
    return path


def test_meta_by_hand(tmp_path):
    media = read_template_media(write_meta(tmp_path, "media"))
    assert media.names == ["1.jpg", "2.jpg", "3.jpg"]
    assert media.template.tolist() == [1, 1, 2]
    assert media.media.tolist() == [69544, 69544, 7]
    landmarks = read_landmarks(write_meta(tmp_path, "landmarks"))
    assert landmarks.points.shape == (2, 5, 2)
    assert landmarks.points[1, 4].tolist() == [9, 10.5]
    assert landmarks.score.tolist() == [0.5, 1]
    pairs = read_template_pairs(write_meta(tmp_path, "pairs"))
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([1, 3], [2, 4])
    assert pairs.genuine.tolist() == [True, False]
    enrolled = read_enrolled(write_meta(tmp_path, "enrolled"))
    assert (enrolled.template.tolist(), enrolled.subject.tolist()) == ([7, 8], [1, 2])
    ytf = read_ytf_splits(write_meta(tmp_path, "ytf"))
    assert (ytf.first, ytf.second) == (["Ann/0", "Bo/1"], ["Ann/3", "Cy/0"])
    assert ytf.genuine.tolist() == [True, False]
    assert ytf.fold.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("media", "1.jpg 1\n", "line 1: expected 3 fields"),
        ("media", "1.jpg 1 x\n", "row 1: expected a number"),
        ("media", "", "is empty"),
        ("landmarks", "1.jpg 1 2 3 4 5 6 7 8 9 nan 1\n", "NaN"),
        ("landmarks", "1.jpg 1 2 3 4 5 6 7 8 9 ten 1\n", "expected numbers"),
        ("pairs", "1 2 2\n", "labels must be 0 or 1"),
        ("enrolled", "header\n7,1\n7,2\n", "two subjects"),
        ("enrolled", "header\n", "no template"),
        ("ytf", "1, Ann/0, Ann/3, yes\n", "row 1: expected"),
        ("ytf", "2, Ann/0, Ann/3, 1\n", "without gaps"),
    ],
)
def test_meta_refused(tmp_path, kind, text, problem):
    path = tmp_path / "meta.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=problem) as caught:
        META[kind][1](path)
    assert str(path) in str(caught.value)


def fuzzed(folder: Path, kind: str):
    """The reader, its arguments and the file to damage."""
    if kind in META:
        return write_meta(folder, kind), META[kind][1], None
    path = folder / "f.npy"
    write_features(path, NAMES, EMBEDDINGS, ["Ann", "Ann", "Bo"])
    if kind == "manifest":
        return path, read_features, path.with_suffix(".json")
    if kind == "npy":
        return path, read_features, None
    if kind == "vector":
        write_vector(folder / "v.bin", EMBEDDINGS[0])
        return folder / "v.bin", read_vector, None
    if kind == "noise":
        (folder / "n.txt").write_text("# comment\nAnn_1.jpg\n7\t1/2/3.jpg\n", encoding="utf-8")
        return folder / "n.txt", read_noise_list, None
    if kind == "cmc":
        ranks = np.arange(4) / 4
        write_cmc(folder / "cmc.json", ranks, ranks / 1e6, ranks)
        return folder / "cmc.json", read_cmc, None
    write_devkit_list(folder / "list.json", DevkitList(["a/1.jpg", "b/1.jpg"], ["a", "b"]))
    return folder / "list.json", read_devkit_list, None


KINDS = [*META, "manifest", "npy", "vector", "noise", "cmc", "devkit"]
numpy_warns = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::SyntaxWarning", "ignore::DeprecationWarning"
)


@numpy_warns
@pytest.mark.parametrize("kind", KINDS)
def test_damage(tmp_path, kind):
    path, read, file = fuzzed(tmp_path, kind)
    assert survive(path, read, 200, file) > 10


@numpy_warns
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_much_damage(tmp_path, kind):
    path, read, file = fuzzed(tmp_path, kind)
    assert survive(path, read, 10_000, file) > 1000


def test_an_array_replaced_before_its_manifest_is_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "f.npy"
    write_features(path, ["a", "b"], np.eye(2, dtype="f4"))
    read = feature_files.read_json_object

    def replace_then_read(manifest):
        write_features(path, ["b", "a"], np.eye(2, dtype="f4"))
        return read(manifest)

    monkeypatch.setattr(feature_files, "read_json_object", replace_then_read)
    with pytest.raises(FormatError, match="f.npy: changed while it was read"):
        read_features(path)


def test_an_interrupted_replacement_leaves_no_names_of_the_old_rows(tmp_path, monkeypatch):
    path = tmp_path / "f.npy"
    write_features(path, ["a", "b"], np.eye(2, dtype="f4"))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(feature_files, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_features(path, ["c", "d"], np.eye(2, dtype="f4"))
    with pytest.raises(FormatError, match="f.json: cannot be read"):
        read_features(path)
