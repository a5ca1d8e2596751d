"""A survey of a data folder finds what training reads, and what it leaves out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from cli_cases import SMALL
from command import fairloss, succeed
from PIL import Image
from synthetic import write_folder

from fairloss.data import read_folder, write_arrays
from fairloss.data.survey import survey_images


@pytest.fixture
def faces(tmp_path):
    """Identities of 1, 3 and 3 images."""
    return write_folder(tmp_path / "faces", [1, 3, 3], size=16)


def damage(faces):
    """Add one of each thing that training leaves out."""
    (faces / "id1" / "gone.png").symlink_to("/not/mounted/1.png")
    (faces / "id1" / "empty.png").touch()
    (faces / "id2" / "IMG_1.HEIC").write_bytes(bytes(9))
    (faces / "id2" / "more").mkdir()
    (faces / "id2" / "more" / "1.png").write_bytes(bytes(9))
    (faces / "vacant").mkdir()
    (faces / "id9").symlink_to("/not/mounted/id9")


def doctor(faces):
    return fairloss("doctor", "--data", faces, "--image-size", 16, 16, "--channels", 1)


def test_the_survey_leaves_out_what_training_leaves_out(faces):
    damage(faces)
    survey = survey_images(faces, (16, 16), 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = read_folder(faces, (16, 16), 1)
    listed = {f"{file.parent.name}/{file.name}" for file in faces.glob("*/*.png")}
    assert set(survey.unreadable) == listed - set(read.names) == {"id1/gone.png", "id1/empty.png"}
    used = {name: count for name, count in survey.counts.items() if count}
    assert used == dict(zip(read.identities, read.counts.tolist(), strict=True))
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 5
    reasons = ", ".join(f"{name} ({reason})" for name, reason in survey.unreadable.items())
    assert f"2 unreadable images skipped: {reasons}" in texts
    assert "1 folders inside identities left out: id2/more (1 images)" in texts
    assert "1 files without an image suffix left out: 1 .heic" in texts
    assert "1 identities that are dead links left out: id9" in texts
    assert "1 identities without a readable image left out: vacant" in texts
    assert survey.dead_links == ["id1/gone.png"]
    assert survey.memory == 9 * 16 * 16


def test_doctor_names_bins_of_image_counts_without_an_identity(tmp_path):
    done = doctor(write_folder(tmp_path / "tail", [1] * 7 + [2, 3, 4], size=16))
    assert done.returncode == 0  # all images are used
    unused = "no class has some images by the cuts 1 and 1, so 12 of 36 states are not used"
    assert unused in " ".join(done.stdout.split())
    assert "head.options.count_cuts" in done.stdout
    done = doctor(write_folder(tmp_path / "even", [1, 2, 3], size=16))
    assert "states are not used" not in " ".join(done.stdout.split())


def test_doctor_reports_all_that_is_left_out(faces):
    whole = doctor(faces)
    assert whole.returncode == 0, whole.stdout
    assert "3, of which 1 have one image" in whole.stdout
    damage(faces)
    done = doctor(faces)
    assert done.returncode == 1
    for text in ("7 usable", "id1/gone.png (link to /not/mounted/1.png", "id1/empty.png", "id9"):
        assert text in done.stdout
    for text in ("1: 1 .heic", "1: id2/more (1 images)", "1: vacant"):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no folder in it"),
        (["face.png"], "1 images directly in it"),
        (["a/1.png"], "at least two identities"),
        (["a/notes.txt"], "1 folders with 0 images, none of them readable"),
    ],
)
def test_doctor_reports_that_training_would_stop(tmp_path, names, message):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        if name.endswith(".png"):
            Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / name)
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert message in done.stdout


def test_doctor_reads_arrays(tmp_path):
    pixels = np.zeros((3, 1, 16, 16), np.uint8)
    (tmp_path / "arrays").mkdir()
    variants = np.array([0, 1, 0])
    labels = np.array([0, 0, 1])
    write_arrays(tmp_path / "arrays", [pixels], labels, variants, ["a", "b"], ["x", "y"], True)
    done = doctor(tmp_path / "arrays")
    assert done.returncode == 0, done.stdout
    assert "2, of which 1 have one image" in done.stdout
    other = fairloss("doctor", "--data", tmp_path / "arrays")
    assert other.returncode == 1
    assert "image_size=[16,16], channels=1" in other.stdout


def test_names_that_are_not_utf8_are_reported(faces):
    (faces / "id1" / b"M\xfcller.png".decode("utf-8", "surrogateescape")).touch()
    done = doctor(faces)
    assert done.returncode == 1
    assert "ller.png" in done.stdout


def test_training_names_images_whose_disk_is_not_mounted(tmp_path):
    faces = write_folder(tmp_path / "faces", [6, 6], size=16)
    for path in sorted((faces / "id1").iterdir())[1:]:
        path.unlink()
        path.symlink_to(f"/not/mounted/{path.name}")
    done = succeed("train", f"data={faces}", f"output={tmp_path / 'run'}", *SMALL, "epochs=1")
    assert "5 unreadable images skipped: id1/" in done.stderr
