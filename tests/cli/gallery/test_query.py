from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from command import refuse, succeed
from PIL import Image

from fairloss.cli.gallery import query
from fairloss.gallery import Gallery

pytest.importorskip("faiss")


def test_query_finds_and_draws(data, model, built, tmp_path):
    name = Gallery.load(built).names[0]
    options = (data / name, "--gallery", built, "--checkpoint", model, "-k", 3)
    done = succeed("gallery", "query", *options)
    assert re.search(re.escape(name) + r"\W+1\.0000", done.stdout)  # itself first
    picture = tmp_path / "faces.png"
    succeed("gallery", "query", *options, "--data", data, "--output", picture)
    image = np.asarray(Image.open(picture).convert("L"))
    assert image.std() > 20  # not blank
    assert image.shape[1] > 2 * image.shape[0]  # four faces in a row
    refuse("data: expected --data with --output", "gallery", "query", *options, "--output", picture)
    wrong = ("--data", data, "--output", tmp_path / "faces.gif")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "load_gallery", None)  # refused before any work
        message = "output: expected a name ending in .svg, .png or .pdf"
        refuse(message, "gallery", "query", *options, *wrong)
    (tmp_path / "corrupt.png").write_bytes(b"no image")
    for image, message in (("none.png", "does not exist"), ("corrupt.png", "cannot be read")):
        refuse(message, "gallery", "query", tmp_path / image, *options[1:])


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"version": 1, "flip": 3}'])
def test_a_damaged_record_is_named(data, model, built, tmp_path, content):
    output = tmp_path / "gallery"
    shutil.copytree(built, output)
    (output / "embedder.json").write_text(content, encoding="utf-8")
    probe = next(data.glob("*/*"))
    refuse("embedder.json: ", "gallery", "query", probe, "--gallery", output, "--checkpoint", model)


def test_a_deleted_face_is_drawn_blank(data, model, built, tmp_path):
    folder = tmp_path / "faces"
    shutil.copytree(data, folder)
    name = Gallery.load(built).names[0]
    (folder / name).unlink()
    options = (data / name, "--gallery", built, "--checkpoint", model, "-k", 1, "--data", folder)
    done = succeed("gallery", "query", *options, "--output", tmp_path / "faces.png")
    assert "1 of 1 faces are not in" in done.stderr
    image = np.asarray(Image.open(tmp_path / "faces.png").convert("L"))
    probe, match = np.array_split(image, 2, axis=1)
    assert probe.std() > 2 * match.std() > 0  # its name and score are drawn
