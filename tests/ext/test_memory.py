"""Memory of many steps: a leak of a few bytes at each would end a long training run."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import pytest
import torch

import fairloss_ext

STATUS = Path("/proc/self/status")
WARM_UP, STEPS = 100, 1000
ALLOWED = 2**20  # for fragments of the heap, which take 0.15 MB
# A leak shows from ALLOWED / STEPS = 1.05 kB a step on. 300 float32 are 1.2 kB, and no tensor below
# is smaller, except for scalars.
ROWS = 300
LABELS = torch.arange(ROWS)

pytestmark = [
    pytest.mark.skipif(not STATUS.exists(), reason="needs Linux"),
    pytest.mark.cpu_only,
]


@pytest.fixture(autouse=True)
def _one_thread():
    """Each thread's heap has fragments of its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def resident_bytes() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else a leak fits into memory that was free before
    line = next(
        x for x in STATUS.read_text(encoding="utf-8").splitlines() if x.startswith("VmRSS:")
    )
    return 1024 * int(line.split()[1])


def leaf(*shape):
    return torch.rand(shape).requires_grad_()


def cosine_partition():
    weight = leaf(ROWS, 4)
    target, nlse = fairloss_ext.cosine_partition(leaf(ROWS, 4), weight, LABELS, torch.tensor(8.0))
    (target + nlse).sum().backward()


def margin_loss():
    losses = fairloss_ext.margin_loss(leaf(ROWS), leaf(ROWS), LABELS, leaf(ROWS))
    losses.sum().backward()


def margin_logits():
    cosine = leaf(1, ROWS)
    fairloss_ext.margin_logits(cosine, LABELS[:1], leaf(ROWS)).sum().backward()


def margin_softmax_loss():
    embeddings, weight = leaf(ROWS, 4), leaf(ROWS, 4)
    fairloss_ext.margin_softmax_loss(embeddings, weight, LABELS, leaf(ROWS)).backward()


def class_statistics():
    fairloss_ext.class_statistics(torch.rand(ROWS, 4), LABELS, ROWS)


def distractor_ranks():
    scores = torch.rand(ROWS)
    fairloss_ext.distractor_ranks(torch.rand(ROWS, 4), torch.rand(9, 4), LABELS, scores, ROWS)


def sampled_classes():
    fairloss_ext.sampled_classes(LABELS, ROWS, ROWS // 2, 0)


@pytest.mark.parametrize("name", fairloss_ext.ops.__all__)
def test_steps_do_not_leak(name):
    step = globals()[name]
    for _ in range(WARM_UP):
        step()
    before = resident_bytes()
    for _ in range(STEPS):
        step()
    assert resident_bytes() - before <= ALLOWED
