"""State dicts of insightface's networks, taken without a config.yaml beside them."""

from __future__ import annotations

import json
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from command import succeed
from synthetic import faces, write_folder
from training_runs import config

from fairloss.data import read_features
from fairloss.io.run_folder import RunFolder
from fairloss.models import build_model, embed, infer_architecture
from fairloss.training import ModelConfig, load_backbone
from fairloss.training.build import build_trainer

COUNTS = [2, 2]
SIZE = (32, 32)


def write_weights(path, model, prefix=""):
    """Write a state dict as torch.save(model.state_dict(), path) of a training script does."""
    path.parent.mkdir(exist_ok=True)
    torch.save(OrderedDict((prefix + k, v) for k, v in model.state_dict().items()), path)
    return path


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("mobilefacenet", 16, SIZE, 1).eval()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("iresnet18", (512, (112, 112), 3)),
        ("iresnet34", (8, (32, 32), 1)),
        ("iresnet50", (512, (112, 112), 3)),
        ("iresnet100", (8, (32, 32), 1)),
        ("iresnet200", (256, (64, 64), 3)),
    ],
)
def test_the_depth_and_sizes_of_an_iresnet_are_read_from_its_weights(name, sizes):
    with torch.device("meta"):
        state = build_model(name, *sizes).state_dict()
    assert infer_architecture(state) == (name, *sizes)


@pytest.mark.parametrize("sizes", [(512, (112, 112), 3), (8, (32, 48), 1)])
def test_the_sizes_of_a_mobilefacenet_are_read_from_its_weights(sizes):
    with torch.device("meta"):
        state = build_model("mobilefacenet", *sizes).state_dict()
    assert infer_architecture(state) == ("mobilefacenet", *sizes)


def test_other_weights_are_of_no_architecture():
    with torch.device("meta"):
        oblong = build_model("iresnet18", 8, (32, 48)).state_dict()
        iresnet = build_model("iresnet18", 8, SIZE).state_dict()
        compact = build_model("small_cnn", 8, SIZE).state_dict()
    shorter = {name: value for name, value in iresnet.items() if "layer3.1" not in name}
    flat = iresnet | {"conv1.weight": torch.zeros(64)}
    # the names and shapes of torchvision's ResNet-18 that it shares with an IResNet-18
    shared = re.compile(r"(conv1|bn1|layer\d\.\d\.(conv\d|bn\d|downsample\.\d)|fc)\..*")
    resnet = {name: value for name, value in iresnet.items() if shared.fullmatch(name)}
    resnet["fc.weight"] = torch.zeros(1000, 512)
    incomplete = {name: value for name, value in iresnet.items() if name != "bn1.weight"}
    states = (oblong, compact, shorter, flat, resnet, incomplete)
    for state in (*states, {}, {"fc.weight": 1}, {1: torch.zeros(2)}):
        assert infer_architecture(state) is None


def test_weights_of_old_versions_of_torch_have_no_counters_of_batches():
    with torch.device("meta"):
        state = build_model("iresnet18", 8, SIZE).state_dict()
    old = {name: value for name, value in state.items() if "num_batches" not in name}
    assert infer_architecture(old) == ("iresnet18", 8, SIZE, 3)


def test_commands_take_bare_weights(tmp_path, network):
    data = write_folder(tmp_path / "faces", COUNTS)
    weights = write_weights(tmp_path / "bare" / "model.pt", network, "module.")
    output = tmp_path / "f.npy"
    succeed("embed", "--data", data, "--checkpoint", weights, "--output", output)
    model, settings = load_backbone(weights)
    assert (settings.model.name, settings.image_size) == ("mobilefacenet", list(SIZE))
    same = zip(model.state_dict().values(), network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    features = read_features(output)
    pixels = faces(COUNTS)
    assert np.allclose(features.embeddings, embed(network, pixels).numpy(), atol=1e-5)
    options = ("--data", data, "--checkpoint", weights, "--output", tmp_path / "p.json")
    succeed("evaluate", "pairs", *options, "--replicates", 2)
    assert json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))


def test_training_starts_from_bare_weights(tmp_path, network):
    weights = write_weights(tmp_path / "model.pt", network)
    settings = config(tmp_path, init_backbone=str(weights), model=ModelConfig("mobilefacenet", 16))
    trainer = build_trainer(settings, faces(COUNTS), RunFolder(tmp_path / "run"))
    assert torch.equal(trainer.model.conv_sep.layers[0].weight, network.conv_sep.layers[0].weight)


def test_the_error_of_other_weights_says_what_they_are_of(tmp_path, network):
    weights = write_weights(tmp_path / "model.pt", network)
    settings = config(tmp_path, init_backbone=str(weights), model=ModelConfig("iresnet18", 16))
    message = (
        r"init_backbone: expected the weights of iresnet18 for 1 x 32 x 32 images and embeddings "
        r"of size 16, .*model.pt of mobilefacenet for 1 x 32 x 32 images and embeddings of size 16"
    )
    with pytest.raises(ValueError, match=message):
        build_trainer(settings, faces(COUNTS), RunFolder(tmp_path / "run"))


def test_weights_of_other_networks_need_their_configuration(tmp_path):
    weights = write_weights(tmp_path / "model.pt", build_model("small_cnn", 8, SIZE, 1))
    message = "checkpoint: expected a config.yaml beside it that says how to build the network"
    with pytest.raises(ValueError, match=message):
        load_backbone(weights)
