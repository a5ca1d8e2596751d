from __future__ import annotations

import math
import re
import shutil
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from experience_runs import COUNTS, chain, settings
from synthetic import faces

from fairloss.agent import ACTIONS, Policy
from fairloss.experience import Experience, collect, fit_policy
from fairloss.experience.chain import Chain
from fairloss.experience.collect import run_chain, run_cost_steps
from fairloss.experience.fit import total_cost
from fairloss.io.atomic import FormatError
from fairloss.loss_search import ProcessMap
from fairloss.training import (
    HeadConfig,
    RunFolder,
    TrainConfig,
    load_config,
    train,
)
from fairloss.training.cost import statistics_cost


def test_one_epoch_by_hand(pretrained, tmp_path):
    """Every cell moves as one; before, after and successor are those of its own classes."""
    observed = chain(pretrained, tmp_path)
    head = observed.head
    for epoch in (1, 2, 3):
        before, states = observed.statistics, head.states(observed.statistics)
        margins = head.margins.clone()
        visits = observed.visits.copy()
        first = len(observed.rows)
        observed.run_epoch(epoch, 0.01)
        after = head.states(observed.statistics)
        rows = observed.rows[first:]
        assert [row["state"] for row in rows] == sorted(set(states.tolist()))
        for row in rows:
            cell = np.flatnonzero(states == row["state"])
            step = {"lower": -0.1, "keep": 0.0, "raise": 0.1}[ACTIONS[row["action"]]]
            change = head.margins[cell] - margins[cell]
            torch.testing.assert_close(change, torch.full_like(change, step), atol=1e-6, rtol=0)
            legal = observed.legal[row["state"]]
            assert legal[row["action"]]
            assert visits[row["state"], row["action"]] == visits[row["state"], legal].min()
            fractions = np.bincount(after[cell], minlength=36) / len(cell)
            assert row["successor"] == fractions.tolist()
            assert row["classes"] == len(cell)
            shift = (head.margins - margins).double().mean().item()
            assert row["mean_action"] == pytest.approx(shift / 0.1, abs=1e-5)
            assert row["mean_margin"] == pytest.approx(margins.double().mean().item(), abs=1e-6)
            inter = before.inter_angle[cell].double().mean().item()
            assert row["inter_before"] == pytest.approx(inter)
            several = cell[before.count[cell].numpy() > 1]
            spread = observed.statistics.intra_angle[several].double()
            expected = spread.mean().item() if len(several) else math.nan
            assert row["intra_after"] == pytest.approx(expected, nan_ok=True)
    assert observed.visits.sum() == len(observed.rows)


def test_collection_counts_its_cost_and_covers_evenly(pretrained, tmp_path):
    experience = collect(settings(pretrained, tmp_path, chains=2), faces(COUNTS))
    assert experience.steps == 2 * 6 * 2  # chains x epochs x batches of 40 images by 20
    assert sorted(set(experience.seed.tolist())) == [0, 1]
    assert set(experience.epoch.tolist()) == set(range(1, 7))
    assert experience.dropped == 0
    assert len(Experience.load(tmp_path / "experience.npz")) == len(experience)
    transitions = experience.transitions()
    assert transitions.reward.std() == pytest.approx(1.0)
    for seed in (0, 1):
        for epoch in range(1, 7):
            here = (experience.epoch == epoch) & (experience.seed == seed)
            assert transitions.reward[here].mean() == pytest.approx(0, abs=1e-9)
            assert experience.classes[here].sum() == len(COUNTS)


def test_the_cost_of_a_collection_by_hand(pretrained, tmp_path):
    """40 images by 20 are 2 batches: 2 epochs of 2 steps, and 3 passes of 2 forward batches."""
    experience = collect(settings(pretrained, tmp_path, chains=2, epochs=2), faces(COUNTS))
    assert experience.cost_steps == pytest.approx(2 * (4 + 6 / 3))
    assert experience.pretraining_steps == 3 * 2  # CosFace and ArcFace need no statistics
    assert total_cost(experience) == pytest.approx(18)
    loaded = Experience.load(tmp_path / "experience.npz")
    assert (loaded.cost_steps, loaded.pretraining_steps) == (experience.cost_steps, 6)
    unknown = replace(experience, pretraining_steps=math.nan)
    assert total_cost(unknown) is None
    with pytest.raises(ValueError, match="parts: expected chains of one run"):
        Experience.merge([experience, unknown])


def test_the_cost_of_the_run_has_the_collection_of_its_policy(pretrained, tmp_path):
    shutil.copy(pretrained / "metrics.jsonl", tmp_path)
    costs = []
    for provenance in ({"cost_steps": 10.0}, {"cost_steps": None}, {}):
        replace(Policy.constant("keep"), provenance=provenance).save(tmp_path / "policy.json")
        costs.append(run_cost_steps(tmp_path))
    np.testing.assert_equal(costs, [16.0, math.nan, math.nan])


def test_statistics_of_images_on_disk_cost_two_passes(pretrained, tmp_path):
    trainer = chain(pretrained, tmp_path).trainer
    assert statistics_cost(trainer) == pytest.approx(2 / 3)
    on_disk = SimpleNamespace(faces=SimpleNamespace(in_memory=False), steps_per_epoch=2)
    assert statistics_cost(on_disk) == pytest.approx(4 / 3)


def test_an_epoch_that_was_logged_and_not_saved_is_logged_once(pretrained, tmp_path, monkeypatch):
    config = settings(pretrained, tmp_path, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(Chain, "save", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_chain(config, faces(COUNTS), None, 0)
    run_chain(config, faces(COUNTS), None, 0)
    events = [(line["event"], line["step"]) for line in RunFolder(tmp_path / "chain-0").metrics()]
    assert events == [("epoch", 2)]


def test_small_cells_are_dropped_and_counted(pretrained, tmp_path):
    everything = collect(settings(pretrained, tmp_path / "a"), faces(COUNTS))
    large = collect(settings(pretrained, tmp_path / "b", min_cell=2), faces(COUNTS))
    assert large.dropped > 0
    assert large.classes.min() >= 2
    assert everything.dropped == 0
    none = collect(settings(pretrained, tmp_path / "c", min_cell=50, epochs=1), faces(COUNTS))
    assert len(none) == 0
    with pytest.raises(ValueError, match=r"got none; \d+ cells had fewer than 50"):
        fit_policy(none)


def test_an_interrupted_chain_resumes_to_the_same_bits(pretrained, tmp_path, monkeypatch):
    whole = run_chain(settings(pretrained, tmp_path / "whole"), faces(COUNTS), None, 7)
    original = Chain.save

    def save_and_stop(self, folder, epoch):
        original(self, folder, epoch)
        if epoch in (2, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(Chain, "save", save_and_stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_chain(settings(pretrained, tmp_path / "parts"), faces(COUNTS), None, 7)
    parts = run_chain(settings(pretrained, tmp_path / "parts"), faces(COUNTS), None, 7)
    for name, value in vars(whole).items():
        np.testing.assert_equal(getattr(parts, name), value, err_msg=name)
    with pytest.raises(ValueError, match="min_cell was 1, is 3"):
        run_chain(settings(pretrained, tmp_path / "parts", min_cell=3), faces(COUNTS), None, 7)


def test_another_map_gives_the_same(pretrained, tmp_path):
    def backwards(function, seeds):
        return [function(seed) for seed in reversed(list(seeds))][::-1]

    a = collect(settings(pretrained, tmp_path / "a", chains=2), faces(COUNTS))
    b = collect(settings(pretrained, tmp_path / "b", chains=2), faces(COUNTS), map=backwards)
    np.testing.assert_equal(a.intra_after, b.intra_after)


def test_policy_from_experience(pretrained, tmp_path):
    experience = collect(settings(pretrained, tmp_path), faces(COUNTS))
    fit = fit_policy(experience, reward="paper")
    assert fit.policy.visits.sum() == len(experience)
    assert fit.disagreements == 0
    assert fit.largest_gap < 0.05
    unvisited = fit.policy.visits.sum(axis=1) == 0
    assert unvisited.any()
    assert (fit.policy.table[unvisited] == ACTIONS.index("keep")).all()
    assert fit.policy.provenance["steps"] == experience.steps
    assert fit.policy.provenance["cost_steps"] == pytest.approx(6 + 6 * 2 + 7 * 2 / 3)


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"x.npz: no file of the expected"):
        Experience.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", version=4)
    with pytest.raises(ValueError, match="of version 1 to 3"):
        Experience.load(tmp_path / "y.npz")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("classes", np.ones(3), "classes: expected shape (2,), got (3,)"),
        ("successor", np.ones((2, 9)), "successor: expected shape (2, 36), got (2, 9)"),
        ("steps", np.ones(2), "steps: expected shape (), got (2,)"),
        ("min_cell", "few", "malformed: "),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path, name, value, problem):
    columns = dict.fromkeys((f.name for f in fields(Experience)), np.ones(2, dtype=np.int64))
    columns |= dict.fromkeys(("dropped", "min_cell", "steps"), np.int64(3))
    columns |= {"grid": np.arange(4.0), "successor": np.zeros((2, 36)), "kind": np.array("arc")}
    np.savez(tmp_path / "x.npz", version=2, **columns)
    assert len(Experience.load(tmp_path / "x.npz")) == 2
    np.savez(tmp_path / "x.npz", version=2, **columns | {name: value})
    with pytest.raises(FormatError, match=re.escape(f"x.npz: {problem}")):
        Experience.load(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["epochs", "chains", "min_cell", "learning_rate"])
def test_bad_settings_are_named(pretrained, tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}: expected a number above 0, got 0"):
        collect(settings(pretrained, tmp_path, **{name: 0}), faces(COUNTS))


def test_a_chain_starts_from_the_margins_that_were_trained_with(pretrained, tmp_path):
    Policy.constant("raise").save(tmp_path / "raise.json")
    trained = load_config(pretrained / "config.yaml", [], TrainConfig)
    trained.head = HeadConfig(
        name="FairLoss", kind="cos", margin=0.15, policy=str(tmp_path / "raise.json")
    )
    trained.output, trained.epochs = str(tmp_path / "fair"), 2
    fair = train(trained, faces(COUNTS))
    observed = chain(fair, tmp_path / "chain")
    torch.testing.assert_close(observed.head.margins, torch.full((9,), 0.25))
    last = [line for line in RunFolder(fair).metrics() if line["event"] == "epoch"][-1]
    assert {round(g["margin"], 2) for g in last["groups"] if g["margin"]} == {0.25}
    assert observed.experience().kind == "cos"
    trained.head, trained.output = HeadConfig(name="ArcFace", margin=0.5), str(tmp_path / "off")
    with pytest.raises(ValueError, match=r"run: .* trained with ArcFace at \[0.5\]"):
        chain(train(trained, faces(COUNTS)), tmp_path / "chain2")
    trained.head, trained.output = HeadConfig(name="NormFace"), str(tmp_path / "none")
    with pytest.raises(ValueError, match="run: .* trained with NormFace"):
        chain(train(trained, faces(COUNTS)), tmp_path / "chain3")


def test_a_chain_samples_classes_as_its_run_did(pretrained, tmp_path):
    trained = load_config(pretrained / "config.yaml", [], TrainConfig)
    trained.head.sample_rate = 0.5
    trained.output, trained.epochs = str(tmp_path / "run"), 1
    observed = chain(train(trained, faces(COUNTS)), tmp_path / "chain", seed=3)
    observed.run_epoch(1, 0.01)
    assert (observed.head.sample_rate, observed.head.sample_seed) == (0.5, 3)
    assert observed.head.step == observed.trainer.steps_per_epoch


def test_other_data_is_refused(pretrained, tmp_path):
    collect(settings(pretrained, tmp_path, epochs=1), faces(COUNTS))
    other = faces(COUNTS)
    other.identities[2] = "zz"
    with pytest.raises(ValueError, match="first difference is id2"):
        collect(settings(pretrained, tmp_path, epochs=2), other)
    with pytest.raises(ValueError, match="first difference is id2"):
        collect(settings(pretrained, tmp_path / "new", min_cell=2), other)
    collect(settings(pretrained, tmp_path / "new", epochs=1), faces(COUNTS))  # not poisoned


def test_a_checkpoint_without_an_entry_is_named(pretrained, tmp_path):
    collect(settings(pretrained, tmp_path, epochs=1), faces(COUNTS))
    (path,) = tmp_path.glob("chain-*/checkpoint-0001.pt")
    state = torch.load(path, weights_only=True)
    torch.save(state | {"chain": {}}, path)
    with pytest.raises(FormatError, match=r"checkpoint-0001\.pt: malformed: KeyError"):
        collect(settings(pretrained, tmp_path, epochs=2), faces(COUNTS))


def test_a_gamma_too_large_for_the_network_is_refused(pretrained, tmp_path):
    experience = collect(settings(pretrained, tmp_path), faces(COUNTS))
    with pytest.raises(
        ValueError, match="gamma: expected one at which the Q-network converges, got 0.9999"
    ):
        fit_policy(experience, gamma=0.9999, reward="paper")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="run: expected a run folder with config.yaml"):
        collect(settings(tmp_path, tmp_path / "out"), faces(COUNTS))


def test_a_collection_takes_another_grid(pretrained, tmp_path):
    grid = [0.35, 0.4, 0.5]
    wide = settings(pretrained, tmp_path, grid=grid, epochs=2)
    experience = collect(wide, faces(COUNTS))
    assert experience.grid.tolist() == grid
    assert Experience.load(tmp_path / "experience.npz").grid.tolist() == grid
    assert experience.successor.shape[1] == 9 * 3
    assert experience.margin_grid().values == tuple(grid)  # that of the policy
    with pytest.raises(ValueError, match=r"output: .*grid was \[0.35, 0.4, 0.5\], is None"):
        collect(settings(pretrained, tmp_path, epochs=2), faces(COUNTS))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([0.15, 0.25], "run: expected a run of FairLoss, .* at one of .0.15, 0.25."),
        ([0.45, 0.35], "grid: expected ascending margins"),
        ([], "grid: expected a sequence of finite margins"),
    ],
)
def test_a_grid_that_does_not_fit_is_named(pretrained, tmp_path, grid, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        collect(settings(pretrained, tmp_path / "out", grid=grid), faces(COUNTS))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # two processes import torch
def test_the_experience_is_the_same_for_two_workers(pretrained, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = collect(settings(pretrained, tmp_path / "a", chains=2), faces(COUNTS))
        seen: list[tuple[str, int, int]] = []
        pair = settings(pretrained, tmp_path / "b", chains=2, workers=2)
        with ProcessMap(2) as processes:
            two = collect(pair, faces(COUNTS), lambda *call: seen.append(call), processes)
    finally:
        torch.set_num_threads(threads)
    assert seen == [("chains", 1, 2), ("chains", 2, 2)]
    for name, value in vars(one).items():
        np.testing.assert_equal(getattr(two, name), value, err_msg=name)
    again = collect(pair, faces(COUNTS))  # finished chains are read, by one process as well
    np.testing.assert_equal(again.intra_after, one.intra_after)
