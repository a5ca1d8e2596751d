"""A hash of two integers that is the same on every device: Vigna's splitmix64.c.

(After Steele, Lea, Flood, OOPSLA 2014.) csrc/include/fairloss/permutation.h has it for kernels.
"""

from __future__ import annotations

from torch import Tensor

# The constants of splitmix64.c, as signed integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def splitmix64(seed: Tensor, number: Tensor) -> Tensor:
    """The `number`-th output (from 0) of the generator splitmix64 started at `seed`, bits as int64.

    A counter through a bijection of 64 bits; products of integer tensors wrap around.

    Args:
        seed: () int64.
        number: int64, any shape; that of the result.
    """
    state = (number + 1).mul_(_GOLDEN).add_(seed)
    state = unsigned_shift(state, 30).bitwise_xor_(state).mul_(_FIRST)
    state = unsigned_shift(state, 27).bitwise_xor_(state).mul_(_SECOND)
    return unsigned_shift(state, 31).bitwise_xor_(state)


def unsigned_shift(bits: Tensor, by: int) -> Tensor:
    """``bits >> by`` of unsigned integers: torch's shift repeats the sign bit."""
    return (bits >> by).bitwise_and_((1 << (64 - by)) - 1)
