"""Small searches, and comparisons of what they leave."""

from __future__ import annotations

import torch

from fairloss.loss_search import SearchConfig, SearchSettings
from fairloss.training import (
    ModelConfig,
    OptimizerConfig,
    RunFolder,
)

COUNTS = [6, 5, 4, 4, 3, 3, 2, 2, 1, 5]


SEEN = 7  # 3 are held out


def config(output, epochs=3, **changes):
    search = {name: changes.pop(name) for name in list(changes) if hasattr(SearchSettings, name)}
    settings = {
        "data": "made up",
        "output": str(output),
        "epochs": epochs,
        "batch_size": 8,
        "image_size": [32, 32],
        "channels": 1,
        "model": ModelConfig(embedding_size=16),
        "optimizer": OptimizerConfig(learning_rate=0.02),
        "search": SearchSettings(**{"population": 3, "held_out": 3} | search),
    }
    return SearchConfig(**settings | changes)


def rounds(folder):
    """Return the rounds of metrics.jsonl without their times."""
    lines = [line for line in RunFolder(folder).metrics() if line["event"] == "round"]
    return [{key: line[key] for key in line if key != "seconds"} for line in lines]


def same(a, b):
    """Loss, model, head and log of two searches are the same bits."""
    assert (a / "loss.json").read_bytes() == (b / "loss.json").read_bytes()
    assert rounds(a) == rounds(b)
    for name in ("model.pt", "head.pt"):
        one, other = (torch.load(x / "model" / name, weights_only=True) for x in (a, b))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
