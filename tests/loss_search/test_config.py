"""Settings of a search, and files that are no loss."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest
from search_runs import COUNTS, config
from synthetic import faces

from fairloss.loss_search import load_head, search
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    TrainConfig,
    train,
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head": HeadConfig(sample_rate=2.0)}, "head.sample_rate: expected .* got 2.0"),
        (
            {"model": ModelConfig(name="vgg", embedding_size=16)},
            "name: expected one of .* got 'vgg'",
        ),
        ({"init": "nowhere"}, "init: expected a finished run, got .*nowhere"),
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
        ({"head": HeadConfig(name="FairLoss")}, "head: expected scale and sample_rate alone"),
        ({"head": HeadConfig(margin=0.3)}, "head: expected scale and sample_rate alone"),
        ({"statistics": "always"}, "statistics: expected when_needed, as a search has none"),
        ({"tensorboard": True}, "tensorboard: expected false, as a search writes no scalars"),
        ({"held_out": 9}, "search.held_out: expected at most 8, .* of the 10 identities, got 9"),
        ({"batch_size": 0}, "batch_size: expected a number above 0, got 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        search(config(tmp_path, **changes), faces(COUNTS))


def test_other_settings_and_other_data_are_refused(tmp_path, whole):
    with pytest.raises(
        ValueError, match="expected a search with these settings, .*epochs was 3, is 4"
    ):
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
    path.write_text(json.dumps({"version": 1, "head": {}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"loss.json is not a file of schema fairloss.loss"):
        load_head(path, 3, 4)
    path.write_text(json.dumps({"version": 2}), encoding="utf-8")
    with pytest.raises(ValueError, match="loss.json: expected a JSON object of version 1"):
        load_head(path, 3, 4)
    settings = TrainConfig(data="x", output=str(tmp_path / "run"))
    settings.head = HeadConfig(loss=str(path), margin=0.3)
    with pytest.raises(
        ValueError, match="head.loss: expected no name, scale and options beside it"
    ):
        train(settings, faces(COUNTS))


def test_a_run_that_has_seen_the_held_out_identities_is_no_start(tmp_path):
    run = train(TrainConfig(**_of_training(config(tmp_path / "run", epochs=1))), faces(COUNTS))
    settings = config(tmp_path / "search", init=str(run))
    with pytest.raises(ValueError, match=r"init: expected a run without the held-out .* with 3"):
        search(settings, faces(COUNTS))


def _of_training(settings):
    return {field.name: getattr(settings, field.name) for field in fields(TrainConfig)}
