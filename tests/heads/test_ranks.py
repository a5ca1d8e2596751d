"""Losses on several ranks: statistics are those of the batches of all of them."""

from __future__ import annotations

from functools import partial
from unittest import mock

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from sharded_cases import refusal
from torch import nn

from fairloss.agent import Policy
from fairloss.heads import (
    AdaCos,
    AdaFace,
    ArcFace,
    CenterLoss,
    CosFace,
    CurricularFace,
    FairLoss,
    KappaFace,
    PerClass,
    RingLoss,
    UniformFace,
)
from fairloss.heads.base import gather_ranks
from fairloss_ext import class_statistics

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


class Network(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.backbone, self.head = nn.Linear(DIM, DIM), ArcFace(CLASSES, DIM, sample_rate=rate)

    def forward(self, x, labels):
        return self.head(self.backbone(x), labels)


def statistics(rank):
    """Statistics of the images of one rank: large and small classes differ between the two."""
    torch.manual_seed(rank)
    labels = torch.arange(CLASSES).repeat_interleave(torch.randint(1, 6, (CLASSES,)))
    return class_statistics(torch.randn(len(labels), DIM), labels, CLASSES)


def margins_after_an_epoch(rank):
    """Margins of heads whose statistics differ among ranks."""
    torch.manual_seed(1)
    heads = (
        FairLoss(CLASSES, DIM, policy=Policy.random(seed=1 + rank)),
        KappaFace(CLASSES, DIM),
        PerClass(CLASSES, DIM, counts=range(CLASSES), tilt=0.1, by="variance"),
    )
    for head in heads:
        head.end_of_epoch(statistics(rank))
    return [head.margins for head in heads]


def train_beside(head, rank, parallel):
    """A head whose backbone alone is in a DistributedDataParallel, or which is in one as well."""
    torch.manual_seed(1)
    backbone = nn.parallel.DistributedDataParallel(nn.Linear(DIM, DIM))
    trained = nn.parallel.DistributedDataParallel(head) if parallel else head
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1)
    for parts in batches():
        x, y = parts[rank]
        optimizer.zero_grad()
        trained(backbone(x), y).backward()
        optimizer.step()
    head.end_of_epoch(statistics(rank))


def mean_gradients(rank=None):
    """Gradients of each batch: averaged over ranks, or of the whole batch in one process."""
    torch.manual_seed(1)
    head = ArcFace(CLASSES, DIM)
    trained = head if rank is None else nn.parallel.DistributedDataParallel(head)
    gradients = []
    for parts in batches():
        used = parts if rank is None else parts[rank : rank + 1]
        head.zero_grad()
        trained(*(torch.cat(tensors) for tensors in zip(*used, strict=True))).backward()
        gradients.append(head.weight.grad.clone())
    return gradients


def compiled_difference(head, rank):
    """The largest difference of a loss and of gradients in a compiled step from another."""
    x, labels = next(batches())[rank]
    results = []
    for call in (head, torch.compile(head, backend="aot_eager")):
        head.reset_parameters()
        head.load_state_dict({"weight": torch.ones(CLASSES, DIM).tril()})
        head.zero_grad()
        call(x.requires_grad_(), labels).backward()
        results.append(torch.cat([x.grad.flatten(), head.weight.grad.flatten()]))
        x.grad = None
    return (results[0] - results[1]).abs().max().item(), results[0].norm().item()


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
    layouts = [
        refusal(train_beside, ArcFace(CLASSES, DIM), rank, parallel) for parallel in (False, True)
    ]
    replicas = margins_after_an_epoch(rank), layouts, mean_gradients(rank)
    group = torch.distributed.group.WORLD
    heads = AdaFace(CLASSES, DIM), AdaFace(CLASSES, DIM, process_group=group)
    replicas += ([compiled_difference(head, rank) for head in heads],)
    torch.save((states, errors, gathered, counts, replicas), f"{folder}/{rank}.pt")
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
    for _, _, gathered, *_ in results:
        expected = [[1.0, 1.0]] * 3, [False, True, True], [2**60, 2**60 + 1, 2**60 + 2]
        assert tuple(values.tolist() for values in gathered[:3]) == expected
        assert torch.equal(gathered[3], torch.ones(3, 2, 2, dtype=torch.float64))


@pytest.mark.slow
def test_a_step_gathers_sizes_and_one_tensor_and_ring_loss_until_its_radius_is_set(results):
    for *_, counts, _ in results:
        assert counts == dict.fromkeys(SHARED, 2 * STEPS) | {"RingLoss": 2}


@pytest.mark.slow
def test_a_head_trained_apart_on_each_rank_is_refused_at_the_end_of_an_epoch(results):
    for *_, (_, layouts, *_) in results:
        error, in_parallel = layouts
        assert error.startswith("weight: expected the same on every rank")
        assert "DistributedDataParallel" in error
        assert "process_group=" in error
        assert in_parallel == "no error"


@pytest.mark.slow
def test_margins_after_an_epoch_are_those_of_rank_0(results):
    expected, other = margins_after_an_epoch(0), margins_after_an_epoch(1)
    for *_, (margins, *_) in results:
        torch.testing.assert_close(margins, expected, rtol=0, atol=0)
    assert not any(torch.equal(a, b) for a, b in zip(expected, other, strict=True))


@pytest.mark.slow
def test_averaged_gradients_are_those_of_the_mean_over_the_labeled_samples_of_all_ranks(results):
    expected = mean_gradients()
    for *_, (_, _, gradients, _) in results:
        torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_compiled_heads_whose_ranks_share_a_batch_have_the_gradients_of_others(results):
    for *_, (*_, differences) in results:
        for difference, size in differences:
            assert difference < 1e-5 * size


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
