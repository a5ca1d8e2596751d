"""A hash of two integers that is the same on every device: Vigna's splitmix64.c.

Source: Steele, Lea, Flood, OOPSLA 2014. csrc/include/fairloss/permutation.h has it for kernels.
"""

from torch import Tensor

# The constants of splitmix64.c, as signed integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def splitmix64(seed: Tensor, number: Tensor) -> Tensor:
    """Compute output `number` (from 0) of the generator splitmix64 started at `seed`.

    Products of integer tensors wrap around.

    Args:
        seed: () int64.
        number: int64 of any shape.

    Returns:
        The 64 bits as int64, in the shape of `number`.
    """
    state = (number + 1).mul_(_GOLDEN).add_(seed)
    state = unsigned_shift(state, 30).bitwise_xor_(state).mul_(_FIRST)
    state = unsigned_shift(state, 27).bitwise_xor_(state).mul_(_SECOND)
    return unsigned_shift(state, 31).bitwise_xor_(state)


def unsigned_shift(bits: Tensor, count: int) -> Tensor:
    """Compute ``bits >> count`` of unsigned integers; torch's shift repeats the sign bit."""
    return (bits >> count).bitwise_and_((1 << (64 - count)) - 1)
