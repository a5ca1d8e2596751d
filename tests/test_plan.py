"""The plan of a head: bytes by hand, saved cosines of the op itself, and settings that fit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from command import refuse, succeed
from fairloss_ext._host import CPU_TILE_CLASSES

from fairloss.plan import PlanConfig, fitting_settings, plan, rank_memory
from fairloss_ext import cosine_partition
from fairloss_ext.memory import physical_memory

LARGE = PlanConfig(classes=1_000_001, ranks=8, batch_size=128)


def test_bytes_of_a_rank():
    rows = 125_001  # the first rank has one class more
    memory = rank_memory(LARGE)
    assert memory.weight == memory.optimizer == memory.gradient == 4 * 512 * rows
    assert memory.saved_cosines == 4 * 1024 * rows * 9 // 10
    assert rank_memory(replace(LARGE, optimizer="adamw")).optimizer == 2 * memory.weight
    assert rank_memory(replace(LARGE, precision="bfloat16")).saved_cosines == (
        2 * 1024 * rows * 9 // 10
    )


def test_gradient_and_cosines_are_of_drawn_classes():
    memory = rank_memory(replace(LARGE, sample_rate=0.1))
    rows = 128 + round(0.1 * (125_001 - 128))
    assert memory.weight == memory.optimizer == 4 * 512 * 125_001
    assert memory.gradient == 4 * 512 * rows
    assert memory.saved_cosines == 4 * 1024 * rows * 9 // 10


def test_a_dense_gradient_of_drawn_classes_is_made_after_the_backward_pass_of_their_rows():
    sampled = replace(LARGE, sample_rate=0.1)
    sparse, dense = rank_memory(sampled), rank_memory(replace(sampled, sparse=False))
    assert dense.gradient == dense.weight
    assert dense.drawn_gradient == sparse.gradient < dense.gradient
    assert dense.peak == 4 * dense.weight > sparse.peak  # in the optimizer, with its scratch
    large = PlanConfig(classes=1e6, ranks=64, batch_size=512, sample_rate=0.5, sparse=False)
    memory = rank_memory(large)
    rows = memory.drawn + memory.drawn_gradient + memory.saved_cosines + memory.embeddings
    assert memory.peak == memory.weight + memory.optimizer + rows


@pytest.mark.parametrize(("ranks", "floats"), [(1, 4), (8, 6)])
def test_statistics_of_all_classes_are_on_each_rank(ranks, floats):
    config = PlanConfig(classes=1e7, ranks=ranks, statistics=True)
    matrix = 4 * 512 * 10_000_000
    memory = rank_memory(config)
    assert memory.statistics == pytest.approx(floats * matrix, rel=0.02)
    assert memory.peak == memory.weight + memory.optimizer + memory.gradient + memory.statistics
    result = plan(config)
    assert result["host_bytes"] == {"statistics": matrix, "first_rank_at_end": matrix}
    assert result["would_fit"].get("statistics", True) == (ranks == 1)  # a GPU of 80 GB


@pytest.mark.parametrize(("batch", "classes"), [(20, 3000), (500, 20_000)])
def test_saved_cosines_are_those_of_the_op(batch, classes):
    """All of them up to 16 MiB, and beyond that nine tenths, in whole tiles."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        cosine_partition(
            torch.randn(batch, 8, requires_grad=True),
            torch.randn(classes, 8),
            torch.zeros(batch, dtype=torch.int64),
        )
    options = {"device": "cpu", "memory": physical_memory() / 1e9, "embedding_size": 8}
    planned = rank_memory(PlanConfig(classes=classes, batch_size=batch, **options)).saved_cosines
    measured = max(each.nbytes for each in saved)
    tile = 4 * CPU_TILE_CLASSES * (batch + 15) // 16 * 16
    assert measured <= planned < measured + tile


def test_settings_that_would_fit_do_so_and_are_the_nearest():
    config = PlanConfig(classes=1e7, ranks=4, memory=18)
    assert not plan(config)["fits"]
    fitting = fitting_settings(config)
    assert fitting.keys() == {"ranks", "sample_rate", "classes"}
    for name, value in fitting.items():
        assert plan(replace(config, **{name: value}))["fits"], name
    for name, value in {"classes": fitting["classes"] + 1, "ranks": fitting["ranks"] // 2}.items():
        assert not plan(replace(config, **{name: value}))["fits"], name
    assert fitting_settings(replace(config, optimizer="adamw", memory=23))["optimizer"] == "sgd"


def test_the_command_prints_text_or_json():
    settings = ("classes=5e6", "ranks=8", "memory=4")
    result = json.loads(succeed("plan", *settings, "--json").stdout)
    assert result == plan(PlanConfig(classes=5e6, ranks=8, memory=4))
    shown = succeed("plan", *settings).stdout
    assert "the first rank has 10.240 GB of class weights at the end" in shown
    assert "625,000 of 5,000,000 classes" in shown
    assert f"ranks={result['would_fit']['ranks']} or sample_rate=" in shown
    assert (
        "fits in memory=80 GB, of which 73.9 GB are left" in succeed("plan", *settings[:2]).stdout
    )


def test_settings_out_of_range_are_refused():
    refuse("classes: expected an integer, got 2.5", "plan", "classes=2.5")
    refuse("optimizer: expected sgd where", "plan", "optimizer=adamw", "sample_rate=0.1")
    succeed("plan", "optimizer=adamw", "sample_rate=0.1", "sparse=false", "statistics=true")
    refuse("ranks: expected", "plan", "ranks=0")
