"""Experience, policies and chains of version 0.1.0."""

from __future__ import annotations

import numpy as np
import pytest
from compatibility_files import lines, succeed

from fairloss.agent import Policy
from fairloss.experience import CollectConfig, Experience, collect
from fairloss.training import load_config

COLUMNS = ("state", "action", "successor", "classes", "epoch", "seed")
ANGLES = ("inter_before", "inter_after", "intra_before", "intra_after")


def assert_policy(policy: Policy, expected: dict) -> None:
    assert policy.table.tolist() == expected["table"]
    assert policy.visits.tolist() == expected["visits"]
    q = np.array([[np.nan if q is None else q for q in row] for row in expected["q"]])
    np.testing.assert_allclose(policy.q, q, rtol=1e-3, atol=1e-3)


def test_a_policy_file_loads_and_is_written_alike(unpack, expected, tmp_path):
    file = unpack("experience") / "experience" / "policy.json"
    policy = Policy.load(file)
    assert_policy(policy, expected["policy"])
    policy.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text(encoding="utf-8") == file.read_text(encoding="utf-8")


def test_a_policy_is_fitted_from_an_experience_file(unpack, expected, tmp_path):
    file = unpack("experience") / "experience" / "whole" / "experience.npz"
    succeed("fit-policy", file, "--reward", "paper", "--output", tmp_path / "policy.json")
    assert_policy(Policy.load(tmp_path / "policy.json"), expected["policy"])


def test_an_experience_file_is_written_alike(unpack, tmp_path):
    file = unpack("experience") / "experience" / "whole" / "experience.npz"
    Experience.load(file).save(tmp_path / "again.npz")
    with np.load(file) as before, np.load(tmp_path / "again.npz") as after:
        added = {"mean_action", "mean_margin", "branch", "cost_steps", "pretraining_steps"}
        assert set(after.files) == set(before.files) | added
        for name in set(before.files) - {"version"}:
            np.testing.assert_array_equal(after[name], before[name])
            assert after[name].dtype == before[name].dtype


def test_an_interrupted_chain_ends_as_it_would_have(unpack):
    root = unpack("data", "training", "experience")
    output = root / "experience" / "interrupted"
    config = load_config(output / "chain-0" / "config.yaml", [], CollectConfig)
    collect(config)
    assert [line["epoch"] for line in lines(output / "chain-0", "epoch")] == [1, 2, 3, 4]
    assert lines(output / "chain-0", "resume")[0]["epoch"] == 2
    stored = Experience.load(root / "experience" / "whole" / "experience.npz")
    actual = Experience.load(output / "experience.npz")
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(actual, name), getattr(stored, name), err_msg=name)
    for name in ANGLES:  # the angle of vectors that are almost parallel has an error of 1e-4
        pair = getattr(actual, name), getattr(stored, name)
        np.testing.assert_allclose(*pair, atol=1e-3, err_msg=name)
    assert (actual.steps, actual.dropped, actual.kind) == (
        stored.steps,
        stored.dropped,
        stored.kind,
    )
    # computed from the steps of the stored file, which lacks it
    assert stored.cost_steps == pytest.approx(actual.cost_steps)
    assert np.isnan(stored.pretraining_steps)


def test_a_chain_with_other_settings_is_refused(unpack):
    root = unpack("data", "training", "experience")
    chain = root / "experience" / "interrupted" / "chain-0"
    config = load_config(chain / "config.yaml", ["min_cell=2"], CollectConfig)
    with pytest.raises(ValueError, match="min_cell"):
        collect(config)
