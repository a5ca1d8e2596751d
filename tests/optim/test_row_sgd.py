from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch.nn import functional as F

from fairloss.optim import RowSGD
from fairloss.optim import row_sgd as module

OPTIONS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
CLASSES, DIM = 50, 24


def parameter(*shape: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(*shape or (CLASSES, DIM)))


def sparse(rows, values, shape=(CLASSES, DIM)):
    return torch.sparse_coo_tensor(
        torch.as_tensor(rows)[None], values, shape, check_invariants=True
    )


def draw(size=12):
    """Distinct rows in ascending order and their gradients."""
    return torch.randperm(CLASSES)[:size].sort().values, torch.randn(size, DIM)


def by_hand(weight, momentum, rows, values, lr=0.1, mu=0.9, decay=0.01):
    """The rule, one row at a time in float64."""
    for row, value in zip(rows.tolist(), values.double(), strict=True):
        momentum[row] = mu * momentum[row] + value + decay * weight[row]
        weight[row] = weight[row] - lr * momentum[row]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_all_rows_touched_is_torch_sgd(momentum, weight_decay):
    ours, theirs, dense = (torch.nn.Parameter(torch.ones(CLASSES, DIM)) for _ in range(3))
    options = {"lr": 0.1, "momentum": momentum, "weight_decay": weight_decay}
    optimizer, reference = RowSGD([ours, dense], **options), torch.optim.SGD([theirs], **options)
    for _ in range(4):
        theirs.grad = torch.randn(CLASSES, DIM)
        ours.grad, dense.grad = sparse(range(CLASSES), theirs.grad), theirs.grad.clone()
        optimizer.step()
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
        assert torch.equal(dense, theirs)


def test_some_rows_are_the_rule_by_hand_and_the_others_keep_their_bits(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES_PER_THREAD", 5 * DIM * 4)  # several blocks, one short
    weight = parameter()
    expected, momentum = weight.detach().double(), torch.zeros(CLASSES, DIM).double()
    optimizer = RowSGD([weight], **OPTIONS)
    for _ in range(3):
        rows, values = draw()
        before = weight.detach().clone()
        velocity = optimizer.state[weight].get("momentum_buffer", torch.zeros(CLASSES, DIM)).clone()
        weight.grad = sparse(rows, values)
        optimizer.step()
        by_hand(expected, momentum, rows, values)
        after = optimizer.state[weight]["momentum_buffer"]
        torch.testing.assert_close(weight.double(), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(after.double(), momentum, rtol=1e-5, atol=1e-6)
        others = torch.ones(CLASSES, dtype=torch.bool).index_fill(0, rows, False)
        assert torch.equal(weight[others], before[others])
        assert torch.equal(after[others], velocity[others])
        assert not torch.eq(weight[rows], before[rows]).all(1).any()


@pytest.mark.parametrize("accumulated", [False, True])
@pytest.mark.parametrize(("first", "twice", "last"), [(2, 5, 9), (9, 5, 2)])
def test_rows_that_occur_twice_are_summed(accumulated, first, twice, last):
    weight = parameter()
    expected, momentum = weight.detach().double(), torch.zeros(CLASSES, DIM).double()
    parts = [
        (torch.tensor([first, twice]), torch.randn(2, DIM)),
        (torch.tensor([twice, last]), torch.randn(2, DIM)),
    ]
    rows, values = (torch.cat(part) for part in zip(*parts, strict=True))
    if accumulated:
        for part, factor in parts:
            (F.embedding(part, weight, sparse=True) * factor).sum().backward()
    else:
        weight.grad = sparse(rows, values)
    RowSGD([weight], **OPTIONS).step()
    summed = torch.stack([values[0], values[1] + values[2], values[3]])
    by_hand(expected, momentum, torch.tensor([first, twice, last]), summed)
    torch.testing.assert_close(weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_ascending_rows_are_not_sorted(monkeypatch):
    weight = parameter()
    optimizer = RowSGD([weight], lr=0.1)
    monkeypatch.setattr(torch.Tensor, "coalesce", None)
    weight.grad = sparse(*draw())
    optimizer.step()
    weight.grad = sparse([3, 1], torch.randn(2, DIM))
    with pytest.raises(TypeError):
        optimizer.step()


def test_no_rows_change_nothing():
    weight = parameter()
    before = weight.detach().clone()
    weight.grad = sparse(torch.zeros(0, dtype=torch.int64), torch.zeros(0, DIM))
    RowSGD([weight], **OPTIONS).step()
    assert torch.equal(weight, before)


def test_parameters_of_other_shapes_and_dtypes():
    for shape, dtype in (((CLASSES,), torch.float32), ((CLASSES, 2, 3), torch.bfloat16)):
        weight = torch.nn.Parameter(torch.ones(shape, dtype=dtype))
        weight.grad = sparse([2, 4], torch.ones(2, *shape[1:], dtype=dtype), shape)
        RowSGD([weight], lr=0.5).step()
        touched = torch.tensor([2, 4])
        assert torch.equal(weight[touched], torch.full((2, *shape[1:]), 0.5, dtype=dtype))
        assert weight.sum() == weight.numel() - weight[touched].sum()


def test_groups_and_schedulers_set_the_options():
    weight, frozen, backbone = parameter(), parameter(), parameter()
    groups = [{"params": [weight]}, {"params": [frozen], "lr": 0.0}]
    optimizer = RowSGD([*groups, {"params": [backbone], "momentum": 0.0}], **OPTIONS)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    start = [p.detach().clone() for p in (weight, frozen, backbone)]
    rows, values = draw()
    weight.grad, frozen.grad = sparse(rows, values), sparse(rows, values)
    backbone.grad = torch.ones(CLASSES, DIM)
    optimizer.step()
    scheduler.step()
    torch.testing.assert_close(backbone, start[2] - 0.1 * (1 + 0.01 * start[2]))
    assert torch.equal(frozen, start[1])
    assert "momentum_buffer" not in optimizer.state[backbone]
    weight.grad = frozen.grad = None
    start[2] = backbone.detach().clone()
    optimizer.step()
    torch.testing.assert_close(backbone, start[2] - 0.05 * (1 + 0.01 * start[2]))


def test_a_closure_computes_gradients_and_its_loss_is_returned():
    weight = parameter()
    optimizer = RowSGD([weight], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = F.embedding(torch.tensor([1, 5]), weight, sparse=True).square().sum()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(3)]
    assert losses[1] == pytest.approx(0.64 * losses[0], rel=1e-4)  # w -= 0.1 * 2 w
    assert losses[2] == pytest.approx(0.64 * losses[1], rel=1e-4)


def test_grad_scaler_unscales_and_leaves_out_a_step_with_inf():
    scaled, plain = parameter(), parameter()
    plain.data.copy_(scaled.data)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=100)
    optimizer, reference = RowSGD([scaled], **OPTIONS), RowSGD([plain], **OPTIONS)
    for overflows in (False, True, False):
        rows, values = draw()
        before, state = scaled.detach().clone(), copy.deepcopy(optimizer.state_dict()["state"])
        values[3, 2] = math.inf if overflows else values[3, 2]
        for weight, factor in ((scaled, scaler.get_scale()), (plain, 1.0)):
            weight.grad = None
            loss = (F.embedding(rows, weight, sparse=True) * values).sum() * factor
            loss.backward()
        assert scaled.grad.is_sparse
        scaler.scale(torch.ones(()))  # the scaler makes its state at the first loss
        scaler.step(optimizer)
        scaler.update()
        if overflows:
            assert torch.equal(scaled, before)
            now = optimizer.state_dict()["state"]
            assert torch.equal(now[0]["momentum_buffer"], state[0]["momentum_buffer"])
        else:
            reference.step()
            torch.testing.assert_close(scaled, plain)
    assert scaler.get_scale() == 512


def test_a_loaded_optimizer_resumes_with_the_same_bits():
    steps = [draw() for _ in range(6)]
    whole, part = parameter(), parameter()
    part.data.copy_(whole.data)

    def run(weight, optimizer, steps):
        for rows, values in steps:
            weight.grad = sparse(rows, values)
            optimizer.step()

    run(whole, RowSGD([whole], **OPTIONS), steps)
    first = RowSGD([part], **OPTIONS)
    run(part, first, steps[:3])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = RowSGD([part], lr=7.0)
    second.load_state_dict(torch.load(file, weights_only=True))
    run(part, second, steps[3:])
    assert torch.equal(whole, part)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, r"lr: expected a number of at least 0, got -0.1"),
        ({"lr": math.nan}, "lr: expected .* got nan"),
        ({"momentum": 1.0}, r"momentum: expected a number in \[0, 1\), got 1.0"),
        ({"weight_decay": -1}, "weight_decay: expected .* got -1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        RowSGD([parameter()], **{"lr": 0.1} | options)
    with pytest.raises(ValueError, match=message):
        RowSGD([{"params": [parameter()]} | options], lr=0.1)


def test_gradients_with_two_sparse_dimensions_are_refused():
    weight = parameter()
    before = weight.detach().clone()
    weight.grad = torch.randn(CLASSES, DIM).to_sparse(2)
    with pytest.raises(ValueError, match="gradient: expected one sparse dimension, got 2"):
        RowSGD([weight], **OPTIONS).step()
    assert torch.equal(weight, before)
