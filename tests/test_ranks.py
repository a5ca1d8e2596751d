"""The processes of torchrun."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import distributed

from fairloss.ranks import torchrun_ranks


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
