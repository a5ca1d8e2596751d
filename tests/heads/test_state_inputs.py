"""Numbers of the method stay what they are through casts, averaging, files and devices."""

from __future__ import annotations

import copy
import io
from functools import partial

import numpy as np
import pytest
import torch
from oracles import margin_softmax_losses
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fairloss import heads
from fairloss.agent import Policy
from fairloss.agent.grid import ACTIONS, DEFAULT_GRID
from fairloss.optim import RowSGD
from fairloss_ext import class_statistics

CLASSES, DIM, BATCH = 12, 8, 24
LABELS = torch.arange(BATCH) % CLASSES


@pytest.fixture
def default_dtype():
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


def embeddings(seed=0, length=25.0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(BATCH, DIM, generator=generator)
    spread = torch.linspace(0.9, 1.1, BATCH)[:, None]
    return length * spread * nn.functional.normalize(points)


def statistics(seed=0):
    """Statistics of classes with 3 to 14 images."""
    labels = torch.arange(CLASSES).repeat_interleave(torch.arange(3, 3 + CLASSES))
    generator = torch.Generator().manual_seed(seed)
    return class_statistics(
        torch.randn(len(labels), DIM, generator=generator) + labels[:, None] % 3, labels, CLASSES
    )


def on_the_grid(margins):
    distance = (margins.double()[:, None] - torch.tensor(DEFAULT_GRID.values).double()).abs()
    return bool((distance.min(dim=1).values < 1e-6).all())


def test_adaface_follows_norms_in_float32_as_a_half_model():
    head = heads.AdaFace(CLASSES, DIM).half()
    mean, deviation = 20.0, 100.0
    for seed in range(20):
        rows = embeddings(seed, length=21.0).half()
        norms = rows.double().norm(dim=1)
        mean += 0.01 * (float(norms.mean()) - mean)
        deviation += 0.01 * (float(norms.std()) - deviation)
        head(rows, LABELS)
    assert float(head.norm_mean) == pytest.approx(mean, rel=1e-5)
    assert float(head.norm_std) == pytest.approx(deviation, rel=1e-5)


def test_curricularface_keeps_t_through_bfloat16_and_a_checkpoint():
    head = heads.CurricularFace(CLASSES, DIM).to(torch.bfloat16)
    t = 0.0
    for seed in range(10):
        rows = (embeddings(seed) + 500 * head.weight.detach()[LABELS]).bfloat16()
        cosine = nn.functional.cosine_similarity(rows.double(), head.weight.double()[LABELS])
        t = 0.99 * t + 0.01 * float(cosine.mean())
        head(rows, LABELS)
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    loaded = heads.CurricularFace(CLASSES, DIM)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for one in (head, loaded):
        assert one.t.dtype == torch.float32
        assert float(one.t) == pytest.approx(t, rel=1e-3)
        assert one.margins == torch.tensor(0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_adacos_made_under_another_default_has_a_float32_scale(dtype, default_dtype):
    default_dtype(dtype)
    head = heads.AdaCos(1000, DIM, dynamic=False)
    assert head.scale.dtype == torch.float32
    assert float(head.scale) == pytest.approx(2**0.5 * np.log(999), rel=1e-6)


@pytest.mark.parametrize("averaging", [None, get_ema_multi_avg_fn(0.9)], ids=["mean", "ema"])
def test_averaged_margins_count_as_the_nearest_on_the_grid(averaging):
    head = heads.FairLoss(CLASSES, DIM, Policy.constant("raise"))
    averaged = AveragedModel(head, multi_avg_fn=averaging, use_buffers=True)
    averaged.update_parameters(head)
    for seed in range(2):
        head.end_of_epoch(statistics(seed))
        averaged.update_parameters(head)
    assert on_the_grid(head.margins)
    assert averaged.module.margins.dtype == torch.float32
    grid = np.array(head.policy.grid.values)
    distance = np.abs(averaged.module.margins.numpy()[:, None] - grid)
    right = np.minimum(distance.argmin(axis=1) + 1, len(grid) - 1)  # each is raised
    averaged.module.end_of_epoch(statistics(2))
    np.testing.assert_allclose(averaged.module.margins.numpy(), grid[right], rtol=1e-6)


@pytest.mark.parametrize(
    "there_and_back",
    [
        lambda head: head.half().float(),
        lambda head: head.to(torch.bfloat16).double().float(),
        lambda head: copy.deepcopy(head.bfloat16()).float(),
    ],
    ids=["half", "bfloat16 and double", "deepcopy of bfloat16"],
)
def test_fair_loss_has_its_margins_after_a_cast_and_back(there_and_back):
    head, right = (heads.FairLoss(CLASSES, DIM, kind="cos", initial_margin=0.35) for _ in range(2))
    head = there_and_back(head)
    for epoch in range(3):
        assert torch.equal(head.margins, right.margins)
        head.end_of_epoch(statistics(epoch))
        right.end_of_epoch(statistics(epoch))
    assert torch.equal(head.margins, right.margins)


def test_a_copied_bfloat16_head_has_the_margin_of_its_paper():
    head = copy.deepcopy(heads.SphereFaceR(CLASSES, DIM, 1.7, reduction="none").bfloat16())
    rows = embeddings().bfloat16()
    margin = torch.full((BATCH,), 1.7, dtype=torch.float64)
    right = margin_softmax_losses(rows, head.weight, LABELS, margin, kind="sphere", scale=30.0)
    torch.testing.assert_close(head(rows, LABELS).double(), right, rtol=1e-4, atol=1e-4)


def test_safetensors_keep_the_policy_and_the_margins_of_a_model(tmp_path):
    tensors = pytest.importorskip("safetensors.torch")

    def net(policy):
        return nn.Sequential(nn.Linear(DIM, DIM), heads.FairLoss(CLASSES, DIM, policy))

    model, loaded = net(Policy.constant("raise")), net(None)
    model[1].end_of_epoch(statistics())
    tensors.save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded.load_state_dict(tensors.load_file(tmp_path / "model.safetensors"))
    raised = model[1].margins.clone()
    assert torch.equal(loaded[1].margins, raised)
    loaded[1].end_of_epoch(statistics())
    grid = np.array(DEFAULT_GRID.values)
    index = DEFAULT_GRID.index(raised.double().numpy())
    right = grid[np.minimum(index + 1, len(grid) - 1)]
    np.testing.assert_allclose(loaded[1].margins.numpy(), right, rtol=1e-6)
    assert loaded[1].policy.provenance["source"] == f"constant {ACTIONS[-1]}"


def test_regularizers_made_on_the_meta_device_start_as_elsewhere():
    with torch.device("meta"):
        center, uniform = heads.CenterLoss(200, 50), heads.UniformFace(200, 50)
        ring = heads.RingLoss()
    for loss in (center, uniform, ring):
        loss.to_empty(device="cpu")
        for value in (*loss.parameters(), *loss.buffers()):
            value.data.fill_(torch.nan)
        loss.reset_parameters()
    assert center.centers.eq(0).all()
    assert float(uniform.centers.mean()) == pytest.approx(0, abs=0.05)
    assert float(uniform.centers.std()) == pytest.approx(1, abs=0.05)
    rows = embeddings()
    ring(rows, LABELS)  # the first batch sets the radius
    assert float(ring.radius) == pytest.approx(float(rows.norm(dim=1).mean()), rel=1e-6)


def test_margins_from_counts_and_statistics_do_not_follow_bfloat16():
    counts = [1 + 7 * k for k in range(CLASSES)]
    ldam = heads.LDAM(CLASSES, DIM, counts=counts).bfloat16()
    right = torch.tensor([0.5 * n**-0.25 for n in counts], dtype=torch.float64)
    torch.testing.assert_close(ldam.margins.double(), right, rtol=1e-6, atol=0)
    kappa, exact = heads.KappaFace(CLASSES, DIM).bfloat16(), heads.KappaFace(CLASSES, DIM)
    for head in (kappa, exact):
        head.end_of_epoch(statistics())
    assert kappa.margins.dtype == torch.float32
    assert torch.equal(kappa.margins, exact.margins)


TRAINED = {
    "AdaFace": heads.AdaFace,
    "AdaCos": heads.AdaCos,
    "LSoftmax": heads.LSoftmax,
    "sampled CurricularFace": partial(heads.CurricularFace, sample_rate=0.5),
    "LDAM": partial(heads.LDAM, counts=list(range(1, CLASSES + 1)), reweight_from=1),
    "FairLoss": partial(heads.FairLoss, initial_margin=0.35),
    "UniFace": heads.UniFace,
    "L2Softmax learned": partial(heads.L2Softmax, learn_scale=True),
}


def test_reset_parameters_forgets_all_training():
    for name, make in TRAINED.items():
        torch.manual_seed(1)
        head = make(CLASSES, DIM)
        torch.manual_seed(2)
        fresh = make(CLASSES, DIM).state_dict()
        optimizer = RowSGD(head.parameters(), lr=0.1)
        for seed in range(2):
            head(embeddings(seed), LABELS).backward()
            optimizer.step()
            head.end_of_epoch(statistics(seed))
        torch.manual_seed(2)
        head.reset_parameters()
        values = head.state_dict()
        assert values.keys() == fresh.keys(), name
        for key, value in fresh.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(values[key], value), f"{name} {key}"
