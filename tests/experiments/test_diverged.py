"""Runs of a comparison that diverge."""

from __future__ import annotations

import pytest
import torch
from synthetic import write_folder
from torch import nn

from fairloss.data import FaceImages
from fairloss.experiments import CompareConfig, Run, compare, plan
from fairloss.experiments.measure import verify_images
from fairloss.training.trainer import Diverged

SETTINGS = {"epochs": 2, "image_size": [32, 32], "channels": 1, "batch_size": 16}
SETTINGS |= {"model.embedding_size": 16}
ARMS = {"huge": {"optimizer.learning_rate": 1e30}, "cosface": {}}


def test_the_other_runs_are_finished_and_the_next_call_repeats_those_that_diverged(tmp_path):
    data = str(write_folder(tmp_path / "faces", [3] * 12))
    config = CompareConfig(str(tmp_path / "o"), SETTINGS | {"data": data}, ARMS, seeds=1)
    finished = []

    def report(result, left):
        finished.append(result["arm"])

    message = "1 of {} runs diverged: huge-seed-0: .* were left out, the last at step"
    with pytest.raises(RuntimeError, match=message.format(2)):
        compare(config, report)
    assert finished == ["cosface"]
    assert not config.result_path(Run("huge", 0)).exists()
    assert not (tmp_path / "o" / "summary.json").exists()
    with pytest.raises(RuntimeError, match=message.format(1)):
        compare(config, report)
    assert finished == ["cosface"]
    assert plan(config).finished == 1


@pytest.mark.parametrize("factor", [0.0, torch.inf])
def test_a_network_whose_embeddings_have_no_direction_has_diverged(factor):
    """As a ValueError it would end the other runs."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, images):
            return self.factor * images.flatten(1)[:, :4]

    values = torch.full((4, 1, 32, 32), 9, dtype=torch.uint8)
    images = FaceImages(values, torch.tensor([0, 0, 1, 1]), ["a", "b"], [*"pqrs"], mirror=False)
    with pytest.raises(Diverged, match="4 of 4 embeddings are zero or not finite"):
        verify_images(Scaled(), images)
