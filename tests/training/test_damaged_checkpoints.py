"""Checkpoints without an entry, or with one that does not fit: one error that names the file."""

from __future__ import annotations

import pytest
import search_runs
import torch
from synthetic import faces
from training_runs import COUNTS, config

from fairloss.io.atomic import FormatError
from fairloss.loss_search import search
from fairloss.loss_search.member import Round, run_member, split
from fairloss.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = train(config(tmp_path_factory.mktemp("run"), epochs=1), faces(COUNTS))
    (folder / "model.pt").unlink()  # written again from the checkpoint
    return folder


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    settings = search_runs.config(tmp_path_factory.mktemp("search"), epochs=1)
    return search(settings, faces(search_runs.COUNTS)).parent


def damage(path, change):
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return path.read_bytes()


CHANGES = {name: lambda s, name=name: s.pop(name) for name in ("step", "model", "head", "rng")}
CHANGES |= {
    "optimizer": lambda s: s.pop("optimizer"),
    "a weight of the model": lambda s: s["model"].popitem(),
    "a weight of the head": lambda s: s["head"].update(weight=torch.ones(2, 2)),
    "type of the step": lambda s: s.update(step="x"),
    "type of the model": lambda s: s.update(model=torch.ones(2)),
    "type of the generator": lambda s: s.update(rng=3),
}


def refused(folder, change, resume):
    path = folder / "checkpoint-0001.pt"
    whole = path.read_bytes()
    try:
        damaged = damage(path, change)
        with pytest.raises(FormatError, match=r"checkpoint-0001\.pt: malformed: "):
            resume()
        assert path.read_bytes() == damaged
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_run_names_the_checkpoint_that_does_not_fit(run, change):
    refused(run, change, lambda: train(config(run, epochs=1), faces(COUNTS)))


@pytest.mark.parametrize("entry", ["search", "step", "optimizer"])
def test_a_search_names_the_checkpoint_that_does_not_fit(searched, entry):
    (searched / "loss.json").unlink(missing_ok=True)  # written again from the checkpoint
    settings, images = search_runs.config(searched, epochs=1), faces(search_runs.COUNTS)
    refused(searched, lambda state: state.pop(entry), lambda: search(settings, images))


def test_a_member_of_a_search_names_the_checkpoint_that_does_not_fit(searched):
    settings, images = search_runs.config(searched, epochs=2), faces(search_runs.COUNTS)
    settings = settings.resolve(reads_data=False)
    member = Round(settings, 2, [{"a": [-1000.0]}], split(images, 3, 0))
    refused(searched, lambda state: state.pop("optimizer"), lambda: run_member(member, 0))
