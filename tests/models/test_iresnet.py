"""IResNet against insightface's layout, written out here by hand, and published sizes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fairloss.models import IResNet, build_model

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def named_by_insightface(units: tuple[int, int, int, int]) -> set[str]:
    names = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    names |= {f"{norm}.{part}" for norm in ("bn1", "bn2", "features") for part in NORM}
    for stage, count in enumerate(units, start=1):
        for unit in range(count):
            block = f"layer{stage}.{unit}"
            names |= {f"{block}.{norm}.{part}" for norm in ("bn1", "bn2", "bn3") for part in NORM}
            names |= {f"{block}.{layer}.weight" for layer in ("conv1", "prelu", "conv2")}
        names |= {f"layer{stage}.0.downsample.1.{part}" for part in NORM}
        names.add(f"layer{stage}.0.downsample.0.weight")
    return names


@pytest.mark.parametrize(
    ("depth", "millions", "units"),
    [
        (18, 24.02, (2, 2, 2, 2)),
        (50, 43.59, (3, 4, 14, 3)),
        (100, 65.15, (3, 13, 30, 3)),
    ],
)
def test_published_size_and_names(
    depth: int, millions: float, units: tuple[int, int, int, int]
) -> None:
    with torch.device("meta"):
        model = build_model(f"iresnet{depth}")
    # the published figures are cut off, not rounded, after two digits
    assert math.floor(count_parameters(model) / 1e4) / 100 == millions
    assert set(model.state_dict()) == named_by_insightface(units)


def test_iresnet34_has_its_units() -> None:
    with torch.device("meta"):
        model = build_model("iresnet34")
    assert set(model.state_dict()) == named_by_insightface((3, 4, 6, 3))


def functional_forward(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """insightface's forward pass in evaluation mode, from the state dict alone."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, eps=1e-5)

    def conv(name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    x = F.prelu(norm("bn1", conv("conv1", images)), state["prelu.weight"])
    for stage in range(1, 5):
        for unit in range(2):
            block, stride = f"layer{stage}.{unit}", 2 if unit == 0 else 1
            out = norm(f"{block}.bn2", conv(f"{block}.conv1", norm(f"{block}.bn1", x)))
            out = F.prelu(out, state[f"{block}.prelu.weight"])
            out = norm(f"{block}.bn3", conv(f"{block}.conv2", out, stride))
            if unit == 0:
                shortcut = conv(f"{block}.downsample.0", x, stride, padding=0)
                x = norm(f"{block}.downsample.1", shortcut)
            x = out + x
    x = F.linear(norm("bn2", x).flatten(1), state["fc.weight"], state["fc.bias"])
    return norm("features", x)


def test_forward_is_the_published_network() -> None:
    torch.manual_seed(0)
    model = IResNet(18, embedding_size=8, image_size=(32, 48)).double().eval()
    state = {
        name: torch.rand_like(value) + 0.5 if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    # small, signed convolutions keep the activations in range and exercise the PReLU
    for name in state:
        if "conv" in name or "downsample.0" in name or name == "fc.weight":
            state[name] = (state[name] - 1.0) * 0.1
    model.load_state_dict(state)
    images = torch.rand(2, 3, 32, 48, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(model(images), functional_forward(state, images))


def test_fixed_scale_and_dropout() -> None:
    model = IResNet(18, embedding_size=8, image_size=(16, 16), channels=1, dropout=0.5)
    assert not model.features.weight.requires_grad
    assert torch.equal(model.features.weight, torch.ones(8))
    assert model.features.bias.requires_grad
    assert model.dropout.p == 0.5
    assert model.fc.in_features == 512
    model(torch.rand(4, 1, 16, 16)).square().sum().backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None]
    assert unreached == ["features.weight"]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"divisible by 16.*\(112, 92\)"):
        build_model("iresnet18", image_size=(112, 92))
    with pytest.raises(ValueError, match="depth: expected one of"):
        IResNet(20)
    model = build_model("iresnet18", embedding_size=8, image_size=(32, 32))
    with pytest.raises(ValueError, match=r"images: expected .*\(B, 3, 32, 32\).*\(2, 3, 32, 48\)"):
        model(torch.zeros(2, 3, 32, 48))
    with pytest.raises(ValueError, match=r"floating point.*uint8"):
        model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
