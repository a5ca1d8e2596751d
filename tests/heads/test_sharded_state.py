"""States of heads whose classes are divided: saved by some ranks and loaded by more."""

from __future__ import annotations

import pytest
import torch
from sharded_cases import build, continued, resume
from torch import distributed, multiprocessing


def work(rank, world, folder, saved):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world
    )
    torch.save(resume(str(world), saved, folder), f"{folder}/{world}-{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_four_and_three_ranks_resume_from_the_checkpoint_of_two(tmp_path):
    head, optimizer = build()
    expected = continued(head, optimizer, 0, 3), continued(head, optimizer, 3, 6)
    folder = str(tmp_path)
    multiprocessing.spawn(work, (2, folder, None), nprocs=2)
    for world in (4, 3):
        multiprocessing.spawn(work, (world, folder, f"{folder}/checkpoint-2"), nprocs=world)
    for world in (2, 4, 3):
        for rank in range(world):
            losses, whole = torch.load(tmp_path / f"{world}-{rank}.pt")
            assert losses == pytest.approx(expected[world > 2], rel=1e-5)
            if world > 2:
                torch.testing.assert_close(whole, head.weight.detach(), rtol=1e-4, atol=1e-6)
