"""The processes of torchrun."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from command import fairloss
from torch import distributed

from fairloss.experiments import CompareConfig, compare
from fairloss.ranks import RankError, torchrun_ranks


@pytest.mark.parametrize(("gpus", "chosen"), [(0, []), (1, []), (2, [mock.call(1)])])
def test_a_rank_takes_its_gpu_if_there_is_one(monkeypatch, gpus, chosen):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    taken = mock.Mock()
    monkeypatch.setattr(torch.cuda, "set_device", taken)
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(distributed, name, mock.Mock())
    with torchrun_ranks():
        assert taken.call_args_list == chosen


@pytest.mark.parametrize(("rank", "error"), [("0", ValueError), ("1", RankError)])
def test_a_comparison_is_refused_in_several_processes(monkeypatch, tmp_path, rank, error):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    config = CompareConfig(str(tmp_path / "comparison"), {"data": "faces"}, {"a": {}}, test="other")
    with pytest.raises(error, match="torchrun: expected one process"):
        compare(config)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rank", "reports", "seconds"), [("0", 1, []), ("1", 0, [mock.call(30)])])
def test_a_rank_lets_another_report_before_torchrun_ends_both(
    monkeypatch, tmp_path, rank, reports, seconds
):
    for name, value in {"WORLD_SIZE": "2", "RANK": rank, "TORCHELASTIC_RUN_ID": "run"}.items():
        monkeypatch.setenv(name, value)
    with mock.patch("time.sleep") as sleep:
        done = fairloss("data", "orl", tmp_path / "orl")
    assert (done.returncode, done.stderr.count("error: ")) == (2, reports)
    assert sleep.call_args_list == seconds
