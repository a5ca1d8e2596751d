"""Roofline bounds of the ops: the time of the float32 matrix products that an op cannot avoid.

Tiles are small enough for a cache and outputs are reused, so no new memory is touched. Products are
those of `torch.mm` (MKL in the x86 wheels, slow on AMD) or of oneDNN, whichever is faster here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

HEAD_TILE = 2000  # classes: with 256 samples a tile of logits is 2 MB
TILES = (1000, 2000, 4000)
TRIAL_ROWS = 10_000  # rows that decide which variant is fastest
TRIAL_SECONDS = 0.2  # of one variant

Bound = Callable[[Tensor], object]  # called with the rows of the large matrix


class MatMul:
    """Products by torch.mm."""

    @staticmethod
    def product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:  # a b^T
        return torch.mm(a, b.T, out=out)

    @staticmethod
    def accumulate(total: Tensor, a: Tensor, b: Tensor) -> None:  # total += a b^T
        total.addmm_(a, b.T)


class OneDnn:
    """Products by oneDNN, which allocates its output; malloc returns the same pages again."""

    @staticmethod
    def product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")

    @staticmethod
    def accumulate(total: Tensor, a: Tensor, b: Tensor) -> None:
        total.add_(OneDnn.product(a, b, total))


def libraries() -> dict[str, type[MatMul] | type[OneDnn]]:
    has_onednn = torch.backends.mkldnn.is_available()
    return {"mm": MatMul} | ({"oneDNN": OneDnn} if has_onednn else {})


class Fastest:
    """The fastest of several variants of a bound, selected at the first call."""

    def __init__(
        self, variants: Mapping[str, Bound], rows: Tensor, note: Callable[[str], None]
    ) -> None:
        self.variants, self.rows, self.note = variants, rows, note
        self.fastest: Bound | None = None

    def __call__(self) -> None:
        if self.fastest is None:
            self.fastest = self._select()
        self.fastest(self.rows)  # its output is in reused memory: nothing to return

    def _select(self) -> Bound:
        rows, threads = self.rows[:TRIAL_ROWS], torch.get_num_threads()
        seconds = {}
        for name, bound in self.variants.items():
            timer = Timer(
                "bound(rows)", globals={"bound": bound, "rows": rows}, num_threads=threads
            )
            seconds[name] = timer.blocked_autorange(min_run_time=TRIAL_SECONDS).median
        best = min(seconds, key=seconds.__getitem__)
        others = (
            f"{name} {seconds[name] / seconds[best]:.2f}x" for name in seconds if name != best
        )
        self.note(f"roofline bound: {best}; {', '.join(others)}")
        return self.variants[best]


def three_products(embeddings: Tensor, weight: Tensor, note: Callable[[str], None]) -> Fastest:
    """Return the bound of a head's step: L = E W^T, dE += L W, dW = L^T E, tile by tile."""
    embeddings, weight = embeddings.detach(), weight.detach()
    batch = len(embeddings)
    logits = embeddings.new_empty(batch * HEAD_TILE)
    grad_embeddings, grad_weight = torch.zeros_like(embeddings), torch.empty_like(weight)

    def bound(library: type[MatMul] | type[OneDnn]) -> Bound:
        def run(rows: Tensor) -> None:
            for tile, out in zip(rows.split(HEAD_TILE), grad_weight.split(HEAD_TILE), strict=False):
                out_logits = logits[: batch * len(tile)].view(batch, len(tile))
                block = library.product(embeddings, tile, out_logits)
                library.accumulate(grad_embeddings, block, tile.T)
                library.product(block.T, embeddings.T, out)

        return run

    variants = {name: bound(library) for name, library in libraries().items()}
    return Fastest(variants, weight, note)


def one_product(queries: Tensor, rows: Tensor, note: Callable[[str], None]) -> Fastest:
    """Return the bound of all similarities of two matrices, whose tiles share one output."""
    scratch = queries.new_empty(len(queries) * max(TILES))

    def bound(library: type[MatMul] | type[OneDnn], size: int) -> Bound:
        def run(rows: Tensor) -> None:
            for tile in rows.split(size):
                out = scratch[: len(queries) * len(tile)].view(len(queries), len(tile))
                library.product(queries, tile, out)

        return run

    return Fastest(_tilings(bound), rows, note)


def triangle(rows: Tensor, note: Callable[[str], None]) -> Fastest:
    """Return the bound of the similarities of all pairs of rows, each pair of tiles once."""
    scratch = rows.new_empty(max(TILES) ** 2)

    def bound(library: type[MatMul] | type[OneDnn], size: int) -> Bound:
        def run(rows: Tensor) -> None:
            tiles = rows.split(size)
            for i, a in enumerate(tiles):
                for b in tiles[i:]:
                    library.product(a, b, scratch[: len(a) * len(b)].view(len(a), len(b)))

        return run

    return Fastest(_tilings(bound), rows, note)


def _tilings(
    bound: Callable[[type[MatMul] | type[OneDnn], int], Bound],
) -> dict[str, Bound]:
    """Return a variant for every library and tile size."""
    return {
        f"{name}, tiles of {size}": bound(library, size)
        for name, library in libraries().items()
        for size in TILES
    }
