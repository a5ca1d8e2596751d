"""Named options of the ops."""

from typing import Literal

import torch

Kind = Literal["arc", "cos", "sphere", "combined"]
Extension = Literal["linear", "easy", "none"]
MarginGrad = Literal["exact", "straight_through"]
Reduction = Literal["mean", "sum", "none"]
Workspace = int | Literal["auto", "recompute"]

# Positions are the values of the enumerations in csrc/include/fairloss/margin.h.
KINDS: tuple[Kind, ...] = ("arc", "cos", "sphere", "combined")
EXTENSIONS: tuple[Extension, ...] = ("linear", "easy", "none")
MARGIN_GRADS: tuple[MarginGrad, ...] = ("exact", "straight_through")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "none")
# Positions are the values of Precision in csrc/cpu/matrix_view.h.
COMPUTE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
