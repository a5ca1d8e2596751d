"""Choices among arms by validation, against cases by hand."""

from __future__ import annotations

import pytest

from fairloss.experiments.choices import derive

METRIC = "validation_mean_tar"


def result(arm, seed, validation, cost=10.0, stages=(), collection=0.0):
    """A result whose test metric says which run it is of; a validation pass is a step."""
    stages = [
        {"epoch": 4 * number, "cost_steps": steps, "metrics": {METRIC: value}}
        for number, (steps, value) in enumerate(stages, 1)
    ]
    return {
        "arm": arm,
        "seed": seed,
        "train_steps": 8,
        "cost_steps": cost,
        "collection_steps": collection,
        "metrics": {METRIC: validation, "test_mean_tar": f"{arm} at {seed}"},
        "stages": stages,
        "validation": {"images": 5},
        "settings": {"batch_size": 2, "epochs": 12},
    }


def by_seeds(table, among="ab"):
    results = [result(arm, s, v, 10 + s) for arm in table for s, v in enumerate(table[arm])]
    return derive({"best": {"among": list(among), "by": "seeds"}}, results, METRIC)


def test_an_arm_is_chosen_by_the_mean_of_the_other_seeds():
    # means of the other seeds: a .45 .55 .70, b .55 .50 .45
    rows = by_seeds({"a": [0.8, 0.6, 0.3], "b": [0.4, 0.5, 0.6]})
    assert [row["chosen"] for row in rows] == ["b", "a", "a"]
    tests = [row["metrics"]["test_mean_tar"] for row in rows]
    assert tests == ["b at 0", "a at 1", "a at 2"]
    assert [row["cost_steps"] for row in rows] == [20, 22, 24]  # both arms
    assert {(row["arm"], row["train_steps"]) for row in rows} == {("best", 8)}


def test_the_own_seed_does_not_take_part():
    rows = by_seeds({"a": [0.9, 0.1], "b": [0.2, 0.8]})
    assert [row["chosen"] for row in rows] == ["b", "a"]


def test_of_equal_arms_the_first_of_among_is_chosen():
    table = {"a": [0.5, 0.5], "b": [0.5, 0.5]}
    assert [row["chosen"] for row in by_seeds(table, "ba")] == ["b", "b"]
    assert [row["chosen"] for row in by_seeds(table, "ab")] == ["a", "a"]


def test_only_seeds_at_which_all_arms_have_a_result_are_used():
    rows = by_seeds({"a": [0.6, 0.6, 0.0], "b": [0.5, 0.5]})
    assert [(row["seed"], row["chosen"]) for row in rows] == [(0, "a"), (1, "a")]
    assert by_seeds({"a": [0.6, 0.6, 0.0], "b": [0.5]}) == []  # no other seed
    assert by_seeds({"a": [0.6, 0.6, 0.0]}) == []


def by_stages(table, final=(), among=None, collection=0.0):
    """Run successive halving where every stage costs 2 more, the whole run 10 beside validation."""
    results = []
    for number, (arm, values) in enumerate(table.items()):
        last = final[number] if final else 0.0
        stages = [(2.0 * (i + 1), value) for i, value in enumerate(values)]
        results.append(result(arm, 3, last, 10.0 + collection, stages, collection))
    choice = {"among": list(among or table), "by": "stages"}
    (row,) = derive({"halving": choice}, results, METRIC)
    return row


def test_six_arms_are_two_and_then_one():
    # d leads at the second stage and at the end, but is not among the best two of the first
    first, second = [0.1, 0.6, 0.2, 0.4, 0.5, 0.3], [0.1, 0.3, 0.2, 0.9, 0.4, 0.3]
    table = dict(zip("abcdef", zip(first, second, strict=True), strict=True))
    row = by_stages(table, final=[0.0, 0.9, 0.0, 0.9, 0.0, 0.0])
    assert (row["chosen"], row["seed"]) == ("e", 3)
    assert row["metrics"]["test_mean_tar"] == "e at 3"
    assert row["cost_steps"] == 4 * 2 + 1 * 4 + 1 * (10 + 2)
    assert row["train_steps"] == 8


def test_of_several_arms_that_reach_the_end_the_best_there_is_chosen():
    table = {arm: [value] for arm, value in zip("abcdef", [6, 5, 4, 3, 2, 1], strict=True)}
    row = by_stages(table, final=[0.1, 0.2, 0.9, 0.9, 0.9, 0.9])
    assert (row["chosen"], row["cost_steps"]) == ("b", 4 * 2 + 2 * (10 + 2))


def test_arms_are_validated_once_at_a_stage_that_is_the_end():
    results = [result(arm, 3, 0.5, 10.0, [(10.0 + 1, 0.5)]) for arm in "abcdef"]
    results = [each | {"settings": {"batch_size": 2, "epochs": 4}} for each in results]
    (row,) = derive({"best": {"among": [*"abcdef"], "by": "stages"}}, results, METRIC)
    assert row["cost_steps"] == 6 * (10 + 1)


def test_an_arm_that_ends_early_needed_its_whole_collection():
    table = {"a": [0.5], "b": [0.6]}
    assert by_stages(table, collection=100.0)["cost_steps"] == (100 + 2) + (100 + 10 + 1)
    results = [result(arm, 3, 0.5, 10.0, [(2.0, 0.5)], None) for arm in "ab"]
    (row,) = derive({"best": {"among": ["a", "b"], "by": "stages"}}, results, METRIC)
    assert row["cost_steps"] == 2 + (10 + 1)  # None: an unknown cost, which is not counted


def test_seven_arms_leave_two_and_two_leave_one():
    assert by_stages({arm: [1.0] for arm in "abcdefg"})["cost_steps"] == 5 * 2 + 2 * (10 + 2)
    assert by_stages({"a": [0.1, 0.2], "b": [0.2, 0.1]})["chosen"] == "b"


def test_equal_arms_of_a_stage_stay_in_the_order_of_among():
    table = {"a": [0.5, 0.5], "b": [0.5, 0.5], "c": [0.5, 0.5], "d": [0.6, 0.5]}
    table |= {"e": [0.1, 0.1], "f": [0.1, 0.1]}
    assert by_stages(table, among="cbadef")["chosen"] == "c"


def test_a_later_choice_does_not_see_an_earlier_one():
    results = [result(arm, s, 0.5 + 0.1 * (arm == "b")) for arm in "ab" for s in (0, 1)]
    rule = {"among": ["a", "b"], "by": "seeds"}
    rows = derive({"one": rule, "two": rule}, results, METRIC)
    assert [(row["arm"], row["seed"]) for row in rows] == [
        ("one", 0), ("one", 1), ("two", 0), ("two", 1)
    ]  # fmt: skip
    assert {row["chosen"] for row in rows} == {"b"}


@pytest.mark.parametrize("rule", ["seeds", "stages"])
def test_without_results_there_is_no_choice(rule):
    assert derive({"best": {"among": ["a", "b"], "by": rule}}, [], METRIC) == []
