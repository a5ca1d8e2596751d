"""Data sets, run folders and heads of version 0.1.0: loaded, resumed and started from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from compatibility_files import TOLERANCE, assert_same_weights, lines, succeed

from fairloss.agent import Policy
from fairloss.data import read_images
from fairloss.demo import DemoConfig
from fairloss.experience import CollectConfig
from fairloss.heads import FairLoss
from fairloss.loss_search import SearchConfig
from fairloss.training import (
    HeadConfig,
    RunFolder,
    TrainConfig,
    as_yaml,
    build_head,
    load_backbone,
    load_config,
    train,
)
from fairloss.training.build import run_policy

KEEP = Policy.constant("keep")
INTERRUPTED = ["fair", "sampled", "adaface"]


def flat(settings: dict, prefix: str = "") -> dict[str, str]:
    """Settings by their dotted names, as text."""
    parts = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        parts |= flat(value, f"{name}.") if isinstance(value, dict) else {name: repr(value)}
    return parts


def test_images_and_arrays_are_read(unpack, expected):
    root, data = unpack("data"), expected["data"]
    faces = read_images(root / "data" / "faces", (32, 32), 1)
    assert faces.counts.tolist() == data["counts"]
    assert faces.mirror
    arrays = read_images(root / "data" / "arrays", (32, 32), 1)
    assert arrays.identities == faces.identities[-3:]
    assert not arrays.mirror
    for images, sums in ((faces, data["sums"]), (arrays, data["array_sums"])):
        pixels = images.images(np.arange(len(images))).long()
        assert pixels.sum(dim=(1, 2, 3)).tolist() == sums


@pytest.mark.parametrize("name", ["arcface", "fair"])
def test_a_finished_run_is_not_trained_again(unpack, name):
    root = unpack("data", "training", "experience")
    run = root / "training" / name
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    succeed("train", run / "config.yaml")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("name", ["arcface", "fair"])
def test_a_finished_run_loads(unpack, expected, name):
    run = unpack("training", "experience") / "training" / name
    model, config = load_backbone(run / "model.pt")
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 8)
    head = build_head(config.head, 8, config.model.embedding_size)
    state = torch.load(run / "head.pt", weights_only=True)
    assert sorted(state) == sorted(head.state_dict()) == expected["runs"][name]
    head.load_state_dict(state)
    margins = expected["runs"]["margins"] if name == "fair" else 0.35
    np.testing.assert_allclose(head.class_margins().numpy(), margins, rtol=1e-6)


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_ends_as_it_would_have(unpack, name):
    root = unpack("data", "experience", "interrupted")
    run, final = root / "interrupted" / name, root / "interrupted" / "final" / name
    assert not (run / "model.pt").exists()
    succeed("train", run / "config.yaml", "statistics=always")
    assert_same_weights(run, final)
    assert lines(run, "resume")[0] == {"version": 1, "event": "resume", "epoch": 4, "step": 20}
    actual, stored = lines(run, "epoch"), lines(final, "epoch")
    assert [line["step"] for line in actual] == [line["step"] for line in stored]
    losses = [[line["loss"] for line in part] for part in (actual, stored)]
    np.testing.assert_allclose(*losses, rtol=TOLERANCE)
    margins = [
        [[g["margin"] for g in line["groups"]] for line in part] for part in (actual, stored)
    ]
    assert margins[0] == margins[1]


@pytest.mark.parametrize("kind", ["arc", "cos"])
def test_a_run_with_the_packaged_policy_resumes_with_it(unpack, kind):
    root = unpack("data", "default_policy") / "default_policy"
    run, final = root / kind, root / "final" / kind
    succeed("train", run / "config.yaml")
    assert_same_weights(run, final)
    margins = torch.load(run / "head.pt", weights_only=True)["margins"]
    assert len(margins.unique()) > 1  # the policy moved them


@pytest.mark.parametrize("kind", ["arc", "cos"])
def test_a_run_with_the_packaged_policy_starts_again_with_it(unpack, kind):
    run = unpack("data", "default_policy") / "default_policy" / kind
    (run / "checkpoint-0004.pt").unlink()  # as after an interruption of the first epoch
    config = load_config(run / "config.yaml", [], TrainConfig)
    policy = run_policy(config, RunFolder(run))
    head = build_head(config.head, 8, 8, policy=policy)
    assert np.array_equal(head.policy.table, Policy.load(run / "policy.json").table)


@pytest.mark.parametrize("kind", ["arc", "cos"])
def test_a_head_trained_with_the_packaged_policy_loads_it(unpack, kind):
    root = unpack("default_policy") / "default_policy"
    state = torch.load(root / "final" / kind / "head.pt", weights_only=True)
    head = FairLoss(8, 8, KEEP, kind=kind)
    head.load_state_dict(state)
    stored = Policy.load(root / kind / "policy.json")
    assert np.array_equal(head.policy.table, stored.table)
    assert not np.array_equal(head.policy.table, KEEP.table)


def test_a_new_run_does_not_take_the_packaged_policy_for_another_kind(unpack):
    root = unpack("data", "default_policy")
    policy = root / "default_policy" / "cos" / "policy.json"
    head = HeadConfig(name="FairLoss", kind="cos", policy=str(policy))
    with pytest.raises(
        ValueError, match=r"head.policy: expected .*kind=cos, got one with kind=arc"
    ):
        build_head(head, 8, 8)


def test_the_tolerance_separates_a_resumed_run_from_an_untrained_one(unpack):
    root = unpack("interrupted") / "interrupted"
    for name in INTERRUPTED:
        state = torch.load(root / name / "checkpoint-0004.pt", weights_only=True)
        final = torch.load(root / "final" / name / "model.pt", weights_only=True)
        change = {key: (state["model"][key] - value).abs().max() for key, value in final.items()}
        assert change["fc.weight"] > 1000 * TOLERANCE


def test_the_checkpoint_before_the_newest_resumes_too(unpack):
    root = unpack("data", "experience", "interrupted")
    run = root / "interrupted" / "fair"
    (run / "checkpoint-0004.pt").unlink()
    train(load_config(run / "config.yaml", [], TrainConfig))
    assert_same_weights(run, root / "interrupted" / "final" / "fair")
    assert [line["epoch"] for line in lines(run, "epoch")] == [1, 2, 3, 4, 5, 6]


def test_other_settings_are_refused_by_an_old_run(unpack):
    run = unpack("data", "experience", "interrupted") / "interrupted" / "fair"
    with pytest.raises(ValueError, match="epochs"):
        train(load_config(run / "config.yaml", ["epochs=7"], TrainConfig))


def test_a_run_starts_from_an_old_one(unpack, expected, tmp_path):
    root = unpack("data", "training", "experience")
    old = root / "training" / "fair"
    config = load_config(
        old / "config.yaml", ["epochs=1", f"output={tmp_path / 'new'}"], TrainConfig
    )
    config.init, config.head.margin = str(old), None
    config.optimizer.learning_rate = 1e-12
    config.optimizer.weight_decay = 0.0
    new = train(config)
    head, before = (torch.load(run / "head.pt", weights_only=True) for run in (new, old))
    torch.testing.assert_close(head["weight"], before["weight"])
    np.testing.assert_allclose(head["margins"].numpy(), expected["runs"]["margins"], rtol=1e-6)


# Settings whose default is not that of 0.1.0, a policy that the package had.
NEW_DEFAULTS = {"head.name": "'CosFace'"}


def test_every_default_is_what_it_was(expected):
    configs = {
        "train": TrainConfig(data="faces", output="run"),
        "search": SearchConfig(data="faces", output="run"),
        "collect": CollectConfig(run="run", output="out"),
        "demo": DemoConfig(),
    }
    assert configs.keys() == expected["defaults"].keys()
    for name, config in configs.items():
        actual = flat(yaml.safe_load(as_yaml(config)))
        stored = flat(yaml.safe_load(expected["defaults"][name]))
        changed = {key: value for key, value in NEW_DEFAULTS.items() if key in stored}
        assert (stored | changed).items() <= actual.items(), name


def test_a_head_loads_its_state_and_computes_its_loss(unpack, expected, head_name):
    stored = torch.load(unpack("heads") / "heads" / "heads.pt", weights_only=True)
    embeddings, labels, counts = (stored[key] for key in ("embeddings", "labels", "counts"))
    head = build_head(HeadConfig(name=head_name), 5, 8, seed=1, counts=counts)
    head.load_state_dict(stored["states"][head_name])
    torch.manual_seed(2)  # of heads that draw
    loss = head(embeddings, labels).item()
    assert loss == pytest.approx(expected["heads"][head_name], rel=1e-4)
