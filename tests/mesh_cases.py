"""Heads in a mesh of ranks, or replicas in DistributedDataParallel, beside one process."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from head_cases import CASES
from sharded_cases import DIM, Scenario, largest_difference, refusal, relative, scenarios, steps
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh

from fairloss.heads import AdaptiveFace, ArcFace, Softmax
from fairloss_ext import class_statistics

CLASSES = 11
HEADS = ("FairLoss", "NormFace learned", "AdaptiveFace", "AdaFace", "AdaCos", "MVSoftmax")
OPTIONS: list[dict[str, Any]] = [
    {"sample_rate": 0.4},
    {"sample_rate": 0.4, "sparse": False},
    {"reduction": "sum"},
    {"reduction": "none"},
]


def mesh_differences(
    mesh: DeviceMesh, names: Sequence[str], options: list[dict[str, Any]] = OPTIONS
) -> dict[str, float]:
    """Return the largest difference from one process of each head, and with some options."""
    cases = scenarios(distributed.get_world_size())
    result = {name: largest_difference(name, cases["ignored"], mesh=mesh) for name in names}
    for each in options:
        result[str(each)] = largest_difference("FairLoss", cases["ignored"], mesh=mesh, **each)
    result["weighted"] = largest_difference("MagFace", cases["ignored"], weighted=True, mesh=mesh)
    for scenario in ("few classes", "first rank", "empty"):
        result[scenario] = largest_difference(
            "FairLoss", cases[scenario], mesh=mesh, sample_rate=0.4
        )
    return result


def replica_difference(name: str, scenario: Scenario) -> float:
    """Return the largest difference of a sampled head in DistributedDataParallel from one process.

    Compared are the mean of the losses, the gradients and the buffers.
    """
    rank, world = distributed.get_rank(), distributed.get_world_size()
    labels, sizes = torch.cat(scenario.labels), [len(part) for part in scenario.labels]
    batch = 3 * torch.randn(len(labels), DIM, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    options = {"sample_rate": 0.4, "sparse": False}
    whole, head = (CASES[name].make(scenario.classes, DIM, **options) for _ in range(2))
    head.load_state_dict(whole.state_dict())
    # A group of this rank alone takes no part in the collectives of the others.
    groups = [distributed.new_group([each]) for each in range(world)]
    alone = nn.parallel.DistributedDataParallel(whole, process_group=groups[rank])
    expected = steps(alone, batch, labels)
    parallel = nn.parallel.DistributedDataParallel(head)
    got = steps(parallel, batch.split(sizes)[rank], scenario.labels[rank])
    differences = []
    for ours, theirs in zip(got, expected, strict=True):
        loss = ours.loss.clone()
        distributed.all_reduce(loss)
        part = theirs.grad_embeddings.split(sizes)[rank]
        differences += [
            relative(loss / world, theirs.loss),
            relative(ours.grad_embeddings / world, part),
            *map(relative, ours.grads, theirs.grads),
            *map(relative, ours.buffers, theirs.buffers),
        ]
    return max(differences)


def lone_difference() -> float:
    """Return the difference of a mean over the samples of this rank, alone in its group."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    groups = [distributed.new_group([each]) for each in range(world)]
    head = ArcFace(CLASSES, DIM)
    parallel = nn.parallel.DistributedDataParallel(head, process_group=groups[rank])
    x, labels = torch.randn(3 + rank, DIM), torch.arange(3 + rank)
    return relative(parallel(x, labels).detach(), head.eval()(x, labels).detach())


def frozen_difference(mesh: DeviceMesh) -> float:
    """Return the difference of gradients where the last rank's embeddings need none."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    x, labels = torch.randn(4, DIM, generator=torch.Generator().manual_seed(3)), torch.arange(4)
    torch.manual_seed(1)
    whole = ArcFace(CLASSES, DIM)
    torch.manual_seed(1)
    head = ArcFace(CLASSES, DIM, device_mesh=mesh)
    (expected,) = torch.autograd.grad(whole.eval()(x.requires_grad_(), labels), x)
    x = x.detach() if rank == 0 else torch.empty(0, DIM)
    head(x.requires_grad_(rank == 0), labels if rank == 0 else labels[:0]).backward()
    return relative(x.grad / world, expected) if rank == 0 else 0.0


def errors_of_one_rank(mesh: DeviceMesh) -> list[str]:
    """Return the errors of this rank where the last one is called with other arguments."""
    last = distributed.get_rank() == distributed.get_world_size() - 1
    head = ArcFace(CLASSES, DIM, device_mesh=mesh)
    x, labels = torch.randn(4, DIM), torch.arange(4)
    return [
        refusal(head, x, labels[:3] if last else labels),
        refusal(head, x, labels + CLASSES if last else labels),
        refusal(head, x, labels),
        refusal(head, x, labels, torch.ones(4) if last else None),
    ]


def state_of_ranks(mesh: DeviceMesh) -> tuple[Tensor, list[Tensor], str]:
    """Return class weights, margins, and an error of weights that differ.

    All ranks draw their own, and afterwards the last rank changes its.
    """
    rank = distributed.get_rank()
    torch.manual_seed(rank)
    head = AdaptiveFace(CLASSES, DIM, device_mesh=mesh)
    weight = head.state_dict()["weight"].full_tensor().clone()
    first = head.margins.detach().clone()
    statistics = class_statistics(torch.randn(CLASSES, DIM), torch.arange(CLASSES), CLASSES)
    with torch.no_grad():
        head.margins.add_(0.01 * rank)
    head.end_of_epoch(statistics)
    margins = [first, head.margins.detach().clone()]
    with torch.no_grad():
        head.weight.add_(rank == distributed.get_world_size() - 1)
    return weight, margins, refusal(head.end_of_epoch, statistics)


def gathers_of_a_step(mesh: DeviceMesh) -> int:
    """Return the number of gathers in a step of a head in a mesh."""
    head = ArcFace(CLASSES, DIM, device_mesh=mesh)
    with mock.patch("torch.distributed.all_gather", wraps=distributed.all_gather) as gather:
        head(torch.randn(4, DIM, requires_grad=True), torch.arange(4)).backward()
    return gather.call_count


def refusals() -> list[str]:
    """Return the errors of layouts that are none."""
    world = distributed.get_world_size()
    mesh = distributed.init_device_mesh("cpu", (world, 1), mesh_dim_names=("data", "class"))
    others = [
        distributed.init_device_mesh("cpu", (world, 1), mesh_dim_names=("dp", "tp")),
        distributed.init_device_mesh("cpu", (world, 1)),
        "mesh",
    ]
    head = ArcFace(CLASSES, DIM, device_mesh=mesh)
    parallel = nn.parallel.DistributedDataParallel(head)
    return [
        refusal(parallel, torch.randn(1, DIM), torch.zeros(1, dtype=torch.int64)),
        refusal(head.logits, torch.randn(1, DIM)),
        *(refusal(ArcFace, CLASSES, DIM, device_mesh=other) for other in others),
        refusal(ArcFace, CLASSES, DIM, device_mesh=mesh, process_group=distributed.group.WORLD),
        refusal(Softmax, CLASSES, DIM, device_mesh=mesh),
        refusal(pickle.dumps, head),
    ]
