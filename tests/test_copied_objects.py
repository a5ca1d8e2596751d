"""Objects pickled, deep-copied or sent to a worker do what the object before does."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil

import numpy as np
import pytest
import torch
from gallery_cases import SIZE, embeddings, numbered
from synthetic import faces
from torch import nn

from fairloss import heads
from fairloss.agent import Policy
from fairloss.data import read_features, write_features
from fairloss.io.run_folder import RunFolder
from fairloss.models import build_model
from fairloss.optim import RowSGD
from fairloss.training import OptimizerConfig, Trainer
from fairloss_ext import class_statistics

COUNT = 300
CLASSES, DIM = 12, 8
PROBES = embeddings(20, seed=3)
RAISE = Policy.constant("raise")


def pickled(value):
    return pickle.loads(pickle.dumps(value))


COPY = pytest.mark.parametrize("copied", [pickled, copy.deepcopy], ids=["pickle", "deepcopy"])


def gallery(index="auto"):
    gallery_module = pytest.importorskip("fairloss.gallery")
    pytest.importorskip("faiss")
    made = gallery_module.Gallery(SIZE, index=index, device="cpu")
    made.add(numbered(COUNT), embeddings(COUNT))
    if index != "auto":
        made.reindex()
        assert made.index == index
    return made


def matches(searched):
    return [[(match.name, match.score) for match in row] for row in searched.search(PROBES, k=7)]


def statistics(seed):
    labels = torch.arange(CLASSES).repeat_interleave(torch.arange(3, 3 + CLASSES))
    generator = torch.Generator().manual_seed(seed)
    return class_statistics(
        torch.randn(len(labels), DIM, generator=generator) + labels[:, None] % 3, labels, CLASSES
    )


@COPY
def test_an_ivf_gallery_keeps_its_index_and_matches(copied):
    before = gallery("ivf")
    right = matches(before)
    after = copied(before)
    assert (after.index, len(after), after.names) == ("ivf", COUNT, before.names)
    assert matches(after) == right
    assert matches(before) == right


@COPY
def test_a_gallery_and_its_copy_do_not_share_what_is_added(copied):
    before = gallery("hnsw")
    right = matches(before)
    after = copied(before)
    assert after.index == "hnsw"
    after.add([f"probe {i}" for i in range(len(PROBES))], PROBES)
    assert [row[0].name for row in after.search(PROBES)] == [f"probe {i}" for i in range(20)]
    after.remove(numbered(COUNT // 2))
    assert (len(before), before.index) == (COUNT, "hnsw")
    assert matches(before) == right


def test_a_pickled_gallery_outlives_the_folder_it_was_loaded_from(tmp_path):
    made = gallery("ivf")
    made.save(tmp_path / "gallery")
    loaded = type(made).load(tmp_path / "gallery", device="cpu")
    right, data = matches(loaded), pickle.dumps(loaded)
    del loaded
    shutil.rmtree(tmp_path / "gallery")
    after = pickle.loads(data)
    assert matches(after) == right
    after.save(tmp_path / "other")
    assert matches(type(made).load(tmp_path / "other", device="cpu")) == right


@COPY
def test_removed_names_stay_removed_in_a_copy(copied):
    before = gallery("ivf")
    best = {row[0][0] for row in matches(before)}
    before.remove(sorted(best))
    right = matches(before)
    after = copied(before)
    assert matches(after) == right
    assert best.isdisjoint(after.names)
    assert len(after) == COUNT - len(best)
    after.reindex("flat")
    before.reindex("flat")
    assert matches(after) == matches(before)


def _search(given, connection):
    connection.send((given.index, matches(given)))


@pytest.mark.slow
@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_a_spawned_worker_searches_the_gallery_it_is_given(index):
    made = gallery(index)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_search, args=(made, theirs))
    worker.start()
    theirs.close()
    assert ours.poll(120)
    assert ours.recv() == (index, matches(made))
    worker.join()


@COPY
def test_features_keep_their_rows_and_names(copied, tmp_path):
    array = embeddings(4)
    write_features(tmp_path / "f.npy", ["a/1.jpg", "a/2.jpg", "b/1.jpg", "c/1.jpg"], array, "aabc")
    before = read_features(tmp_path / "f.npy")
    after = copied(before)
    np.testing.assert_array_equal(after.embeddings, array)
    assert (after.names, after.identities) == (before.names, list("aabc"))
    assert after.rows(["c/1.jpg", "a/2.jpg"]).tolist() == [3, 1]


@COPY
def test_a_policy_acts_alike_and_stays_read_only(copied):
    before = RAISE
    after = copied(before)
    states = np.arange(len(before.table))
    np.testing.assert_array_equal(after.act(states), before.act(states))
    np.testing.assert_array_equal(after.q, before.q)
    assert (after.grid, after.provenance) == (before.grid, before.provenance)
    for table in (after.table, after.q, after.visits):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 0


@COPY
def test_an_optimizer_copied_with_its_head_takes_the_same_next_steps(copied):
    def step(head, optimizer, seed):
        optimizer.zero_grad()
        points = torch.randn(6, DIM, generator=torch.Generator().manual_seed(seed))
        head(points, torch.arange(6)).backward()
        optimizer.step()

    head = heads.ArcFace(CLASSES, DIM, sample_rate=0.5, scale=8.0)
    optimizer = RowSGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    step(head, optimizer, 1)
    other_head, other = copied((head, optimizer))
    for seed in (2, 3):
        step(head, optimizer, seed)
        step(other_head, other, seed)
    assert other_head.weight is not head.weight
    assert torch.equal(other_head.weight, head.weight)
    momentum = other.state[other_head.weight]["momentum_buffer"]
    assert torch.equal(momentum, optimizer.state[head.weight]["momentum_buffer"])


@COPY
def test_a_copied_trainer_trains_the_same_next_epoch(copied):
    data = faces([2, 1, 1], size=32)
    model = build_model("small_cnn", 16, (32, 32), 1)
    head = heads.FairLoss(3, 16, RAISE, scale=16.0)
    before = Trainer(model, head, data, OptimizerConfig(learning_rate=0.02), batch_size=2, seed=0)
    before.run_epoch(0)
    after = copied(before)
    results = [trainer.run_epoch(1).loss for trainer in (before, after)]
    assert results[0] == results[1]
    assert after.step == before.step == 4
    for ours, right in zip(after.model.parameters(), before.model.parameters(), strict=True):
        assert ours is not right
        assert torch.equal(ours, right)
    assert torch.equal(after.head.weight, before.head.weight)


@COPY
def test_fair_loss_keeps_its_own_policy_and_margins(copied):
    before = nn.Sequential(nn.Linear(DIM, DIM), heads.FairLoss(CLASSES, DIM, RAISE))
    before[1].end_of_epoch(statistics(0))
    after = copied(before)
    assert torch.equal(after[1].margins, before[1].margins)
    untouched = before[1].margins.clone()
    after[1].end_of_epoch(statistics(1))
    assert torch.equal(before[1].margins, untouched)
    before[1].end_of_epoch(statistics(1))
    assert torch.equal(after[1].margins, before[1].margins)
    points, labels = torch.randn(5, DIM), torch.arange(5)
    assert torch.equal(after[1](after[0](points), labels), before[1](before[0](points), labels))


@COPY
def test_face_images_and_their_subsets_keep_images_and_labels(copied):
    before = faces([3, 2, 4], size=8).subset([8, 0, 3, 4])
    after = copied(before)
    assert len(after) == 4
    for (image, label), (right, right_label) in zip(after, before, strict=False):
        assert torch.equal(image, right)
        assert label == right_label
    assert (after.names, after.identities) == (before.names, before.identities)
    assert torch.equal(after.counts, before.counts)
    assert torch.equal(after.of_identities(["id1"]).images([1]), before.images([3]))


@COPY
def test_a_copied_run_folder_writes_to_the_same_run(copied, tmp_path):
    before = RunFolder(tmp_path / "run")
    before.log("epoch", step=1)
    after = copied(before)
    after.log("epoch", step=2)
    assert [line["step"] for line in before.metrics()] == [1, 2]
    after.save_checkpoint(3, {"weight": torch.ones(2)})
    assert torch.equal(before.load_checkpoint()["weight"], torch.ones(2))
