"""Checks of arguments: one grammar of messages, `name: expected X, got Y`.

Sizes are formatted on failure alone: in a compiled graph a size in a text becomes a constant.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

INTEGER_DTYPES = (
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
)


def expect(condition: object, name: str, expected: str, got: object) -> None:
    """Raise ValueError `name: expected X, got Y` unless `condition` is true.

    A tensor as `got` is described by its shape and dtype.
    """
    if not condition:
        if isinstance(got, Tensor):
            got = f"shape {tuple(got.shape)} {got.dtype}"
        raise ValueError(f"{name}: expected {expected}, got {got}")


def check_tensor(name: str, values: object) -> None:
    """Raise ValueError unless this is a tensor."""
    expect(isinstance(values, Tensor), name, "a tensor", _type_of(values))


def check_integers(name: str, values: object) -> None:
    """Raise ValueError unless this is a tensor of integers, which booleans are not."""
    if not isinstance(values, Tensor) or values.dtype not in INTEGER_DTYPES:
        expect(False, name, "a tensor of integers", _type_of(values))


def check_floats(name: str, values: object) -> None:
    """Raise ValueError unless this is a tensor of floating-point numbers."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        expect(False, name, "a tensor of floating-point numbers", _type_of(values))


def _type_of(values: object) -> str:
    """Return the dtype of a tensor, and the class of other objects with its module."""
    if isinstance(values, Tensor):
        return str(values.dtype)
    kind = type(values)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


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

    On a device other than the CPU the check is one more operation of the device, which reports a
    RuntimeError later, unless `synchronize` is true. So it is in a compiled graph, always.
    """
    if values.device.type == "meta":
        return
    compiling = torch.compiler.is_compiling()
    if synchronize and not compiling:
        values = values.cpu()
    invalid = (values < start) | (values >= stop)
    if values.device.type != "cpu" or compiling:
        message = f"{name}: expected {start} to {stop - 1}, got a value out of range"
        torch._assert_async(~invalid.any(), message)
    elif invalid.any():
        position = int(invalid.nonzero()[0])
        got = f"{int(values[position])} at position {position}"
        expect(False, name, f"{start} to {stop - 1}", got)
