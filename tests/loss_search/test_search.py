"""A whole search on made-up faces: what it leaves, and what interruptions change (nothing)."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from dying import DiesOnce
from synthetic import faces, write_folder

from fairloss import heads
from fairloss.data import split_identities
from fairloss.evaluation import all_pairs, pair_scores, verification
from fairloss.loss_search import ProcessMap, SearchConfig, SearchSettings, load_head, search
from fairloss.loss_search.member import read_split
from fairloss.models import embed
from fairloss.report.loss_search import write_search_figures
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunFolder,
    TrainConfig,
    Trainer,
    load_backbone,
    load_config,
    read_json,
    read_loss,
    train,
)

COUNTS = [6, 5, 4, 4, 3, 3, 2, 2, 1, 5]
SEEN = 7  # 3 are held out


def config(output, epochs=3, **changes):
    search = {name: changes.pop(name) for name in list(changes) if hasattr(SearchSettings, name)}
    settings = {
        "data": "made up",
        "output": str(output),
        "epochs": epochs,
        "batch_size": 8,
        "image_size": [32, 32],
        "channels": 1,
        "model": ModelConfig(embedding_size=16),
        "optimizer": OptimizerConfig(learning_rate=0.02),
        "search": SearchSettings(**{"population": 3, "held_out": 3} | search),
    }
    return SearchConfig(**settings | changes)


def rounds(folder):
    """Return the rounds of metrics.jsonl without their times."""
    lines = [line for line in RunFolder(folder).metrics() if line["event"] == "round"]
    return [{key: line[key] for key in line if key != "seconds"} for line in lines]


def same(a, b):
    """Loss, model, head and log of two searches are the same bits."""
    assert (a / "loss.json").read_bytes() == (b / "loss.json").read_bytes()
    assert rounds(a) == rounds(b)
    for name in ("model.pt", "head.pt"):
        one, other = (torch.load(x / "model" / name, weights_only=True) for x in (a, b))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed search, which others are compared with."""
    output = tmp_path_factory.mktemp("searches") / "whole"
    assert search(config(output), faces(COUNTS)) == output / "loss.json"
    return output


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
    content = json.loads((whole / "loss.json").read_text())
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
    search(config(tmp_path, method="random-softmax"), faces(COUNTS))
    lines = rounds(tmp_path)
    assert len({line["points"][0][0] for line in lines}) == 3
    assert [len(line["points"]) for line in lines] == [1, 1, 1]
    assert all(line["new_mean"] == [0.2] for line in lines)


@pytest.mark.parametrize("killed", [0, 2])
def test_a_member_that_dies_is_trained_again_and_nothing_else_changes(tmp_path, whole, killed):
    mark = tmp_path / "died"

    def mortal(function, members):
        return map(DiesOnce(function, mark, killed, kill=False), members)

    search(config(tmp_path / "run"), faces(COUNTS), map=mortal)
    assert mark.exists()
    (death,) = [x for x in RunFolder(tmp_path / "run").metrics() if x["event"] == "death"]
    assert death["reason"] == "OSError: this worker is lost"
    same(tmp_path / "run", whole)


def test_a_killed_process_is_replaced_and_nothing_else_changes(tmp_path, whole):
    """By SIGKILL; a worker reads the images for itself, here from files."""
    data = write_folder(tmp_path / "data", COUNTS)
    mark = tmp_path / "died"
    with ProcessMap(1) as processes:

        def mortal(function, members):
            return processes(DiesOnce(function, mark, 1, kill=True), members)

        search(config(tmp_path / "run", data=str(data)), map=mortal)
    assert mark.exists()
    events = [line["event"] for line in RunFolder(tmp_path / "run").metrics()]
    assert events == ["death", "round", "round", "round", "end"]
    same(tmp_path / "run", whole)


def test_a_member_that_always_dies_ends_the_search_with_its_reason(tmp_path):
    def mortal(function, members):
        raise OSError("no worker to be had")
        yield

    with pytest.raises(OSError, match="no worker to be had"):
        search(config(tmp_path), faces(COUNTS), map=mortal)


def test_a_death_of_each_member_is_no_reason_to_give_up(tmp_path, whole):
    died = set()

    def mortal(function, members):
        for member in members:
            if member not in died:
                died.add(member)
                raise OSError(f"member {member} died")
            yield function(member)

    search(config(tmp_path), faces(COUNTS), map=mortal)
    assert died == {0, 1, 2}
    same(tmp_path, whole)


@pytest.mark.parametrize(
    ("error", "tries"), [(OSError("lost"), 3), (ValueError("data: not there"), 1)]
)
def test_what_always_fails_is_tried_three_times_and_what_does_not_fit_once(tmp_path, error, tries):
    tried = []

    def failing(function, members):
        tried.append(list(members))
        raise error
        yield

    with pytest.raises(type(error), match=str(error)):
        search(config(tmp_path), faces(COUNTS), map=failing)
    assert tried == [[0, 1, 2]] * tries


def test_files_of_members_that_a_kill_left_are_removed(tmp_path):
    search(config(tmp_path, epochs=1), faces(COUNTS))
    left = tmp_path / "members" / "0001-2.pt"
    left.touch()
    search(config(tmp_path, epochs=1), faces(COUNTS))
    assert not left.exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head": HeadConfig(sample_rate=2.0)}, "head.sample_rate: expected .* got 2.0"),
        ({"model": ModelConfig(name="vgg", embedding_size=16)}, "name must be one of .* 'vgg'"),
        ({"init": "nowhere"}, "init: expected a finished run .*nowhere"),
    ],
)
def test_a_setting_that_does_not_fit_leaves_the_folder_to_others(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        search(config(tmp_path, **wrong), faces(COUNTS))
    assert not (tmp_path / "config.yaml").exists()
    if "init" not in wrong:  # and no image is read before
        with pytest.raises(ValueError, match=message):
            search(config(tmp_path, data=str(tmp_path / "no data"), **wrong))
    assert search(config(tmp_path, epochs=1), faces(COUNTS)).is_file()


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


def test_another_map_gives_the_same(tmp_path, whole):
    def backwards(function, members):
        return [function(member) for member in reversed(list(members))][::-1]

    search(config(tmp_path), faces(COUNTS), map=backwards)
    same(tmp_path, whole)


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
        assert "<path" in figure.read_text()


def test_a_member_that_diverges_is_never_the_best(tmp_path, monkeypatch):
    original = Trainer.run_epoch

    def with_nan(self, epoch, progress=lambda done, total: None):
        if self.head.a < -math.exp(32 * 0.2):
            self.head.weight.data[0] = math.nan
        return original(self, epoch, progress)

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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "evolution"}, "search.method: expected one of .* got 'evolution'"),
        ({"unit": "cosine"}, "search.unit: expected one of .* got 'cosine'"),
        ({"population": 1}, "search.population: expected a number of at least 2, got 1"),
        ({"sigma": 0}, "search.sigma: expected a number above 0, got 0"),
        ({"sigma": math.inf}, "search.sigma: expected .* got inf"),
        ({"start": math.inf}, "search.start: expected .* got inf"),
        ({"learning_rate": math.nan}, "search.learning_rate: expected .* got nan"),
        ({"start": -1}, "search.start: expected a number of at least 0, got -1"),
        ({"workers": 0}, "workers: expected a number of at least 1, got 0"),
        ({"head": HeadConfig(name="ArcFace")}, "head: expected scale and sample_rate alone"),
        ({"head": HeadConfig(margin=0.3)}, "head: expected scale and sample_rate alone"),
        ({"tensorboard": True}, "tensorboard: expected false, as a search writes no scalars"),
        ({"held_out": 9}, "search.held_out: expected at most 8, .* of the 10 identities, got 9"),
        ({"batch_size": 0}, "batch_size: expected a number above 0, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        search(config(tmp_path, **changes), faces(COUNTS))


def test_other_settings_and_other_data_are_refused(tmp_path, whole):
    with pytest.raises(ValueError, match="holds a search with other settings .*epochs was 3, is 4"):
        search(config(whole, epochs=4), faces(COUNTS))
    with pytest.raises(
        ValueError, match="output: expected a folder without a search, got .*; resume=auto"
    ):
        search(config(whole, resume="never"), faces(COUNTS))
    with pytest.raises(ValueError, match="output: expected .* was trained on"):
        search(config(whole), faces([7, *COUNTS[1:]]))
    with pytest.raises(ValueError, match="search.held_out: expected one identity with two images"):
        search(config(tmp_path), faces([1] * 10))


def test_files_that_are_no_loss_are_refused(tmp_path):
    path = tmp_path / "loss.json"
    with pytest.raises(FileNotFoundError, match=r"head.loss: .*loss.json does not exist"):
        load_head(path, 3, 4)
    path.write_text(json.dumps({"version": 1, "head": {}}))
    with pytest.raises(ValueError, match=r"loss.json is not a file of schema fairloss.loss"):
        load_head(path, 3, 4)
    path.write_text(json.dumps({"version": 2}))
    with pytest.raises(ValueError, match="loss.json: expected a JSON object of version 1"):
        load_head(path, 3, 4)
    settings = TrainConfig(data="x", output=str(tmp_path / "run"))
    settings.head = HeadConfig(loss=str(path), margin=0.3)
    with pytest.raises(ValueError, match="gives name, scale and options; leave them out"):
        train(settings, faces(COUNTS))


def test_images_are_read_once_in_a_process(tmp_path):
    data = write_folder(tmp_path / "data", COUNTS)
    settings = config(tmp_path, data=str(data))
    assert read_split(settings) is read_split(settings)
    other = read_split(replace(settings, seed=3))
    assert other[1].identities != read_split(settings)[1].identities
