"""The epochs of a run, with its log and checkpoints."""

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import Any

from fairloss.io.run_folder import RunFolder
from fairloss.progress import Progress
from fairloss.ranks import num_ranks, on_first_rank
from fairloss.training.config import TrainConfig
from fairloss.training.evaluation import VerificationSets
from fairloss.training.groups import group_table
from fairloss.training.run_log import RunLog
from fairloss.training.signals import Signals
from fairloss.training.trainer import Epoch, EpochSoFar, Trainer
from fairloss_ext import ClassStatistics

AfterEpoch = Callable[[int, Trainer], object]


def do_nothing(epoch: int, trainer: Trainer) -> None:
    """Leave the end of an epoch as it is."""


class Epochs:
    """The epochs of a run that remain.

    Args:
        config: of the run.
        trainer: new, or restored.
        folder: of the run.
        log: of the run.
        sets: to evaluate on.
        signals: that end the run.
        progress: called as progress(label, steps done, steps).
        after_epoch: called as after_epoch(epoch, trainer), before the checkpoint.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        folder: RunFolder,
        log: RunLog,
        sets: VerificationSets,
        signals: Signals,
        progress: Progress,
        after_epoch: AfterEpoch,
    ) -> None:
        self.config, self.trainer, self.folder, self.log = config, trainer, folder, log
        self.sets, self.signals, self.progress = sets, signals, progress
        self.after_epoch = after_epoch
        self._so_far = EpochSoFar()

    def train(self, finished: int, so_far: EpochSoFar) -> None:
        """Train the epochs after the `finished` ones, of the first the steps that remain."""
        self.trainer.start_schedule(self.config.optimizer, self.config.epochs)
        self.trainer.flags.received = self.signals.number
        with self.signals.held():
            for epoch in range(finished + 1, self.config.epochs + 1):
                self._epoch(epoch, so_far)
                self.signals.end_if_received()
                so_far = EpochSoFar()

    def _epoch(self, epoch: int, so_far: EpochSoFar) -> None:
        self.log.start_epoch(so_far)
        self._so_far = so_far

        def report_steps(done: int, total: int) -> None:
            label, before = f"train {self.folder.path.name}", (epoch - 1) * total
            self.progress(label, before + done, self.config.epochs * total)

        def after_step(so_far: EpochSoFar) -> None:
            self._so_far = so_far
            self.signals.shared = self.trainer.flags.signal or None
            self.log.step(epoch, so_far)
            due = self.config.checkpoint_every and not (
                self.trainer.step % self.config.checkpoint_every
            )
            if due or self.signals.pending is not None:
                self._save_inside(epoch)
            self.signals.end_if_received()

        result = self.trainer.run_epoch(
            epoch, progress=report_steps, done=so_far, after_step=after_step
        )
        try:
            statistics, seconds, evaluation = self._measure(epoch)
        except BaseException:
            if self.signals.pending is not None:
                self._save_inside(epoch)
            raise
        self._end(epoch, result, statistics, seconds)
        if evaluation is not None:
            self.log.evaluation(epoch, **evaluation)
        self.after_epoch(epoch, self.trainer)
        self.folder.save_checkpoint(epoch, self.trainer.state())

    def _measure(self, epoch: int) -> tuple[ClassStatistics, float, dict[str, Any] | None]:
        """Return class statistics, their seconds, and the evaluation, unless a signal comes."""
        several = num_ranks() > 1  # whose collectives end on all of them or on none
        with nullcontext() if several else self.signals.released():
            started = time.perf_counter()
            statistics = self._statistics()
            seconds = time.perf_counter() - started
            if not several:
                return statistics, seconds, self._evaluate(epoch)
        self.signals.end_together()
        evaluation = on_first_rank(lambda: self._evaluate_alone(epoch))
        self.signals.end_together()
        return statistics, seconds, evaluation

    def _evaluate_alone(self, epoch: int) -> dict[str, Any] | None:
        """Return the evaluation of one of several ranks; a signal ends it, and later the run."""
        with suppress(SystemExit, KeyboardInterrupt), self.signals.released():
            return self._evaluate(epoch)
        return None

    def _end(self, epoch: int, result: Epoch, statistics: ClassStatistics, seconds: float) -> None:
        """Log an epoch, and let the head adapt to the statistics that took so many seconds."""
        head = self.trainer.head
        line = {
            "epoch": epoch,
            "epochs": self.config.epochs,
            "step": self.trainer.step,
            "loss": result.loss,
            "learning_rate": self.trainer.learning_rate,
            "seconds": {"train": result.seconds, "statistics": seconds},
            "skipped": result.skipped,
            "count_cuts": head.count_cuts,
            "groups": group_table(statistics, head.class_margins(), head.count_cuts),
        }
        if epoch < self.config.epochs:  # the saved margins are those of the last epoch's training
            head.end_of_epoch(statistics)
        self.log.epoch(line)

    def _statistics(self) -> ClassStatistics:
        always = self.config.statistics == "always"
        needed = always or self.trainer.head.needs_statistics
        return self.trainer.statistics(always) if needed else self.trainer.counts()

    def _evaluate(self, epoch: int) -> dict[str, Any] | None:
        """Return accuracies and seconds, if the sets are evaluated after this epoch."""
        last = epoch == self.config.epochs
        if not self.config.evaluate or not (last or epoch % self.config.evaluate_every == 0):
            return None
        started = time.perf_counter()
        sets = self.sets.accuracies(self.trainer.model)
        return {"sets": sets, "seconds": time.perf_counter() - started}

    def _save_inside(self, epoch: int) -> None:
        """Write a checkpoint inside an epoch."""
        state = self.trainer.state() | {"so_far": asdict(self._so_far)}
        self.folder.save_checkpoint(epoch - 1, state, step=self.trainer.step)
