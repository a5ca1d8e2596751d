"""A survey of files, lists, records and arrays finds what is wrong with their contents."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import write_folder

from fairloss.data import open_images, survey, write_arrays, write_records
from fairloss.data.survey import survey_images
from fairloss.doctor import diagnose_data, is_complete

SIZE = ((16, 16), 1)


def png(value, side=16):
    buffer = BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder, **files):
    """Write files; "__" in a name is a slash."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def found_of(result):
    return {
        finding.name: finding.detail for finding in diagnose_data(result) if finding.status != "ok"
    }


def test_equal_images_and_other_sizes_of_files_are_reported(tmp_path):
    same, other = png(1), png(2)
    faces = write(
        tmp_path / "faces",
        a__1=same,
        a__2=same,
        a__3=png(3),
        b__1=other,
        b__2=png(4, side=20),
        c__1=other,
        c__2=other,
    )
    result = survey_images(faces, *SIZE)
    assert result.duplicates == [["a/1.png", "a/2.png"]]
    assert result.shared == [["b/1.png", "c/1.png", "c/2.png"]]
    assert result.other_sizes == {(20, 20): 1}
    assert found_of(result) == {
        "images resized": "1: 1 of 20 x 20",
        "same image twice": "2: a/1.png = a/2.png",
        "same image in several identities": "3: b/1.png = c/1.png = c/2.png",
    }
    assert is_complete(diagnose_data(result))


def test_a_clean_set_has_no_findings(tmp_path):
    faces = write_folder(tmp_path / "faces", [2, 3], size=16)
    assert found_of(survey_images(faces, *SIZE)) == {}


def test_a_list_names_every_missing_file_and_image_with_several_labels(tmp_path):
    write(tmp_path, x=png(1), y=png(2), z=b"no image")
    (tmp_path / "link.png").symlink_to(tmp_path / "lost" / "1.png")
    lines = ["x.png\t0", "y.png\t2", "x.png\t5", "gone.png\t5", "link.png\t2", "z.png\t0"]
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    result = survey_images(tmp_path / "list.txt", *SIZE)
    assert set(result.unreadable) == {"gone.png", "link.png", "z.png"}
    assert result.dead_links == ["link.png"]
    assert result.shared == [["x.png (0)", "x.png (5)"]]
    assert result.label_gaps == ["1", "3..4"]
    assert result.counts == {"0": 1, "2": 1, "5": 1}
    assert result.refusal.startswith("images: expected images that can be read, got 3 that cannot")
    assert not is_complete(diagnose_data(result))


def test_records_are_read_to_the_last(tmp_path):
    images = [(0, png(1)), (0, png(2)), (0, png(1)), (3, png(2)), (3, b"no image")]
    write_records(tmp_path / "train.rec", images)
    result = survey_images(tmp_path, *SIZE)
    assert result.unreadable == {"3/5": "cannot identify image file of 8 bytes"}
    assert result.duplicates == [["0/1", "0/3"]]
    assert result.shared == [["0/2", "3/4"]]
    assert result.label_gaps == ["1..2"]
    assert result.counts == {"0": 3, "3": 1}
    assert result.memory == 0
    with pytest.raises(ValueError, match="record 5 cannot be read"):  # as training would
        open_images(tmp_path, *SIZE).images([4])
    assert "the first '3/5'" in result.refusal


def test_arrays_report_every_identity_without_an_image(tmp_path):
    pixels = np.stack([np.full((1, 16, 16), value, np.uint8) for value in (1, 2, 1, 2)])
    labels, variants = np.array([0, 0, 0, 2]), np.arange(4)
    options = (labels, variants, ["a", "b", "c", "d"], list("wxyz"), True)
    (tmp_path / "arrays").mkdir()
    write_arrays(tmp_path / "arrays", [pixels], *options)
    result = survey_images(tmp_path / "arrays", *SIZE)
    assert result.empty == ["b", "d"]
    assert result.refusal == "identities: expected an image of each, got none of 'b'"
    options = (np.array([0, 0, 0, 1]), variants, ["a", "b"], list("wxyz"), True)
    write_arrays(tmp_path / "arrays", [pixels], *options)
    result = survey_images(tmp_path / "arrays", *SIZE)
    assert (result.refusal, result.counts) == ("", {"a": 3, "b": 1})
    assert result.duplicates == [["a/w", "a/y"]]
    assert result.shared == [["a/x", "b/z"]]
    assert "image_size=[16,16]" in survey_images(tmp_path / "arrays", (8, 8), 1).refusal


def test_an_unreadable_image_stops_training_where_pixels_do_not_fit_in_memory(
    tmp_path, monkeypatch
):
    faces = write_folder(tmp_path / "faces", [2, 2], size=16)
    (faces / "id0" / "bad.png").write_bytes(b"no image")
    assert survey_images(faces, *SIZE).refusal == ""
    monkeypatch.setattr(survey, "MEMORY_LIMIT", 1000)
    result = survey_images(faces, *SIZE)
    assert "the first 'id0/bad.png'" in result.refusal
    assert result.memory == 0
    lazy = open_images(faces, *SIZE, memory_limit=1000)
    with pytest.raises(ValueError, match="bad.png: cannot be read"):
        lazy.images(torch.arange(len(lazy)))
