"""Statistics of one batch that all ranks of `torch.distributed` share."""

import math

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from fairloss.checks import expect


def num_ranks() -> int:
    """Return the number of ranks, 1 without an initialized `torch.distributed`."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


@torch.no_grad()
def gather_ranks(*values: Tensor) -> tuple[Tensor, ...]:
    """Concatenate the (n, ...) `values` of all ranks of the default group, without gradient.

    All values of a rank have the same n, which differs between ranks. As every collective of
    torch, the call waits until all ranks have made it: a rank without a batch calls with n = 0.
    """
    ranks = num_ranks()
    if ranks == 1:
        return tuple(value.detach() for value in values)
    packed = torch.cat([_as_bytes(value) for value in values], dim=1)
    count = torch.tensor(len(packed), device=packed.device)
    counts = [torch.empty_like(count) for _ in range(ranks)]
    distributed.all_gather(counts, count)
    lengths = torch.stack(counts).tolist()  # synchronizes once for all ranks
    padded = packed.new_zeros(max(lengths), packed.shape[1])
    padded[: len(packed)] = packed
    parts = [torch.empty_like(padded) for _ in range(ranks)]
    distributed.all_gather(parts, padded)
    rows = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
    columns = rows.split([_as_bytes(value).shape[1] for value in values], dim=1)
    return tuple(
        # A copy: bytes are read as another dtype from an aligned address alone.
        column.clone(memory_format=torch.contiguous_format)
        .view(value.dtype)
        .reshape(len(rows), *value.shape[1:])
        for column, value in zip(columns, values, strict=True)
    )


def _as_bytes(values: Tensor) -> Tensor:
    """Return the bytes of (n, ...) values, (n, bytes of one row) uint8."""
    rows = values.reshape(len(values), math.prod(values.shape[1:]))
    return rows.contiguous().view(torch.uint8)


def check_one_rank(name: str, expected: str, got: object) -> None:
    """Raise ValueError in a `DistributedDataParallel`, and where there are several ranks."""
    parallel = DistributedDataParallel._get_active_ddp_module() is not None
    expect(not parallel and num_ranks() == 1, name, expected, got)
