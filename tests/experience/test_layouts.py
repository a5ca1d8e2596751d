"""Layouts of a collection: what moves, what is kept, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from experience_runs import COUNTS, chain, settings
from synthetic import faces, write_folder

from fairloss.agent import ACTIONS
from fairloss.experience import collect
from fairloss.experience.chain import Chain
from fairloss.experience.collect import run_chain
from fairloss.experience.score import Score, validation_score
from fairloss.io.run_folder import RunFolder
from fairloss.training import load_backbone

KEEP = ACTIONS.index("keep")
BRANCHES = {"layout": "branches", "branches": 2}


def assert_same(actual, expected):
    for name, value in vars(expected).items():
        np.testing.assert_equal(getattr(actual, name), value, err_msg=name)


def test_one_branch_is_a_chain(pretrained, tmp_path):
    one = settings(pretrained, tmp_path / "one", epochs=2, layout="branches", branches=1)
    plain = settings(pretrained, tmp_path / "plain", epochs=2)
    assert_same(collect(one, faces(COUNTS)), collect(plain, faces(COUNTS)))
    states = [RunFolder(tmp_path / name / "chain-0").load_checkpoint() for name in ("one", "plain")]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name])


def test_a_chain_that_began_before_branches_continues_with_the_same_draws(pretrained, tmp_path):
    observed = chain(pretrained, tmp_path, seed=3)
    cells = observed._choose(observed.head.states(observed.statistics), epoch=5, branch=0)
    random = np.random.default_rng([3, 5])
    drawn = [random.choice(np.flatnonzero(observed.legal[cell.state])) for cell in cells]
    assert [cell.action for cell in cells] == drawn
    assert len(set(drawn)) > 1


def test_one_cell_moves_in_an_epoch_of_the_single_layout(pretrained, tmp_path):
    config = settings(pretrained, tmp_path, layout="single", min_cell=2)
    experience = collect(config, faces(COUNTS))
    for epoch in range(1, 7):
        actions = experience.action[experience.epoch == epoch]
        assert (actions != KEEP).sum() == 1
    assert len(experience) > 6
    moves = experience.action != KEEP
    pairs = list(zip(experience.state[moves], experience.action[moves], strict=True))
    assert len(set(pairs)) == len(pairs)  # six epochs are fewer than the pairs: none is repeated


def test_branches_start_alike_and_the_best_is_kept(pretrained, tmp_path):
    """The kept path is a training without branches that has the margins of the kept ones."""
    observed = chain(pretrained, tmp_path / "observed", layout=("branches", 3))
    alone = chain(pretrained, tmp_path / "alone")
    kept = []
    for epoch in (1, 2, 3):
        states = observed.head.states(observed.statistics)
        first = len(observed.rows)
        line = observed.run_epoch(epoch, 0.01)
        rows = observed.rows[first:]
        assert {row["branch"] for row in rows} == {0, 1, 2}
        assert all(row["action"] == KEEP for row in rows if row["branch"] == 0)
        for name in ("state", "inter_before", "intra_before", "classes"):
            columns = [[row[name] for row in rows if row["branch"] == b] for b in range(3)]
            np.testing.assert_equal(columns[1:], columns[:1] * 2)
        inter = [
            sum(row["inter_after"] * row["classes"] for row in rows if row["branch"] == b)
            for b in range(3)
        ]
        several = np.array(COUNTS) > 1
        intra = observed.statistics.intra_angle.double().numpy()[several].mean()
        best = line["scores"][line["branch"]]
        assert best == max(line["scores"])
        assert best == pytest.approx(inter[line["branch"]] / len(COUNTS) - intra, abs=1e-6)
        margins = alone.head.margins.double().numpy().copy()
        for row in rows:
            if row["branch"] == line["branch"]:
                margins[states == row["state"]] += (row["action"] - KEEP) * 0.1
        alone.head.set_margins(margins.round(2))
        alone.trainer.run_epoch(epoch, 0.01)
        kept.append(line["branch"])
    assert len(set(kept)) > 1  # else nothing was chosen
    for a, b in ((alone.trainer.model, observed.trainer.model), (alone.head, observed.head)):
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name]), name
    assert observed.trainer.step == 3 * 2


def test_branches_are_a_training_and_their_cost_is_counted(pretrained, tmp_path):
    """By hand: 2 epochs of 2 branches of 2 steps, 5 passes, and 4 of the 3 validation batches."""
    validation = write_folder(tmp_path / "others", [6] * 10)
    changes = BRANCHES | {"epochs": 2, "validation": str(validation)}
    config = settings(pretrained, tmp_path / "out", **changes)
    experience = collect(config, faces(COUNTS))
    assert experience.steps == 2 * 2 * 2
    assert experience.cost_steps == pytest.approx(8 + 5 * 2 / 3 + 4 * 3 / 3)
    folder = tmp_path / "out" / "chain-0"
    lines = [line for line in RunFolder(folder).metrics() if line["event"] == "epoch"]
    model, _ = load_backbone(folder / "model" / "model.pt")
    score = validation_score(faces([6] * 10), 20)
    assert score.cost_steps == 1
    measured = score.measure(model, None)
    assert measured == pytest.approx(max(lines[-1]["scores"]))
    last = RunFolder(folder).load_checkpoint()["head"]["margins"]
    again = chain(folder / "model", tmp_path / "again")
    assert torch.equal(again.head.margins, last)


@pytest.mark.parametrize(
    "layout", [BRANCHES, pytest.param({"layout": "single"}, marks=pytest.mark.slow)]
)
def test_a_killed_collection_resumes_to_the_same_bits(pretrained, tmp_path, monkeypatch, layout):
    whole = settings(pretrained, tmp_path / "whole", epochs=2, **layout)
    expected = run_chain(whole, faces(COUNTS), None, 7)
    parts = settings(pretrained, tmp_path / "parts", epochs=2, **layout)
    original, calls = Chain._record, []

    def record_and_die(self, *arguments):
        original(self, *arguments)
        calls.append(None)
        if len(calls) == len(expected) * 2 // 3:  # inside an epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "_record", record_and_die)
        with pytest.raises(KeyboardInterrupt):
            run_chain(parts, faces(COUNTS), None, 7)
    assert RunFolder(tmp_path / "parts" / "chain-7").begun
    assert_same(run_chain(parts, faces(COUNTS), None, 7), expected)
    if layout is BRANCHES:
        for name in ("model.pt", "head.pt"):
            files = [
                torch.load(tmp_path / run / "chain-7" / "model" / name, weights_only=True)
                for run in ("whole", "parts")
            ]
            for key, value in files[0].items():
                assert torch.equal(value, files[1][key])


def test_settings_of_branches_that_do_not_fit_are_named(pretrained, tmp_path):
    few = write_folder(tmp_path / "few", [2, 2])
    config = settings(pretrained, tmp_path / "out", **BRANCHES, validation=str(few))
    with pytest.raises(ValueError, match="validation: expected images with genuine pairs and 1000"):
        collect(config, faces(COUNTS))
    alone = settings(pretrained, tmp_path / "out", validation=str(few))
    with pytest.raises(ValueError, match="validation: expected none without layout=branches"):
        collect(alone, faces(COUNTS))
    collect(settings(pretrained, tmp_path / "chain", epochs=1), faces(COUNTS))
    other = settings(pretrained, tmp_path / "chain", epochs=2, **BRANCHES)
    with pytest.raises(ValueError, match="layout was chain, is branches"):
        collect(other, faces(COUNTS))


def test_of_equal_branches_one_that_moves_is_kept(pretrained, tmp_path):
    equal = Score(lambda model, statistics: 1.0, 0.0)
    observed = chain(pretrained, tmp_path, layout=("branches", 2, equal))
    assert observed.run_epoch(1, 0.01)["branch"] == 1
    assert len(observed.head.margins.unique()) > 1
