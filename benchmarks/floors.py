"""The matrix products an op cannot avoid, and nothing else: the time below which float32 cannot go.

Tiles are small enough for a cache and outputs are reused, so no new memory is touched. Products run
through `torch.mm` (MKL in the x86 wheels, held back on AMD) or oneDNN, whichever is faster here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

HEAD_TILE = 2000  # classes: with 256 samples a tile of logits is 2 MB
TILES = (1000, 2000, 4000)
TRIAL_ROWS = 10_000  # rows that decide which way is fastest

Floor = Callable[[Tensor], object]  # of the rows of the large matrix


class MatMul:
    """torch.mm."""

    @staticmethod
    def product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:  # a b^T
        return torch.mm(a, b.T, out=out)

    @staticmethod
    def accumulate(total: Tensor, a: Tensor, b: Tensor) -> None:  # total += a b^T
        total.addmm_(a, b.T)


class OneDnn:
    """oneDNN's inner product, which makes its own output; malloc hands it the same pages again."""

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
    """The fastest of some floors, found at the first call."""

    def __init__(
        self, candidates: Mapping[str, Floor], rows: Tensor, note: Callable[[str], None]
    ) -> None:
        self.candidates, self.rows, self.note = candidates, rows, note
        self.chosen: Floor | None = None

    def __call__(self) -> None:
        if self.chosen is None:
            self.chosen = self._choose()
        self.chosen(self.rows)  # its output lives in reused memory: nothing to return

    def _choose(self) -> Floor:
        trial = self.rows[:TRIAL_ROWS]
        seconds = dict.fromkeys(self.candidates, float("inf"))
        for _ in range(4):  # the first is a warm-up: a minimum forgets it
            for name, floor in self.candidates.items():
                start = time.perf_counter()
                floor(trial)
                seconds[name] = min(seconds[name], time.perf_counter() - start)
        best = min(seconds, key=seconds.__getitem__)
        others = (
            f"{name} {seconds[name] / seconds[best]:.2f}x" for name in seconds if name != best
        )
        self.note(f"floor by {best}; {', '.join(others)}")
        return self.candidates[best]


def three_products(embeddings: Tensor, weight: Tensor, note: Callable[[str], None]) -> Fastest:
    """Forward and backward of a head: L = E W^T, dE += L W, dW = L^T E, tile by tile."""
    embeddings, weight = embeddings.detach(), weight.detach()
    batch = len(embeddings)
    logits = embeddings.new_empty(batch * HEAD_TILE)
    grad_embeddings, grad_weight = torch.zeros_like(embeddings), torch.empty_like(weight)

    def floor(library: type[MatMul] | type[OneDnn]) -> Floor:
        def run(rows: Tensor) -> None:
            for tile, out in zip(rows.split(HEAD_TILE), grad_weight.split(HEAD_TILE), strict=False):
                space = logits[: batch * len(tile)].view(batch, len(tile))
                block = library.product(embeddings, tile, space)
                library.accumulate(grad_embeddings, block, tile.T)
                library.product(block.T, embeddings.T, out)

        return run

    candidates = {name: floor(library) for name, library in libraries().items()}
    return Fastest(candidates, weight, note)


def one_product(queries: Tensor, rows: Tensor, note: Callable[[str], None]) -> Fastest:
    """All similarities of two matrices, tile by tile, each tile over the last."""
    space = queries.new_empty(len(queries) * max(TILES))

    def floor(library: type[MatMul] | type[OneDnn], size: int) -> Floor:
        def run(rows: Tensor) -> None:
            for tile in rows.split(size):
                out = space[: len(queries) * len(tile)].view(len(queries), len(tile))
                library.product(queries, tile, out)

        return run

    return Fastest(_tilings(floor), rows, note)


def triangle(rows: Tensor, note: Callable[[str], None]) -> Fastest:
    """The similarities of all pairs of rows, each pair of tiles once."""
    space = rows.new_empty(max(TILES) ** 2)

    def floor(library: type[MatMul] | type[OneDnn], size: int) -> Floor:
        def run(rows: Tensor) -> None:
            tiles = rows.split(size)
            for i, a in enumerate(tiles):
                for b in tiles[i:]:
                    library.product(a, b, space[: len(a) * len(b)].view(len(a), len(b)))

        return run

    return Fastest(_tilings(floor), rows, note)


def _tilings(
    floor: Callable[[type[MatMul] | type[OneDnn], int], Floor],
) -> dict[str, Floor]:
    """Every library with every size of tile."""
    return {
        f"{name}, tiles of {size}": floor(library, size)
        for name, library in libraries().items()
        for size in TILES
    }
