"""The processes of `torch.distributed`: their numbers, and calls whose outcome they share."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")
# A rank may wait this long for another, which reads images or evaluates; torchrun ends the ranks at
# once where one fails.
TIMEOUT = timedelta(hours=2)
_calls = itertools.count()  # of what shares its first error, which all ranks call alike
_SHARED = "is_shared"  # attribute of an error that all ranks have raised, or its RankError


class RankError(RuntimeError):
    """Another rank raised the error with this message, and reports it."""


def default_group() -> "distributed.ProcessGroup | None":
    """Return the group of all ranks, None without an initialized `torch.distributed`."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.group.WORLD if ready else None


def num_ranks(group: "distributed.ProcessGroup | None" = None) -> int:
    """Return the number of ranks of a group, 1 without an initialized `torch.distributed`."""
    return 1 if default_group() is None else distributed.get_world_size(group)


def rank_number(group: "distributed.ProcessGroup | None" = None) -> int:
    """Return the number of this rank in a group, 0 without an initialized `torch.distributed`."""
    number: int = distributed.get_rank(group) if num_ranks() > 1 else 0
    return number


def launched_ranks() -> int:
    """Return the number of processes that `torchrun` started, 1 without."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_one_process() -> None:
    """Raise ValueError under `torchrun`, where each process would write the output.

    As errors that ranks share, it is a RankError in all processes but the first.
    """
    if launched_ranks() == 1:
        return
    expected = "one process, as no part of this command is divided among several"
    message = f"torchrun: expected {expected}, got {launched_ranks()} (WORLD_SIZE)"
    raise ValueError(message) if os.environ.get("RANK", "0") == "0" else RankError(message)


@contextmanager
def torchrun_ranks() -> Iterator[None]:
    """Make the processes that `torchrun` started the ranks of the default group, for the context.

    Collectives are those of gloo for tensors on the CPU and of NCCL for those on a GPU, of which
    each rank gets one. In a process alone the context does nothing, and a group that exists stays.

    Raises:
        Exception: of the context, on the rank that has the first one.
        RankError: on other ranks that have an error after it, such as the same one, or a lost
            connection to that rank, unless the store of the group was lost with it.
    """
    if launched_ranks() == 1 or distributed.is_initialized():
        with _first_error():
            yield
        return
    if (number := int(os.environ["LOCAL_RANK"])) < torch.cuda.device_count():
        torch.cuda.set_device(number)  # else there are more ranks than GPUs, for device=cpu
    distributed.init_process_group(timeout=TIMEOUT)
    try:
        with _first_error():
            yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _first_error() -> Iterator[None]:
    """Raise RankError in place of an error that another rank of the default group has had before.

    The ranks enter errors in the store of the group, so that none of them waits for another.
    """
    if num_ranks() == 1:  # not counted, as one rank may be alone before there is a group
        yield
        return
    key = f"fairloss/error/{next(_calls)}"
    try:
        yield
    except Exception as error:
        if num_ranks() == 1 or isinstance(error, RankError):
            raise
        text = str(error).encode(errors="backslashreplace").decode()  # a path may be no UTF-8
        entry = f"{rank_number()} {text}"
        try:
            store = distributed.distributed_c10d._get_default_store()
            first = store.compare_set(key, "", entry).decode()
        except RuntimeError:  # the process that has the store is gone
            first = entry
        number, _, message = first.partition(" ")
        if int(number) == rank_number():
            raise
        raise RankError(message) from error


def gather_objects(value: T, group: "distributed.ProcessGroup | None" = None) -> list[T]:
    """Return the picklable values of the ranks of a group, in their order."""
    values: list[Any] = [None] * num_ranks(group)
    if len(values) == 1:
        return [value]
    distributed.all_gather_object(values, value, group=group)
    return values


def on_every_rank(function: Callable[[], T], group: "distributed.ProcessGroup | None" = None) -> T:
    """Call a function on each rank, and return its result there.

    It makes no collective but by this function and `on_first_rank` with the same group.

    Raises:
        Exception: the function raised it, here and on no rank of a lower number.
        RankError: it raised one on another rank; so no rank waits for one that has failed.
    """
    result, error = None, None
    try:
        result = function()
    except Exception as raised:
        if num_ranks(group) == 1 or _SHARED in vars(raised):  # no rank asks for it again
            raise
        error = raised
    messages = gather_objects(None if error is None else str(error), group)
    failed = [rank for rank, message in enumerate(messages) if message is not None]
    if not failed:
        return result  # type: ignore[return-value]
    if error is None or failed[0] < rank_number(group):
        error = RankError(messages[failed[0]])
    vars(error)[_SHARED] = True
    raise error


def on_first_rank(function: Callable[[], T], group: "distributed.ProcessGroup | None" = None) -> T:
    """Call a function, which makes no collective, on rank 0; return its result on all ranks.

    Errors are those of `on_every_rank`; the result must be picklable.
    """
    result = on_every_rank(lambda: function() if rank_number(group) == 0 else None, group)
    if num_ranks(group) == 1:
        return result  # type: ignore[return-value]
    shared = [result]
    distributed.broadcast_object_list(shared, group=group, group_src=0)
    return shared[0]  # type: ignore[return-value]
