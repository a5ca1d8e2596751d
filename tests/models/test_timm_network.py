"""Networks of timm: names, sizes and errors with a stand-in, shapes and training with timm."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

import pytest
import torch
from synthetic import faces
from torch import nn
from training_runs import config, same

from fairloss.models import build_model
from fairloss.training import ModelConfig, load_backbone, train


def create(name, *, pretrained, num_classes, in_chans, **options):
    """Stand in for timm.create_model: a network of any size, and one for a given size."""
    assert not pretrained
    if name == "any_size":
        if options:
            raise TypeError(
                f"AnySize.__init__() got an unexpected argument '{next(iter(options))}'"
            )
        average = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(average, nn.Flatten(), nn.Linear(in_chans, num_classes))
    height, width = options["img_size"]
    assert height % 16 == 0, "the height must be divisible by 16"
    return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * height * width, num_classes))


@pytest.fixture
def timm(monkeypatch):
    module = ModuleType("timm")
    names = ["any_size", "one_size_patch16"]
    module.list_models = lambda: names
    module.is_model = names.__contains__
    module.create_model = create
    monkeypatch.setitem(sys.modules, "timm", module)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["any_size", "one_size_patch16"])
def test_the_size_is_given_to_networks_that_are_built_for_one(name):
    model = build_model(f"timm:{name}", 8, (32, 48), 1)
    assert all(module.training for module in model.modules())
    images = torch.rand(64, 1, 32, 48)
    embeddings = model(images)
    assert embeddings.shape == (64, 8)
    # batch normalization of scale 1 and shift 0
    assert torch.allclose(embeddings.mean(0), torch.zeros(8), atol=1e-3)
    assert not model.features.weight.requires_grad
    with pytest.raises(ValueError, match=r"images: expected .*\(B, 1, 32, 48\)"):
        model(images.transpose(2, 3))


@pytest.mark.usefixtures("timm")
def test_names_and_sizes_that_do_not_fit_are_errors_of_the_setting(tmp_path):
    with pytest.raises(ValueError, match=r"^model.name: .* such as any_size, got 'any_siz'$"):
        train(config(tmp_path, model=ModelConfig("timm:any_siz")))
    settings = config(tmp_path, model=ModelConfig("timm:one_size_patch16", 8), image_size=[33, 32])
    message = (
        "^model.name: expected a network of timm that turns 1 x 33 x 32 images into embeddings of "
        r"size 8, got 'one_size_patch16' \(the height must be divisible by 16\)$"
    )
    with pytest.raises(ValueError, match=message):
        train(settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("timm")
def test_a_run_of_a_network_of_timm_is_loaded_by_its_name(tmp_path):
    settings = config(tmp_path, model=ModelConfig("timm:any_size", 8), epochs=1)
    run = train(settings, faces([4, 4]))
    model, loaded = load_backbone(run / "model.pt")
    assert loaded.model.name == "timm:any_size"
    assert "network.2.weight" in model.state_dict()


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "fairloss-ext\[timm\]"'):
        build_model("timm:resnet18")


def require_timm():
    try:
        import_module("timm")
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch: RuntimeError
        pytest.skip(f"timm cannot be imported: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "resnet18", "vit_tiny_patch16_224"])
@pytest.mark.parametrize(("size", "channels"), [((112, 112), 3), ((112, 96), 1)])
def test_networks_of_timm_take_the_images_of_a_run(name, size, channels):
    require_timm()
    model = build_model(f"timm:{name}", 32, size, channels)
    assert model(torch.rand(3, channels, *size)).shape == (3, 32)
    with pytest.raises(ValueError, match=r"name: expected .*resnet18.*, got 'resnet_18'"):
        build_model("timm:resnet_18")


@pytest.mark.slow
def test_a_network_of_timm_trains_to_the_same_bits_from_the_same_seed(tmp_path):
    require_timm()
    model = ModelConfig("timm:mobilenetv4_conv_small", 16)
    images = faces([6, 6])
    a, b = (train(config(tmp_path / n, model=model, epochs=2), images) for n in "ab")
    assert same(a, b)
    torch.save({}, a / "model.pt")
    with pytest.raises(ValueError, match=r"checkpoint: expected .* of timm:mobilenetv4_conv_small"):
        load_backbone(a / "model.pt")


@pytest.mark.slow
def test_a_size_that_a_network_of_timm_cannot_take_is_named():
    require_timm()
    with pytest.raises(ValueError, match=r"name: expected .* 3 x 112 x 96 images .*divisible"):
        build_model("timm:maxvit_tiny_rw_224", 8, (112, 96))
