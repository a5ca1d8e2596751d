"""Checkpoints of several ranks: a folder that any number of ranks loads, one process among them.

`torch.distributed.checkpoint` writes from every rank its rows of the tensors that ranks divide
(DTensors). state.pt has all else, with the names of these tensors and the SHA-256 of their files.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed

from fairloss.io.atomic import FormatError, report_failure, report_malformed, report_unreadable
from fairloss.io.digest import sha256
from fairloss.io.state import read_state, write_state
from fairloss.ranks import gather_objects, num_ranks, on_every_rank, on_first_rank, rank_number

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_STATE = "state.pt"
_ENTRY = "divided"  # of state.pt: the tensors and files beside it
ROWS_OF_A_MESSAGE = 1 << 14  # 32 MiB of 512 float32


def write_divided(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, which appears when it is complete; all ranks call this.

    One that exists is left as it is.

    Raises:
        OSError: it cannot be written.
    """
    from torch.distributed.checkpoint.api import CheckpointException  # slow to import
    from torch.distributed.checkpoint.state_dict_saver import save

    partial = path.with_name(f".{path.name}.0-0.tmp")  # removed like those of `write_atomic`
    if on_first_rank(path.exists):
        return
    on_first_rank(lambda: _make_anew(partial))
    parts = dict(_divided("", state))
    try:
        save(parts, checkpoint_id=partial)
    except CheckpointException as error:
        failures = error.failures
        on_every_rank(lambda: _report_write(path, failures))
    files = on_first_rank(lambda: sorted(file.name for file in partial.iterdir()))
    mine = files[rank_number() :: num_ranks()]
    digests = gather_objects({name: sha256(partial / name) for name in mine})
    tensors = {
        name: {"shape": list(part.shape), "dtype": str(part.dtype).removeprefix("torch.")}
        for name, part in parts.items()
    }
    entry = {"files": {k: v for each in digests for k, v in each.items()}, "tensors": tensors}
    rest = _replaced("", state, lambda name, part: None) | {_ENTRY: entry}
    on_first_rank(lambda: _complete(partial, path, rest))


def read_divided(path: Path) -> dict[str, Any]:
    """Return what `write_divided` wrote; all ranks call this.

    On several ranks divided tensors are DTensors on the CPU, in one process whole tensors.

    Raises:
        FormatError: a file is missing or damaged, on all ranks.
    """
    from torch.distributed.checkpoint.state_dict_loader import load  # slow to import

    state = shared_read(path, lambda: _read_rest(path))
    entry = state.pop(_ENTRY)
    parts = {
        name: _empty(torch.Size(each["shape"]), getattr(torch, each["dtype"]))
        for name, each in entry["tensors"].items()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as is `no_dist`
        load(parts, checkpoint_id=path, no_dist=num_ranks() == 1)
    return _replaced("", state, lambda name, part: parts.get(name))


def shared_read(path: Path, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what each rank reads; FormatError on all of them where one of them raises it."""
    state: dict[str, Any] = {}
    problem = None
    try:
        state = read()
    except FormatError as error:
        problem = error.problem
    for each in gather_objects(problem):
        if each is not None:
            raise FormatError(path, each)
    return state


def whole_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with whole tensors for divided ones on rank 0, and None on the others.

    All ranks call this. The whole tensors are on the CPU: no device holds more than its rows and
    `ROWS_OF_A_MESSAGE` of another rank.
    """
    return _replaced("", state, lambda name, part: part if part is None else _whole(part))


def remove(path: Path) -> None:
    """Remove a file, or a folder that nothing takes for a checkpoint meanwhile."""
    if path.is_dir():
        hidden = path.with_name(f".{path.name}.0-0.tmp")
        shutil.rmtree(hidden, ignore_errors=True)
        os.rename(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)
    else:
        path.unlink()


def _whole(part: "DTensor") -> Tensor | None:
    rows, group = part.to_local(), part.device_mesh.get_group()
    rank = rank_number(group)
    whole = on_every_rank(lambda: _empty_on_cpu(part) if rank == 0 else None, group)
    start = 0
    for source, length in enumerate(gather_objects(len(rows), group)):
        for first in range(0, length, ROWS_OF_A_MESSAGE):
            last = min(first + ROWS_OF_A_MESSAGE, length)
            message = rows.new_empty(last - first, *rows.shape[1:])
            if rank == source:
                message.copy_(rows[first:last])
            distributed.broadcast(message, group=group, group_src=source)
            if whole is not None:
                whole[start + first : start + last] = message
        start += length
    return whole


def _empty_on_cpu(part: "DTensor") -> Tensor:
    return torch.empty(part.shape, dtype=part.dtype)


def _divided(prefix: str, state: dict[Any, Any]) -> Iterator[tuple[str, "DTensor"]]:
    for key, value in state.items():
        if isinstance(value, dict):
            yield from _divided(f"{prefix}{key}/", value)
        elif hasattr(value, "full_tensor"):
            yield f"{prefix}{key}", value


def _replaced(
    prefix: str, state: dict[Any, Any], change: Callable[[str, Any], Any]
) -> dict[Any, Any]:
    """Return a copy, with attributes such as `_metadata`, whose divided tensors, or Nones, differ.

    Args:
        prefix: of the names.
        state: of dicts, in which divided tensors may be replaced by None.
        change: returns the new value of a name and a value.
    """
    result = copy(state)
    for key, value in state.items():
        if isinstance(value, dict):
            result[key] = _replaced(f"{prefix}{key}/", value, change)
        elif value is None or hasattr(value, "full_tensor"):
            result[key] = change(f"{prefix}{key}", value)
    return result


def _empty(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    if num_ranks() == 1:
        return torch.empty(shape, dtype=dtype)
    from torch.distributed.tensor import Shard, empty

    group = distributed.group.WORLD
    mesh = distributed.device_mesh.DeviceMesh.from_group(group, "cpu")  # type: ignore[arg-type]
    return empty(*shape, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])


def _make_anew(folder: Path) -> None:
    with report_failure(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)


def _complete(partial: Path, path: Path, rest: dict[str, Any]) -> None:
    write_state(partial / _STATE, rest)
    with report_failure(path):
        os.rename(partial, path)


def _report_write(path: Path, failures: dict[int, Any]) -> None:
    """Raise the error of the first rank that has one, as of a full disk."""
    error = failures[min(failures)][0]
    raise OSError(f"output: {error} while writing {path}") from error


def _read_rest(path: Path) -> dict[str, Any]:
    """Return the content of state.pt, after a check of this rank's share of the other files."""
    state = read_state(path / _STATE)
    with report_malformed(path), report_unreadable(path):
        files = state[_ENTRY]["files"]
        for name in sorted(files)[rank_number() :: num_ranks()]:
            if sha256(path / name) != files[name]:
                raise FormatError(path, f"{name} has changed")
    return state
