"""Heads whose classes are divided among ranks, beside the same head in one process."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.distributed.checkpoint as dcp
from head_cases import CASES
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh

from fairloss.agent import Policy
from fairloss.heads import CosineHead, FairLoss
from fairloss.optim import RowSGD

DIM, STEPS, STATE_CLASSES = 16, 2, 10


class Scenario(NamedTuple):
    """A number of classes, and the labels of the ranks."""

    classes: int
    labels: list[Tensor]


def refusal(function: Any, *arguments: Any, **options: Any) -> str:
    """Return the error of a call on this rank, which also the others make."""
    try:
        function(*arguments, **options)
    except (TypeError, ValueError) as error:
        return str(error)
    return "no error"


def scenarios(world: int) -> dict[str, Scenario]:
    """Return batches of different lengths, in which also:

    - ignored: the first rank has ignored samples.
    - few classes: the last rank has no class.
    - first rank: all samples are of classes of the first rank.
    - empty: the last rank has no sample.
    """
    generator = torch.Generator().manual_seed(3)

    def draw(classes: int) -> list[Tensor]:
        return [torch.randint(classes, (3 + rank,), generator=generator) for rank in range(world)]

    ignored, empty = draw(11), draw(11)
    ignored[0][:2] = -1
    empty[-1] = empty[-1][:0]
    return {
        "ignored": Scenario(11, ignored),
        "few classes": Scenario(world - 1, draw(world - 1)),
        "first rank": Scenario(11, draw(2)),
        "empty": Scenario(11, empty),
    }


def cosine_heads() -> list[str]:
    """Return the names of the cases whose head divides its classes."""
    return [name for name, case in CASES.items() if isinstance(case.make(4, DIM), CosineHead)]


class Step(NamedTuple):
    """The results of a training step."""

    loss: Tensor
    grad_embeddings: Tensor
    grads: list[Tensor]  # dense, in the order of the parameters
    buffers: list[Tensor]


def steps(head: nn.Module, batch: Tensor, labels: Tensor, **options: Any) -> list[Step]:
    """Return training steps on batches that grow, all with the same labels."""
    results = []
    for step in range(STEPS):
        head.zero_grad()
        x = ((1 + step) * batch).requires_grad_()
        loss = head(x, labels, **options)
        loss.sum().backward()  # (B,) with reduction "none"
        assert x.grad is not None
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in head.parameters()]
        results.append(
            Step(
                loss.detach(),
                x.grad,
                [grad.to_dense() for grad in grads],
                [buffer.clone() for buffer in head.buffers()],
            )
        )
    return results


def layout(mesh: DeviceMesh | None) -> dict[str, Any]:
    """Return the option of a head that is divided: by a mesh, or None: by all ranks."""
    return {"process_group": distributed.group.WORLD} if mesh is None else {"device_mesh": mesh}


def largest_difference(
    name: str,
    scenario: Scenario,
    weighted: bool = False,
    mesh: DeviceMesh | None = None,
    **options: Any,
):
    """Return the largest relative difference of any result of this rank from one process.

    Each rank compares its part: its rows of the weights, and of the embeddings.
    """
    rank, world = distributed.get_rank(), distributed.get_world_size()
    sizes = [len(labels) for labels in scenario.labels]
    labels = torch.cat(scenario.labels)
    generator = torch.Generator().manual_seed(5)
    batch = 3 * torch.randn(len(labels), DIM, generator=generator)
    weights = torch.rand(len(labels), generator=generator) if weighted else None
    torch.manual_seed(1)
    whole = CASES[name].make(scenario.classes, DIM, **options)
    torch.manual_seed(2)
    with mock.patch("fairloss.collectives.num_ranks", return_value=1):
        expected = steps(whole, batch, labels, sample_weights=weights)
    torch.manual_seed(1)
    head = CASES[name].make(scenario.classes, DIM, **layout(mesh), **options)
    mine = head.shard.classes
    part = None if weights is None else weights.split(sizes)[rank]
    torch.manual_seed(2 + rank)  # what is drawn in a step is that of the first rank
    got = steps(head, batch.split(sizes)[rank], scenario.labels[rank], sample_weights=part)
    differences = []
    for ours, theirs in zip(got, expected, strict=True):
        differences += [
            relative(ours.loss, theirs.loss),
            relative(ours.grad_embeddings / world, theirs.grad_embeddings.split(sizes)[rank]),
            *map(relative, ours.buffers, theirs.buffers),
        ]
        for parameter, a, b in zip(head.parameters(), ours.grads, theirs.grads, strict=True):
            differences.append(relative(a, b[mine] if parameter is head.weight else b))
    return max(differences)


def relative(a: Tensor, b: Tensor) -> float:
    """Return the difference relative to b; inf where that is 0 and a is not."""
    difference, size = (a - b).double().norm().item(), b.double().norm().item()
    return difference / size if size else torch.inf if difference else 0.0


def build(**layout):
    """A head and an optimizer of it, of which nothing is as in the checkpoint."""
    torch.manual_seed(9)
    head = FairLoss(STATE_CLASSES, DIM, Policy.constant("keep"), sample_rate=0.5, **layout)
    optimizer = RowSGD(head.parameters(), lr=0.1, momentum=0.9)
    head.distribute_state(optimizer)
    return head, optimizer


def continued(head, optimizer, first, last):
    """Losses of some of the steps on batches of 12 samples, of all ranks or of one process."""
    ready = distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if ready else (0, 1)
    losses = []
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(12, DIM, generator=generator)
        y = torch.randint(-1, STATE_CLASSES, (12,), generator=generator)
        optimizer.zero_grad()
        loss = head(x.chunk(world)[rank], y.chunk(world)[rank])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def states(head, optimizer):
    return {"head": head.state_dict(), "optimizer": optimizer.state_dict()}


def load(head, optimizer, folder):
    """Load a checkpoint in place, as torch's tools do: the optimizer has its tensors before."""
    continued(head, optimizer, 0, 1)
    state = states(head, optimizer)
    dcp.load(state, checkpoint_id=folder)
    head.load_state_dict(state["head"])
    optimizer.load_state_dict(state["optimizer"])


def resume(
    name: str, saved: str | None, folder: str, mesh: DeviceMesh | None = None
) -> tuple[list[float], Tensor]:
    """Train for three steps, from a checkpoint if there is one, and write another.

    Returns:
        The losses, and the class weights of all ranks.
    """
    head, optimizer = build(**layout(mesh))
    first = 0
    if saved is not None:
        load(head, optimizer, saved)
        first = 3
    losses = continued(head, optimizer, first, first + 3)
    dcp.save(states(head, optimizer), checkpoint_id=f"{folder}/checkpoint-{name}")
    whole = head.state_dict()["weight"].full_tensor()
    other, _ = build(**layout(mesh))
    other.load_state_dict(head.state_dict() | {"weight": whole})
    assert torch.equal(other.weight, head.weight)
    return losses, whole
