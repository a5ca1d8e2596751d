"""What each kernel must move and compute, and what that would take on an 80 GB Hopper-class card.

One row a kernel and launch. Arithmetic, not a measurement: bytes are those of inputs read once and
outputs written once, operations those that no way to compute it can do without.
"""

from __future__ import annotations

from typing import NamedTuple

# An H100 SXM: 80 GB, 3.35 TB/s; dense products without sparsity. From its data sheet.
BANDWIDTH = 3.35e12
OPERATIONS = {"fp32": 67e12, "tf32": 495e12, "bf16": 989e12}
# Two assumptions: what streaming kernels commonly reach of the bandwidth and products of their
# units, and what a launch takes from its start to its first instruction.
REACHED, LAUNCH = 0.85, 3e-6


class Work(NamedTuple):
    """Of one launch of `kernel` at `size`."""

    kernel: str
    size: str
    bytes: float
    operations: float
    unit: str = "fp32"
    threads: int = 256  # of a block
    dynamic_shared: int = 0  # bytes a block

    def floor(self) -> float:
        """Seconds below which the card cannot go."""
        return max(self.bytes / BANDWIDTH, self.operations / OPERATIONS[self.unit])

    def expected(self) -> float:
        """Seconds, under the assumptions above."""
        return self.floor() / REACHED + LAUNCH


def margin_loss(batch: int, forward: bool) -> tuple[int, int]:
    """Bytes and operations with one margin a class: 4 derivatives, int64 labels and rows."""
    derivatives, row = 16 * batch, 8 * batch
    if forward:  # cosine, nlse, label, margin -> loss, derivatives, row; 60: sin, cos, exp, log
        return (8 + 8 + 4 + 4) * batch + derivatives + row, 60 * batch
    # The kernel's own way to find equal rows, at worst: all of them differ (margin_rows.cuh).
    return derivatives + row + (4 + 8 + 4) * batch, 5 * batch + batch * batch // 2


def matrix(batch: int, classes: int, passes: int) -> tuple[int, int]:
    """A float32 matrix read or written `passes` times, an operation for each number."""
    return 4 * passes * batch * classes, passes * batch * classes


B, C = 512, 100_000
ROWS = [
    Work("margin_loss_kernel", f"B={B}", *margin_loss(B, True)),
    Work("margin_loss_backward_kernel", f"B={B}", *margin_loss(B, False)),
    Work("scale_kernel", f"forward, B={B} C={C}", *matrix(B, C, 2)),
    Work("margin_logits_kernel", f"B={B}", *margin_loss(B, True)),
    Work("scale_kernel", f"backward with a scale's gradient, B={B} C={C}", *matrix(B, C, 3)),
    Work("margin_logits_backward_kernel", f"B={B}", *margin_loss(B, False)),
]


def table() -> str:
    """The rows of docs/kernels.md."""
    names = ("kernel", "launch", "bytes", "operations", "ceiling", "floor", "expected", "share")
    lines = [f"| {' | '.join(names)} |", "|---|---" + "|---:" * 2 + "|---" + "|---:" * 3 + "|"]
    for row in ROWS:
        by_memory = row.bytes / BANDWIDTH >= row.operations / OPERATIONS[row.unit]
        cells = (
            f"`{row.kernel}`",
            row.size,
            amount(row.bytes, "B"),
            amount(row.operations, ""),
            "memory" if by_memory else row.unit,
            duration(row.floor()),
            duration(row.expected()),
            f"{row.floor() / row.expected():.0%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def amount(number: float, unit: str) -> str:
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}".strip()
    return f"{number:.3g} {unit}".strip()


def duration(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
