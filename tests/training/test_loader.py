"""Batches of images in memory, and of images that worker processes decode."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from multiprocessing import Semaphore, active_children, get_start_method, set_start_method
from pathlib import Path

import pytest
import torch
from synthetic import faces, write_folder
from training_runs import COUNTS, config, same

from fairloss.agent import Policy
from fairloss.data import FolderImages, augment, augment_sample, epoch_batches, open_images
from fairloss.io.atomic import FormatError
from fairloss.training import HeadConfig, RunFolder, train
from fairloss.training.build import build_trainer
from fairloss.training.loader import PREFETCH, Loader, _received

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")

SIZE = (32, 32)
WORKERS = pytest.mark.parametrize("workers", [0, 1, pytest.param(3, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"), COUNTS)


@pytest.fixture
def lazy(folder):
    return open_images(folder, SIZE, 1, memory_limit=0)


def trainer(path, images, **settings):
    made = build_trainer(config(path, **settings), images, RunFolder(path))
    made.model.register_forward_hook(
        lambda model, inputs, x: torch.nn.functional.dropout(x, 0.2, model.training)
    )
    return made


def copies(batches):
    return [images.clone() for images in batches]


def test_images_in_memory_are_read_and_augmented_batch_by_batch():
    images = faces(COUNTS)
    loader = Loader(images, 7, seed=3, workers=2)
    batches = epoch_batches(len(images), 7, 3, 5)
    expected = [augment(images.images(b), 3, 5, step) for step, b in enumerate(batches)]
    loaded = list(loader.load(5, loader.batches(5), 1))
    assert all(map(torch.equal, loaded, expected[1:]))
    assert len(loaded) == len(batches) - 1


@WORKERS
def test_decoded_images_are_augmented_by_their_position_in_the_epoch(lazy, workers):
    # per_class: a class of one image has it twice in the first batch, augmented in two ways
    loader = Loader(lazy, 12, 3, sampler="per_class", images_per_class=2, workers=workers)
    batches = loader.batches(5)
    order = torch.cat(batches).tolist()
    expected = [augment_sample(lazy[i][0], 3, 5, position) for position, i in enumerate(order)]
    for first in (0, 1):
        loaded = torch.cat(copies(loader.load(5, batches, first)))
        assert torch.equal(loaded, torch.stack(expected[12 * first :]))
    plain = torch.cat(copies(loader.load_in_order()))
    assert torch.equal(plain, lazy.images(range(len(lazy))))
    assert active_children() == []


class CountedImages(FolderImages):
    """Images that release a semaphore when they were read."""

    def image(self, index):
        image = super().image(index)
        self.reads.release()
        return image


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_batch_is_not_overwritten_before_the_next_one_is_asked_for(folder, workers):
    images = CountedImages(folder, SIZE, 1)
    images.reads = Semaphore(0)
    loader = Loader(images, 2, 3, augment=False, workers=workers)
    batches = loader.batches(1)
    expected = [FolderImages(folder, SIZE, 1).images(batch) for batch in batches]
    read = 0
    for step, loaded in enumerate(loader.load(1, batches)):
        # wait for all that workers are sent while this batch is in use; of the last one the first
        # image was then written
        ahead = min(step + 1 + PREFETCH * workers, len(batches))
        while read < 2 * ahead:
            assert images.reads.acquire(timeout=60)
            read += 1
        assert torch.equal(loaded, expected[step])
    assert read == len(images)


@pytest.mark.slow
def test_spawned_workers_decode_the_same_batches(lazy):
    loader = Loader(lazy, 4, 3, workers=1)
    batches = loader.batches(1)
    expected = torch.cat(copies(Loader(lazy, 4, 3, workers=0).load(1, batches)))
    before = get_start_method()
    set_start_method("spawn", force=True)
    try:
        assert torch.equal(torch.cat(copies(loader.load(1, batches))), expected)
    finally:
        set_start_method(before, force=True)


def test_too_little_shared_memory_is_one_error_that_names_the_setting(lazy, monkeypatch):
    def share(tensor):
        raise RuntimeError("unable to allocate shared memory")

    monkeypatch.setattr(torch.Tensor, "share_memory_", share)
    loader = Loader(lazy, 4, 3, workers=1)
    expected = "^workers: expected 12 KiB of shared memory for 3 batches of 4 images, got: unable"
    with pytest.raises(RuntimeError, match=expected):
        next(loader.load(1, loader.batches(1)))
    assert next(Loader(lazy, 4, 3, workers=0).load(1, loader.batches(1))).shape == (4, 1, 32, 32)


def test_the_samplers_of_the_settings_order_the_images(tmp_path, lazy):
    settings = {"batch_size": 4, "images_per_class": 2}
    batches = {
        sampler: trainer(tmp_path, lazy, sampler=sampler, **settings).loader.batches(1)
        for sampler in ("shuffle", "balanced", "per_class")
    }
    classes = {name: lazy.labels[torch.cat(order)].bincount() for name, order in batches.items()}
    assert classes["shuffle"].tolist() == COUNTS
    assert classes["balanced"].tolist() == [4] * 6
    pairs = lazy.labels[torch.stack(batches["per_class"])].view(-1, 2)
    assert torch.equal(pairs[:, 0], pairs[:, 1])
    assert {len(order) for order in batches.values()} == {6}


def test_any_number_of_workers_trains_to_the_same_bits_also_inside_an_epoch(tmp_path, lazy):
    whole = trainer(tmp_path, lazy, workers=0)
    expected = whole.run_epoch(1, 0.02).loss
    made = trainer(tmp_path, lazy, workers=3)
    saved = []

    def stop(so_far):
        if so_far.steps == 2:
            saved[:] = copy.deepcopy([made.state(), so_far])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.run_epoch(1, 0.02, after_step=stop)
    assert active_children() == []
    resumed = trainer(tmp_path, lazy, workers=1)
    resumed.restore(saved[0])
    assert resumed.run_epoch(1, 0.02, done=saved[1]).loss == expected
    assert torch.equal(resumed.head.weight, whole.head.weight)
    assert torch.equal(resumed.state()["rng"], whole.state()["rng"])


@WORKERS
def test_an_unreadable_image_is_the_one_error_with_its_file_named(tmp_path, workers):
    data = write_folder(tmp_path, COUNTS)
    images = open_images(data, SIZE, 1, memory_limit=0)
    damaged = data / "id0" / "003.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    made = trainer(tmp_path / "run", images, workers=workers)
    with pytest.raises(FormatError, match=r"id0.003\.png: ") as caught:
        made.run_epoch(1, 0.02)
    assert "Traceback" not in str(caught.value)
    assert active_children() == []


def test_a_worker_that_is_killed_ends_the_epoch(tmp_path, lazy):
    made = trainer(tmp_path, lazy, workers=1, batch_size=2)

    def kill(so_far):
        for worker in active_children():
            worker.kill()

    with pytest.raises(RuntimeError, match="DataLoader worker"):
        made.run_epoch(1, 0.02, after_step=kill)
    assert active_children() == []


def test_a_connection_lost_with_a_worker_is_named():
    def lost():
        yield torch.ones(1)
        raise ConnectionResetError("reset")

    received = _received(lost())
    assert next(received) == 1
    with pytest.raises(RuntimeError, match=r"^a DataLoader worker ended .*: reset$"):
        next(received)


def test_a_batch_of_more_classes_than_there_are_is_refused_before_the_run_begins(tmp_path):
    settings = config(tmp_path / "run", sampler="per_class", images_per_class=1)
    with pytest.raises(ValueError, match=r"^batch_size: expected at most 6, 1 images of 6 classes"):
        train(settings, faces(COUNTS))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_statistics_of_decoded_images_are_those_of_images_in_memory(tmp_path, folder, lazy):
    in_memory = open_images(folder, SIZE, 1)
    expected = trainer(tmp_path, in_memory).statistics()
    statistics = trainer(tmp_path, lazy, workers=1).statistics()
    for ours, theirs in zip(statistics, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, equal_nan=True)
    one_pass = trainer(tmp_path, lazy, workers=0).statistics(intra_angle=False)
    assert one_pass.intra_angle[:5].isnan().all()  # the last class has one image
    assert torch.equal(one_pass.intra_variance, statistics.intra_variance)


@pytest.mark.slow
def test_fair_loss_trains_from_a_folder_that_does_not_fit_in_memory(tmp_path, folder):
    Policy.constant("raise").save(tmp_path / "raise.json")
    head = HeadConfig(name="FairLoss", policy=str(tmp_path / "raise.json"), margin=0.15)
    settings = {"data": str(folder), "memory_limit": 0.0, "head": head, "epochs": 2}
    runs = [
        train(config(tmp_path / str(workers), workers=workers, **settings)) for workers in (0, 2)
    ]
    assert same(*runs)
    margins = torch.load(runs[0] / "head.pt", weights_only=True)["margins"]
    torch.testing.assert_close(margins, torch.full((6,), 0.25))


PROGRAM = """
import sys
sys.path[:0] = {path!r}
from training_runs import config
from fairloss.data import open_images
from fairloss.training import RunFolder
from fairloss.training.build import build_trainer
from multiprocessing import active_children
images = open_images({data!r}, (32, 32), 1, memory_limit=0)
trainer = build_trainer(config({run!r}, workers=2, batch_size=2), images, RunFolder({run!r}))
report = lambda so_far: print(*[worker.pid for worker in active_children()], flush=True)
for epoch in range(1, 10**6):
    trainer.run_epoch(epoch, 0.001, after_step=report)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("stop", "end"),
    [(os.killpg, signal.SIGINT), (os.killpg, signal.SIGTERM), (os.kill, signal.SIGKILL)],
)
def test_no_worker_outlives_a_training_process_that_is_stopped(tmp_path, folder, stop, end):
    path = [str(Path(__file__).parents[1]), *filter(None, os.environ["PYTHONPATH"].split(":"))]
    code = PROGRAM.format(path=path, data=str(folder), run=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        start_new_session=True,
    )
    workers = [int(word) for word in process.stdout.readline().split()]
    assert workers
    stop(process.pid, end)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("memory_limit", [0, 8 * 2**30])
@pytest.mark.parametrize(("ranks", "accumulate"), [(3, 1), (2, 3), (9, 1)])  # 9: some of no image
def test_ranks_have_together_the_images_of_one_process(
    folder, monkeypatch, memory_limit, ranks, accumulate
):
    images = open_images(folder, SIZE, 1, memory_limit=memory_limit)
    loader = Loader(images, 7, 3, workers=0, accumulate=accumulate)
    batches = loader.batches(5)
    expected, ordered = copies(loader.load(5, batches)), torch.cat(copies(loader.load_in_order()))
    monkeypatch.setattr("fairloss.training.loader.num_ranks", lambda: ranks)
    parts, ordered_parts = [], []
    for rank in range(ranks):
        monkeypatch.setattr("fairloss.training.loader.rank_number", lambda rank=rank: rank)
        parts.append(copies(loader.load(5, batches)))
        ordered_parts += copies(loader.load_in_order())
    assert torch.equal(torch.cat(ordered_parts), ordered)
    for step, batch in enumerate(batches):
        micro_batches = torch.arange(len(batch)).tensor_split(accumulate)
        for rank in range(ranks):
            rows = torch.cat([part.tensor_split(ranks)[rank] for part in micro_batches])
            assert torch.equal(parts[rank][step], expected[step][rows])
