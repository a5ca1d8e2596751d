import json
import os

import numpy as np
import pytest

from fairloss.gallery import Gallery, storage

faiss = pytest.importorskip("faiss")


def gallery_of(count, seed=0):
    gallery = Gallery(8)
    gallery.add(
        [f"person {i}" for i in range(count)],
        np.random.default_rng(seed).normal(size=(count, 8)),
    )
    return gallery


PROBES = np.random.default_rng(9).normal(size=(5, 8))


def assert_same(found, expected):
    assert found.names == expected.names
    assert len(found) == len(expected)
    assert found.search(PROBES) == expected.search(PROBES)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def only(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def test_round_trip(tmp_path):
    gallery = gallery_of(20)
    gallery.add(["person 3", "Åsa 李"], np.eye(2, 8))
    gallery.remove(["person 0"])
    gallery.save(tmp_path / "new" / "gallery")
    found = Gallery.load(str(tmp_path / "new" / "gallery"))
    assert_same(found, gallery)
    assert found.embedding_size == 8


def test_loaded_gallery_can_change(tmp_path):
    gallery = gallery_of(20)
    gallery.save(tmp_path)
    found = Gallery.load(tmp_path)
    for either in (gallery, found):
        either.remove(["person 19", "person 4"])
        either.add(["guest"], np.ones((1, 8)))
        either.merge(gallery_of(3, seed=4))
    assert_same(found, gallery)


def test_empty_gallery(tmp_path):
    Gallery(8).save(tmp_path)
    assert len(Gallery.load(tmp_path)) == 0


def test_manifest_and_replacement(tmp_path):
    gallery_of(5).save(tmp_path)
    first = files(tmp_path)
    gallery_of(6).save(tmp_path)
    assert len(first) == len(files(tmp_path)) == 3
    assert_same(Gallery.load(tmp_path), gallery_of(6))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["version"], manifest["embedding_size"], manifest["count"]) == (1, 8, 6)
    assert {f["name"] for f in manifest["files"].values()} | {"manifest.json"} == set(
        files(tmp_path)
    )


def test_saving_twice_changes_nothing(tmp_path):
    gallery_of(5).save(tmp_path)
    first = files(tmp_path)
    gallery_of(5).save(tmp_path)
    assert files(tmp_path) == first


def test_foreign_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    gallery_of(5).save(tmp_path)
    gallery_of(6).save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def failing_write(index, path):
    with open(path, "wb") as file:
        file.write(b"half")
    raise RuntimeError("disk full")


def test_failed_index_write_keeps_the_old_gallery(tmp_path, monkeypatch):
    gallery_of(5).save(tmp_path)
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(faiss, "write_index", failing_write)
        with pytest.raises(RuntimeError, match="disk full"):
            gallery_of(6).save(tmp_path)
    assert files(tmp_path) == before
    assert_same(Gallery.load(tmp_path), gallery_of(5))


@pytest.mark.parametrize("step", range(3))
def test_killed_at_any_step_keeps_the_old_gallery(tmp_path, monkeypatch, step):
    """A killed process runs no clean-up; the next save does it."""
    gallery_of(5).save(tmp_path)
    done = []

    def replace(source, target, real=os.replace):
        if len(done) == step:
            raise KeyboardInterrupt
        done.append(target)
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "replace", replace)
        patch.setattr(storage.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            gallery_of(6).save(tmp_path)
    assert len(files(tmp_path)) > 3
    assert_same(Gallery.load(tmp_path), gallery_of(5))
    gallery_of(7).save(tmp_path)
    assert len(files(tmp_path)) == 3
    assert_same(Gallery.load(tmp_path), gallery_of(7))


def test_killed_before_clean_up_has_the_new_gallery(tmp_path, monkeypatch):
    gallery_of(5).save(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_remove_leftovers", lambda *_: None)
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


@pytest.mark.parametrize("pattern", ["index-*", "names-*"])
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damaged_file(tmp_path, pattern, damage):
    gallery_of(5).save(tmp_path)
    path = only(tmp_path, pattern)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    else:
        del content[-1:]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        Gallery.load(tmp_path)


@pytest.mark.parametrize("pattern", ["index-*", "names-*"])
def test_missing_file(tmp_path, pattern):
    gallery_of(5).save(tmp_path)
    only(tmp_path, pattern).unlink()
    with pytest.raises(ValueError, match="incomplete"):
        Gallery.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this program reads version 1"),
        ({"format": "other"}, "does not describe"),
        ({"count": 4}, "counts 4 embeddings, the index 5, the names 5"),
        ({"embedding_size": 9}, "embedding size 9, the index 8"),
    ],
)
def test_manifest_that_does_not_fit(tmp_path, change, message):
    gallery_of(5).save(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        Gallery.load(tmp_path)


def test_files_of_different_galleries(tmp_path):
    """Valid checksums, but the names belong to other ids."""
    gallery, other = gallery_of(5), gallery_of(6)
    other.remove(["person 0"])
    gallery.save(tmp_path / "a")
    other.save(tmp_path / "b")
    manifest_path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    theirs = json.loads((tmp_path / "b" / "manifest.json").read_text())["files"]["names"]
    os.replace(tmp_path / "b" / theirs["name"], tmp_path / "a" / theirs["name"])
    manifest["files"]["names"] = theirs
    manifest_path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="other ids"):
        Gallery.load(tmp_path / "a")


def test_broken_manifest_and_no_gallery(tmp_path):
    with pytest.raises(FileNotFoundError, match="no gallery"):
        Gallery.load(tmp_path / "nowhere")
    gallery_of(5).save(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "fairloss-gallery", "vers')
    with pytest.raises(ValueError, match="not valid JSON"):
        Gallery.load(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "fairloss-gallery", "version": 1}')
    with pytest.raises(ValueError, match="lacks"):
        Gallery.load(tmp_path)
