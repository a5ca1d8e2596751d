"""Which GPUs the CUDA kernels of a build run on."""

import re
from collections.abc import Iterable
from typing import NamedTuple

OLDEST = (8, 0)  # cp.async, and mma.sync of bfloat16


class Architecture(NamedTuple):
    """One entry of what nvcc has compiled for."""

    major: int
    minor: int
    letter: str  # "a": this very capability alone, "f": none of another major number
    ptx: bool  # which the driver compiles for what comes after

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}{self.letter}{'+PTX' * self.ptx}"

    def runs_on(self, major: int, minor: int) -> bool:
        """Return whether a GPU of that compute capability executes it."""
        if self.letter == "a" or (self.major, self.minor) > (major, minor):
            return (self.major, self.minor) == (major, minor)
        return self.major == major or (self.ptx and not self.letter)


def parse(names: Iterable[str]) -> tuple[Architecture, ...]:
    """Parse "80", "90a" or "100+PTX", the form that a build records."""
    matches = [re.fullmatch(r"(\d+)(\d)([af]?)(\+PTX)?", name) for name in names]
    return tuple(Architecture(int(m[1]), int(m[2]), m[3], bool(m[4])) for m in matches if m)


def covers(architectures: Iterable[Architecture], major: int, minor: int) -> bool:
    """Return whether kernels compiled for these run on a GPU; torch.compile can trace this."""
    return any(architecture.runs_on(major, minor) for architecture in architectures)
