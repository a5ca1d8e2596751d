"""Members that die, and processes that are killed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dying import DiesOnce
from search_runs import COUNTS, config, same
from synthetic import faces, write_folder

from fairloss.io.atomic import FormatError
from fairloss.io.state import write_state
from fairloss.loss_search import ProcessMap, search
from fairloss.loss_search.member import read_result, read_split
from fairloss.training import (
    RunFolder,
)


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


def test_a_file_that_is_no_result_of_a_member_is_named(tmp_path):
    path = tmp_path / "0001-0.pt"
    result = {"reward": 0.5, "loss": 1.0, "steps": 3, "state": {"step": 3}}
    write_state(path, result)
    assert read_result(path) == result
    write_state(path, {"reward": 0.5, "loss": 1.0})
    message = "0001-0.pt: expected the result of a member, got none of state, steps; remove it"
    with pytest.raises(FormatError, match=message):
        read_result(path)


def test_a_search_names_a_file_that_is_no_result_of_a_member(tmp_path):
    def write_nothing(function, members):
        for member in members:
            write_state(tmp_path / "members" / f"0001-{member}.pt", {})
            yield member

    with pytest.raises(FormatError, match=r"members.0001-0\.pt: expected the result of a member"):
        search(config(tmp_path), faces(COUNTS), map=write_nothing)


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


def test_another_map_gives_the_same(tmp_path, whole):
    def backwards(function, members):
        return [function(member) for member in reversed(list(members))][::-1]

    search(config(tmp_path), faces(COUNTS), map=backwards)
    same(tmp_path, whole)


def test_images_are_read_once_in_a_process(tmp_path):
    data = write_folder(tmp_path / "data", COUNTS)
    settings = config(tmp_path, data=str(data))
    assert read_split(settings) is read_split(settings)
    other = read_split(replace(settings, seed=3))
    assert other[1].identities != read_split(settings)[1].identities
