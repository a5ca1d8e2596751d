"""The cost of a run, in training steps."""

from typing import Any

from fairloss.io.run_folder import RunFolder
from fairloss.training.trainer import Trainer

FORWARD_COST = 1 / 3  # of a batch without a backward pass, in training steps


def cost(folder: RunFolder) -> dict[str, Any]:
    """Return the cost of a finished run.

    "cost_steps" counts a training step as 1, and a forward-only batch of its size as 1/3: the
    class statistics after an epoch are a third of its steps. "seconds" has no evaluation.

    Raises:
        ValueError: metrics.jsonl has no epoch.
    """
    epochs = [line for line in folder.metrics() if line.get("event") == "epoch"]
    if not epochs:
        raise ValueError(f"folder: expected {folder / 'metrics.jsonl'} with epochs, got none")
    steps = epochs[-1]["step"]
    passes = sum(line["groups"][0]["variance_bin"] is not None for line in epochs)
    return {
        "train_steps": steps,
        "cost_steps": steps + FORWARD_COST * passes * steps / len(epochs),
        "seconds": sum(sum(line["seconds"].values()) for line in epochs),
    }


def statistics_cost(trainer: Trainer) -> float:
    """Return the cost of `Trainer.statistics`: where images are not in memory it reads them twice.

    Only forward passes are counted.
    """
    passes = 1 if trainer.faces.in_memory else 2
    return FORWARD_COST * passes * trainer.steps_per_epoch
