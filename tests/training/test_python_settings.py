"""Settings made in Python: paths of the home folder, and numbers that are not finite."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from functools import reduce
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin, get_type_hints

import pytest

from fairloss.demo import DemoConfig, demo
from fairloss.experience import CollectConfig, collect
from fairloss.loss_search import SearchConfig, search
from fairloss.training import TrainConfig, train

ENTRIES = {
    train: TrainConfig(data="~/none", output="~/run"),
    search: SearchConfig(data="~/none", output="~/run"),
    collect: CollectConfig(run="~/none", output="~/run"),
    demo: DemoConfig(data="~/none", output="~/run"),
}


def wrong_values(kind):
    """Values of a field of this type that hold a number which is not finite."""
    if isinstance(kind, UnionType):
        kind = get_args(kind)[0]
    numbers = (math.nan, math.inf, -math.inf)
    if kind in (int, float):
        return list(numbers)
    if get_origin(kind) is list:
        return [[number] * 2 for number in numbers]
    return [{"t": [number]} for number in numbers] if get_origin(kind) is dict else []


def wrong_settings(schema, path=()):
    """The attributes that lead to every field, and the values that it must not take."""
    kinds = get_type_hints(schema)
    for each in fields(schema):
        kind = kinds[each.name]
        if is_dataclass(kind):
            yield from wrong_settings(kind, (*path, each.name))
        else:
            yield from ((*path, each.name, value) for value in wrong_values(kind))


@pytest.mark.parametrize("schema", [TrainConfig, SearchConfig, CollectConfig, DemoConfig])
def test_numbers_that_are_not_finite_are_refused_by_name(schema):
    cases = list(wrong_settings(schema))
    assert cases
    for *owners, name, value in cases:
        config = schema()
        setattr(reduce(getattr, owners, config), name, value)
        with pytest.raises(ValueError, match=rf"^{'.'.join([*owners, name])}\b.*: expected "):
            config.check()


@pytest.mark.parametrize("start", ENTRIES, ids=lambda start: start.__name__)
def test_paths_of_the_home_folder_are_expanded(start, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=str(tmp_path / "home" / "none")):
        start(ENTRIES[start])
    assert not Path("~").exists()


def test_a_path_object_is_a_path(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}/none"):
        train(TrainConfig(data=tmp_path / "none", output=tmp_path / "run"))
