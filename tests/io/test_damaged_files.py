"""Damaged files of ours: each reader raises one FormatError that names the file."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

import fairloss
from fairloss.data import read_groups, read_images
from fairloss.data.text_files import read_lines, read_table, split_fields
from fairloss.experience import Experience
from fairloss.glyphs.sets import Samples
from fairloss.glyphs.shards import Shard
from fairloss.io.atomic import FormatError
from fairloss.io.json import read_json
from fairloss.io.run_folder import RunFolder
from fairloss.report.run_view import read_run
from fairloss.training.loss_file import read_loss

# In names of files: what Python's splitlines takes for the end of a line.
BREAKS = ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
LINE = {"version": 1, "event": "epoch", "epoch": 1}


def write_arrays(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path.read_bytes()


def flip(content):
    """Change a byte in the middle of compressed content."""
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def damaged_arrays(path):
    """Yield the name of a kind of damage after writing it to a .npz."""
    generator = np.random.default_rng(0)
    arrays = {name: generator.integers(0, 255, (9, 9), np.uint8) for name in Shard._fields}
    content = write_arrays(path, **arrays, probes=arrays["images"], matches=arrays["images"])
    for damaged in (content[:50], content[:-30], flip(content), b"", b"PK\x03\x04", b"no zip"):
        path.write_bytes(damaged)
        yield
    write_arrays(path, other=np.zeros(1))
    yield
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    yield
    path.write_bytes(b"")
    path.unlink()
    path.mkdir()
    yield


def read_shards(path):
    return Samples([path], np.zeros(1, bool))


@pytest.mark.parametrize("read", [Shard.load, read_shards, Experience.load])
def test_damaged_arrays_are_named(tmp_path, read):
    path = tmp_path / "a.npz"
    for _ in damaged_arrays(path):
        with pytest.raises((FormatError, IsADirectoryError), match=r"a\.npz"):
            read(path)


def test_damaged_files_of_a_report_are_named(tmp_path):
    (tmp_path / "demo.json").write_text('{"version": 1}', encoding="utf-8")
    queries = tmp_path / "queries.json"
    queries.write_text('{"version": 1, "queries": []}', encoding="utf-8")
    for _ in damaged_arrays(tmp_path / "queries.npz"):
        if (tmp_path / "queries.npz").is_file():
            with pytest.raises(ValueError, match=r"queries\.npz: "):
                read_run(tmp_path)
    (tmp_path / "queries.npz").rmdir()
    write_arrays(tmp_path / "queries.npz", probes=np.zeros((1,) * 4), matches=np.zeros((1,) * 5))
    for content in ("{}", '{"version": 1, "queries": [{}]}', '{"version": 1, "queries": 1}'):
        queries.write_text(content, encoding="utf-8")
        with pytest.raises(FormatError, match=r"queries\.json: "):
            read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", "[1]\n"),
        ("metrics.jsonl", "{\n{}\n"),
        ("metrics.jsonl", '{"event": "epoch"}\n'),
        ("metrics.jsonl", "{}\n"),
        ("identities.json", '{"version": 1}'),
        ("identities.json", '{"version": 1, "counts": ["x"]}'),
        ("identities.json", "9" * 5000),
        ("identities.json", "[" * 100_000),
    ],
)
def test_damaged_files_of_a_run_are_named(tmp_path, name, content):
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LINE) + "\n", encoding="utf-8")
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match=rf"{name}: "):
        read_run(tmp_path)


def test_a_cut_off_last_line_of_a_log_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(f'{json.dumps(LINE)}\n{{"a', encoding="utf-8")
    assert RunFolder(tmp_path).metrics() == [LINE]


def test_entries_of_json_are_checked(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"version": 1, "a": 1}', encoding="utf-8")
    assert read_json(path, a=int)["a"] == 1
    with pytest.raises(FormatError, match='a.json: "a": expected a list, got int'):
        read_json(path, a=list)
    with pytest.raises(FormatError, match='a.json: "b": expected a list, got none'):
        read_json(path, b=list)


@pytest.mark.parametrize("entry", [{"name": 1}, {"options": []}, {"scale": "x"}])
def test_a_loss_with_entries_of_another_type_is_refused(tmp_path, entry):
    path, head = tmp_path / "l.json", {"name": "CosFace", "scale": 32, "options": {}}
    content = {"version": 1, "schema": "fairloss.loss", "head": head | entry}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"l\.json is not a file of schema fairloss.loss"):
        read_loss(path)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "index.json"])
def test_damaged_folders_of_arrays_are_named(tmp_path, name):
    index = {"version": 1, "identities": ["a"], "variants": ["b"], "mirror": True}
    (tmp_path / "index.json").write_text(json.dumps(index), encoding="utf-8")
    np.save(tmp_path / "images.npy", np.zeros((1, 1, 4, 4), np.uint8))
    for each in ("labels.npy", "variants.npy"):
        np.save(tmp_path / each, np.zeros(1, np.int32))
    assert len(read_images(tmp_path, (4, 4), 1)) == 1
    for content in (b"", b"\x93NUMPY\x01\x00\x76\x00{(", b'{"version": 1}'):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=name):
            read_images(tmp_path, (4, 4), 1)


def test_a_damaged_table_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("identity,group\n" + "x" * 200_000 + ",a\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"t\.csv: not a CSV file"):
        read_table(path)
    path.write_text("identity,group\nx\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"t\.csv: row 2: expected 2 columns, got 1"):
        read_groups(path, ["x"])


@pytest.mark.parametrize("character", BREAKS)
def test_only_line_feeds_and_carriage_returns_end_a_line(tmp_path, character):
    name = f"{character}a{character}b{character}"
    path = tmp_path / "names.txt"
    path.write_bytes(f"{name} 1\r\n{name} 2\r{name} 3\n".encode())
    assert read_lines(path) == [f"{name} {n}" for n in (1, 2, 3)]
    assert split_fields(f"{name} 1", 2) == [name, "1"]
    path.write_bytes(f"identity,group\n{name},{name}\n".encode())
    assert read_groups(path, [name])[0] == [name]


def test_the_package_does_not_split_at_the_line_ends_of_unicode():
    for path in Path(fairloss.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        assert "splitlines" not in names, path
