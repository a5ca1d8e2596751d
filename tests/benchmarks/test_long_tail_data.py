"""The sets of the tasks of the long-tail experiment."""

from __future__ import annotations

import pytest
import synthetic
from long_tail import data

from fairloss.data.arrays import map_arrays

COUNTS = [1, 2, 3, 1, 2, 3, 4, 4]
SET_OF_SEED = {"train": {"id1", "id6"}, "others": {f"id{c}" for c in range(8)}}


@pytest.fixture
def glyphs(monkeypatch, tmp_path):
    """The calls that draw characters; each writes images of `COUNTS`, of which two are trained."""
    monkeypatch.setattr(data, "ROOT", tmp_path)
    same = {"fonts": "lite", "held_out_typefaces": 1}
    task = {"glyphs": same | {"classes": 2}, "validation": (2, 3), "test": (3, 1)}
    monkeypatch.setattr(data, "TASKS", {"A": task})
    monkeypatch.setattr(data, "UNUSED", {})
    calls = []

    def draw(folder, **options):
        folder.with_name(f".{folder.name}.partial").mkdir(parents=True)
        if options.get("test", 0) > 7000:
            raise ValueError("test: expected at most 7018, as many as qualify, got 9000")
        calls.append(folder.name)
        faces = synthetic.faces(COUNTS, size=8)
        folder.with_name(f".{folder.name}.partial").rmdir()
        for name in ("train", "validation", "test"):
            kept = SET_OF_SEED["train" if name == "train" else "others"]
            data.write(folder / name, faces.of_identities(kept))

    monkeypatch.setattr(data, "draw_glyphs", draw)
    return calls


def drawn(folder, name):
    images = map_arrays(folder / "A" / "4-others" / name)
    return dict(zip(images.identities, images.counts.tolist(), strict=True))


def test_validation_and_test_have_other_characters_with_enough_images(glyphs, tmp_path):
    data.draw("A", 4)
    validation, test = (drawn(tmp_path, name) for name in ("validation", "test"))
    assert len(validation) == 2
    assert set(validation) <= {"id2", "id5", "id7"}
    assert set(validation.values()) == {3}
    assert len(test) == 3
    assert not set(test) & (set(validation) | SET_OF_SEED["train"])
    assert all(test[name] == COUNTS[int(name[2:])] for name in test)
    assert sorted(path.name for path in (tmp_path / "A").iterdir()) == ["4", "4-others"]


def test_the_sets_of_a_seed_are_drawn_once(glyphs, tmp_path):
    data.draw("A", 4)
    calls = [*glyphs]
    data.draw("A", 4)
    assert glyphs == calls == ["4", "4-validation", "4-test"]


def test_a_set_may_lack_up_to_half_of_its_characters(glyphs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(data.TASKS["A"], "test", (8, 1))
    data.draw("A", 4)
    assert len(drawn(tmp_path, "test")) == 4
    assert "seed 4: 4 of 8 characters have 1 images" in capsys.readouterr().out


def test_too_few_characters_are_an_error_that_leaves_no_set(glyphs, tmp_path, monkeypatch):
    monkeypatch.setitem(data.TASKS["A"], "test", (9, 1))
    with pytest.raises(SystemExit, match="seed 4: too few characters"):
        data.draw("A", 4)
    assert not (tmp_path / "A" / "4-others").exists()
