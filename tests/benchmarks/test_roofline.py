from __future__ import annotations

import pytest
import roofline
import torch
from torch import Tensor


@pytest.mark.parametrize("library", roofline.libraries().values(), ids=roofline.libraries())
def test_both_libraries_compute_the_products(library):
    a, b, total = torch.randn(5, 8), torch.randn(7, 8), torch.randn(5, 7)
    expected = a.double() @ b.double().T
    out = library.product(a, b, torch.empty(5, 7))
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)
    transposed = library.product(a.T.contiguous().T, b.T.contiguous().T, torch.empty(5, 7))
    torch.testing.assert_close(transposed.double(), expected, rtol=0, atol=1e-5)
    before = total.double()
    library.accumulate(total, a, b)
    torch.testing.assert_close(total.double(), before + expected, rtol=0, atol=1e-5)


class Counted:
    """A library that counts multiplications instead of doing them."""

    def __init__(self) -> None:
        self.multiplications = 0

    def product(self, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        assert out.shape == (len(a), len(b))
        self.multiplications += a.shape[0] * a.shape[1] * b.shape[0]
        return out

    def accumulate(self, total: Tensor, a: Tensor, b: Tensor) -> None:
        self.product(a, b, total)


@pytest.mark.parametrize(
    ("bound", "products"),
    [(roofline.three_products, 3), (roofline.one_product, 1)],
)
def test_bounds_do_all_products_once(monkeypatch, bound, products):
    counted = Counted()
    monkeypatch.setattr(roofline, "libraries", lambda: {"counted": counted})
    queries, rows = torch.empty(3, 4), torch.empty(4500, 4)  # the last tile is cut short
    for run in bound(queries, rows, print).variants.values():
        counted.multiplications = 0
        run(rows)
        assert counted.multiplications == products * 3 * 4 * 4500


def test_the_triangle_covers_every_pair(monkeypatch):
    counted = Counted()
    monkeypatch.setattr(roofline, "libraries", lambda: {"counted": counted})
    roofline.triangle(torch.empty(2000, 4), print).variants["counted, tiles of 1000"](
        torch.empty(2000, 4)
    )
    assert counted.multiplications == 3 * 1000 * 1000 * 4  # three of four tiles


def test_the_fastest_is_selected_once_and_noted():
    calls, notes = [], []

    def slow(rows: Tensor) -> None:
        calls.append("slow")
        for _ in range(100):
            torch.randn(100_000)

    variants = {"slow": slow, "fast": lambda rows: calls.append("fast")}
    bound = roofline.Fastest(variants, torch.empty(1), notes.append)
    bound()
    bound()
    assert calls[-2:] == ["fast", "fast"]
    assert notes[0].startswith("roofline bound: fast; slow ")
    assert len(notes) == 1
