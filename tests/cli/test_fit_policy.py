from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
from cli_cases import SMALL
from command import refuse, succeed

from fairloss.agent import MarginGrid, Policy


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


def test_a_collection_from_a_run_of_unknown_cost_says_so(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    settings = ("collect", f"run={copied}", f"output={tmp_path / 'x'}", "epochs=1", "min_cell=1")
    assert "of the run 6)" in succeed(*settings).stdout
    (copied / "metrics.jsonl").unlink()
    assert "of the run unknown)" in succeed(*settings).stdout


def test_controls_are_written_without_experience(tmp_path):
    learned, output = tmp_path / "learned.json", tmp_path / "control.json"
    controlled = ("fit-policy", "--output", output, "--control")
    succeed(*controlled, "raise")
    assert np.array_equal(Policy.load(output).table, Policy.constant("raise").table)
    Policy.random(1, MarginGrid((0.1, 0.2, 0.3))).save(learned)
    succeed(*controlled, "random", "--seed", "4", learned)
    assert Policy.load(output).grid.values == (0.1, 0.2, 0.3)
    assert Policy.load(output).redraw == (4, 0)
    refuse("error: policy: expected one whose table stays, got", *controlled, "shuffled", learned)
    replace(Policy.load(learned), redraw=None).save(learned)
    succeed(*controlled, "shuffled", "--seed", "2", learned)
    expected = Policy.load(learned).shuffled(2)
    assert np.array_equal(Policy.load(output).table, expected.table)
    refuse("error: control: expected a policy.json to shuffle", *controlled, "shuffled")
    refuse("error: control: expected one of", *controlled, "best")
    for unused in (("--gamma", "0.9"), ("--reward", "paper"), ("--seed", "1")):
        message = f"error: {unused[0][2:]}: expected none beside --control keep, got {unused[1]}"
        refuse(message, *controlled, "keep", *unused)
    refuse("error: experience: expected experience.npz", "fit-policy", "--output", output)
