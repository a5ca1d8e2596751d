"""Bytes and operations of each kernel, and the time that they take at least on an 80 GB H100.

One row for each kernel and launch. Computed, not measured: bytes are those of inputs read once and
outputs written once, operations those of the result's definition.
"""

from __future__ import annotations

from typing import NamedTuple

# An H100 SXM: 80 GB, 3.35 TB/s; dense products without sparsity. From its data sheet.
BANDWIDTH = 3.35e12
OPERATIONS = {"fp32": 67e12, "tf32": 495e12, "bf16": 989e12}
# Two assumptions: the share of the peak that kernels commonly reach, and the seconds from a launch
# to the kernel's first instruction.
REACHED, LAUNCH = 0.85, 3e-6


class Work(NamedTuple):
    """The work of one launch of `kernel` at `size`."""

    kernel: str
    size: str
    bytes: float
    operations: float
    unit: str = "fp32"
    threads: int = 256  # of a block
    dynamic_shared: int = 0  # bytes a block

    def roofline_bound(self) -> float:
        """Return the least seconds at the peak of the GPU."""
        return max(self.bytes / BANDWIDTH, self.operations / OPERATIONS[self.unit])

    def expected(self) -> float:
        """Return the seconds under the assumptions above."""
        return self.roofline_bound() / REACHED + LAUNCH


def margin_loss(batch: int, forward: bool) -> tuple[int, int]:
    """Return bytes and operations with one margin a class: 4 derivatives, int64 labels and rows."""
    derivatives, row = 16 * batch, 8 * batch
    if forward:  # cosine, nlse, label, margin -> loss, derivatives, row; 60: sin, cos, exp, log
        return (8 + 8 + 4 + 4) * batch + derivatives + row, 60 * batch
    # Includes the search for equal rows, at worst: all of them differ (margin_rows.cuh).
    return derivatives + row + (4 + 8 + 4) * batch, 5 * batch + batch * batch // 2


def matrix(batch: int, classes: int, passes: int) -> tuple[int, int]:
    """Return the work of passes over a float32 matrix, with an operation for each number."""
    return 4 * passes * batch * classes, passes * batch * classes


B, C, D = 512, 100_000, 512
CHUNK = 16_384  # classes at this B and D (csrc/ops/cosine_chunks.h)
CHUNK_SIZE = f"a chunk of {CHUNK} classes, B={B} D={D}"
# The larger of a ring of 4 stages of 64 bytes of 128 rows of both operands, and a staged tile of
# float32 (csrc/cuda/mma_tile.cuh, cosine_fused.cu).
FUSED_SHARED = max(4 * 2 * 128 * 64, 128 * (128 + 8) * 4)
N, P, T, M = 500_000, 3_530, 153_634, 1_000_000  # samples, and MegaFace's probes and trials
TILE = (2048, 4096)  # of cosines between centers
SCORES = 128 * 16384  # probes by distractors, of a block of scores

PARTITION = [
    # bfloat16 operands of a float32 weight
    Work("unit_rows_kernel", CHUNK_SIZE, CHUNK * D * (4 + 2), 4 * CHUNK * D),
    # A logit, a comparison, an exponential and a sum; 16 bits are saved.
    Work("cosine_terms_kernel", CHUNK_SIZE, CHUNK * B * (4 + 2), 8 * CHUNK * B),
    Work("merge_parts_kernel", f"B={B} C={C}", C // 128 * B * 8, C // 128 * B * 6),
    Work("logsumexp_kernel", f"B={B} C={C}", C // 8192 * B * 16, C // 8192 * B * 6),
    Work("upstream_kernel", f"B={B}", 32 * B, 8 * B, threads=1024),
    Work("slopes_kernel", CHUNK_SIZE, CHUNK * B * (2 + 2), 10 * CHUNK * B),
    Work("add_kernel", f"B={B} D={D}", B * D * 12, B * D),
    Work("row_gradient_kernel", CHUNK_SIZE, CHUNK * D * (4 + 4 + 4), 7 * CHUNK * D),
    Work("scale_gradient_kernel", f"B={B} C={C}", C // 128 * B // 128 * 8, C // 128, threads=1024),
    # Operands once each, the saved cosines, and the operations of the product.
    Work(
        "cosine_fused_kernel",
        f"terms or slopes of {CHUNK_SIZE}",
        CHUNK * D * 2 + B * D * 2 + CHUNK * B * 2,
        2 * CHUNK * B * D,
        unit="bf16",
        dynamic_shared=FUSED_SHARED,
    ),
]

CENTERS = f"a tile of {TILE[0]} x {TILE[1]} centers"
STATISTICS_SIZE = f"N={N} C={C} D={D}"
STATISTICS = [
    Work("start_kernel", STATISTICS_SIZE, 8 * C, 20 * C),
    Work("inverse_norm_kernel", STATISTICS_SIZE, N * (4 * D + 4), 2 * N * D),
    Work("sum_kernel", STATISTICS_SIZE, N * (4 * D + 12) + 4 * C * D, 3 * N * D),
    Work("sum_parts_kernel", f"N={N} in parts of 128, D={D}", N // 128 * D * 8, N // 128 * D),
    Work("center_kernel", STATISTICS_SIZE, 8 * C * D, 3 * C * D),
    Work("spread_kernel", STATISTICS_SIZE, N * (4 * D + 12) + 4 * C * D, 8 * N * D),
    Work("spread_parts_kernel", f"N={N} in parts of 128", N // 128 * 16, N // 128 * 2),
    Work("nearest_of_row_kernel", CENTERS, *matrix(*TILE, 1)),
    Work("nearest_of_column_kernel", CENTERS, *matrix(*TILE, 1)),
    Work("inter_angle_kernel", f"C={C} D={D}", 8 * C * D, 8 * C * D),
]

RANKS = [
    Work("start_ranks_kernel", f"P={P} T={T}", T * 24, T * 4),
    # A comparison with each threshold of a probe: 44 trials a probe in MegaFace.
    Work("count_ranks_kernel", "128 x 16384 scores, T/P=44", 4 * SCORES, 2 * 44 * SCORES),
    Work("mask_padding_kernel", "128 x 16384 scores", 4 * SCORES, 2 * SCORES),
    Work("sampled_classes_kernel", f"S={C} B={B}", 8 * C, 40 * C),
]

ROWS = [
    Work("margin_loss_kernel", f"B={B}", *margin_loss(B, True)),
    Work("margin_loss_backward_kernel", f"B={B}", *margin_loss(B, False)),
    Work("scale_kernel", f"forward, B={B} C={C}", *matrix(B, C, 2)),
    Work("margin_logits_kernel", f"B={B}", *margin_loss(B, True)),
    Work("scale_kernel", f"backward with a scale's gradient, B={B} C={C}", *matrix(B, C, 3)),
    Work("margin_logits_backward_kernel", f"B={B}", *margin_loss(B, False)),
    *PARTITION,
    *STATISTICS,
    *RANKS,
]


def table() -> str:
    """Return the table in docs/kernels.md."""
    names = (
        "kernel",
        "launch",
        "bytes",
        "operations",
        "limit",
        "roofline bound",
        "expected",
        "share",
    )
    lines = [f"| {' | '.join(names)} |", "|---|---" + "|---:" * 2 + "|---" + "|---:" * 3 + "|"]
    for row in ROWS:
        by_memory = row.bytes / BANDWIDTH >= row.operations / OPERATIONS[row.unit]
        cells = (
            f"`{row.kernel}`",
            row.size,
            amount(row.bytes, "B"),
            amount(row.operations, ""),
            "memory" if by_memory else row.unit,
            duration(row.roofline_bound()),
            duration(row.expected()),
            f"{row.roofline_bound() / row.expected():.0%}",
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
