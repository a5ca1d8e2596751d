"""Training on two ranks repeats training in one process."""

from __future__ import annotations

import shutil

import pytest
import torch
from rank_runs import STEPS, difference, fair_loss, losses, margins, run, settings, spawn
from training_runs import weights

from fairloss.io.atomic import FormatError
from fairloss.training import RunFolder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one process and of two ranks, with their settings."""
    folder = tmp_path_factory.mktemp("runs")
    heads = {"cosface": {}, "fairloss": {"head": fair_loss(folder)}}
    for name, changes in heads.items():
        run(settings(folder / "one" / name, **changes))
    jobs = [(settings(folder / "two" / name, **changes),) for name, changes in heads.items()]
    spawn(2, *jobs, jobs[0])  # the last is of a finished run
    return folder


@pytest.mark.parametrize("name", ["cosface", "fairloss"])
def test_losses_and_margins_are_those_of_one_process(runs, name):
    one, two = runs / "one" / name, runs / "two" / name
    assert len(losses(one)) == 2 * STEPS
    assert difference(two, one) < 1e-5
    for a, b in zip(margins(two, 2), margins(one, 2), strict=True):
        assert torch.equal(a, b)
    if name == "fairloss":
        assert len(margins(one, 2)[1].unique()) > 1
    for a, b in zip(weights(two), weights(one), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.fixture
def interrupted(runs, tmp_path):
    """The run of two ranks as if it had been interrupted in its last epoch."""
    path = tmp_path / "fairloss"
    shutil.copytree(runs / "two" / "fairloss", path)
    for name in ("model.pt", "head.pt"):
        (path / name).unlink()
    return path


def test_one_process_resumes_a_run_of_two_ranks(runs, interrupted):
    shutil.rmtree(interrupted / "checkpoint-0002")
    run(settings(interrupted, head=fair_loss(runs)))
    assert difference(interrupted, runs / "one" / "fairloss") < 1e-5
    assert torch.equal(margins(interrupted, 2)[1], margins(runs / "one" / "fairloss", 2)[1])
    kinds = {path.name for path in interrupted.glob("checkpoint-*")}
    assert kinds == {"checkpoint-0001", "checkpoint-0002.pt"}


@pytest.mark.parametrize("name", ["__0_0.distcp", "__1_0.distcp", "state.pt", ".metadata"])
@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_a_damaged_checkpoint_of_ranks_is_replaced_by_the_one_before(interrupted, name, damage):
    path = interrupted / "checkpoint-0002" / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "changed":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    folder = RunFolder(interrupted)
    with pytest.raises(FormatError, match="checkpoint-0002: damaged.*from checkpoint-0001"):
        folder.load_checkpoint(previous=False)
    assert folder.load_checkpoint(previous=True)["epoch"] == 1
    names = {each.name for each in interrupted.glob("checkpoint-*")}
    assert names == {"checkpoint-0001", "checkpoint-0002.damaged"}


def test_a_checkpoint_of_ranks_may_be_damaged_twice(interrupted):
    path = interrupted / "checkpoint-0002"
    for _ in range(2):
        if not path.exists():  # the epoch was repeated
            shutil.copytree(interrupted / "checkpoint-0001", path)
        (path / "state.pt").unlink()
        assert RunFolder(interrupted).load_checkpoint(previous=True)["epoch"] == 1
    assert (interrupted / "checkpoint-0002.damaged").is_dir()
