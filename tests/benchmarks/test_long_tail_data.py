"""The sets of the tasks of the long-tail experiment."""

from __future__ import annotations

import shutil
from unittest import mock

import pytest
import synthetic
from long_tail import data

from fairloss.data.arrays import map_arrays
from fairloss.io.json import read_json, write_json

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
        partial = folder.with_name(f".{folder.name}.partial")
        if (partial / "plan.json").exists() and options != read_json(partial / "plan.json")[
            "options"
        ]:
            raise ValueError("output: expected the same glyphs or a new folder, got other options")
        write_json(partial / "plan.json", {"options": options})
        if options.get("test", 0) > 7000:
            raise ValueError("test: expected at most 7018, as many as qualify, got 9000")
        calls.append(folder.name)
        faces = synthetic.faces(COUNTS, size=8)
        shutil.rmtree(partial)
        for name in ("train", "validation", "test"):
            kept = SET_OF_SEED["train" if name == "train" else "others"]
            data.write(folder / name, faces.of_identities(kept))
        write_json(folder / "manifest.json", {"options": options})

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


@pytest.mark.parametrize("place", ["manifest.json", "plan.json", None])
def test_an_interrupted_call_resumes_with_the_number_that_it_had_come_to(
    glyphs, tmp_path, monkeypatch, place
):
    """7000 of a call that fell back to it; 9000, which comes first, of one that had not begun."""
    folder, counts, draw = tmp_path / "set", [], data.draw_glyphs
    if place is not None:
        path = folder if place == "manifest.json" else folder.with_name(".set.partial")
        write_json(path / place, {"options": {"test": 7000, "seed": 4}})
    monkeypatch.setattr(
        data, "draw_glyphs", lambda *a, **o: counts.append(o["test"]) or draw(*a, **o)
    )
    data.draw_most(folder, "test", (9000, 7000, 5000), seed=4)
    assert counts == ([9000, 7000] if place is None else [7000])


def test_a_set_that_another_call_writes_is_no_reason_for_fewer_characters(monkeypatch, tmp_path):
    locked = ValueError("output: expected one that no other run writes, got set")
    monkeypatch.setattr(data, "draw_glyphs", mock.Mock(side_effect=[locked, None]))
    with pytest.raises(ValueError, match="no other run"):
        data.draw_most(tmp_path / "set", "test", (9000, 7000, 5000), seed=4)
