"""Runs of two, three and four ranks, which are stopped, killed, and resumed by another number."""

from __future__ import annotations

import random
import shutil
import time
from itertools import pairwise

import pytest
import torch
from dying import StepCount
from rank_runs import (
    STEPS,
    DropoutBackbone,
    OverflowingBackbone,
    difference,
    fair_loss,
    losses,
    margins,
    run,
    settings,
    signaled_work,
    spawn,
    start,
    stop_at,
    work,
)
from synthetic import write_folder
from training_runs import same, weights

from fairloss.training import HeadConfig, OptimizerConfig, RunFolder

pytestmark = pytest.mark.slow
CASES = {
    "accumulated": ({"accumulate": 3}, 1e-5),
    "small batches": ({"batch_size": 3, "accumulate": 2}, 1e-5),  # some of no image
    "sampled": ({"head": HeadConfig(name="CosFace", sample_rate=0.5)}, 1e-5),
    "running statistics": ({"head": HeadConfig(name="AdaCos"), "accumulate": 2}, 1e-5),
    "bfloat16": ({"precision": "bfloat16", "accumulate": 2}, 1e-2),
}


@pytest.mark.parametrize("world", [2, 3, 4])
def test_losses_are_those_of_one_process(tmp_path, world):
    images = write_folder(tmp_path / "images", [7, 5, 4, 3, 2, 1], size=8)
    decoded = {"data": str(images), "memory_limit": 0.0, "workers": 1}
    cases = CASES | {"decoded": (decoded, 1e-5)}
    ranks = tmp_path / "ranks"
    for name, (changes, _) in cases.items():
        run(settings(tmp_path / "one" / name, **changes))
    jobs = [(settings(ranks / name, **changes),) for name, (changes, _) in cases.items()]
    spawn(world, *jobs, (settings(ranks / "float16", precision="float16"),))
    differences = {name: difference(ranks / name, tmp_path / "one" / name) for name in cases}
    print(world, differences)
    for name, (_, largest) in cases.items():
        assert differences[name] < largest, name
        assert skips(ranks / name) == []
    reasons = [reason for _, reason in skips(ranks / "float16")]
    assert 0 < len(reasons) < 2 * STEPS
    assert all("overflows float16" in reason for reason in reasons)
    assert sum(loss is not None for loss in losses(ranks / "float16")) == 2 * STEPS - len(reasons)


def skips(output):
    """The steps that a run left out, and the reasons."""
    lines = [line for line in RunFolder(output).metrics() if line["event"] == "skip"]
    return [(line["step"], line["reason"]) for line in lines]


def test_three_epochs_of_fair_loss_have_the_margins_and_actions_of_one_process(tmp_path):
    changes = {"epochs": 3, "keep_checkpoints": 3, "head": fair_loss(tmp_path)}
    run(settings(tmp_path / "one", **changes))
    spawn(2, (settings(tmp_path / "two", **changes),))
    one, two = margins(tmp_path / "one", 3), margins(tmp_path / "two", 3)
    assert all(map(torch.equal, one, two))
    actions = [(b - a).sign() for a, b in pairwise(one)]
    assert len(torch.cat(actions).unique()) == 3
    groups = [
        [x["groups"] for x in RunFolder(tmp_path / name).metrics() if x["event"] == "epoch"]
        for name in ("one", "two")
    ]
    columns = [[group["margin"] for each in epochs for group in each] for epochs in groups]
    assert columns[0] == columns[1]


def resume(path, world, **stop):
    """Resume the run of 32 epochs in `path` on some ranks, to its end or until it is stopped."""
    config = settings(path, epochs=32, optimizer=OptimizerConfig(learning_rate=0.002))  # 128 steps
    if world > 1:
        spawn(world, (config,), **stop)
    else:
        with pytest.raises(SystemExit):
            run(config, progress=stop_at(stop["stop"]))


def test_four_one_three_and_four_ranks_train_one_run(tmp_path):
    """Each change alone, beside a copy that keeps its ranks, and all beside four ranks."""
    whole, path = tmp_path / "whole", tmp_path / "run"
    resume(whole, 4)
    resume(path, 4, stop=30)
    parts = [(4, {"stop": 63}), (1, {"stop": 62}), (3, {"stop": 92}), (4, {})]
    for (before, _), (after, stop) in pairwise(parts):
        kept = shutil.copytree(path, tmp_path / f"{before}-kept")
        resume(path, after, **stop)
        resume(kept, before, **({"stop": stop["stop"] + 1} if stop else {}))
    events = [x["step"] for x in RunFolder(path).metrics() if x["event"] == "resume"]
    # ranks share a signal in the flags of the step in progress, or of the next
    assert all(0 <= event - stop <= 1 for event, stop in zip(events, (30, 62, 92), strict=True))
    for step, (before, _) in zip(events, parts, strict=False):
        alone, all_before = (
            [abs(a - b) / b for a, b in zip(losses(path), losses(other), strict=False)]
            for other in (tmp_path / f"{before}-kept", whole)
        )
        # beside a run of four ranks, the first has the rounding of all steps before
        for relative, first in ((alone, 1e-6), (all_before, 3e-6)):
            print(before, step, relative[step], max(relative[step : step + 30]))
            assert len(relative) >= step + 30
            assert relative[step] < first
            assert max(relative[step : step + 30]) < 1e-4


@pytest.mark.parametrize(
    ("name", "signaled", "world"), [("_statistics", 1, 2), ("_evaluate", 0, 3)]
)
def test_a_signal_of_one_rank_after_an_epoch_ends_all_which_resume(tmp_path, name, signaled, world):
    configs = [settings(tmp_path / each, statistics="always") for each in ("whole", "run")]
    spawn(world, (configs[0],))
    ranks = start(signaled_work, world, tmp_path / "store", [(configs[1],)], name, signaled)
    while not ranks.join():
        pass
    checkpoint = f"checkpoint-0001-{STEPS:08d}"
    assert [each.name for each in (tmp_path / "run").glob("checkpoint-*")] == [checkpoint]
    spawn(world, (configs[1],))
    assert same(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("world", [2, 3])
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, world):
    changes = {"epochs": 17, "checkpoint_every": 1, "head": fair_loss(tmp_path)}
    jobs = [(settings(tmp_path / "run", **changes), DropoutBackbone)]
    spawn(world, (settings(tmp_path / "whole", **changes), DropoutBackbone))
    count, generator = StepCount(tmp_path / "steps"), random.Random(world)
    total = 17 * STEPS
    for number, target in enumerate(sorted(generator.sample(range(1, total), 10))):
        # after a step: before they have met, the others wait until a timeout, or torchrun ends them
        target = max(target, count.value() + 1)
        ranks = start(work, world, tmp_path / f"store-{number}", jobs, count)
        while count.value() < target:
            assert all(each.is_alive() for each in ranks.processes)
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.1))
        victims = ranks.processes if number % 2 else [generator.choice(ranks.processes)]
        for each in victims:
            each.kill()
        for each in ranks.processes:
            each.join(60)
            assert each.exitcode not in (0, None)  # the others end where one is killed
    ranks = start(work, world, tmp_path / "store", jobs, count)
    while not ranks.join():
        pass
    assert same(tmp_path / "whole", tmp_path / "run")
    assert losses(tmp_path / "whole") == losses(tmp_path / "run")
    assert total <= count.value() <= 1.5 * total
    assert not list((tmp_path / "run").glob(".*"))


def test_all_ranks_leave_a_step_out_that_is_not_finite_on_one(tmp_path):
    path = tmp_path / "run"
    spawn(2, (settings(path), OverflowingBackbone))
    (skip,) = [x for x in RunFolder(path).metrics() if x["event"] == "skip"]
    assert skip["step"] == 3
    assert skip["reason"].startswith("5 embeddings are not finite: id")
    assert len(losses(path)) == 2 * STEPS
    assert all(each.isfinite().all() for each in weights(path))
