"""Groups that divide the classes beside groups that divide the data, and sampled replicas."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from mesh_cases import (
    CLASSES,
    HEADS,
    OPTIONS,
    errors_of_one_rank,
    frozen_difference,
    gathers_of_a_step,
    lone_difference,
    mesh_differences,
    refusals,
    replica_difference,
    state_of_ranks,
)
from sharded_cases import (
    build,
    continued,
    cosine_heads,
    largest_difference,
    load,
    resume,
    scenarios,
)
from torch import distributed, multiprocessing

NAMES = ("data", "class")


def start(rank, world, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store-{world}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=100),
    )


def work(rank, world, folder):
    start(rank, world, folder)
    meshes = {
        shape: distributed.init_device_mesh("cpu", shape, mesh_dim_names=NAMES)
        for shape in ((world, 1), (1, world))
    }
    cases = scenarios(world)
    ignored = cases["ignored"]
    results = {
        "mesh": mesh_differences(meshes[world, 1], HEADS),
        "class mesh": {"FairLoss": largest_difference("FairLoss", ignored, mesh=meshes[1, world])},
        "replicas": {
            (name, scenario): replica_difference(name, cases[scenario])
            for name, scenario in (("FairLoss", "ignored"), ("AdaFace", "empty"))
        },
        "alone": lone_difference(),
        "frozen": [frozen_difference(mesh) for mesh in meshes.values()],
        "errors": [errors_of_one_rank(mesh) for mesh in meshes.values()],
        "state": state_of_ranks(meshes[world, 1]),
        "gathers": [gathers_of_a_step(mesh) for mesh in meshes.values()],
        "refusals": refusals(),
    }
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of two ranks."""
    folder = tmp_path_factory.mktemp("mesh")
    multiprocessing.spawn(work, (2, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def above(differences, limit=1e-5):
    return {case: value for case, value in differences.items() if not value < limit}


def test_losses_gradients_and_buffers_of_a_mesh_are_those_of_one_process(results):
    for result in results:
        assert above(result["mesh"]) == {}
        assert above(result["class mesh"]) == {}


def test_sampled_replicas_with_dense_gradients_are_one_process(results):
    for result in results:
        assert above(result["replicas"]) == {}


def test_the_mean_is_over_the_ranks_of_the_group_of_the_parallel_module(results):
    for result in results:
        assert result["alone"] < 1e-6


def test_a_step_in_a_mesh_makes_four_gathers(results):
    for result in results:
        assert result["gathers"] == [4, 4]  # of sizes along both, of batches, and of losses


def test_a_rank_whose_embeddings_need_no_gradient_takes_part_in_the_backward_pass(results):
    for result in results:
        assert max(result["frozen"]) < 1e-5


def test_an_error_of_one_rank_is_raised_by_all(results):
    valid = "embeddings: expected valid arguments on every rank, got an error "
    alike = "embeddings: expected rows of the same number of bytes on every rank"
    others = [f"{valid}in another class group", f"{valid}on ranks [1] of the group"]
    for rank, result in enumerate(results):
        for errors, other in zip(result["errors"], others, strict=True):
            shape, label, none, _ = errors
            assert shape == ("labels: expected shape (4,), got (3,)" if rank else other)
            beyond = f"labels: expected -1 to {CLASSES - 1}, got {CLASSES} at position 0"
            assert label == (beyond if rank else other)
            assert none == "no error"
        assert result["errors"][1][-1].startswith(alike)


def test_replicas_begin_with_the_same_state_and_share_it_after_an_epoch(results):
    weight, (first, margins), _ = results[0]["state"]
    for result in results:
        other, (drawn, shared), error = result["state"]
        assert torch.equal(other, weight)
        assert torch.equal(drawn, first)
        assert torch.equal(shared, margins)
        assert torch.equal(margins, first)
        assert error.startswith("weight: expected the same on every rank of a data group")


def test_layouts_that_are_none_are_refused_by_name(results):
    mesh = 'device_mesh: expected a DeviceMesh of one dimension, or of two named "data" and "class"'
    expected = [
        f"{mesh}, got 2 dimensions named ('dp', 'tp')",
        f"{mesh}, got 2 dimensions named None",
        f"{mesh}, got 'mesh'",
        "process_group: expected none beside device_mesh, got a group",
        "device_mesh: expected none, as Softmax shares no classes among ranks, got a mesh",
    ]
    for result in results:
        parallel, logits, *layouts, pickled = result["refusals"]
        assert parallel.startswith("device_mesh: expected the head outside of Distributed")
        assert logits.startswith("device_mesh: expected none where logits are computed")
        assert layouts == expected
        assert pickled.startswith("head: expected its state_dict() to be saved, got a pickle")


def work_of_four(rank, world, folder):
    start(rank, world, folder)
    meshes = [
        distributed.init_device_mesh("cpu", (2, 2), mesh_dim_names=names)
        for names in (NAMES, NAMES[::-1])
    ]
    results = {"mesh": mesh_differences(meshes[0], cosine_heads())}
    # Its losses without reduction are in another order than the ranks.
    results["other order"] = mesh_differences(meshes[1], HEADS, OPTIONS[:-1])
    results["errors"] = errors_of_one_rank(meshes[0])
    results["differs"] = state_of_ranks(meshes[0])[2]
    results["state"] = resume("2x2", None, folder, meshes[0])
    results["resumed"] = [
        resume("again", f"{folder}/checkpoint-2x2", folder, mesh) for mesh in (meshes[1], None)
    ]
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_by_two_ranks_are_one_process_and_save_what_any_layout_loads(tmp_path):
    multiprocessing.spawn(work_of_four, (4, str(tmp_path)), nprocs=4)
    head, optimizer = build()
    expected = continued(head, optimizer, 0, 6)
    resumed, optimizer = build()
    load(resumed, optimizer, tmp_path / "checkpoint-2x2")
    for rank in range(4):
        result = torch.load(tmp_path / f"{rank}.pt")
        assert above(result["mesh"]) == {}
        assert above(result["other order"]) == {}
        assert all("error" not in error[:9] for error in result["errors"][:2])
        assert result["differs"].startswith("weight: expected the same on every rank of a data")
        losses, whole = result["state"]
        assert losses == pytest.approx(expected[:3], rel=1e-5)
        assert torch.equal(resumed.weight, whole)
        for losses, whole in result["resumed"]:
            assert losses == pytest.approx(expected[3:], rel=1e-5)
            torch.testing.assert_close(whole, head.weight.detach(), rtol=1e-4, atol=1e-6)
