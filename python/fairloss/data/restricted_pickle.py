"""Pickles of plain data, read without running anything in them.

A pickle is a program: `pickle.load` calls any function that the file names. Here only instructions
that build numbers, bytes, text, lists and tuples are accepted, and the few names by which numpy
writes arrays of numbers stand for functions of this module. The file reaches no function and no
object of numpy, as a forged state makes numpy read memory outside of an array.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_choice
from fairloss.data.text_files import StrPath
from fairloss.io.atomic import FormatError, report_unreadable

MAX_DEPTH = 20  # of lists within lists; image lists have 2
_NUMBERS = re.compile(r"[biuf]\d{1,2}")  # type strings of bool, integer and float
_OPCODES = """
INT LONG BININT BININT1 BININT2 LONG1 LONG4 FLOAT BINFLOAT NONE NEWTRUE NEWFALSE
STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST LIST APPEND APPENDS
EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE BUILD
MARK POP POP_MARK PROTO FRAME STOP MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET
"""
_PLAIN_OPCODES = frozenset(_OPCODES.split())
_MEMO_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


class Refused(Exception):
    """Something in the pickle is not plain data."""


def load_plain(path: StrPath) -> Any:
    """Read numbers, bools, None, bytes, text, lists, tuples and numpy arrays of numbers.

    All protocols, 0 to 5. The strings of Python 2 become bytes, as with `encoding="bytes"`.

    Raises:
        FormatError: naming the file and the refused global, instruction or type; also where the
            file cannot be read, is truncated or is no pickle.
    """
    with report_unreadable(path):
        content = Path(path).read_bytes()
    try:
        _check_instructions(content)
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        return _plain(value, MAX_DEPTH, {})
    except Refused as refused:
        raise FormatError(path, f"refused: {refused}") from None
    except Exception as error:  # a damaged pickle leads to errors of many types
        raise FormatError(path, f"damaged or no pickle of plain data: {error}") from error
    finally:
        _encode.cache_clear()


def _check_instructions(content: bytes) -> None:
    """Refuse instructions that plain data does not need, and sizes that the file does not back.

    `genops` compares lengths with the bytes that follow. The memo of `pickle.Unpickler` is as long
    as its highest position.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in _PLAIN_OPCODES:
            raise Refused(f"instruction {opcode.name}, which plain data does not need")
        if opcode.name in _MEMO_PUTS and int(argument or 0) > number:
            raise ValueError(f"position {argument} of the memo in instruction {number}")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Global:
        full = f"{module}.{name}"
        if full not in _CALLS and full not in _CLASSES:
            raise Refused(f"global {full}; only numpy arrays of numbers may be named")
        return _Global(full)


class _Global:
    """A name in the pickle; one instance per mention, as BUILD may overwrite its attribute."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:
        return _CALLS[self.name](*arguments)


class _Incomplete:
    """A number type, or an array or a scalar; the content may follow in a BUILD instruction.

    No object of numpy is on the stack of the unpickler, so that BUILD reaches this class alone.
    """

    __slots__ = ("value",)

    def __init__(self, value: npt.NDArray[Any] | np.generic | np.dtype[Any] | None) -> None:
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if isinstance(self.value, np.dtype):
            order: Any = _text(state[1])
            check_choice("byte order", order, "<>|")
            self.value = self.value.newbyteorder(order)
        elif self.value is not None:
            raise ValueError("a second content of an array")
        else:
            _version, shape, dtype, fortran, content = state
            self.value = _array(content, dtype, shape, "F" if fortran else "C")


def _plain(value: Any, depth: int, done: dict[int, Any]) -> Any:
    """Return the value with its arrays completed; refuse anything that is not plain data.

    `done` holds lists by id: one that is used a thousand times is visited once.
    """
    if isinstance(value, list | tuple):
        if not depth:
            raise Refused(f"lists nested deeper than {MAX_DEPTH}, or within themselves")
        if id(value) not in done:
            items = [_plain(item, depth - 1, done) for item in value]
            done[id(value)] = items if isinstance(value, list) else tuple(items)
        return done[id(value)]
    if isinstance(value, _Global):
        raise Refused(f"global {value.name} as a value")
    if isinstance(value, _Incomplete):
        if not isinstance(value.value, np.ndarray | np.generic):
            raise ValueError("an array without content")
        return value.value
    return bytes(value) if isinstance(value, bytearray) else value


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str):
        raise ValueError(f"expected text, got a {type(value).__name__}")
    return value


def _dtype(name: Any, *_flags: Any) -> _Incomplete:
    text = _text(name)
    if text.startswith("O"):
        raise Refused("an object array; only arrays of numbers are plain data")
    if not _NUMBERS.fullmatch(text):
        raise Refused(f"an array of type {text!r}; only arrays of numbers are plain data")
    return _Incomplete(np.dtype(text))


def _array(content: Any, number_type: Any, shape: Any, order: Any = "C") -> npt.NDArray[Any]:
    if not isinstance(number_type, _Incomplete) or not isinstance(number_type.value, np.dtype):
        raise ValueError("an array without a number type")
    if not isinstance(content, bytes | bytearray) or not isinstance(shape, tuple):
        raise Refused("array content that is not bytes")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError("a shape that is not of integers")
    dtype = number_type.value
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {shape} and type {dtype}")
    flat = np.frombuffer(content, dtype)
    return flat.reshape(shape, order="F" if _text(order) == "F" else "C")


def _scalar(number_type: Any, content: Any) -> _Incomplete:
    return _Incomplete(_array(content, number_type, (1,))[0])


@cache
def _encode(text: Any, encoding: Any) -> bytes:
    """Return the bytes of Python 3 in protocol 2; once for a text that the pickle repeats."""
    if _text(encoding) not in ("latin1", "latin-1"):
        raise Refused(f"text in the encoding {_text(encoding)!r}")
    return _text(text).encode("latin-1")


def _bytearray(content: Any = b"", *encoding: Any) -> bytes:
    """Return the content as bytes: of protocols 3 and 4, or the text of 0 to 2 and its encoding.

    A length or a list, from which Python also makes a bytearray, is refused.
    """
    if encoding:
        return _encode(content, *encoding)
    if not isinstance(content, bytes | bytearray):
        raise Refused(f"a bytearray made of a {type(content).__name__}")
    return bytes(content)


_CLASSES = frozenset({"numpy.ndarray"})
_CALLS: dict[str, Callable[..., Any]] = {"numpy.dtype": _dtype, "_codecs.encode": _encode}
# Empty bytes in protocol 2 are `bytes()`; with arguments this fails.
for _builtins in ("__builtin__", "builtins"):
    _CALLS[f"{_builtins}.bytes"] = lambda: b""
    _CALLS[f"{_builtins}.bytearray"] = _bytearray
for _core in ("numpy.core", "numpy._core"):
    _CALLS[f"{_core}.multiarray._reconstruct"] = lambda *_: _Incomplete(None)
    _CALLS[f"{_core}.multiarray.scalar"] = _scalar
    _CALLS[f"{_core}.numeric._frombuffer"] = lambda *state: _Incomplete(_array(*state))
