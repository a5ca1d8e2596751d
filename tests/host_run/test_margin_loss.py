"""Cases of margin_loss beyond the other tests: invalid labels on a GPU, and huge sizes."""

from __future__ import annotations

import pytest
import torch

from fairloss_ext import margin_loss, reference


@pytest.mark.parametrize("bad", [-2, 5, 2**40])
@pytest.mark.parametrize("grouped", [False, True])
def test_an_invalid_label_makes_only_its_own_sample_nan(monkeypatch, bad, grouped):
    cosine = torch.linspace(-0.9, 0.9, 300, dtype=torch.float64, requires_grad=True)
    nlse = torch.randn(300, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 5, (300,))
    margins = torch.rand(3 if grouped else 5, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([0, 2, 1, 1, 0]) if grouped else None
    leaves = (cosine, nlse, margins, scale)

    good = labels.clone()
    good[[7, 299]] = -1
    expected = reference.margin_loss(cosine, nlse, good, margins, groups, scale=scale)
    expected_gradients = torch.autograd.grad(expected.sum(), leaves)

    labels[[7, 299]] = bad
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    losses = margin_loss(cosine, nlse, labels, margins, groups, scale=scale)
    gradients = torch.autograd.grad(losses.sum(), leaves)
    invalid = torch.zeros(300, dtype=torch.bool)
    invalid[[7, 299]] = True
    for ours, plain in [
        (losses, expected),
        (gradients[0], expected_gradients[0]),
        (gradients[1], expected_gradients[1]),
    ]:
        assert ours.isnan().equal(invalid)
        torch.testing.assert_close(ours[~invalid], plain[~invalid])
    torch.testing.assert_close(gradients[2:], expected_gradients[2:])


def test_an_invalid_group_makes_only_its_own_samples_nan(monkeypatch):
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    labels = torch.tensor([0, 1, 2, 3])
    losses = margin_loss(
        torch.zeros(4), torch.zeros(4), labels, torch.rand(2), torch.tensor([0, 2, -1, 1])
    )
    assert losses.isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize("batch", [1, 31, 33, 255, 257, 1500])
@pytest.mark.parametrize("rows", [1, 2, 700])
def test_odd_batches_in_float32(batch, rows):
    cosine = (2 * torch.rand(batch) - 1).requires_grad_()
    nlse = (3 * torch.randn(batch)).requires_grad_()
    labels = torch.randint(-1, rows, (batch,))
    margins = (0.2 + 0.3 * torch.rand(rows)).requires_grad_()
    scale = torch.tensor(4.0, requires_grad=True)
    leaves = (cosine, nlse, margins, scale)
    upstream = torch.rand(batch)
    results = []
    for function in (margin_loss, reference.margin_loss):
        losses = function(cosine, nlse, labels, margins, scale=scale)
        results.append((losses, *torch.autograd.grad(losses, leaves, upstream)))
    torch.testing.assert_close(*results, rtol=2e-4, atol=2e-4)


def test_the_same_bits_in_every_run():
    cosine, nlse = torch.rand(999), torch.randn(999)
    labels = torch.randint(0, 3, (999,))
    margins = torch.rand(3, requires_grad=True)
    first, second = (
        torch.autograd.grad(margin_loss(cosine, nlse, labels, margins).sum(), margins)[0]
        for _ in range(2)
    )
    assert first.equal(second)


@pytest.mark.large
def test_the_last_sample_of_a_batch_whose_derivatives_pass_2_to_the_31(monkeypatch):
    """6 rows of 450 million derivatives. Only the last block runs, so little memory is touched."""
    batch = 450_000_000
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")  # looking at the labels would touch them
    monkeypatch.setenv("HOST_RUN_BLOCKS", "last")
    monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", str(2**31 - 1))
    cosine, nlse = torch.empty(batch), torch.empty(batch)
    labels = torch.empty(batch, dtype=torch.int64)
    cosine[-1], nlse[-1], labels[-1] = 0.3, 1.0, 4
    margins = torch.rand(5, 3)
    arguments = (None, torch.tensor(8.0), 1, 3, 2, False)
    loss, derivatives, rows = torch.ops.fairloss.margin_loss(
        cosine, nlse, labels, margins, *arguments
    )
    small = torch.ops.fairloss.margin_loss(
        cosine[-1:].clone(), nlse[-1:].clone(), labels[-1:].clone(), margins, *arguments
    )
    assert rows[-1] == 4
    assert loss[-1] == small[0][0]
    assert derivatives[:, -1].equal(small[1][:, 0])
    labels[-1] = 9  # out of range, so NaN goes where the index leads
    _, derivatives, _ = torch.ops.fairloss.margin_loss(cosine, nlse, labels, margins, *arguments)
    assert derivatives[:, -1].isnan().all()
