"""Classes divided among ranks: losses, gradients and buffers are those of one process."""

from __future__ import annotations

from contextlib import ExitStack
from unittest import mock

import pytest
import torch
from sharded_cases import (
    DIM,
    build,
    continued,
    cosine_heads,
    largest_difference,
    load,
    refusal,
    relative,
    resume,
    scenarios,
)
from torch import Tensor, distributed, multiprocessing, nn

from fairloss.agent import Policy
from fairloss.heads import AdaptiveFace, ArcFace, CosFace, FairLoss, MVSoftmax, Softmax
from fairloss.io.divided import whole_state
from fairloss.ranks import RankError, gather_objects, on_every_rank, on_first_rank
from fairloss_ext import class_statistics

CLASSES = 11
COLLECTIVES = ("all_gather", "all_reduce", "reduce_scatter", "broadcast")
WORLDS = [2, *(pytest.param(world, marks=pytest.mark.slow) for world in (3, 4))]


def differences(world):
    """Every head in one scenario and FairLoss in all; with three ranks and more every pair."""
    result = {}
    for scenario, case in scenarios(world).items():
        for name in cosine_heads() if scenario == "ignored" or world > 2 else ["FairLoss"]:
            result[name, scenario] = largest_difference(name, case)
    case = scenarios(world)["ignored"]
    for options in ({"reduction": "sum"}, {"reduction": "none"}, {"sample_rate": 0.4}):
        result["CosFace", str(options)] = largest_difference("CosFace", case, **options)
    result["MagFace", "weighted"] = largest_difference("MagFace", case, weighted=True)
    return result


def recorded(call, shapes):
    """The collective `call`, which also records the shape or the number of what it is given."""

    def record(values, *arguments, **options):
        shapes.append([*values.shape] if isinstance(values, Tensor) else len(values))
        return call(values, *arguments, **options)

    return record


def collectives(head):
    """The arguments of each collective of a step, as `recorded`."""
    shapes = {name: [] for name in COLLECTIVES}
    with ExitStack() as stack:
        for name in COLLECTIVES:
            record = recorded(getattr(distributed, name), shapes[name])
            stack.enter_context(mock.patch(f"torch.distributed.{name}", record))
        x = torch.randn(5, DIM, requires_grad=True)
        head(x, torch.arange(5)).backward()
    return shapes


def warm_started(group):
    """The classes of a divided head, and those that other heads take over from it, whole."""
    torch.manual_seed(1)
    head = ArcFace(CLASSES, DIM, process_group=group)
    whole, divided = ArcFace(CLASSES, DIM), ArcFace(CLASSES, DIM, process_group=group)
    divided.warm_start(head)
    results = [divided.state_dict()["weight"].full_tensor()]
    for other in (head, head.state_dict()):
        whole.reset_parameters()
        whole.warm_start(other, torch.arange(CLASSES))
        results.append(whole.weight.detach().clone())
    return head.state_dict()["weight"].full_tensor(), results


def rows_in_memory(group):
    """The rows that a weight and its momentum keep in memory once whole ones were loaded."""
    head = ArcFace(CLASSES, DIM, process_group=group)
    head.load_state_dict({"weight": torch.ones(CLASSES, DIM)}, assign=True)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    head.distribute_state(optimizer)
    state = {"momentum_buffer": torch.ones(CLASSES, DIM)}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": {0: state}})
    kept = head.weight, optimizer.state[head.weight]["momentum_buffer"]
    return len(head.shard), [each.untyped_storage().nbytes() // (4 * DIM) for each in kept]


def whole(group):
    """The whole state of a head, its own rows, and the shapes of the messages between ranks."""
    head = CosFace(CLASSES, DIM, process_group=group)
    shapes = []
    with (
        mock.patch("torch.distributed.tensor.DTensor.full_tensor", side_effect=AssertionError),
        mock.patch("fairloss.io.divided.ROWS_OF_A_MESSAGE", 2),
        mock.patch("torch.distributed.broadcast", recorded(distributed.broadcast, shapes)),
    ):
        state = whole_state({"head": head.state_dict(), "step": 3})
    return state, head.weight.detach(), shapes


def failed_before_a_shared_call():
    """The error of this rank where the last one fails before all share a result, and a gather."""
    rank, world = distributed.get_rank(), distributed.get_world_size()

    def build():
        if rank == world - 1:
            raise ValueError("of the last rank")
        return on_first_rank(lambda: 0)

    with pytest.raises((ValueError, RankError)) as raised:
        on_every_rank(build)
    return raised.typename, str(raised.value), gather_objects(rank)


def train(rank, world, sharded):
    """Losses of 20 steps, the backbone's weight and the head's, of a rank or of one process."""
    torch.manual_seed(1)
    group = distributed.group.WORLD if sharded else None
    backbone = nn.Linear(DIM, DIM)
    head = FairLoss(CLASSES, DIM, Policy.random(seed=2), process_group=group)
    model = nn.parallel.DistributedDataParallel(backbone) if sharded else backbone
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(4)
    losses = []
    for step in range(20):
        x = torch.randn(6 * world, DIM, generator=generator)
        y = torch.randint(-1, CLASSES, (6 * world,), generator=generator)
        if sharded:
            x, y = x[6 * rank :][:6], y[6 * rank :][:6]
        optimizer.zero_grad()
        loss = head(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step == 9:
            images = torch.randn(
                4 * CLASSES + rank, DIM, generator=torch.Generator().manual_seed(rank)
            )
            head.end_of_epoch(
                class_statistics(images, torch.arange(len(images)) % CLASSES, CLASSES)
            )
    return losses, backbone.weight.detach(), head.weight.detach(), head.margins


def work(rank, world, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    group = distributed.group.WORLD
    results = {"differences": differences(world), "trained": train(rank, world, sharded=True)}
    results["collectives"] = [
        collectives(make(CLASSES, DIM, process_group=group)) for make in (ArcFace, MVSoftmax)
    ]
    torch.manual_seed(rank)
    with mock.patch("torch.distributed.broadcast", side_effect=RuntimeError):  # as NCCL on the CPU
        results["margins"] = AdaptiveFace(CLASSES, DIM, process_group=group).margins.detach()
    head = CosFace(2 * world, DIM, process_group=group)  # equal shards, which DDP would accept
    x, labels = torch.randn(3, DIM), torch.arange(3)
    results["errors"] = [
        refusal(nn.parallel.DistributedDataParallel(head), x, labels),
        refusal(head.logits, x),
        refusal(head, x, labels + 2 * world),
        refusal(Softmax, CLASSES, DIM, process_group=group),
        refusal(head.distribute_state, torch.optim.SGD(nn.Linear(2, 2).parameters())),
    ]
    results["warm start"], results["rows"] = warm_started(group), rows_in_memory(group)
    results["whole"], results["failed"] = whole(group), failed_before_a_shared_call()
    results["state"] = resume(str(world), None, folder)
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module", params=WORLDS)
def folder(request, tmp_path_factory):
    """The files of this number of ranks."""
    folder = tmp_path_factory.mktemp("sharded")
    multiprocessing.spawn(work, (request.param, str(folder)), nprocs=request.param)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """The results of each rank."""
    return [torch.load(folder / f"{rank}.pt") for rank in range(len([*folder.glob("*.pt")]))]


def test_losses_gradients_and_buffers_are_those_of_one_process(results):
    for result in results:
        assert {case: value for case, value in result["differences"].items() if value > 1e-5} == {}


def test_twenty_steps_beside_a_parallel_backbone_are_those_of_one_process(results):
    losses, backbone, weight, margins = train(0, len(results), sharded=False)
    for result in results:
        torch.testing.assert_close(result["trained"][0], losses, rtol=1e-5, atol=0)
        assert relative(result["trained"][1], backbone) < 1e-5
        assert torch.equal(result["trained"][3], margins)
    parts = torch.cat([result["trained"][2] for result in results])
    assert relative(parts, weight) < 1e-5


def test_a_step_takes_few_collectives(results):
    world, batch = len(results), 5 * len(results)
    for result in results:
        for shapes, more in zip(result["collectives"], ([], [[batch]]), strict=True):
            assert shapes == {
                "all_gather": [world] * 2,  # of the sizes, and of embeddings with their labels
                "all_reduce": [*more, [batch], [2, batch]],
                "reduce_scatter": [[5, DIM]],
                "broadcast": [],
            }


def test_margins_of_all_classes_are_those_that_the_first_rank_drew(results):
    for result in results[1:]:
        assert torch.equal(result["margins"], results[0]["margins"])


def test_what_ranks_cannot_do_is_refused_by_name(results):
    last = 2 * len(results) - 1
    for result in results:
        parallel, logits, label, dense, optimizer = result["errors"]
        assert parallel.startswith("process_group: expected the head outside of Distributed")
        assert logits.startswith("process_group: expected none where logits are computed")
        assert label == f"labels: expected -1 to {last}, got {last + 1} at position 0"
        assert dense == (
            "process_group: expected none, as Softmax shares no classes among ranks, got a group"
        )
        assert optimizer == (
            "optimizer: expected one of the class weights, got one of other parameters"
        )


def test_a_head_of_any_layout_takes_over_the_classes_of_all_ranks(results):
    for result in results:
        expected, weights = result["warm start"]
        assert all(torch.equal(weight, expected) for weight in weights)


def test_the_first_rank_alone_gets_whole_tensors_in_small_messages(results):
    first, others = results[0], results[1:]
    state, _, _ = first["whole"]
    assert torch.equal(state["head"]["weight"], torch.cat([each["whole"][1] for each in results]))
    assert [state["step"], state["head"]["scale"]] == [3, 64.0]
    assert [each["whole"][0]["head"]["weight"] for each in others] == [None] * len(others)
    for _, rows, shapes in (each["whole"] for each in results):
        assert len(rows) < CLASSES
        assert max(shapes) == [2, DIM]
        assert sum(length for length, _ in shapes) == CLASSES


def test_an_error_before_a_call_that_ranks_share_is_raised_once_on_each(results):
    *others, last = [result["failed"] for result in results]
    everyone = list(range(len(results)))
    assert last == ("ValueError", "of the last rank", everyone)
    assert others == [("RankError", "of the last rank", everyone)] * len(others)


def test_whole_tensors_that_were_loaded_do_not_stay_in_memory(results):
    for result in results:
        rows, kept = result["rows"]
        assert kept == [rows, rows]


def test_one_process_resumes_from_a_checkpoint_of_ranks(folder, results):
    head, optimizer = build()
    expected = continued(head, optimizer, 0, 6)
    resumed, optimizer = build()
    load(resumed, optimizer, folder / f"checkpoint-{len(results)}")
    for result in results:
        losses, whole = result["state"]
        assert losses == pytest.approx(expected[:3], rel=1e-5)
        assert torch.equal(resumed.weight, whole)
    assert continued(resumed, optimizer, 3, 6) == pytest.approx(expected[3:], rel=1e-5)
    torch.testing.assert_close(resumed.state_dict(), head.state_dict(), rtol=1e-4, atol=1e-6)
