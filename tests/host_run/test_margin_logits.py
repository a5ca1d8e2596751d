"""Cases of margin_logits beyond the other tests: invalid labels on a GPU, and huge sizes."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from fairloss_ext import margin_logits, reference


@pytest.mark.parametrize("bad", [-2, 7, 2**40])
@pytest.mark.parametrize("rows", [1, 7])  # of the margin table
def test_an_invalid_label_makes_only_its_own_row_nan(monkeypatch, bad, rows):
    cosine = (2 * torch.rand(40, 7, dtype=torch.float64) - 1).requires_grad_()
    labels = torch.randint(0, 7, (40,))
    table = torch.rand(rows, dtype=torch.float64, requires_grad=True)
    margins = table if rows > 1 else table[0]
    scale = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
    good = labels.clone()
    good[33] = -1
    expected = reference.margin_logits(cosine, good, margins, scale=scale)
    plain = torch.autograd.grad(expected.sum(), (cosine, table, scale))

    labels[33] = bad
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    logits = margin_logits(cosine, labels, margins, scale=scale)
    gradients = torch.autograd.grad(logits.sum(), (cosine, table, scale))
    invalid = torch.zeros(40, 7, dtype=torch.bool)
    invalid[33] = True
    for ours, theirs in ((logits, expected), (gradients[0], plain[0])):
        assert ours.isnan().equal(invalid)
        torch.testing.assert_close(ours[~invalid], theirs[~invalid])
    torch.testing.assert_close(gradients[1:], plain[1:])


def test_what_is_saved_of_samples_without_a_target(monkeypatch):
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    saved, rows = torch.ops.fairloss.margin_logits(
        torch.rand(3, 4), torch.tensor([-1, 9, 2]), torch.rand(4), None, torch.tensor(8.0),
        1, 0, 0, False,
    )[1:]  # fmt: skip
    assert rows.tolist() == [-1, -2, 2]
    assert saved[:, 0].eq(0).all()
    assert saved[:, 1].isnan().all()
    assert saved[:, 2].isfinite().all()


def test_the_gradient_of_a_label_beyond_the_classes_is_nan(monkeypatch):
    """The backward pass alone is called; the forward pass would mark such a row."""
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    labels, rows, saved = torch.tensor([9, 1, 2]), torch.zeros(3, dtype=int), torch.ones(3, 3)
    to_cosine, to_margin, _ = torch.ops.fairloss.margin_logits_backward(
        torch.ones(3, 4), torch.empty(0, 0), saved, rows, labels, torch.tensor(8.0), 1
    )
    assert to_cosine[0].isnan().all()
    assert to_cosine[1:].eq(8.0).all()
    assert to_margin.item() == 16.0


# The last has more samples than three blocks have threads.
SHAPES = [*product([1, 33, 300], [1, 7, 63, 512, 1000]), (900, 7)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "classes"), SHAPES)
@pytest.mark.parametrize("offset", [0, 1])  # 1: not aligned to 16 bytes
def test_odd_shapes(dtype, batch, classes, offset):
    store = 2 * torch.rand(batch * classes + offset, dtype=dtype) - 1
    cosine = store[offset:].view(batch, classes).requires_grad_()
    labels = torch.randint(-1, classes, (batch,))
    margins = torch.rand(classes, dtype=dtype, requires_grad=True)
    scale = torch.tensor(4.0, dtype=dtype, requires_grad=True)
    upstream = torch.randn(batch, classes, dtype=dtype)
    results = []
    for function in (margin_logits, reference.margin_logits):
        logits = function(cosine, labels, margins, scale=scale)
        gradients = torch.autograd.grad(logits, (cosine, margins, scale), upstream)
        results.append((logits, *gradients))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)


def test_more_parts_of_the_scale_s_gradient_than_a_block_has_threads(monkeypatch):
    monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", "300")
    cosine, labels = 2 * torch.rand(300, 1024) - 1, torch.randint(0, 1024, (300,))
    scale = torch.tensor(4.0, requires_grad=True)
    upstream = torch.randn(300, 1024)
    results = [
        torch.autograd.grad(function(cosine, labels, 0.3, scale=scale), scale, upstream)
        for function in (margin_logits, reference.margin_logits)
    ]
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


@pytest.mark.large
@pytest.mark.parametrize("gradient", [False, True])
def test_the_end_of_a_matrix_of_more_than_2_to_the_31_elements(monkeypatch, gradient):
    """Only the last block runs, so little memory is touched; the last target is in the last row."""
    classes = 2**30 + 8
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    monkeypatch.setenv("HOST_RUN_BLOCKS", "last")
    monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", str(2**31 - 1))
    cosine = torch.empty(3, classes)  # row 2 begins beyond 2^31
    cosine[2, -9:] = torch.linspace(-0.8, 0.8, 9)
    labels = torch.tensor([-1, -1, classes - 2])
    margin, scale = torch.tensor([0.3]), torch.tensor(4.0)
    target = reference.margin_logits(cosine[2:, -9:], labels[2:] - classes + 9, 0.3, scale=4.0)[0]
    if not gradient:
        logits, _, rows = torch.ops.fairloss.margin_logits(
            cosine, labels, margin, None, scale, 0, 0, 0, False
        )
        assert rows.tolist() == [-1, -1, 0]
        torch.testing.assert_close(logits[2, -9:], target)
        return
    saved = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 3.0], [0.0, 0.0, 2.0]])
    rows = torch.tensor([-1, -1, 0])
    to_cosine, to_margin, _ = torch.ops.fairloss.margin_logits_backward(
        cosine, torch.empty(0, 0), saved, rows, labels, scale, 1
    )
    expected = 4.0 * cosine[2, -9:]
    torch.testing.assert_close(to_margin[0, 0], expected[-2] * 2.0)
    expected[-2] *= 3.0
    torch.testing.assert_close(to_cosine[2, -9:], expected)


@pytest.mark.large
def test_the_last_samples_of_a_batch_whose_derivatives_pass_2_to_the_31(monkeypatch):
    """5 rows of 600 million numbers. Only the last block runs, so little memory is touched."""
    batch = 600_000_000
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    monkeypatch.setenv("HOST_RUN_BLOCKS", "last")
    monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", str(2**31 - 1))
    cosine, labels = torch.empty(batch, 1), torch.empty(batch, dtype=torch.int64)
    cosine[-2:] = 0.3
    labels[-2], labels[-1] = -1, 0
    arguments = (torch.tensor([[1.1, 0.2, 0.1]]), None, torch.tensor(8.0), 0, 3, 2, False)
    _, saved, rows = torch.ops.fairloss.margin_logits(cosine, labels, *arguments)
    _, small, _ = torch.ops.fairloss.margin_logits(
        cosine[-2:].clone(), labels[-2:].clone(), *arguments
    )
    assert rows[-2:].tolist() == [-1, 0]
    assert saved[:, -2:].equal(small)


@pytest.mark.large
def test_invalid_rows_of_a_tall_matrix_of_more_than_2_to_the_31_elements(monkeypatch):
    """A row to fill with NaN beyond 2^31: of a wide matrix it would be gigabytes."""
    batch, classes = 2**28 + 300, 8
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    monkeypatch.setenv("HOST_RUN_BLOCKS", "last")
    monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", str(2**31 - 1))
    cosine, labels = torch.empty(batch, classes), torch.empty(batch, dtype=torch.int64)
    cosine[-3:] = torch.linspace(-0.8, 0.8, 24).view(3, 8)
    labels[-3:] = torch.tensor([-1, 9, 5])
    margin, scale = torch.tensor([0.3]), torch.tensor(4.0)
    logits, _, rows = torch.ops.fairloss.margin_logits(
        cosine, labels, margin, None, scale, 0, 0, 0, False
    )
    assert rows[-3:].tolist() == [-1, -2, 0]
    target = reference.margin_logits(cosine[-1:], labels[-1:], 0.3, scale=4.0)[0, 5]
    assert logits[-2].isnan().all()
    torch.testing.assert_close(logits[-1, 5], target)
