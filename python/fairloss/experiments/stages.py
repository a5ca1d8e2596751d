"""Validation metrics and margins while a run trains."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fairloss.agent.state import BINS
from fairloss.data import LabeledImages
from fairloss.experiments.measure import prefixed, verify_images
from fairloss.io.json import read_json_if_exists, write_json
from fairloss.io.run_folder import RunFolder
from fairloss.training.cost import FORWARD_COST, cost_until
from fairloss.training.trainer import Trainer


class Stages:
    """Validation metrics after fractions of the epochs, kept in stages.json of the run folder.

    The cost of a stage has the forward passes of its validation and of those before it.

    Args:
        fractions: of the epochs, ascending.
        folder: of the run.
        epochs: of the run.
        images: of the validation set; None where there are no fractions.
    """

    def __init__(
        self,
        fractions: Sequence[float],
        folder: RunFolder,
        epochs: int,
        images: LabeledImages | None,
    ) -> None:
        self.epochs = {f: max(1, round(f * epochs)) for f in fractions}
        self.folder, self.images = folder, images

    def measure(self, epoch: int, trainer: Trainer) -> None:
        """Measure the network of the run, if this epoch ends a stage."""
        fractions = [fraction for fraction, last in self.epochs.items() if last == epoch]
        if self.images is None or not fractions:
            return
        batches = -(-len(self.images) // trainer.loader.batch_size)
        passes = sum(last <= epoch for last in set(self.epochs.values()))
        measured = {
            "epoch": epoch,
            "cost_steps": cost_until(self.folder, epoch) + FORWARD_COST * batches * passes,
            "metrics": prefixed("validation", verify_images(trainer.model, self.images)),
        }
        earlier = [stage for stage in self.results() if stage["epoch"] < epoch]
        stages = [{"fraction": fraction} | measured for fraction in fractions]
        write_json(self.folder / "stages.json", {"stages": earlier + stages})

    def results(self) -> list[dict[str, Any]]:
        """Return the stages so far: "fraction", "epoch", "cost_steps" and "metrics" of each."""
        path = self.folder / "stages.json"
        stages: list[dict[str, Any]] = (read_json_if_exists(path, stages=list) or {}).get(
            "stages", []
        )
        return stages


def margins(folder: RunFolder) -> list[list[float | None] | None]:
    """Return the mean margins of the classes with few, medium and many images in each epoch.

    The bins are those of the log; None: without classes, or an epoch of a loss without margins.
    """
    rows: list[list[float | None] | None] = []
    for line in folder.metrics():
        if line["event"] == "epoch":
            bins = [_mean_margin(line["groups"], count_bin) for count_bin in range(BINS)]
            rows.append(None if all(value is None for value in bins) else bins)
    return rows


def _mean_margin(groups: Sequence[dict[str, Any]], count_bin: int) -> Any:
    members = [g for g in groups if g["count_bin"] == count_bin and g["margin"] is not None]
    if not members:
        return None
    weights = [group["classes"] for group in members]
    return float(np.average([group["margin"] for group in members], weights=weights))
