"""Checks of arguments: one grammar of messages, `name: expected X, got Y`.

Sizes are formatted on failure alone: in a compiled graph a size in a text becomes a constant.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

INTEGER_DTYPES = (torch.int32, torch.int64)


def expect(condition: object, name: str, expected: str, got: object) -> None:
    """Raise ValueError `name: expected X, got Y` unless `condition` is true.

    A tensor as `got` is described by its shape and dtype.
    """
    if not condition:
        if isinstance(got, Tensor):
            got = f"shape {tuple(got.shape)} {got.dtype}"
        raise ValueError(f"{name}: expected {expected}, got {got}")


def check_choice(name: str, value: object, allowed: Sequence[object]) -> int:
    """Return the position of `value` in `allowed`, or raise a ValueError that lists them."""
    if value not in allowed:
        expect(False, name, f"one of {', '.join(map(repr, allowed))}", repr(value))
    return list(allowed).index(value)


def check_shape(name: str, array: Any, *shape: int) -> None:
    """Raise ValueError unless the array or tensor has this shape."""
    if tuple(array.shape) != shape:
        expect(False, name, f"shape {shape}", tuple(array.shape))


def check_device(device: torch.device, **tensors: Tensor | None) -> None:
    """Raise ValueError naming the first tensor that is not on `device`."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            expect(False, name, f"on {device}", tensor.device)


def check_range(
    name: str, values: Tensor, start: int, stop: int, *, synchronize: bool = False
) -> None:
    """Raise ValueError naming the first of (N,) integers outside [start, stop).

    On a device other than the CPU, and while a graph is compiled, the check is one more operation
    of the device, which reports a RuntimeError later, unless `synchronize` is true.
    """
    if values.device.type == "meta":
        return
    if synchronize:
        values = values.cpu()
    invalid = (values < start) | (values >= stop)
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        message = f"{name}: expected {start} to {stop - 1}, got a value out of range"
        torch._assert_async(~invalid.any(), message)
    elif invalid.any():
        position = int(invalid.nonzero()[0])
        got = f"{int(values[position])} at position {position}"
        expect(False, name, f"{start} to {stop - 1}", got)
