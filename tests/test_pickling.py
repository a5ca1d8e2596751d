"""Objects with files, locks or networks work on after a pickle and copies."""

from __future__ import annotations

import copy
import pickle
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from gallery_cases import embeddings, numbered
from synthetic import faces
from training_runs import COUNTS, config

from fairloss.data import read_features, write_features
from fairloss.data.arrays import read_arrays, write_arrays
from fairloss.gallery import Gallery
from fairloss.io.atomic import FormatError
from fairloss.io.mapped import MappedArray, open_npy
from fairloss.io.run_folder import RunFolder
from fairloss.training import OptimizerConfig
from fairloss.training.build import build_trainer

COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
every_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
PROBES = embeddings(5, seed=9)


def small_gallery(index="flat"):
    gallery = Gallery(8, index=index, device="cpu")
    gallery.add(numbered(60), embeddings(60))
    gallery.reindex()
    return gallery


@pytest.mark.parametrize("index", ["flat", "ivf", "hnsw"])
@every_copy
def test_a_copy_of_a_gallery_finds_the_same_and_changes_alone(copied, index):
    gallery = small_gallery(index)
    before = gallery.search(PROBES)
    other = copied(gallery)
    assert other.search(PROBES) == before
    other.add(["new"], PROBES[:1])
    other.remove(numbered(30))
    assert other.search(PROBES[:1], 1)[0][0].name == "new"
    assert (len(gallery), len(other)) == (60, 31)
    assert gallery.search(PROBES) == before


def test_a_deep_copy_of_a_gallery_on_disk_stays_there(tmp_path):
    small_gallery("ivf").save(tmp_path)
    gallery = Gallery.load(tmp_path, device="cpu")
    other = copy.deepcopy(gallery)
    assert isinstance(other._rows.shards[0].rows, MappedArray)
    assert other.search(PROBES) == gallery.search(PROBES)
    other.save(tmp_path)


def search(gallery):
    return gallery.search(PROBES)


@pytest.mark.slow
def test_a_spawned_worker_searches_the_same_gallery():
    gallery = small_gallery()
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(search, (gallery,)) == gallery.search(PROBES)


@every_copy
def test_copies_of_features_stay_on_disk(copied, tmp_path):
    write_features(tmp_path / "f.npy", numbered(60), embeddings(60))
    features = read_features(tmp_path / "f.npy")
    other = copied(features)
    assert isinstance(other.embeddings, MappedArray)
    assert np.array_equal(other.embeddings, embeddings(60))
    assert b"f.npy" in pickle.dumps(features)
    part = pickle.loads(pickle.dumps(features.embeddings[3:5]))
    assert np.array_equal(part, embeddings(60)[3:5])


def test_a_pickle_of_a_file_that_was_replaced_is_refused(tmp_path):
    write_features(tmp_path / "f.npy", numbered(60), embeddings(60))
    stored = pickle.dumps(read_features(tmp_path / "f.npy"))
    write_features(tmp_path / "f.npy", numbered(60), embeddings(60, seed=1))
    with pytest.raises(FormatError, match=r"f.npy: changed since it was mapped"):
        pickle.loads(stored)
    (tmp_path / "f.npy").unlink()
    with pytest.raises(FormatError, match=r"f.npy: expected the array"):
        pickle.loads(stored)


@every_copy
def test_copies_of_images_in_arrays_stay_on_disk(copied, tmp_path):
    pixels = np.arange(2 * 3 * 16 * 16, dtype=np.uint8).reshape(2, 3, 16, 16)
    labels = np.arange(2)
    write_arrays(tmp_path, [pixels], labels, labels, ["a", "b"], ["x", "y"], mirror=True)
    images = read_arrays(tmp_path, (16, 16), 3)
    other = copied(images)
    assert np.array_equal(other.images([1, 0]), pixels[[1, 0]])
    assert other.names == images.names
    assert b"images.npy" in pickle.dumps(other)


@pytest.mark.parametrize("name", ["pickle", "deepcopy"])
def test_copies_of_written_arrays_hold_the_values_of_the_file_alone(name, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    array = open_npy(tmp_path / "a.npy", "c")
    array[0] = 1
    other = COPIES[name](array)
    other[1] = 2
    assert (array.tolist(), other.tolist()) == ([1, 0, 0], [0, 2, 0])
    assert open_npy(tmp_path / "a.npy").tolist() == [0, 0, 0]


@every_copy
def test_a_copy_of_a_trainer_trains_to_the_same_bits(copied, tmp_path):
    trainer = build_trainer(config(tmp_path), faces(COUNTS), RunFolder(tmp_path))
    trainer.start_schedule(OptimizerConfig(learning_rate=0.02, decay_at=[0.25]), 4)
    trainer.run_epoch(1)
    state = copy.deepcopy(trainer.state())
    other = copied(trainer)
    if copied is not copy.copy:  # which shares the weights
        other.run_epoch(2)
        assert other.step > trainer.step
        assert all(map(torch.equal, trainer.state()["model"].values(), state["model"].values()))
        torch.set_rng_state(state["rng"])
        trainer.run_epoch(2)
        weights = (each.head.state_dict()["weight"] for each in (trainer, other))
        assert torch.equal(*weights)
        assert trainer.learning_rate == other.learning_rate == 0.02 * 0.1
