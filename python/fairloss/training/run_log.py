"""The log of a run: metrics.jsonl, TensorBoard's scalars, and lines for the console."""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fairloss.heads import Head
from fairloss.io.run_folder import RunFolder
from fairloss.ranks import rank_number
from fairloss.training.config import TrainConfig
from fairloss.training.trainer import EpochSoFar, Trainer

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Report = Callable[[str], object]
"""Called with a line of text."""


class RunLog:
    """The log of a run.

    Args:
        config: of the run.
        folder: of the run.
        trainer: whose step, learning rate and margins are logged.
        report: called with a line for each step that is logged, and for each evaluation.
    """

    def __init__(
        self, config: TrainConfig, folder: RunFolder, trainer: Trainer, report: Report
    ) -> None:
        self.config, self.folder, self.trainer, self.report = config, folder, trainer, report
        self._writer: SummaryWriter | None = None
        self._started, self._first_step = time.perf_counter(), trainer.step
        self.start_epoch(EpochSoFar())

    def close(self) -> None:
        """Write what TensorBoard has buffered."""
        if self._writer is not None:
            self._writer.close()

    def start_epoch(self, done: EpochSoFar) -> None:
        """Count losses and seconds from here: the start of an epoch, or where it resumes."""
        self._steps, self._losses, self._seconds = done.steps, len(done.losses), done.seconds

    def step(self, epoch: int, so_far: EpochSoFar) -> None:
        """Log a step, if it is one that is logged: the means since the one before in its epoch."""
        step = self.trainer.step
        if self.config.log_every == 0 or step % self.config.log_every != 0:
            return
        losses, seconds = so_far.losses[self._losses :], so_far.seconds - self._seconds
        images = (so_far.steps - self._steps) * self.trainer.images_per_step
        self.start_epoch(so_far)
        margin = margin_range(self.trainer.head)
        line: dict[str, Any] = {
            "epoch": epoch,
            "step": step,
            "loss": sum(losses) / len(losses) if losses else None,
            "learning_rate": self.trainer.learning_rate,
            "samples_per_second": images / seconds if seconds > 0 else None,
            "margin": margin,
            "seconds_left": self._seconds_left(),
        }
        self.folder.log("step", **line)
        scalars = {name: line[name] for name in ("loss", "learning_rate", "samples_per_second")}
        scalars |= {f"margin_{name}": value for name, value in (margin or {}).items()}
        self._scalars({f"step/{name}": value for name, value in scalars.items()})
        self.report(_step_text(line, self.config.epochs))

    def epoch(self, line: dict[str, Any]) -> None:
        """Log an epoch."""
        self.folder.log("epoch", **line)
        scalars = {"loss": line["loss"], "learning_rate": line["learning_rate"]}
        for group in line["groups"]:
            name = f"margin/count{group['count_bin']}"
            if group["variance_bin"] is not None:
                name += f"_variance{group['variance_bin']}"
            scalars[name] = group["margin"]
        self._scalars(scalars)

    def evaluation(self, epoch: int, sets: list[dict[str, Any]], seconds: float) -> None:
        """Log the accuracies of `VerificationSets`."""
        step = self.trainer.step
        self.folder.log("evaluation", epoch=epoch, step=step, sets=sets, seconds=seconds)
        measured = [each for each in sets if isinstance(each["accuracy"], dict)]
        self._scalars({f"accuracy/{each['name']}": each["accuracy"]["value"] for each in measured})
        for each in sets:
            self.report(f"epoch {epoch}, {each['name']}: {_accuracy_text(each['accuracy'])}")

    def _seconds_left(self) -> float:
        """Return the time of the remaining steps at the mean rate of this process."""
        total = self.config.epochs * self.trainer.steps_per_epoch
        done = self.trainer.step - self._first_step
        return (time.perf_counter() - self._started) / done * (total - self.trainer.step)

    def _scalars(self, values: dict[str, float | None]) -> None:
        if not self.config.tensorboard or rank_number() != 0:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # Steps that a resumed run repeats are shown once.
            self._writer = SummaryWriter(
                self.folder / "tensorboard", purge_step=self._first_step + 1
            )
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, self.trainer.step)
        self._writer.flush()


def margin_range(head: Head) -> dict[str, float] | None:
    """Return mean, low and high of a head's margins; None if no class has one."""
    margins = head.class_margins().double()
    margins = margins[margins.isfinite()]
    if margins.numel() == 0:
        return None
    low, high = margins.aminmax()
    return {"mean": float(margins.mean()), "low": float(low), "high": float(high)}


def _step_text(line: dict[str, Any], epochs: int) -> str:
    parts = [f"epoch {line['epoch']}/{epochs}, step {line['step']}"]
    parts.append("no finite loss" if line["loss"] is None else f"loss {line['loss']:.4f}")
    parts.append(f"learning rate {line['learning_rate']:.3g}")
    if (margin := line["margin"]) is not None:
        span = f" ({margin['low']:.3f} to {margin['high']:.3f})"
        parts.append(f"margin {margin['mean']:.3f}{span if margin['low'] < margin['high'] else ''}")
    if line["samples_per_second"] is not None:
        parts.append(f"{line['samples_per_second']:.0f} images/s")
    left = timedelta(seconds=math.ceil(line["seconds_left"]))
    return ", ".join([*parts, f"{left} left"])


def _accuracy_text(accuracy: dict[str, float] | str) -> str:
    if isinstance(accuracy, str):
        return f"no accuracy: {accuracy}"
    return f"accuracy {accuracy['value']:.4f} ({accuracy['low']:.4f} to {accuracy['high']:.4f})"
