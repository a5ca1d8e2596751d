"""`search(config)`: rounds of a population, from a folder of faces to a loss."""

import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.heads import Head
from fairloss.io.atomic import write_text
from fairloss.io.json import read_json, write_json
from fairloss.io.output import locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.loss_search.config import SearchConfig
from fairloss.loss_search.member import (
    Round,
    Split,
    read_result,
    read_split,
    set_options,
    split,
)
from fairloss.loss_search.population import Map, train_members
from fairloss.loss_search.space import search_of, space_of
from fairloss.progress import Progress
from fairloss.ranks import check_one_process
from fairloss.training import (
    TrainConfig,
    as_yaml,
    build_head,
    read_loss,
    write_loss,
)
from fairloss.training.backbone import backbone
from fairloss.training.build import build_trainer
from fairloss.training.identities import check_same_identities, identities_record
from fairloss.training.resume import check_existing, save_result, write_run_files
from fairloss.training.settings import prepare
from fairloss.training.warm_start import check_finished

# Settings that a resumed search may change.
FREE_SETTINGS = ("output", "resume", "workers")


def search(
    config: SearchConfig,
    faces: LabeledImages | None = None,
    progress: Progress | None = None,
    map: Map = map,
) -> Path:
    """Search a loss and return the path of `output/loss.json`.

    Random-Softmax is no one loss but a new one in every round: it leaves no loss.json, and the path
    is that of its model, `output/model/model.pt`.

    In each of `config.epochs` rounds every member of the population starts from the same model,
    head and optimizer, trains an epoch with a loss of its own, and is rewarded for verifying
    held-out identities; then the mean of the losses is updated, and all members of the next round
    start from the best member, the state of its optimizer included. `output/model` is the run
    folder of the last best one.

    An interrupted search resumes at the member where it stopped, with the result of an
    uninterrupted one. A member whose process dies is trained again.

    Args:
        config: the settings.
        faces: the images, instead of reading `config.data`.
        progress: called as progress("search", members trained, members in total).
        map: runs the members: the builtin, `ProcessMap`, or another of the same signature. Members
            share only the run folder.

    Raises:
        ValueError: a setting, the data or an existing search does not fit.
    """
    config = prepare(config)
    check_one_process()
    parts = None if faces is None else split(faces, config.search.held_out, config.seed)
    config = config.resolve(reads_data=faces is None)
    with locked_output(Path(config.output)):
        folder = RunFolder(config.output, config.keep_checkpoints)
        check_existing(config, folder, FREE_SETTINGS, "search")
        backbone(config)  # wrong settings are reported before the images are read
        build_head(config.head, 2, config.model.embedding_size)
        return _Search(config, folder, parts, progress).run(map)


def load_head(path: str | Path, num_classes: int, embedding_size: int, **options: Any) -> Head:
    """Build a head with the searched loss of a loss.json.

    Args:
        path: of loss.json.
        num_classes: C.
        embedding_size: D.
        options: see `CosineOptions`.

    Raises:
        ValueError: it is no such file, or an option is unknown or out of range.
    """
    head = read_loss(path)
    head = replace(head, options=head.options | options)
    return build_head(head, num_classes, embedding_size)


class _Search:
    """The state of a search."""

    def __init__(
        self,
        config: SearchConfig,
        folder: RunFolder,
        parts: Split | None,
        progress: Progress | None,
    ) -> None:
        self.config, self.folder, self.parts, self.progress = config, folder, parts, progress
        self.training, self.held_out = parts or read_split(config, progress)
        assert config.head.scale is not None
        self.space = space_of(config.search, config.head.scale)
        self.agent = search_of(config.search, self.space, config.seed)
        self.cost, self.rewards = 0, [0.0]
        self.result = folder / ("loss.json" if config.finds_loss else "model/model.pt")

    def run(self, map: Map) -> Path:
        """Run the remaining rounds and return the path of the result."""
        started, first = time.perf_counter(), self._start_or_resume()
        for number in range(first, self.config.epochs + 1):
            self._round(number, map)
        if first <= self.config.epochs or not self.result.is_file():
            self._save_result()
            self.folder.log("end", cost=self.cost, seconds=time.perf_counter() - started)
        return self.result

    def _round(self, number: int, map: Map) -> None:
        started = time.perf_counter()
        mean = self.agent.mean
        points = self.agent.sample(self.config.members, number)
        options = [self.space.options(point) for point in points]
        job = Round(self.config, number, options, self.parts)
        train_members(job, map, self.folder, self.progress)
        results = [read_result(job.path(m)) for m in range(len(points))]
        self.rewards = [result["reward"] for result in results]
        best = int(np.argmax(self.rewards))
        if results[best]["loss"] is None:
            raise RuntimeError(f"all models of round {number} diverged; try a lower learning rate")
        self.agent.update(points, self.rewards)
        self.cost += sum(result["steps"] for result in results)
        state = results[best]["state"]
        self.folder.log(
            "round",
            epoch=number,
            epochs=self.config.epochs,
            step=state["step"],
            cost=self.cost,
            mean=mean.tolist(),
            points=points.tolist(),
            rewards=self.rewards,
            losses=[result["loss"] for result in results],
            best=best,
            new_mean=self.agent.mean.tolist(),
            learning_rate=state["optimizer"]["param_groups"][0]["lr"],
            seconds=time.perf_counter() - started,
        )
        self._save(number, state)
        self._remove_members_before(number + 1)

    def _remove_members_before(self, number: int) -> None:
        """Remove the members' files of all rounds but this."""
        for path in (self.folder / "members").glob("*.pt"):
            if not path.name.startswith(f"{number:04d}-"):
                path.unlink()

    def _start_or_resume(self) -> int:
        """Return the first round to run."""
        state = self.folder.load_checkpoint(previous=self.config.resume == "previous")
        if state is None:
            self._check_init()
            head = replace(self.config.head, options=self.space.options(self.agent.mean))
            trainer = build_trainer(replace(self.config, head=head), self.training, self.folder)
            (self.folder / "metrics.jsonl").unlink(missing_ok=True)
            record = identities_record(self.training) | {"held_out": self.held_out.identities}
            write_json(self.folder / "identities.json", record)
            write_text(self.folder / "config.yaml", as_yaml(self.config))
            self._save(0, trainer.state())
            return 1
        check_same_identities("output", self.training, self.folder.path)
        with self.folder.report_malformed_checkpoint():
            self.agent.mean = state["search"]["mean"].numpy()
            self.cost, self.rewards = state["search"]["cost"], state["search"]["rewards"]
            step = state["step"]
        self.folder.forget_after(step)
        self._remove_members_before(state["epoch"] + 1)  # in case the search stopped before it
        if state["epoch"] < self.config.epochs or not self.result.is_file():
            self.folder.log("resume", epoch=state["epoch"], step=step)
        return int(state["epoch"]) + 1

    def _check_init(self) -> None:
        """Raise ValueError if the first weights come from a run that knows a held-out identity."""
        if self.config.init is not None:
            run = Path(self.config.init)
            check_finished("init", run)
            record = read_json(run / "identities.json", identities=list)
            trained = set(map(str, record["identities"]))
            seen = sorted(trained.intersection(self.held_out.identities))
            expected = "a run without the held-out identities, which the reward is measured on"
            expect(not seen, "init", expected, f"{run} with {len(seen)}, such as {seen[:1]}")

    def _save(self, number: int, state: dict[str, Any]) -> None:
        mean = torch.from_numpy(self.agent.mean.copy())
        search = {"mean": mean, "cost": self.cost, "rewards": self.rewards}
        self.folder.save_checkpoint(number, state | {"search": search})

    def _save_result(self) -> None:
        """Write model/, a run folder, and last loss.json, if a loss was searched."""
        finds_loss, last = self.config.finds_loss, self.config.epochs
        point = self.agent.expected() if finds_loss else self.agent.sample(1, last)[0]
        head = replace(self.config.head, options=self.space.options(point))
        folder = RunFolder(self.folder / "model")
        common = {field.name: getattr(self.config, field.name) for field in fields(TrainConfig)}
        config = TrainConfig(**common | {"output": str(folder.path), "head": head})
        trainer = build_trainer(config, self.training, folder)
        state = self.folder.load_checkpoint()
        assert state is not None
        with self.folder.report_malformed_checkpoint():
            trainer.restore(state)
        set_options(trainer.head, head.options)
        write_run_files(config, trainer, folder)
        save_result(trainer, folder)
        if finds_loss:
            write_loss(self.result, head, self._provenance())

    def _provenance(self) -> dict[str, Any]:
        settings = self.config.search
        return {
            "method": settings.method,
            "mean": self.agent.mean.tolist(),
            "sigma": settings.sigma,
            "rounds": self.config.epochs,
            "population": self.config.members,
            "steps": self.cost,
            "held_out": settings.held_out,
            "reward": max(self.rewards),
            "seed": self.config.seed,
        }
