"""Runs killed by SIGKILL at any moment resume to the same bits, with few steps done twice."""

from __future__ import annotations

import multiprocessing
import random
import time
from io import BytesIO

import pytest
from dying import STAGES, StepCount, train_and_die
from PIL import Image
from synthetic import faces, patterns
from training_runs import config, same

from fairloss.data import write_records
from fairloss.training import OptimizerConfig, RunFolder, train

COUNTS = [24, 20, 18, 16, 10, 8]
SETTINGS = {
    "epochs": 17,  # of 12 steps
    "statistics": "always",
    "optimizer": OptimizerConfig(learning_rate=0.002),
    "checkpoint_every": 1,
}


def killed(context, settings, count, target, moment):
    """Train in another process until it is killed, or done; return its exit code."""
    stage = moment if isinstance(moment, str) else None
    images = faces(COUNTS) if settings.data == "made up" else None
    arguments = (settings, images, count, stage, target)
    process = context.Process(target=train_and_die, args=arguments)
    process.start()
    if stage is None:
        while count.value() < target and process.is_alive():
            time.sleep(0.001)
        time.sleep(moment)
        process.kill()
    process.join(60)
    return process.exitcode


@pytest.mark.slow
def test_a_run_killed_at_twenty_moments_ends_with_the_same_bits(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fairloss.training"])
    whole = train(config(tmp_path / "whole", **SETTINGS | {"checkpoint_every": 0}), faces(COUNTS))
    settings, count = config(tmp_path / "run", **SETTINGS), StepCount(tmp_path / "steps")
    generator, total = random.Random(0), 17 * 12
    targets = sorted(generator.sample(range(1, total), 20))
    moments = [*STAGES, *STAGES, *(generator.uniform(0, 0.05) for _ in range(10))]
    generator.shuffle(moments)
    for target, moment in zip(targets, moments, strict=True):
        assert killed(context, settings, count, target, moment) == -9
    train(settings, faces(COUNTS), progress=count)
    assert same(whole, tmp_path / "run")
    assert total <= count.value() <= 1.1 * total
    lines = RunFolder(tmp_path / "run").metrics()
    resumed = [line["step"] for line in lines if line["event"] == "resume"]
    assert min(resumed) > 0
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [*range(1, 18)]
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_killed_run_on_records_ends_with_the_same_bits(tmp_path, workers):
    pixels, labels = patterns([8, 6, 4, 3, 2, 1])
    encoded = [BytesIO() for _ in pixels]
    for buffer, image in zip(encoded, pixels, strict=True):
        Image.fromarray(image[0].numpy()).save(buffer, "png")
    items = zip(labels.tolist(), (buffer.getvalue() for buffer in encoded), strict=True)
    write_records(tmp_path / "train.rec", items)
    changes = {"data": str(tmp_path / "train.rec"), "memory_limit": 0.0, "workers": workers}
    whole = train(config(tmp_path / "whole", **changes | {"workers": 2}))
    settings = config(tmp_path / "run", **changes, checkpoint_every=1)
    context, count = multiprocessing.get_context("forkserver"), StepCount(tmp_path / "steps")
    context.set_forkserver_preload(["fairloss.training"])
    for target, moment in ((2, 0.01), (5, "replace"), (8, "write"), (10, 0.0)):  # of 12 steps
        assert killed(context, settings, count, target, moment) == -9
    settings.workers = 3 - workers
    train(settings, progress=count)
    assert same(whole, tmp_path / "run")
    assert 12 <= count.value() <= 12 + 4
