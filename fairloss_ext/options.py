"""The named options of the ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

Kind = Literal["arc", "cos", "sphere", "combined"]
Extension = Literal["linear", "easy", "none"]
MarginGrad = Literal["exact", "straight_through"]
Reduction = Literal["mean", "sum", "none"]

# Positions are the values of the enumerations in csrc/include/fairloss/margin.h.
KINDS: tuple[Kind, ...] = ("arc", "cos", "sphere", "combined")
EXTENSIONS: tuple[Extension, ...] = ("linear", "easy", "none")
MARGIN_GRADS: tuple[MarginGrad, ...] = ("exact", "straight_through")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "none")
# Positions are the values of Precision in csrc/cpu/rows.h.
COMPUTE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def choice(name: str, value: object, allowed: Sequence[object]) -> int:
    """Position of `value` in `allowed`, or a ValueError that lists them."""
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(map(repr, allowed))}")
    return list(allowed).index(value)
