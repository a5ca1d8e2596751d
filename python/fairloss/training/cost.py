"""The cost of a run, in training steps."""

from typing import Any

from fairloss.agent import Policy
from fairloss.io.run_folder import RunFolder
from fairloss.ranks import num_ranks
from fairloss.training.trainer import Trainer

FORWARD_COST = 1 / 3  # of a batch without a backward pass, in training steps


def cost(folder: RunFolder) -> dict[str, Any]:
    """Return the cost of a finished run.

    "cost_steps" counts a training step as 1, a forward-only batch of its size as 1/3 (the class
    statistics after an epoch are a third of its steps), and the whole collection of the policy,
    "collection_steps", which is None and not counted where the policy records none. "seconds" has
    neither evaluation nor collection.

    Raises:
        ValueError: metrics.jsonl has no epoch.
    """
    epochs = _epochs(folder)
    collection = _collection_steps(folder)
    return {
        "train_steps": epochs[-1]["step"],
        "collection_steps": collection,
        "cost_steps": _cost(epochs) + (collection or 0.0),
        "seconds": sum(sum(line["seconds"].values()) for line in epochs),
    }


def cost_until(folder: RunFolder, epoch: int) -> float:
    """Return the cost of a run up to the end of an epoch, without collection."""
    return _cost(_epochs(folder)[:epoch])


def _cost(epochs: list[dict[str, Any]]) -> float:
    """Return the cost of the epochs from the first on, by their lines of the log."""
    steps: int = epochs[-1]["step"]
    passes = sum(line["groups"][0]["variance_bin"] is not None for line in epochs)
    return steps + FORWARD_COST * passes * steps / len(epochs)


def statistics_cost(trainer: Trainer) -> float:
    """Return the cost of `Trainer.statistics`, of which only forward passes are counted.

    It makes two where images are not in memory, or on several ranks.
    """
    passes = 1 if trainer.faces.in_memory and num_ranks() == 1 else 2
    return FORWARD_COST * passes * trainer.steps_per_epoch


def _epochs(folder: RunFolder) -> list[dict[str, Any]]:
    epochs = [line for line in folder.metrics() if line.get("event") == "epoch"]
    if not epochs:
        raise ValueError(f"folder: expected {folder / 'metrics.jsonl'} with epochs, got none")
    return epochs


def _collection_steps(folder: RunFolder) -> float | None:
    path = folder / "policy.json"
    if not path.is_file():
        return 0.0
    steps = Policy.load(path).provenance.get("cost_steps")
    return None if steps is None else float(steps)
