"""The compact network: size, shapes, refusals, and that it can learn."""

from __future__ import annotations

import pytest
import torch

from fairloss.models import MODEL_NAMES, SmallCNN, build_model


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'resnet'") as raised:
        build_model("resnet")
    for name in MODEL_NAMES:
        assert name in str(raised.value)
    iresnets = ("iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200")
    assert ("small_cnn", "mobilefacenet", *iresnets) == MODEL_NAMES


def test_parameter_count_by_hand() -> None:
    convolutions = 9 * (3 * 32 + 32 * 64 + 64 * 96 + 96 * 128 + 128 * 128)
    norms = 2 * (32 + 64 + 96 + 128 + 128)
    pool, norm, linear, features = 128 * 4 * 4, 2 * 128, 128 * 512 + 512, 2 * 512
    expected = convolutions + norms + pool + norm + linear + features
    model = build_model("small_cnn")
    assert sum(p.numel() for p in model.parameters()) == expected
    assert 300_000 < expected < 600_000


@pytest.mark.parametrize("image_size", [(32, 32), (33, 65), (112, 92), (112, 112)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_from_32(image_size: tuple[int, int], channels: int) -> None:
    model = build_model("small_cnn", 24, image_size, channels)
    embeddings = model(torch.rand(2, channels, *image_size))
    assert embeddings.shape == (2, 24)
    embeddings.square().sum().backward()
    unreached = [name for name, p in model.named_parameters() if p.grad is None]
    assert unreached == ["features.weight"]


def test_position_matters() -> None:
    torch.manual_seed(0)
    model = SmallCNN(16, (64, 64), 1).eval()
    image = torch.zeros(1, 1, 64, 64)
    image[..., 24:40, 16:32] = 1.0
    shifted = image.roll(16, dims=3)
    assert not torch.allclose(model(image), model(shifted), atol=1e-3)


def test_same_seed_same_weights() -> None:
    torch.manual_seed(3)
    first = build_model("small_cnn", 8).state_dict()
    torch.manual_seed(3)
    second = build_model("small_cnn", 8).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_can_learn() -> None:
    torch.manual_seed(0)
    prototypes = torch.rand(4, 1, 32, 32) * 2 - 1
    labels = torch.arange(4).repeat(8)
    images = prototypes[labels] + 0.3 * torch.randn(32, 1, 32, 32)
    model = SmallCNN(16, (32, 32), 1, width=8)
    classify = torch.nn.Linear(16, 4)
    optimizer = torch.optim.SGD([*model.parameters(), *classify.parameters()], 0.1, momentum=0.9)
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(classify(model(images)), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    fresh = prototypes[labels] + 0.3 * torch.randn(32, 1, 32, 32)
    assert (classify(model(fresh)).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": (112, 31)}, r"image_size: expected sides of at least 32, got \(112, 31\)"),
        ({"image_size": (112,)}, r"image_size: expected \(height, width\)"),
        ({"channels": 0}, "channels: expected an integer of at least 1, got 0"),
        ({"embedding_size": 0}, "embedding_size: expected an integer of at least 1, got 0"),
        ({"width": 0}, "width: expected an integer of at least 1, got 0"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SmallCNN(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(B, 1, 32, 32\)"):
        SmallCNN(8, (32, 32), 1)(torch.zeros(1, 3, 32, 32))
