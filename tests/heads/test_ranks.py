"""Losses on several ranks: statistics are those of the batches of all of them."""

from __future__ import annotations

from functools import partial
from unittest import mock

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn

from fairloss.heads import (
    AdaCos,
    AdaFace,
    ArcFace,
    CenterLoss,
    CosFace,
    CurricularFace,
    RingLoss,
    UniformFace,
)
from fairloss.heads.base import gather_ranks

CLASSES, DIM, STEPS = 9, 8, 3
SHARED = {
    "AdaCos": partial(AdaCos, CLASSES, DIM),
    "AdaFace": partial(AdaFace, CLASSES, DIM, momentum=0.5),
    "CurricularFace": partial(CurricularFace, CLASSES, DIM, momentum=0.5),
    "CenterLoss": partial(CenterLoss, CLASSES, DIM),
    "RingLoss": RingLoss,
}


def batches():
    """Parts of both ranks in every step; in the second, rank 1 has no label."""
    torch.manual_seed(4)
    for step in range(STEPS):
        parts = []
        for size in (5, 8):
            labels = torch.randint(0, CLASSES, (size,))
            labels[:2] = -1
            parts.append((3 * torch.randn(size, DIM), labels))
        if step == 1:
            parts[1][1].fill_(-1)
        yield parts


def train(loss, rank=None):
    """The state after some batches of one rank, or of all in one process."""
    states = []
    for parts in batches():
        used = parts if rank is None else parts[rank : rank + 1]
        x, y = (torch.cat(tensors) for tensors in zip(*used, strict=True))
        loss(x, y)
        tensors = [*loss.buffers(), *(loss.parameters() if isinstance(loss, RingLoss) else ())]
        states.append([tensor.detach().clone() for tensor in tensors])
    return states


def refusal(function, *arguments):
    try:
        function(*arguments)
    except ValueError as error:
        return str(error)
    return "no error"


class Network(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.backbone, self.head = nn.Linear(DIM, DIM), ArcFace(CLASSES, DIM, sample_rate=rate)

    def forward(self, x, labels):
        return self.head(self.backbone(x), labels)


def work(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    states = {}
    calls = {}
    for name, make in SHARED.items():
        torch.manual_seed(1)
        with mock.patch(
            "torch.distributed.all_gather", wraps=torch.distributed.all_gather
        ) as calls[name]:
            states[name] = train(make(), rank)
    x, y = torch.randn(4, DIM), torch.arange(4)
    parallel = [nn.parallel.DistributedDataParallel(Network(rate)) for rate in (0.3, 1.0)]
    errors = [
        refusal(parallel[0], x, y),
        refusal(CosFace(CLASSES, DIM, sample_rate=0.3), x, y),
        refusal(UniformFace(CLASSES, DIM), x, y),
        refusal(parallel[1], x, y),
    ]
    rows = 3 * rank
    gathered = gather_ranks(
        torch.full((rows, 2), float(rank)),
        torch.arange(rows) > 0,
        torch.arange(rows) + 2**60,
        torch.ones(rows, 2, 2, dtype=torch.float64),
    )
    counts = {name: all_gather.call_count for name, all_gather in calls.items()}
    torch.save((states, errors, gathered, counts), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The files that both ranks wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHARED))
def test_statistics_are_those_of_one_process_with_the_whole_batch(results, name):
    torch.manual_seed(1)
    expected = train(SHARED[name]())
    for states, *_ in results:
        torch.testing.assert_close(states[name], expected, rtol=1e-6, atol=1e-6)
    alone = train(SHARED[name](), rank=0)
    assert not torch.equal(
        torch.cat([t.flatten() for t in alone[-1]]), torch.cat([t.flatten() for t in expected[-1]])
    )


@pytest.mark.slow
def test_what_ranks_cannot_share_is_refused_by_name(results):
    for _, errors, *_ in results:
        for error in errors[:2]:
            assert error.startswith("sample_rate: expected 1 with several ranks")
            assert "RowSGD" in error
            assert error.endswith("got 0.3")
        assert errors[2].startswith("torch.distributed: expected one rank, as UniformFace")
        assert errors[3] == "no error"


@pytest.mark.slow
def test_parts_of_unequal_length_are_gathered(results):
    for _, _, gathered, _ in results:
        expected = [[1.0, 1.0]] * 3, [False, True, True], [2**60, 2**60 + 1, 2**60 + 2]
        assert tuple(values.tolist() for values in gathered[:3]) == expected
        assert torch.equal(gathered[3], torch.ones(3, 2, 2, dtype=torch.float64))


@pytest.mark.slow
def test_a_step_gathers_sizes_and_one_tensor_and_ring_loss_until_its_radius_is_set(results):
    for *_, counts in results:
        assert counts == dict.fromkeys(SHARED, 2 * STEPS) | {"RingLoss": 2}


def test_one_process_gathers_its_own_values():
    values, labels = torch.randn(3, requires_grad=True), torch.arange(3)
    gathered = gather_ranks(values, labels)
    assert torch.equal(gathered[0], values)
    assert torch.equal(gathered[1], labels)
    assert not gathered[0].requires_grad


def test_sampled_classes_in_a_distributed_module_of_one_rank_are_refused(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        network = nn.parallel.DistributedDataParallel(Network(0.3))
        batch = torch.randn(4, DIM), torch.arange(4)
        with pytest.raises(ValueError, match="sample_rate: expected 1 .*RowSGD.*got 0.3"):
            network(*batch)
        network.module(*batch).backward()
    finally:
        torch.distributed.destroy_process_group()
