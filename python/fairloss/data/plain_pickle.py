"""Pickles of plain data, read without running anything in them.

A pickle is a program: `pickle.load` calls whatever the file names. This interpreter of our own
knows only the instructions that build numbers, bytes, text, lists and tuples, and recognises the
few calls by which numpy writes arrays of numbers. It imports and calls nothing on a file's behalf,
so there is nothing in a file that could run, before or after the refusal.
"""

from __future__ import annotations

import math
import os
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fairloss.io.atomic import FormatError

MAX_DEPTH = 20  # of lists within lists; image lists have 2
_NUMBERS = re.compile(r"[biuf]\d{1,2}")  # type strings of bool, integer and float


class Refused(Exception):
    """Something in the pickle is not plain data."""


@dataclass(frozen=True)
class Name:
    """A global that the pickle names: a label here, never looked up."""

    name: str


@dataclass
class Pending:
    """An array or number type whose content follows in a BUILD instruction."""

    value: npt.NDArray[Any] | np.dtype[Any] | None


def load_plain(path: str | os.PathLike[str]) -> Any:
    """Numbers, bools, None, bytes, text, lists, tuples and numpy arrays or scalars of numbers.

    All protocols, 0 to 5. The strings of Python 2 become bytes, as with `encoding="bytes"`.

    Raises:
        FormatError: naming the file and the refused global, instruction or type; also where the
            file cannot be read, is truncated or is no pickle.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    try:
        return _Interpreter().run(content)
    except Refused as refused:
        raise FormatError(path, f"refused: {refused}") from None
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise FormatError(path, f"damaged or no pickle of plain data: {error}") from error


_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError)


class _Interpreter:
    """The stack machine of the pickle format, without its dangerous half."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return _finished(self.stack.pop(), MAX_DEPTH, {})
            if opcode.name in _LITERALS:
                self.stack.append(_LITERALS[opcode.name](argument))
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            else:
                raise Refused(f"instruction {opcode.name}, which plain data does not need")
        raise ValueError("no STOP instruction")

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items, self.stack[start:] = self.stack[start:], []
        return items

    def top(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        items, self.stack[-count:] = tuple(self.stack[-count:]), []
        return items

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("items for something that is not a list")
        self.stack[-1].extend(items)

    def call(self) -> None:
        function, arguments = self.top(2)
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise Refused("a call of something that is not a global")
        self.stack.append(_CALLS[function.name](*arguments))

    def build(self) -> None:
        state = self.stack.pop()
        pending = self.stack[-1]
        if not isinstance(pending, Pending) or not isinstance(state, tuple):
            raise Refused("a state for something that is not an array")
        if isinstance(pending.value, np.dtype):
            pending.value = pending.value.newbyteorder(_BYTE_ORDERS[_text(state[1])])
        else:
            _version, shape, number, fortran, content = state
            pending.value = _array(content, number, shape, "F" if fortran else "C")


def _finished(value: Any, depth: int, done: dict[int, Any]) -> Any:
    """The value with every pending array replaced by its content.

    `done` holds lists by id: one that is used a thousand times is walked once.
    """
    if isinstance(value, list | tuple):
        if not depth:
            raise Refused(f"lists nested deeper than {MAX_DEPTH}, or within themselves")
        if id(value) not in done:
            items = [_finished(item, depth - 1, done) for item in value]
            done[id(value)] = items if isinstance(value, list) else tuple(items)
        return done[id(value)]
    if isinstance(value, Pending):
        if not isinstance(value.value, np.ndarray):
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, Name):
        raise Refused(f"global {value.name} as a value")
    return value


def _name(module: Any, name: Any) -> Name:
    full = f"{_text(module)}.{_text(name)}"
    if full not in _CALLS and full not in _CLASSES:
        raise Refused(f"global {full}; only numpy arrays of numbers may be named")
    return Name(full)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise ValueError(f"expected text, got a {type(value).__name__}")
    return value


def _dtype(name: Any, *_flags: Any) -> Pending:
    text = _text(name)
    if text.startswith("O"):
        raise Refused("an object array; only arrays of numbers are plain data")
    if not _NUMBERS.fullmatch(text):
        raise Refused(f"an array of type {text!r}; only arrays of numbers are plain data")
    return Pending(np.dtype(text))


def _number_type(pending: Any) -> np.dtype[Any]:
    if not isinstance(pending, Pending) or not isinstance(pending.value, np.dtype):
        raise ValueError("an array without a number type")
    return pending.value


def _array(content: Any, number: Any, shape: Any, order: Any = "C") -> npt.NDArray[Any]:
    dtype = _number_type(number)
    if not isinstance(content, bytes | bytearray) or not isinstance(shape, tuple):
        raise Refused("array content that is not bytes")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {shape} and type {dtype}")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order="F" if _text(order) == "F" else "C")


def _scalar(number: Any, content: Any) -> Any:
    return _array(content, number, (1,))[0]


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if _text(encoding) != "latin1":
        raise Refused(f"text in the encoding {_text(encoding)!r}")
    return _text(text).encode("latin-1")


_BYTE_ORDERS: dict[str, Literal["<", ">", "|"]] = {"<": "<", ">": ">", "|": "|"}
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_CLASSES = frozenset({"numpy.ndarray"})
_CALLS: dict[str, Callable[..., Any]] = {"numpy.dtype": _dtype, "_codecs.encode": _encode}
# Empty bytes in protocol 2 are `bytes()`; with arguments this fails, as the label takes none.
_CALLS |= dict.fromkeys(("__builtin__.bytes", "builtins.bytes"), lambda: b"")
for _module in _ARRAY_MODULES:
    _CALLS[f"{_module}._reconstruct"] = lambda *_: Pending(None)
    _CALLS[f"{_module}.scalar"] = _scalar
for _module in _BUFFER_MODULES:
    _CALLS[f"{_module}._frombuffer"] = _array


def _latin(text: Any) -> bytes:
    return str(text).encode("latin-1")


_LITERALS: dict[str, Callable[[Any], Any]] = (
    dict.fromkeys(("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"), lambda a: a)
    | dict.fromkeys(("FLOAT", "BINFLOAT"), lambda a: a)
    | dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _latin)
    | dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), bytes)
    | dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), str)
    | {"NONE": lambda _: None, "NEWTRUE": lambda _: True, "NEWFALSE": lambda _: False}
    | {"EMPTY_LIST": lambda _: [], "EMPTY_TUPLE": lambda _: ()}
    | {"GLOBAL": lambda a: _name(*a.split(" ", 1))}
)

_Action = Callable[[_Interpreter, Any], object]
_ACTIONS: dict[str, _Action] = {
    "PROTO": lambda vm, _: None,
    "FRAME": lambda vm, _: None,
    "MARK": lambda vm, _: vm.marks.append(len(vm.stack)),
    "POP": lambda vm, _: vm.stack.pop(),
    "POP_MARK": lambda vm, _: vm.since_mark(),
    "LIST": lambda vm, _: vm.stack.append(vm.since_mark()),
    "TUPLE": lambda vm, _: vm.stack.append(tuple(vm.since_mark())),
    "TUPLE1": lambda vm, _: vm.stack.append(vm.top(1)),
    "TUPLE2": lambda vm, _: vm.stack.append(vm.top(2)),
    "TUPLE3": lambda vm, _: vm.stack.append(vm.top(3)),
    "APPEND": lambda vm, _: vm.extend(list(vm.top(1))),
    "APPENDS": lambda vm, _: vm.extend(vm.since_mark()),
    "STACK_GLOBAL": lambda vm, _: vm.stack.append(_name(*vm.top(2))),
    "REDUCE": lambda vm, _: vm.call(),
    "BUILD": lambda vm, _: vm.build(),
    "MEMOIZE": lambda vm, _: vm.memo.__setitem__(len(vm.memo), vm.stack[-1]),
} | {
    name: (lambda vm, place: vm.memo.__setitem__(place, vm.stack[-1]))
    for name in ("PUT", "BINPUT", "LONG_BINPUT")
} | {
    name: (lambda vm, place: vm.stack.append(vm.memo[place]))
    for name in ("GET", "BINGET", "LONG_BINGET")
}  # fmt: skip
