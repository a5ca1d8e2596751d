"""Collectives of tensors over ranks: sums, means and concatenations of batches."""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fairloss.checks import expect
from fairloss.ranks import num_ranks

P = ParamSpec("P")
T = TypeVar("T")
SAME_WEIGHT = (
    "the same on every rank (outside of DistributedDataParallel each rank trains a separate head: "
    "wrap it in DDP, as the backbone, or divide its classes among the ranks with process_group=)"
)


def run_eagerly(function: Callable[P, T]) -> Callable[P, T]:
    """Keep a function out of compiled graphs; the import of torch's decorator takes a second."""

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        if not torch.compiler.is_compiling():
            return function(*arguments, **options)
        eager: Callable[P, T] = torch.compiler.disable(function)
        return eager(*arguments, **options)

    return run


def replica_group() -> "distributed.ProcessGroup | None":
    """Return the group of the `DistributedDataParallel` that makes this pass; None: the default."""
    parallel = DistributedDataParallel._get_active_ddp_module()
    return None if parallel is None else parallel.process_group


@torch.no_grad()
def gather_ranks(
    *values: Tensor, group: "distributed.ProcessGroup | None" = None
) -> tuple[Tensor, ...]:
    """Concatenate the (n, ...) `values` of all ranks, without gradient.

    All values of a rank have the same n, which differs between ranks. As every collective of
    torch, the call waits until all ranks have made it: a rank without a batch calls with n = 0.

    Args:
        values: of this rank.
        group: of the ranks; None: that of the `DistributedDataParallel` that makes this pass, or
            the default group.
    """
    group = replica_group() if group is None else group
    if num_ranks(group) == 1:
        return tuple(value.detach() for value in values)
    return gather_rows(values, batch_lengths(len(values[0]), values[0].device, group), group)


def batch_lengths(
    length: int, device: torch.device, group: "distributed.ProcessGroup | None" = None
) -> list[int]:
    """Return the `length` of every rank; a collective on this device."""
    return [lengths[0] for lengths in gather_integers(torch.tensor([length], device=device), group)]


@run_eagerly
def gather_integers(
    values: Tensor, group: "distributed.ProcessGroup | None" = None
) -> list[list[int]]:
    """Return the (n,) integers of every rank."""
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(parts, values, group=group)
    gathered: list[list[int]] = torch.stack(parts).tolist()  # synchronizes once for all ranks
    return gathered


@run_eagerly
def gather_rows(
    values: Sequence[Tensor], lengths: list[int], group: "distributed.ProcessGroup | None" = None
) -> tuple[Tensor, ...]:
    """Concatenate the (n, ...) values of ranks with these n, by one collective."""
    packed = torch.cat([_as_bytes(value) for value in values], dim=1)
    padded = packed.new_zeros(max(lengths), packed.shape[1])
    padded[: len(packed)] = packed
    parts = [torch.empty_like(padded) for _ in lengths]
    distributed.all_gather(parts, padded, group=group)
    rows = torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
    columns = rows.split([_as_bytes(value).shape[1] for value in values], dim=1)
    return tuple(
        # A copy: bytes are read as another dtype from an aligned address alone.
        column.clone(memory_format=torch.contiguous_format)
        .view(value.dtype)
        .reshape(len(rows), *value.shape[1:])
        for column, value in zip(columns, values, strict=True)
    )


@run_eagerly
@torch.no_grad()
def sum_ranks(
    values: Sequence[Tensor], group: "distributed.ProcessGroup | None" = None
) -> list[Tensor]:
    """Sum each of the values over the ranks by one collective, without gradient.

    The sums are in float64, exact for integers below 2^53, and those of all ranks are equal.
    """
    packed = torch.cat([value.flatten().double() for value in values])
    if distributed.get_backend(group) == "nccl":  # of a rank without a batch yet too
        packed = packed.cuda()
    distributed.all_reduce(packed, group=group)
    sums = packed.split([value.numel() for value in values])
    return [part.to(value).view_as(value) for part, value in zip(sums, values, strict=True)]


@torch.no_grad()
def mean_count(counted: Tensor) -> Tensor:
    """Return the mean over the ranks of their numbers of `counted` samples; 1 / ranks if none is.

    A sum over the samples of a rank, divided by it, has the gradient of the mean over the samples
    of all ranks once `DistributedDataParallel` has averaged the gradients.
    """
    count, group = counted.sum(), replica_group()
    if (ranks := num_ranks(group)) == 1:
        return count.clamp(min=1)
    distributed.all_reduce(count, group=group)
    return count.clamp(min=1) / ranks


@torch.no_grad()
def share_buffers(module: nn.Module) -> None:
    """Give every rank the buffers of rank 0; the parameters must be equal already.

    Raises:
        ValueError: the parameters differ among ranks, of which each gets the error.
    """
    if num_ranks() == 1:
        return
    equal = are_same([*module.parameters()])
    expect(equal, "weight", SAME_WEIGHT, "weights that differ")
    for buffer in module.buffers():
        distributed.broadcast(buffer, 0)


def are_same(parameters: Sequence[Tensor], group: "distributed.ProcessGroup | None" = None) -> bool:
    """Return whether the parameters have the same bits on all ranks."""
    if not parameters:
        return True
    sums = torch.stack([_bit_sum(parameter) for parameter in parameters])
    parts = [torch.empty_like(sums) for _ in range(num_ranks(group))]
    distributed.all_gather(parts, sums, group=group)
    return all(torch.equal(part, parts[0]) for part in parts)


def _bit_sum(values: Tensor) -> Tensor:
    """Return the sum of the bits as integers: of equal values equal in any order of the sum."""
    from torch.distributed.tensor import DTensor  # slow to import, and for several ranks alone

    if isinstance(values, DTensor):  # a part of it is on each rank
        return torch.zeros((), dtype=torch.int64, device=values.device)
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return values.view(integers[values.element_size()]).sum(dtype=torch.int64)


def _as_bytes(values: Tensor) -> Tensor:
    """Return the bytes of (n, ...) values, (n, bytes of one row) uint8."""
    rows = values.reshape(len(values), math.prod(values.shape[1:]))
    return rows.contiguous().view(torch.uint8)


def check_one_rank(name: str, expected: str, got: object) -> None:
    """Raise ValueError in a `DistributedDataParallel`, and where there are several ranks."""
    parallel = DistributedDataParallel._get_active_ddp_module() is not None
    expect(not parallel and num_ranks() == 1, name, expected, got)
