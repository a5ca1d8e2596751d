"""Galleries on disk: round trips, replacement, damage and concurrent writers."""

import contextlib
import hashlib
import json
import os

import numpy as np
import pytest

from fairloss.gallery import Gallery, rows, saving, storage

faiss = pytest.importorskip("faiss")


def gallery_of(count, seed=0, index="flat"):
    gallery = Gallery(8, index=index)
    gallery.add(
        [f"identity {i}" for i in range(count)],
        np.random.default_rng(seed).normal(size=(count, 8)),
    )
    gallery.reindex()
    return gallery


PROBES = np.random.default_rng(9).normal(size=(5, 8))


def assert_same(result, expected):
    assert result.names == expected.names
    assert len(result) == len(expected)
    assert result.search(PROBES) == expected.search(PROBES)


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def read_object(path):
    return json.loads(path.read_text(encoding="utf-8"))


def write_object(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def test_round_trip(tmp_path):
    gallery = gallery_of(20)
    gallery.add(["identity 3", "Åsa 李"], np.eye(2, 8))
    gallery.remove(["identity 0"])
    gallery.save(tmp_path / "new" / "gallery")
    result = Gallery.load(str(tmp_path / "new" / "gallery"))
    assert_same(result, gallery)
    assert result.embedding_size == 8


def test_loaded_gallery_can_change(tmp_path):
    gallery = gallery_of(20)
    gallery.save(tmp_path)
    result = Gallery.load(tmp_path)
    for either in (gallery, result):
        either.remove(["identity 19", "identity 4"])
        either.add(["guest"], np.ones((1, 8)))
        either.merge(gallery_of(3, seed=4))
    assert_same(result, gallery)


def test_empty_gallery(tmp_path):
    Gallery(8).save(tmp_path)
    assert len(Gallery.load(tmp_path)) == 0


def test_manifest_and_replacement(tmp_path):
    gallery_of(5).save(tmp_path)
    first = files(tmp_path)
    gallery_of(6, index="hnsw").save(tmp_path)
    assert (len(first), len(files(tmp_path))) == (3, 4)
    assert_same(Gallery.load(tmp_path), gallery_of(6))
    manifest = read_object(tmp_path / "manifest.json")
    assert (manifest["version"], manifest["embedding_size"], manifest["count"]) == (2, 8, 6)
    (shard,), index = manifest["shards"], manifest["index"]
    assert (index["kind"], index["covers"]) == ("hnsw", 6)
    named = {entry["name"] for entry in (*shard.values(), index["file"])}
    assert named | {"manifest.json"} == set(files(tmp_path))


def test_only_what_changed_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "SHARD_BYTES", 100 * 4 * 8)
    gallery = gallery_of(250, index="ivf")
    gallery.save(tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    assert len(before) == 3 * 2 + 1 + 1
    result = Gallery.load(tmp_path)
    result.add(["guest"], np.ones((1, 8)))
    result.save(tmp_path)
    after = {name: (tmp_path / name).stat().st_mtime_ns for name in files(tmp_path)}
    kept = before.items() & after.items()
    assert len(kept) == len(after) - 3  # the last shard's rows and names, and the manifest
    gallery.add(["guest"], np.ones((1, 8)))
    assert_same(result, gallery)


@pytest.mark.parametrize("index", ["flat", "ivf"])
def test_removed_embeddings_leave_the_disk(tmp_path, index):
    gallery = gallery_of(200, index=index)
    row = gallery._rows.take(np.array([7])).tobytes()
    gallery.save(tmp_path)
    assert any(row in path.read_bytes() for path in tmp_path.iterdir())
    gallery.remove(["identity 7"])
    gallery.save(tmp_path)
    assert not any(row in path.read_bytes() for path in tmp_path.iterdir())


def test_rows_stay_on_disk(tmp_path):
    gallery_of(20).save(tmp_path)
    result = Gallery.load(tmp_path)
    (shard,) = result._rows.shards
    assert isinstance(shard.rows, np.memmap)
    assert not shard.rows.flags.writeable


def test_merge_of_saved_galleries(tmp_path):
    for number, name in enumerate(("a", "b")):
        gallery_of(20, seed=number).save(tmp_path / name)
    merged = Gallery.load(tmp_path / "a")
    merged.merge(Gallery.load(tmp_path / "b"))
    merged.save(tmp_path / "c")
    expected = gallery_of(20, seed=0)
    expected.merge(gallery_of(20, seed=1))
    assert_same(Gallery.load(tmp_path / "c"), expected)
    assert_same(Gallery.load(tmp_path / "b"), gallery_of(20, seed=1))


def test_saving_twice_changes_nothing(tmp_path):
    gallery_of(5).save(tmp_path)
    first = files(tmp_path)
    gallery_of(5).save(tmp_path)
    assert files(tmp_path) == first


def test_foreign_files_are_left_alone(tmp_path):
    mine = ("notes.txt", "rows-of-faces.npy", "names-2024.json", "index-0123456789abcdef.faiss.old")
    for name in mine:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    gallery_of(5).save(tmp_path)
    gallery_of(6).save(tmp_path)
    for name in mine:
        assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_the_second_of_two_writers_is_refused(tmp_path):
    gallery_of(5).save(tmp_path)
    first, second = Gallery.load(tmp_path), Gallery.load(tmp_path)
    first.add(["first"], np.ones((1, 8)))
    second.add(["second"], np.eye(1, 8))
    first.save(tmp_path)
    with pytest.raises(ValueError, match="changed by another program .* load it again"):
        second.save(tmp_path)
    assert_same(Gallery.load(tmp_path), first)
    first.remove(["first"])
    first.save(tmp_path)  # knows what it saved itself
    second.save(tmp_path / "elsewhere")
    assert_same(Gallery.load(tmp_path / "elsewhere"), second)


def test_a_folder_is_locked_while_it_is_written(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    real, locked = saving._write_files, []

    def look(folder, gallery):
        with (folder / ".lock").open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                locked.append(folder)
        real(folder, gallery)

    monkeypatch.setattr(saving, "_write_files", look)
    gallery_of(5).save(tmp_path)
    assert locked == [tmp_path]
    with (tmp_path / ".lock").open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free again


@pytest.mark.parametrize("pattern", ["index-*", "names-*"])
def test_a_save_replaces_a_file_that_was_cut(tmp_path, pattern):
    gallery = gallery_of(5, index="hnsw")
    gallery.save(tmp_path)
    os.truncate(only(tmp_path, pattern), 10)
    gallery.save(tmp_path)
    assert_same(Gallery.load(tmp_path), gallery_of(5))


def test_rows_are_copied_over_a_cut_file_but_not_from_one(tmp_path):
    gallery_of(5).save(tmp_path / "a")
    result = Gallery.load(tmp_path / "a")
    result.save(tmp_path / "b")
    result = Gallery.load(tmp_path / "a")
    os.truncate(only(tmp_path / "b", "rows-*"), 10)
    result.save(tmp_path / "b")
    assert_same(Gallery.load(tmp_path / "b"), gallery_of(5))
    result = Gallery.load(tmp_path / "a")
    os.truncate(only(tmp_path / "a", "rows-*"), 10)
    with pytest.raises(ValueError, match="is damaged: it is shorter"):
        result.save(tmp_path / "a")


def failing_write(index, writer):
    raise RuntimeError("disk full")


def test_failed_index_write_keeps_the_old_gallery(tmp_path, monkeypatch):
    gallery_of(5).save(tmp_path)
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(faiss, "write_index", failing_write)
        with pytest.raises(RuntimeError, match="disk full"):
            gallery_of(6, index="hnsw").save(tmp_path)
    result = Gallery.load(tmp_path)
    assert_same(result, gallery_of(5))
    result.save(tmp_path)
    assert files(tmp_path) == before


def test_killed_before_clean_up_has_the_new_gallery(tmp_path, monkeypatch):
    gallery_of(5).save(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(saving, "_remove_leftovers", lambda *_: None)
        gallery_of(6).save(tmp_path)
    assert len(files(tmp_path)) == 5
    assert_same(Gallery.load(tmp_path), gallery_of(6))


def test_reader_overtaken_by_a_writer_sees_the_new_gallery(tmp_path, monkeypatch):
    gallery_of(5).save(tmp_path)
    real, calls = storage._read_manifest, []

    def slow(folder):
        manifest = real(folder)
        if not calls:
            calls.append(1)
            gallery_of(6).save(tmp_path)  # deletes the files of the manifest just read
        return manifest

    monkeypatch.setattr(storage, "_read_manifest", slow)
    assert_same(Gallery.load(tmp_path), gallery_of(6))


@pytest.mark.parametrize("pattern", ["index-*", "names-*", "rows-*"])
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_file(tmp_path, pattern, damage):
    gallery_of(5, index="hnsw").save(tmp_path)
    path = only(tmp_path, pattern)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    else:
        del content[-1:]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        Gallery.load(tmp_path)


@pytest.mark.parametrize("pattern", ["index-*", "names-*", "rows-*"])
def test_missing_file(tmp_path, pattern):
    gallery_of(5, index="hnsw").save(tmp_path)
    only(tmp_path, pattern).unlink()
    with pytest.raises(ValueError, match="incomplete"):
        Gallery.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "version 1, this program reads version 2: build the gallery again"),
        ({"version": 3}, "version 3, this program reads version 2"),
        ({"format": "other"}, "does not describe"),
        ({"count": 4}, "5 embeddings, not as many as it says"),
        ({"next_id": 4}, "ids are not ascending"),
        ({"embedding_size": 9}, "but 9 in the manifest"),
        ({"wanted": "kd-tree"}, "index: expected one of"),
        ({"shards": 5}, "malformed"),
        ({"shards": [{"rows": {}}]}, "malformed"),
        ({"index": []}, "malformed"),
    ],
)
def test_manifest_that_does_not_fit(tmp_path, change, message):
    gallery_of(5).save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=message):
        Gallery.load(tmp_path)


@pytest.mark.parametrize("part", ["rows", "names", "index"])
def test_files_of_different_galleries(tmp_path, part):
    """Valid checksums, but what they hold belongs to other embeddings."""
    manifests = {}
    for name, count in (("a", 5), ("b", 6)):
        gallery_of(count, index="hnsw").save(tmp_path / name)
        manifests[name] = json.loads(
            (tmp_path / name / "manifest.json").read_text(encoding="utf-8")
        )
    entry = {
        "rows": lambda manifest: manifest["shards"][0]["rows"],
        "names": lambda manifest: manifest["shards"][0]["names"],
        "index": lambda manifest: manifest["index"]["file"],
    }[part]
    theirs = entry(manifests["b"])
    os.replace(tmp_path / "b" / theirs["name"], tmp_path / "a" / theirs["name"])
    entry(manifests["a"]).update(theirs)
    write_object(tmp_path / "a" / "manifest.json", manifests["a"])
    with pytest.raises(ValueError, match="differ|other embeddings"):
        Gallery.load(tmp_path / "a")


def test_names_of_another_version(tmp_path):
    gallery_of(5).save(tmp_path)
    path, manifest = only(tmp_path, "names-*"), tmp_path / "manifest.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"version": 3}), encoding="utf-8"
    )
    content = read_object(manifest)
    content["shards"][0]["names"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_object(manifest, content)
    with pytest.raises(ValueError, match="names of another version"):
        Gallery.load(tmp_path)


def test_manifests_of_noise_raise_nothing_else(tmp_path):
    gallery_of(5, index="hnsw").save(tmp_path)
    path = tmp_path / "manifest.json"
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(2000):
        noisy = bytearray(content)
        for position in generator.integers(len(content), size=generator.integers(1, 4)):
            noisy[position] = generator.integers(256)
        path.write_bytes(noisy)
        with contextlib.suppress(ValueError):
            Gallery.load(tmp_path)


def test_broken_manifest_and_no_gallery(tmp_path):
    with pytest.raises(FileNotFoundError, match="no gallery"):
        Gallery.load(tmp_path / "nowhere")
    (tmp_path / "file.txt").touch()
    with pytest.raises(ValueError, match=r"file\.txt: it is a file, not a folder"):
        Gallery.load(tmp_path / "file.txt")
    gallery_of(5).save(tmp_path)
    (tmp_path / "manifest.json").write_text(
        '{"format": "fairloss-gallery", "vers', encoding="utf-8"
    )
    with pytest.raises(ValueError, match="not valid JSON"):
        Gallery.load(tmp_path)
    (tmp_path / "manifest.json").write_text(
        '{"format": "fairloss-gallery", "version": 2}', encoding="utf-8"
    )
    with pytest.raises(ValueError, match="lacks"):
        Gallery.load(tmp_path)
