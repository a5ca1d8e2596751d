"""State of every loss under casts, averages, the meta device and other writers of checkpoints."""

from __future__ import annotations

import copy
import io
import json
import pickle

import numpy as np
import pytest
import torch
from head_cases import CASES
from safetensors.torch import load, save
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fairloss.agent import MarginGrid, Policy
from fairloss.heads import (
    HEADS,
    ArcFace,
    CenterLoss,
    CosFace,
    FairLoss,
    RingLoss,
    Triplet,
    UniformFace,
)
from fairloss_ext import class_statistics

CLASSES, DIM, BATCH = 7, 8, 24
LOSSES = {name: lambda case=case: case.make(CLASSES, DIM) for name, case in CASES.items()} | {
    "sampled": lambda: FairLoss(CLASSES, DIM, sample_rate=0.3),
    "CenterLoss": lambda: CenterLoss(CLASSES, DIM),
    "UniformFace": lambda: UniformFace(CLASSES, DIM),
    "RingLoss": RingLoss,
    "Triplet": Triplet,
}
EVERY = pytest.mark.parametrize("name", list(LOSSES))
# As in nn.Linear, they have the dtype of the module.
FOLLOWING = {"weight", "Softmax.bias", "L2Softmax.bias"}


def batch(dtype=torch.float32):
    embeddings = (5 * torch.randn(BATCH, DIM)).to(dtype).requires_grad_()
    return embeddings, torch.arange(BATCH) % CLASSES


def state(loss):
    """Copies of all tensors but those that follow the dtype of the module."""
    name = type(loss).__name__
    tensors = {k: v for k, v in loss.state_dict().items() if k != "_extra_state"}
    return {k: v.clone() for k, v in tensors.items() if not {k, f"{name}.{k}"} & FOLLOWING}


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@EVERY
def test_a_cast_changes_the_weights_alone(name):
    loss = LOSSES[name]()
    loss(*batch()).backward()
    before = state(loss)
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        model = torch.nn.Sequential(loss).to(dtype)
        expected = {
            k: v.to(dtype) if k in dict(loss.named_parameters()) and dtype == torch.float64 else v
            for k, v in before.items()
        }
        assert_equal(state(loss), expected)
        assert all(p.dtype == dtype for k, p in loss.named_parameters() if k == "weight")
        assert all(p.grad is None or p.grad.dtype == p.dtype for p in model.parameters())


@EVERY
def test_a_cast_loss_has_the_value_and_the_state_of_its_weights_in_float32(name):
    draws = LOSSES[name]().draws  # in float64 other numbers than in float32
    for dtype in (torch.bfloat16, torch.float16, torch.float64)[: 2 if draws else 3]:
        cast = LOSSES[name]().to(dtype)
        plain = copy.deepcopy(cast).float()
        embeddings, labels = batch(dtype)
        for _ in range(2):
            values, grads = [], []
            for loss in (cast, plain):
                torch.manual_seed(1)
                loss.zero_grad()
                rows = embeddings.detach().to(next(loss.parameters(), embeddings).dtype)
                values.append(loss(rows.requires_grad_(), labels))
                values[-1].backward()
                roots = [rows, *loss.parameters()]
                assert all(root.grad.dtype == root.dtype for root in roots)
                grads.append([root.grad.to_dense().double() for root in roots])
            torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4, check_dtype=False)
            for grad, expected in zip(*grads, strict=True):
                assert (grad - expected).norm() <= 0.01 * expected.norm() + 1e-6
        torch.testing.assert_close(
            state(cast), state(plain), rtol=1e-4, atol=1e-5, check_dtype=False
        )


@EVERY
def test_state_does_not_take_the_default_dtype(name):
    expected = state(LOSSES[name]())
    torch.set_default_dtype(torch.bfloat16)
    try:
        loss = LOSSES[name]()
    finally:
        torch.set_default_dtype(torch.float32)
    for key, value in state(loss).items():
        assert value.dtype == expected[key].dtype
        if key not in ("margins", "centers") or name not in ("AdaptiveFace", "UniformFace"):
            assert_equal(value, expected[key])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "Triplet"])  # has no tensor
def test_an_averaged_copy_has_an_end_of_epoch(name):
    loss = LOSSES[name]()
    average = AveragedModel(loss, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    embeddings, labels = batch()
    statistics = class_statistics(embeddings, labels, CLASSES)
    for _ in range(3):
        loss(embeddings, labels)
        average.update_parameters(loss)
        loss.end_of_epoch(statistics)
    average.module.end_of_epoch(statistics)
    assert average.module(embeddings, labels).isfinite()


@pytest.mark.parametrize("averaging", [{}, {"multi_avg_fn": get_ema_multi_avg_fn(0.999)}])
@pytest.mark.parametrize("name", ["sampled", "LSoftmax", "LDAM weighted"])
def test_an_averaged_copy_of_an_equal_count_has_that_count(name, averaging):
    loss = LOSSES[name]()
    count = loss.epoch if name.startswith("LDAM") else loss.step
    count.fill_(3)
    average = AveragedModel(loss, use_buffers=True, **averaging)
    for _ in range(5):
        average.update_parameters(loss)
    for key, buffer in average.module.named_buffers():
        torch.testing.assert_close(buffer, loss.get_buffer(key))
        assert buffer.is_floating_point()


@pytest.mark.parametrize("name", ["sampled", "LSoftmax", "LDAM weighted"])
def test_integer_counts_of_earlier_checkpoints_load(name):
    loss, other = LOSSES[name](), LOSSES[name]()
    for _ in range(3):
        loss(*batch())
        loss.end_of_epoch(None) if name.startswith("LDAM") else None
    saved = loss.state_dict()
    counts = [key for key in saved if key in ("step", "epoch")]
    assert [int(saved[key]) for key in counts] == [3]
    other.load_state_dict(saved | {key: saved[key].long() for key in counts})
    assert_equal(other.state_dict(), saved)


def test_margins_between_two_of_the_grid_count_as_the_nearest():
    embeddings, labels = batch()
    statistics = class_statistics(embeddings, labels, CLASSES)
    head = FairLoss(CLASSES, DIM, Policy.constant("raise"))
    head.set_margins(np.array([0.15, 0.17, 0.24, 0.26, 0.31, 0.44, 0.4502]))
    head.end_of_epoch(statistics)
    expected = torch.tensor([0.25, 0.25, 0.35, 0.35, 0.45, 0.45, 0.45])
    assert_equal(head.margins, expected)


@pytest.mark.parametrize("margin", [0.1, 0.5, float("nan"), float("inf")])
def test_margins_beyond_the_grid_are_refused(margin):
    embeddings, labels = batch()
    head = FairLoss(CLASSES, DIM)
    head.set_margins(np.full(CLASSES, margin))
    with pytest.raises(ValueError, match=f"margins: expected .* 0.15 to 0.45, got {margin}"):
        head.end_of_epoch(class_statistics(embeddings, labels, CLASSES))
    with pytest.raises(ValueError, match="margins: expected margins on the grid"):
        head.policy.apply([2], [margin])


@pytest.mark.parametrize("values", [(0.35,), (-0.3, 0.0, 0.4)])
def test_every_grid_value_rounded_to_bfloat16_is_nearest_to_itself(values):
    rounded = torch.tensor(values).bfloat16().double().numpy()
    assert MarginGrid(values).nearest(rounded).tolist() == list(values)


@EVERY
def test_a_loss_from_the_meta_device_is_as_a_new_one(name):
    torch.manual_seed(3)
    new = LOSSES[name]()
    with torch.device("meta"):
        loss = LOSSES[name]()
    assert all(tensor.is_meta for tensor in [*loss.parameters(), *loss.buffers()])
    repr(loss)
    loss.to_empty(device="cpu")
    for tensor in [*loss.parameters(), *loss.buffers()]:
        tensor.data.fill_(17)
    torch.manual_seed(3)
    loss.reset_parameters()
    assert_equal(loss.state_dict(), new.state_dict())
    loss(*batch()).backward()
    torch.manual_seed(3)
    loss.reset_parameters()
    assert_equal(loss.state_dict(), new.state_dict())


@EVERY
def test_a_checkpoint_loads_into_the_meta_device(name):
    loss = LOSSES[name]()
    loss(*batch())
    saved = {k: v.bfloat16() for k, v in loss.state_dict().items()}
    with torch.device("meta"):
        other = LOSSES[name]()
    other.load_state_dict(saved, assign=True)
    assert {k: v.dtype for k, v in state(other).items()} == {
        k: v.dtype for k, v in state(loss).items()
    }


@EVERY
def test_safetensors_and_weights_only_restore_it(name):
    loss = LOSSES[name]()
    loss(*batch())
    buffer = io.BytesIO()
    torch.save(loss.state_dict(), buffer)
    buffer.seek(0)
    for saved in (load(save(loss.state_dict())), torch.load(buffer, weights_only=True)):
        other = LOSSES[name]()
        other.load_state_dict(saved)
        assert_equal(other.state_dict(), loss.state_dict())


@EVERY
def test_copies_and_pickles_are_equal(name):
    loss = LOSSES[name]()
    loss(*batch())
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert_equal(other.state_dict(), loss.state_dict())


def test_a_pickle_of_version_0_1_trains_and_casts():
    head = FairLoss(CLASSES, DIM, sample_rate=0.3)
    del head._first_values, head._recomputation
    other = pickle.loads(pickle.dumps(head))
    with torch.no_grad():
        other.to(torch.float64).float()(*batch())
    assert other.step == 1


def test_the_policy_is_restored_from_a_tensor_and_from_the_dict_of_version_0_1():
    policy = Policy.constant("lower", MarginGrid((0.1, 0.2)))
    provenance = {"source": "Zoë 日本"}
    traced = Policy(policy.grid, policy.table, policy.q, policy.visits, provenance)
    head = FairLoss(3, 4, traced, initial_margin=0.1)
    saved = head.get_extra_state()
    assert saved.dtype == torch.uint8
    assert json.loads(saved.numpy().tobytes().decode())["provenance"] == provenance
    old = {
        "version": 1,
        "grid": [0.1, 0.2],
        "table": policy.table.tolist(),
        "provenance": provenance,
    }
    for extra_state in (saved, saved.bfloat16(), old):
        other = FairLoss(3, 4)
        other.set_extra_state(extra_state)
        assert other.policy.grid.values == (0.1, 0.2)
        assert np.array_equal(other.policy.table, policy.table)
        assert other.policy.provenance == provenance


@pytest.mark.parametrize(
    "damage",
    [
        lambda saved: saved[:-3],
        lambda saved: saved * 0 + 255,
        lambda saved: saved[:0],
        lambda saved: torch.tensor(list(b'{"table": 3}'), dtype=torch.uint8),
        lambda saved: torch.tensor(list(b"[1]"), dtype=torch.uint8),
        lambda saved: saved.to("meta"),
        lambda saved: {"version": 1},
        lambda saved: None,
    ],
)
def test_a_damaged_policy_is_refused(damage):
    head = FairLoss(3, 4, Policy.constant("raise"))
    with pytest.raises(ValueError, match="_extra_state: expected a policy of FairLoss, got "):
        head.set_extra_state(damage(head.get_extra_state()))
    assert head.policy.provenance["source"] == "constant raise"


def test_a_provenance_that_is_no_json_is_named():
    policy = Policy.constant("keep")
    policy.provenance["when"] = {1, 2}
    with pytest.raises(ValueError, match="provenance: expected JSON, got .*set"):
        FairLoss(3, 4, policy).state_dict()


def test_every_loss_is_tested():
    assert {name.split()[0] for name in LOSSES} >= {*HEADS, "CenterLoss", "RingLoss"}


def test_a_class_that_extends_a_loss_exchanges_states_with_it():
    one, other = (type(name, (ArcFace,), {}) for name in ("Mine", "Renamed"))
    for saved in (one, ArcFace):
        for loaded in (other, ArcFace):
            loaded(CLASSES, DIM).load_state_dict(saved(CLASSES, DIM).state_dict())
    with pytest.raises(
        RuntimeError, match=r'expected the state of CosFace.*, got ArcFace, kind "arc"'
    ):
        CosFace(CLASSES, DIM).load_state_dict(one(CLASSES, DIM).state_dict())
