"""Names and paths beyond ASCII, and file names that are not UTF-8."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_cases import SMALL, clustered_embeddings
from command import execute, succeed
from synthetic import faces, write_folder

from fairloss.data import FaceImages, read_features, write_features
from fairloss.gallery import Gallery
from fairloss.report import write_report
from fairloss.training import TrainConfig, load_config
from fairloss.training.identities import check_same_identities, identities_record

LATIN = [os.fsdecode(name) for name in (b"Andr\xe9", b"Jos\xe9", b"M\xfcller")]
NAMES = ["José", "Žofie", "陈伟"]


def printed(encoding: str, *arguments: object) -> str:
    """Run the command with an output of this encoding; it must succeed."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    errors.reconfigure(errors="backslashreplace")  # as Python's own
    code = execute(output, errors, *arguments)
    for stream in (output, errors):
        stream.flush()
    assert code == 0, errors.buffer.getvalue()
    return output.buffer.getvalue().decode(encoding, errors="replace")


def write_faces(folder: Path, identities: list[str]) -> Path:
    """Three images of each."""
    folder.mkdir(parents=True)
    source = write_folder(folder.with_name("source"), [3] * len(identities))
    for number, name in enumerate(identities):
        (source / f"id{number}").rename(folder / name)
    return folder


@pytest.fixture
def ascii_locale(monkeypatch, tmp_path):
    """Text files are ASCII where no other encoding is named."""
    original = io.open

    def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
        if "b" not in mode and encoding in (None, "locale"):
            encoding = "ascii"
        return original(file, mode, buffering, encoding, errors, newline, **more)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(builtins, "open", opened)
    with pytest.raises(UnicodeEncodeError):
        (tmp_path / "probe").write_text("é", encoding="locale")


def test_a_digest_of_names_is_that_of_their_bytes():
    made = faces([1, 1, 1])
    pixels = made.images(range(3))
    names = [f"{name}/1.png" for name in LATIN]
    record = identities_record(FaceImages(pixels, [0, 1, 2], LATIN, names))
    content = b"Andr\xe9/1.png\nJos\xe9/1.png\nM\xfcller/1.png"
    assert record["image_names_sha256"] == hashlib.sha256(content).hexdigest()
    assert record["identities"] == LATIN


def test_digests_of_names_in_utf8_are_as_before():
    pixels = faces([1, 1, 1]).images(range(3))
    names = [f"{name}/1.png" for name in NAMES]
    record = identities_record(FaceImages(pixels, [0, 1, 2], NAMES, names))
    assert record["image_names_sha256"] == hashlib.sha256("\n".join(names).encode()).hexdigest()


def test_training_on_files_that_are_not_utf8_resumes(tmp_path):
    folder = write_faces(tmp_path / os.fsdecode(b"donn\xe9es"), ["a", "b"])
    (folder / "a" / "000.png").rename(folder / "a" / os.fsdecode(b"\xe90.png"))
    output = tmp_path / os.fsdecode(b"r\xe9sultat")
    for epochs in (1, 1):
        succeed("train", f"data={folder}", f"output={output}", *SMALL, f"epochs={epochs}")
    record = json.loads((output / "identities.json").read_text(encoding="utf-8"))
    assert record["counts"] == [3, 3]
    content = b"a/001.png\na/002.png\na/\xe90.png\nb/003.png\nb/004.png\nb/005.png"
    assert record["image_names_sha256"] == hashlib.sha256(content).hexdigest()
    assert load_config(output / "config.yaml", [], TrainConfig).data == str(folder)
    page = write_report(output).read_text(encoding="utf-8")
    assert "6 images of 2 identities" in page


def test_a_run_starts_from_another_on_files_that_are_not_utf8(tmp_path):
    folder = write_faces(tmp_path / "faces", LATIN)
    settings = (f"data={folder}", *SMALL, "epochs=1", "head.name=ArcFace")
    succeed("train", *settings, f"output={tmp_path / 'a'}")
    succeed("train", *settings, f"output={tmp_path / 'b'}", f"init={tmp_path / 'a'}")
    record = json.loads((tmp_path / "b" / "identities.json").read_text(encoding="utf-8"))
    assert record["identities"] == LATIN
    other = FaceImages(faces([1]).images([0]), [0], ["Jos"], ["Jos/1.png"])
    with pytest.raises(ValueError, match="expected the 3 identities"):
        check_same_identities("init", other, tmp_path / "a")


@pytest.mark.parametrize("identities", [LATIN, NAMES])
def test_features_and_galleries_keep_names(tmp_path, model, identities):
    pytest.importorskip("faiss")
    folder = write_faces(tmp_path / "faces", identities)
    output = tmp_path / "f.npy"
    succeed("embed", "--data", folder, "--checkpoint", model, "--output", output)
    file = read_features(output)
    on_disk = sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("*/*"))
    assert sorted(file.names) == on_disk
    assert file.rows(file.names[::-1]).tolist() == list(range(9))[::-1]
    succeed("gallery", "build", "--features", output, "--output", tmp_path / "gallery")
    assert Gallery.load(tmp_path / "gallery").names == file.names
    options = ("--data", folder, "--checkpoint", model, "--output", tmp_path / "gallery")
    assert "0 embeddings added, 9 in all" in succeed("gallery", "build", *options).stdout


@pytest.mark.parametrize(
    ("identities", "encoding"),
    [(LATIN, "utf-8"), (LATIN, "ascii"), (NAMES, "ascii"), (NAMES, "cp1252"), (NAMES, "utf-8")],
)
def test_matches_are_printed_whatever_the_encoding_of_the_output(
    tmp_path, model, identities, encoding
):
    pytest.importorskip("faiss")
    folder = write_faces(tmp_path / "faces", identities)
    gallery = ("--gallery", tmp_path / "gallery", "--checkpoint", model, "-k", 9)
    options = ("--data", folder, "--checkpoint", model, "--output", tmp_path / "gallery")
    printed(encoding, "gallery", "build", *options)
    probe = next(folder.glob(f"{identities[1]}/*"))
    text = printed(encoding, "gallery", "query", probe, *gallery)
    assert "1.0000" in text
    assert text.count(".png") >= 9
    if encoding == "utf-8" and identities is NAMES:
        assert all(text.count(f"{name}/") >= 3 for name in identities)


@pytest.mark.parametrize("identities", [LATIN, NAMES])
def test_a_picture_of_matches_is_drawn(tmp_path, model, identities):
    pytest.importorskip("faiss")
    folder = write_faces(tmp_path / "faces", identities)
    options = ("--data", folder, "--checkpoint", model)
    succeed("gallery", "build", *options, "--output", tmp_path / "gallery")
    options += ("--gallery", tmp_path / "gallery", "--output", tmp_path / "nearest.svg")
    succeed("gallery", "query", folder / identities[0] / "000.png", *options)
    drawn = (tmp_path / "nearest.svg").read_bytes().decode("utf-8")
    assert "/000.png" in drawn
    if identities is NAMES:
        assert "José/000.png" in drawn


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("groups", [("jünger", "älter"), tuple(LATIN[:2])])
def test_groups_are_printed_whatever_the_encoding_of_the_output(tmp_path, groups, encoding):
    run = {"version": 1, "identities": [f"{name}{n}" for n in range(10) for name in groups]}
    run["counts"] = [5, 50] * 10
    who = [name for name in run["identities"] for _ in range(4)]
    names = [f"{name}/{n}.png" for n, name in enumerate(who)]
    features, frequency = tmp_path / "ä.npy", tmp_path / "ä identities.json"
    write_features(features, names, clustered_embeddings(), who)
    frequency.write_text(json.dumps(run), encoding="utf-8")
    common = ("--features", features, "--replicates", 5, "--output", tmp_path / "é.json")
    text = printed(encoding, "evaluate", "groups", *common, "--frequency", frequency)
    assert "tail: " in text
    rows = [f"{name},{groups[n % 2]}" for n, name in enumerate(names)]
    if groups[0] not in LATIN:  # a table is UTF-8
        table = tmp_path / "tablé.csv"
        table.write_text("\n".join(["name,group", *rows]), encoding="utf-8")
        text = printed(encoding, "evaluate", "groups", *common, "--attributes", table)
        assert text.count(" genuine and ") == 2
    report = json.loads((tmp_path / "é.json").read_text(encoding="utf-8"))
    assert len(report["groups"]) == 2


@pytest.mark.slow
def test_a_run_under_an_ascii_locale_is_read_under_any_other(tmp_path, ascii_locale, monkeypatch):
    pytest.importorskip("faiss")
    folder = write_faces(tmp_path / "données", NAMES)
    output = tmp_path / "läufe" / "一"
    succeed("train", f"data={folder}", f"output={output}", *SMALL, "epochs=1")
    succeed("train", f"data={folder}", f"output={output}", *SMALL, "epochs=1")
    checkpoint = ("--checkpoint", output / "model.pt")
    succeed("evaluate", "pairs", "--data", folder, *checkpoint, "--replicates", 5)
    options = ("--data", folder, *checkpoint, "--output", tmp_path / "gälerie")
    succeed("gallery", "build", *options)
    succeed("report", output)
    monkeypatch.undo()
    config = load_config(output / "config.yaml", [], TrainConfig)
    assert (config.data, config.output) == (str(folder), str(output))
    assert f"data: {folder}" in (output / "config.yaml").read_text(encoding="utf-8")
    assert f"data: {folder}" in (output / "report.html").read_text(encoding="utf-8")
    record = json.loads((output / "identities.json").read_text(encoding="utf-8"))
    assert sorted(record["identities"]) == sorted(NAMES)
    assert len(Gallery.load(tmp_path / "gälerie")) == 9


@pytest.mark.slow
def test_a_collection_under_an_ascii_locale_resumes(tmp_path, run, ascii_locale):
    output = tmp_path / "expérience"
    settings = (f"run={run}", f"output={output}", "epochs=2", "min_cell=1")
    first = succeed("collect", *settings).stdout
    assert succeed("collect", *settings).stdout == first
    assert np.load(output / "experience.npz").files


def run_alone(*arguments: object, **environment: str) -> str:
    """Run the command in a process of its own, which must succeed."""
    command = [sys.executable, "-c", "from fairloss.cli import main; main()"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(errors="surrogateescape")


@pytest.mark.slow
def test_a_run_of_a_process_under_another_locale_is_read_here(tmp_path):
    made = tmp_path / "locales" / "de_DE.ISO-8859-1"
    made.parent.mkdir()
    define = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(made)]
    with contextlib.suppress(OSError):
        subprocess.run(define, capture_output=True, check=False)
    if not made.is_dir():
        pytest.skip("no localedef")
    folder = write_faces(tmp_path / os.fsdecode(b"B\xfcro"), ["a", "b"])
    there = {"LOCPATH": str(made.parent), "LC_ALL": made.name, "PYTHONUTF8": "0"}
    run_alone("train", f"data={folder}", f"output={tmp_path / 'run'}", *SMALL, "epochs=1", **there)
    config = load_config(tmp_path / "run" / "config.yaml", [], TrainConfig)
    assert config.data == str(tmp_path / "Büro")
    options = ("--data", folder, "--checkpoint", tmp_path / "run" / "model.pt")
    for environment in (there, {}):
        run_alone("evaluate", "pairs", *options, "--replicates", 5, **environment)


@pytest.mark.slow
@pytest.mark.parametrize("identities", [LATIN, NAMES])
def test_a_process_with_an_ascii_output_prints_matches(tmp_path, model, identities):
    folder = write_faces(tmp_path / "faces", identities)
    options = ("--data", folder, "--checkpoint", model, "--output", tmp_path / "gallery")
    run_alone("gallery", "build", *options, PYTHONIOENCODING="ascii")
    options = ("--gallery", tmp_path / "gallery", "--checkpoint", model, "-k", "9")
    probe = next(folder.glob(f"{identities[0]}/*"))
    text = run_alone("gallery", "query", probe, *options, PYTHONIOENCODING="ascii")
    assert text.count(".png") >= 9
