"""Names, shapes and outputs of insightface's networks, computed by its code at commit 7fadd42."""

from __future__ import annotations

import hashlib
import math

import pytest
import torch
from torch import Tensor, nn

from fairloss.models import MobileFaceNet, build_model

# SHA-256 of the lines `name shape` of the sorted state dicts of arcface_torch
DIGESTS = {
    "iresnet18": "8a1772fbc5b63d10ef4994d67117761ba40403f7e6b34036bf620958384ece96",
    "iresnet34": "99eee08adc531ca764a2f6848d7f229465a1a31e6add212c63375c7968b43604",
    "iresnet50": "8b10e3d3ada4f9845a2d8f58601cebc21ab5de8756a74070634ffe0e01874be6",
    "iresnet100": "ad0e1bc1440bb2bd8258aa506adfd4b89a6b9268da8d6db79d19938d57b7e268",
    "iresnet200": "7ebf19f5cb859cbedef46674fff761f7ad6a723fd97f2d0c441053173db0ecb8",
    "mobilefacenet": "d328258b96e45895bea1b45499cb026a60b98b3076503f606ea2868bd74aed31",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_state_dict_has_the_names_and_shapes_of_insightface(name: str) -> None:
    with torch.device("meta"):
        state = build_model(name).state_dict()
    lines = "".join(f"{key} {tuple(value.shape)}\n" for key, value in sorted(state.items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == DIGESTS[name]


def wave(shape: torch.Size, frequency: float) -> Tensor:
    """Values in [-1, 1] that every machine computes alike."""
    return torch.cos(frequency * torch.arange(math.prod(shape), dtype=torch.float64)).view(shape)


def fill(model: nn.Module) -> None:
    for number, (name, value) in enumerate(model.state_dict().items()):
        if value.is_floating_point():
            values = wave(value.shape, 0.7 + 0.01 * number)
            if value.dim() > 1:
                value.copy_(values * math.sqrt(2 / value[0].numel()))
            else:
                value.copy_(0.2 * values + (0 if name.endswith(("bias", "mean")) else 1))


def test_mobilefacenet_computes_what_insightface_computes() -> None:
    model = MobileFaceNet(embedding_size=4).double().eval()
    fill(model)
    with torch.no_grad():
        embeddings = model(wave(torch.Size((1, 3, 112, 112)), 0.3))
    expected = torch.tensor(
        [[0.08352802686, -0.1045700852, 0.1114238928, -0.1392977608]], dtype=torch.float64
    )
    torch.testing.assert_close(embeddings, expected, rtol=1e-6, atol=0)


def test_mobilefacenet_takes_other_sizes_and_gray() -> None:
    model = MobileFaceNet(8, (32, 48), 1)
    assert model(torch.zeros(2, 1, 32, 48)).shape == (2, 8)
    with pytest.raises(ValueError, match=r"divisible by 16.*\(112, 92\)"):
        MobileFaceNet(image_size=(112, 92))
    with pytest.raises(ValueError, match=r"images: expected .*\(B, 1, 32, 48\)"):
        model(torch.zeros(2, 1, 48, 32))
