"""A whole search on made-up faces: what it leaves, and what interruptions change (nothing)."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from search_runs import COUNTS, SEEN, config, rounds, same
from synthetic import faces

from fairloss import heads
from fairloss.data import split_identities
from fairloss.evaluation import all_pairs, pair_scores, verification
from fairloss.loss_search import load_head, search
from fairloss.models import embed
from fairloss.report.loss_search import write_search_figures
from fairloss.training import (
    HeadConfig,
    RunFolder,
    TrainConfig,
    Trainer,
    load_backbone,
    load_config,
    read_json,
    read_loss,
    train,
    write_loss,
)


def test_a_search_leaves_a_loss_a_model_and_its_cost(whole):
    lines = rounds(whole)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    images = sum(COUNTS) - sum(COUNTS[int(i[2:])] for i in held_out(whole))
    steps = math.ceil(images / 8)
    assert [line["cost"] for line in lines] == [3 * steps, 6 * steps, 9 * steps]
    assert [line["step"] for line in lines] == [steps, 2 * steps, 3 * steps]
    assert lines[0]["mean"] == [0.2]
    for before, after in pairwise(lines):
        assert before["new_mean"] == after["mean"] != before["mean"]
    for line in lines:
        assert line["best"] == int(np.argmax(line["rewards"]))
        assert len({*map(tuple, line["points"])}) == 3
        assert all(0 <= reward <= 1 for reward in line["rewards"])
    loss = read_loss(whole / "loss.json")
    assert loss.name == "SearchSoftmax"
    assert loss.scale == 32
    content = json.loads((whole / "loss.json").read_text(encoding="utf-8"))
    assert (content["version"], content["schema"]) == (1, "fairloss.loss")
    assert content["provenance"]["steps"] == 9 * steps
    assert list((whole / "members").iterdir()) == []
    model, trained = load_backbone(whole / "model" / "model.pt")
    assert trained.head.options == loss.options
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 16)
    head = torch.load(whole / "model" / "head.pt", weights_only=True)
    assert head["a"].item() == pytest.approx(loss.options["a"], rel=1e-6)


def held_out(folder):
    return read_json(folder / "identities.json")["held_out"]


def test_the_reward_is_of_identities_left_out_of_training(whole):
    record = read_json(whole / "identities.json")
    assert len(record["identities"]) == SEEN
    assert sorted([*record["identities"], *record["held_out"]]) == [f"id{c}" for c in range(10)]
    assert torch.load(whole / "model" / "head.pt", weights_only=True)["weight"].shape[0] == SEEN


def test_the_rewards_are_those_of_the_held_out_identities(tmp_path):
    models = {}

    def watched(function, members):
        job = function.args[0]
        for member in members:
            yield function(member)
            result = torch.load(job.path(member), weights_only=True)
            models[job.number, member] = result["state"]["model"]

    search(config(tmp_path, epochs=2), faces(COUNTS), map=watched)
    parts = split_identities(faces(COUNTS), 3, 0)  # seen, held out
    assert parts[1].identities == held_out(tmp_path)
    model, _ = load_backbone(tmp_path / "model" / "model.pt")
    for number, line in enumerate(rounds(tmp_path), start=1):
        for member, given in enumerate(line["rewards"]):
            model.load_state_dict(models[number, member])
            of_seen, of_held_out = (area(model, part) for part in parts)
            assert given == pytest.approx(of_held_out, abs=1e-12)
            assert abs(given - of_seen) > 1e-3


def area(model, part):
    pairs = all_pairs(part.labels.numpy())
    return verification(pair_scores(embed(model, part).numpy(), pairs), pairs.genuine).auc


def test_the_best_member_continues_with_the_state_of_its_optimizer(tmp_path):
    results = {}

    def watched(function, members):
        job = function.args[0]
        for member in members:
            yield function(member)
            results[job.number, member] = torch.load(job.path(member), weights_only=True)

    search(config(tmp_path, epochs=2), faces(COUNTS), map=watched)
    folder = RunFolder(tmp_path)
    for number, line in enumerate(rounds(tmp_path), start=1):
        kept = torch.load(folder / f"checkpoint-{number:04d}.pt", weights_only=True)
        best = results[number, line["best"]]["state"]
        assert results[number, line["best"]]["reward"] == max(line["rewards"])
        momenta = [state["momentum_buffer"] for state in kept["optimizer"]["state"].values()]
        buffers = [state["momentum_buffer"] for state in best["optimizer"]["state"].values()]
        assert all(torch.equal(a, b) for a, b in zip(momenta, buffers, strict=True))
        assert all(torch.equal(best["model"][name], kept["model"][name]) for name in best["model"])
        a = [results[number, m]["state"]["head"]["a"].item() for m in range(3)]
        z = np.array(line["points"])[:, 0]
        np.testing.assert_allclose(a, -np.expm1(32 * z), rtol=1e-6)


def test_at_learning_rate_0_the_mean_stays_exactly(tmp_path, whole):
    search(config(tmp_path, learning_rate=0.0), faces(COUNTS))
    lines = rounds(tmp_path)
    assert all(line["mean"] == line["new_mean"] == [0.2] for line in lines)
    assert any(np.std(line["rewards"]) > 1e-6 for line in lines)  # there was something to learn
    assert lines[0]["points"] == rounds(whole)[0]["points"]


def test_random_softmax_is_one_model_with_another_a_every_round(tmp_path):
    settings = config(tmp_path, method="random-softmax")
    result = search(settings, faces(COUNTS))
    lines = rounds(tmp_path)
    assert len({line["points"][0][0] for line in lines}) == 3
    assert [len(line["points"]) for line in lines] == [1, 1, 1]
    assert all(line["new_mean"] == [0.2] for line in lines)
    # No one loss stands for it: the result is the model, with the a that it was last trained with.
    assert result == tmp_path / "model" / "model.pt"
    assert not (tmp_path / "loss.json").exists()
    (a,) = -np.expm1(32 * np.array(lines[-1]["points"][0]))
    assert torch.load(tmp_path / "model" / "head.pt")["a"].item() == pytest.approx(a, rel=1e-6)
    assert load_backbone(result)[1].head.options["a"] == pytest.approx(a)
    assert [path.name for path in write_search_figures(tmp_path)] == ["trajectory.svg"]
    before = RunFolder(tmp_path).metrics()
    assert search(settings, faces(COUNTS)) == result  # finished: nothing left to do
    assert RunFolder(tmp_path).metrics() == before


def test_an_old_loss_file_of_random_softmax_is_named_for_what_it_is(tmp_path):
    head = HeadConfig(name="SearchSoftmax", scale=32.0, options={"a": -math.expm1(32 * 0.206)})
    write_loss(tmp_path / "loss.json", head, {"method": "random-softmax"})
    with pytest.warns(UserWarning, match=r"loss.json is the mean .* CosFace at margin 0.206\."):
        assert read_loss(tmp_path / "loss.json") == head
    write_loss(tmp_path / "loss.json", head, {"method": "search-softmax"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_loss(tmp_path / "loss.json") == head


def test_an_interrupted_search_resumes_to_the_same_bits(tmp_path, whole):
    """Stopped within a round, and at its end, again and again."""
    trained = []

    def interrupted(function, members):
        for member in members:
            if len(trained) in (1, 3, 4, 7):
                trained.append("stop")
                raise KeyboardInterrupt
            trained.append(member)
            yield function(member)

    settings = config(tmp_path)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            search(settings, faces(COUNTS), map=interrupted)
        torch.manual_seed(5)  # whatever the process did in between
    search(settings, faces(COUNTS), map=interrupted)
    assert trained.count("stop") == 4
    assert len(trained) == 4 + 9  # no member was trained twice
    same(tmp_path, whole)
    before = RunFolder(tmp_path).metrics()
    search(settings, faces(COUNTS))  # finished: nothing left to do
    assert RunFolder(tmp_path).metrics() == before


def test_the_loss_trains_as_an_ordinary_head(tmp_path, whole):
    loss = whole / "loss.json"
    settings = replace(config(tmp_path), output=str(tmp_path / "run"))
    names = ("data", "output", "batch_size", "image_size", "channels", "model", "optimizer")
    given = {name: getattr(settings, name) for name in names}
    run = train(TrainConfig(**given, epochs=1, head=HeadConfig(loss=str(loss))), faces(COUNTS))
    used = load_config(run / "config.yaml", [], TrainConfig).head
    assert used == read_loss(loss)  # config.yaml stands alone
    by_hand = HeadConfig(name=used.name, scale=used.scale, options=used.options)
    again = TrainConfig(**given | {"output": str(tmp_path / "hand")}, epochs=1, head=by_hand)
    other = train(again, faces(COUNTS))
    a, b = (torch.load(x / "head.pt", weights_only=True) for x in (run, other))
    assert torch.equal(a["weight"], b["weight"])
    head = load_head(loss, 5, 8, reduction="none")
    assert isinstance(head, heads.SearchSoftmax)
    assert head.a.item() == pytest.approx(used.options["a"], rel=1e-6)
    assert head(torch.randn(3, 8), torch.arange(3)).shape == (3,)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"bins": 4}, {"a": 4}),
        ({"unit": "linear"}, {"a": None}),
        ({"method": "am-lfs", "intervals": 3}, {"t": 3, "tau": 3}),
    ],
)
def test_every_space_is_searched_and_drawn(tmp_path, changes, options):
    path = search(config(tmp_path, epochs=2, **changes), faces(COUNTS))
    loss = read_loss(path)
    assert {name: np.shape(v)[0] if np.ndim(v) else None for name, v in loss.options.items()} == (
        options
    )
    head = load_head(path, 5, 8)
    assert type(head) is heads.HEADS[loss.name]
    for figure in write_search_figures(tmp_path):
        assert "<path" in figure.read_text(encoding="utf-8")


def test_a_member_that_diverges_is_never_the_best(tmp_path, monkeypatch):
    original = Trainer.run_epoch

    def with_nan(self, epoch, **options):
        if self.head.a < -math.exp(32 * 0.2):
            self.head.weight.data[0] = math.nan
        return original(self, epoch, **options)

    monkeypatch.setattr(Trainer, "run_epoch", with_nan)
    search(config(tmp_path, epochs=2, sigma=0.05), faces(COUNTS))
    diverged = 0
    for line in rounds(tmp_path):
        for point, reward, loss in zip(
            line["points"], line["rewards"], line["losses"], strict=True
        ):
            assert (reward == 0) == (loss is None) == (point[0] > 0.2)
            diverged += loss is None
        assert line["losses"][line["best"]] is not None
    assert diverged > 0
