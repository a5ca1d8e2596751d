from __future__ import annotations

import numpy as np
from cli_cases import SMALL
from command import refuse, succeed

from fairloss.agent import Policy


def test_collect_then_fit_then_train_with_it(data, run, tmp_path):
    succeed("collect", f"run={run}", f"output={tmp_path / 'x'}", "epochs=4", "min_cell=1")
    policy = tmp_path / "policy.json"
    experience = tmp_path / "x" / "experience.npz"
    refuse("experience.epoch: expected more epochs", "fit-policy", experience, "--output", policy)
    assert not policy.exists()
    done = succeed("fit-policy", experience, "--output", policy, "--reward", "paper")
    assert "not measurable with 1 chain" in done.stdout
    assert "warning: little evidence: " in done.stderr
    transitions = Policy.load(policy).visits.sum()
    assert transitions > 0
    output = tmp_path / "fair"
    head = ("head.name=FairLoss", "head.kind=cos", f"head.policy={policy}")
    succeed("train", f"data={data}", f"output={output}", *head, *SMALL)
    assert np.array_equal(Policy.load(output / "policy.json").table, Policy.load(policy).table)
