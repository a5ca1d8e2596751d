"""The host run's tensor cores against plain products, in the layouts that the PTX manual documents.

Element i of a fragment is where the manual's formulas put it: groupID = lane / 4,
threadID_in_group = lane % 4.
"""

from __future__ import annotations

import pytest
import torch

ops = torch.ops.fairloss_host_run
TYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "tf32": torch.float32}
LANES = [(lane // 4, lane % 4) for lane in range(32)]


def a_elements(group, thread, short):
    if not short:  # m16n8k8, .tf32
        return [(group + 8 * (i in (1, 3)), thread + 4 * (i >= 2)) for i in range(4)]
    rows = [group if i < 2 or 4 <= i < 6 else group + 8 for i in range(8)]
    return [(rows[i], thread * 2 + (i & 1) + 8 * (i >= 4)) for i in range(8)]


def b_elements(group, thread, short):
    if not short:
        return [(thread, group), (thread + 4, group)]
    return [(thread * 2 + (i & 1) + 8 * (i >= 2), group) for i in range(4)]


def c_elements(group, thread):
    return [(group + 8 * (i >= 2), thread * 2 + (i & 1)) for i in range(4)]


def fragments(matrix, elements):
    rows = [torch.stack([matrix[index] for index in elements(*lane)]) for lane in LANES]
    return torch.stack(rows)


@pytest.mark.parametrize("name", TYPES)
def test_multiplication(name):
    dtype, short = TYPES[name], name != "tf32"
    depth = 16 if short else 8
    a, b = torch.randn(16, depth).to(dtype), torch.randn(depth, 8).to(dtype)
    c = torch.randn(16, 8)
    sums = fragments(c, c_elements)
    left = fragments(a, lambda g, t: a_elements(g, t, short)).view(torch.int32)
    right = fragments(b, lambda g, t: b_elements(g, t, short)).view(torch.int32)
    ops.mma(name, left, right, sums)
    if not short:  # the lowest 13 bits are not read
        a, b = ((x.view(torch.int32) & ~0x1FFF).view(torch.float32) for x in (a, b))
    torch.testing.assert_close(
        sums, fragments((c.double() + a.double() @ b.double()).float(), c_elements)
    )


def test_matrices():
    memory = torch.arange(4096, dtype=torch.int16)
    rows = torch.randperm(500)[:32]  # row r of matrix i: the address of lane 8 i + r
    words = torch.zeros(32, 4, dtype=torch.int32)
    ops.load_matrices(memory, 16 * rows, words)
    for lane, (group, thread) in enumerate(LANES):
        for i in range(4):
            first = 8 * rows[8 * i + group] + 2 * thread
            assert words[lane, i : i + 1].view(torch.int16).tolist() == [first, first + 1]


@pytest.mark.parametrize("pending", range(5))
def test_copies_arrive_when_waited_for(pending):
    source = torch.arange(20, dtype=torch.float32)
    out = torch.zeros(20)
    ops.copies(source, 0, pending, out)
    arrived = max(4 - pending, 0)
    expected = source.clone()
    expected[12:16] = 0
    assert out[: 4 * arrived].equal(expected[: 4 * arrived])
    assert out[4 * arrived :].isnan().all()


def test_misaligned_addresses_are_reported():
    with pytest.raises(RuntimeError, match=r"cp\.async of an address that is no multiple of 16"):
        ops.copies(torch.zeros(24), 4, 0, torch.zeros(20))
    rows = torch.full((32,), 8)
    with pytest.raises(RuntimeError, match="ldmatrix of an address that is no multiple of 16"):
        ops.load_matrices(torch.zeros(64), rows, torch.zeros(32, 4, dtype=torch.int32))
