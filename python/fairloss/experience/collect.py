"""`collect(config)`: chains of fine-tuning from a pre-trained run to one experience file."""

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from fairloss.agent import MarginGrid, Policy
from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.experience.chain import Chain
from fairloss.experience.experience import Experience
from fairloss.experience.layout import LAYOUTS
from fairloss.experience.score import SEPARATION, Score, validation_score
from fairloss.io.atomic import write_text
from fairloss.io.json import write_json
from fairloss.io.output import locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.progress import Progress
from fairloss.ranks import (
    num_ranks,
    on_every_rank,
    on_first_rank,
    rank_number,
    torchrun_ranks,
)
from fairloss.training import (
    HeadConfig,
    OptimizerConfig,
    TrainConfig,
    Trainer,
    as_yaml,
    changes,
    load_config,
    read_faces,
)
from fairloss.training.build import build_trainer
from fairloss.training.config import DEVICES, check_settings, choice, number, path, positive
from fairloss.training.cost import cost
from fairloss.training.identities import check_same_identities, identities_record
from fairloss.training.resume import save_result, write_run_files
from fairloss.training.settings import prepare
from fairloss.training.warm_start import trained_margins

Map = Callable[[Callable[[int], Experience], Iterable[int]], Iterable[Experience]]


@dataclass
class CollectConfig:
    """A collection by `fairloss collect`."""

    run: str = path()  # pre-trained run folder; its config.yaml names data and model
    output: str = path()  # folder for the chains and experience.npz
    epochs: int = positive(
        45
    )  # of each chain; least-visited-first covers the 90 pairs 3 times in about 42
    chains: int = positive(1)  # chains with seeds seed, seed + 1, ...
    seed: int = number(0, 0)
    min_cell: int = positive(5)  # cells with fewer classes are dropped, and counted
    learning_rate: float = positive(0.01)  # constant; that of the last epochs changes little
    data: str | None = path(None)  # default: that of the run
    device: str = choice("auto", DEVICES)  # cpu, cuda, or auto: a GPU where torch finds one
    grid: list[float] | None = None  # margins, ascending; default: those of the run's policy
    workers: int = number(1, 1)  # processes that run the chains
    layout: str = choice("chain", LAYOUTS)  # which cells move in an epoch, see `Chain`
    branches: int = positive(4)  # of each epoch in layout=branches
    validation: str | None = path(None)  # images of other identities that choose among branches

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        check_settings(self)
        scored = self.validation is None or self.layout == "branches"
        expect(scored, "validation", "none without layout=branches", self.validation)
        if self.grid is not None:
            try:
                MarginGrid(self.grid)
            except ValueError as error:
                raise ValueError(str(error).replace("values", "grid", 1)) from error


def collect(
    config: CollectConfig,
    faces: LabeledImages | None = None,
    progress: Progress | None = None,
    map: Map = map,
) -> Experience:
    """Run the chains, write `output/experience.npz` and return its content.

    An interrupted chain resumes after its last finished epoch.

    Under `torchrun`, or where each rank of `torch.distributed` calls this, all ranks run one chain
    after the other, as `train` a run; any other number of ranks resumes them. `progress` is called
    on the first, and every rank gets the experience.

    Args:
        config: the settings.
        faces: the training set, instead of reading the run's.
        progress: called as progress(label, done, total).
        map: runs the chains; the builtin one by one, or any other with its signature. For
            processes, such as those of `fairloss.loss_search.ProcessMap(config.workers)`, `faces`
            must be picklable, or None. With several workers `progress` counts finished chains.

    Raises:
        ValueError: a setting does not fit, or an existing chain had other settings.
        RuntimeError: training diverged.
        RankError: another rank has raised one of these errors.
    """
    with torchrun_ranks(), ExitStack() as stack:
        config = on_every_rank(lambda: _prepare(config))
        output = locked_output(Path(config.output))
        on_first_rank(lambda: stack.enter_context(output))
        if rank_number() != 0:
            progress = None
        # errors of the run come before images are read
        on_every_rank(lambda: chain_config(config, config.seed))
        chains = _run_chains(config, faces, progress, map)
        pretraining_steps = run_cost_steps(Path(config.run))
        experience = replace(Experience.merge(chains), pretraining_steps=pretraining_steps)
        on_first_rank(lambda: experience.save(Path(config.output) / "experience.npz"))
    return experience


def _prepare(config: CollectConfig) -> CollectConfig:
    """Return checked settings with absolute paths of what is read."""
    config = prepare(config)
    ranks = num_ranks()
    expected = f"1 on several ranks, of which there are {ranks}"
    expect(ranks == 1 or config.workers == 1, "workers", expected, config.workers)
    config = replace(config, run=str(Path(config.run).resolve()))
    if config.validation is not None:
        config = replace(config, validation=str(Path(config.validation).resolve()))
    return config


def _run_chains(
    config: CollectConfig, faces: LabeledImages | None, progress: Progress | None, map: Map
) -> list[Experience]:
    seeds = [config.seed + number for number in range(config.chains)]
    # A callback of this process cannot be called in another: there, chains are counted here.
    inside, outside = (progress, None) if config.workers == 1 else (None, progress)
    chains = []
    for chain in map(partial(run_chain, config, faces, inside), seeds):
        chains.append(chain)
        if outside is not None:
            outside("chains", len(chains), len(seeds))
    return chains


def run_chain(
    config: CollectConfig, faces: LabeledImages | None, progress: Progress | None, seed: int
) -> Experience:
    """Run one chain in `output/chain-<seed>`; all ranks call this."""
    train_config = on_every_rank(lambda: chain_config(config, seed))
    faces = on_every_rank(lambda: read_faces(train_config, progress) if faces is None else faces)
    folder = RunFolder(train_config.output)
    on_every_rank(lambda: _check_same_chain(config, folder))
    state = folder.load_checkpoint()
    on_every_rank(lambda: _check_identities(config, faces, folder))
    chain = _build_chain(config, train_config, faces, folder)
    on_first_rank(lambda: _write_settings(config, faces, folder))
    first = 1
    if state is not None:
        with folder.report_malformed_checkpoint():
            chain.restore(state)
        first = state["epoch"] + 1
    folder.forget_after(chain.trainer.step)  # of the first epoch, too, if it was not saved
    if 1 < first <= config.epochs:
        folder.log("resume", epoch=first - 1, step=chain.trainer.step)
    for epoch in range(first, config.epochs + 1):
        folder.log("epoch", **chain.run_epoch(epoch, config.learning_rate))
        chain.save(folder, epoch)
        if progress is not None:
            progress(f"chain {seed}", epoch, config.epochs)
    if config.layout == "branches":
        _save_model(chain.trainer, train_config, RunFolder(folder / "model"))
    return chain.experience()


def _build_chain(
    config: CollectConfig, train_config: TrainConfig, faces: LabeledImages, folder: RunFolder
) -> Chain:
    score = on_every_rank(lambda: _score(config, train_config))
    keep = Policy.constant("keep", run_grid(config))  # a chain moves the margins itself
    trainer = build_trainer(train_config, faces, folder, keep)
    layout = config.layout, config.branches
    return Chain(trainer, config.min_cell, train_config.seed, *layout, score)


def _score(config: CollectConfig, train_config: TrainConfig) -> Score:
    if config.validation is None:
        return SEPARATION
    images = read_faces(replace(train_config, data=config.validation))
    return validation_score(images, train_config.batch_size)


def _save_model(trainer: Trainer, train_config: TrainConfig, folder: RunFolder) -> None:
    """Write the network as a run folder that other commands read."""
    config = replace(train_config, output=str(folder.path))
    on_first_rank(lambda: write_run_files(config, trainer, folder))
    save_result(trainer, folder)


def chain_config(config: CollectConfig, seed: int) -> TrainConfig:
    """Return the pre-trained run's settings with a Fair Loss head and a constant learning rate.

    The chain starts at the margins that the run was trained with.
    """
    source = Path(config.run) / "config.yaml"
    expect(source.is_file(), "run", "a run folder with config.yaml", config.run)
    trained = load_config(source, [], TrainConfig)
    kind, _ = trained_margins("run", Path(config.run), run_grid(config))
    bins = {"count_cuts"} & trained.head.options.keys()  # states of the run that uses the policy
    trained.head = HeadConfig(
        name="FairLoss",
        kind=kind,
        scale=trained.head.scale,
        sample_rate=trained.head.sample_rate,
        options={name: trained.head.options[name] for name in bins},
    )
    trained.optimizer = OptimizerConfig(
        **asdict(trained.optimizer) | {"learning_rate": config.learning_rate, "decay_at": []}
    )
    trained.data = config.data or trained.data
    trained.output = str(Path(config.output) / f"chain-{seed}")
    trained.epochs, trained.seed, trained.init = config.epochs, seed, config.run
    trained.device = config.device
    return trained


def run_cost_steps(run: Path) -> float:
    """Return the cost of a run with that of its policy, NaN where its files lack one of them."""
    try:
        costs = cost(RunFolder(run))
    except (KeyError, ValueError):
        return math.nan
    return math.nan if costs["collection_steps"] is None else float(costs["cost_steps"])


def run_grid(config: CollectConfig) -> MarginGrid:
    """Return the configured grid, that of the run's policy, or the default one."""
    if config.grid is not None:
        return MarginGrid(config.grid)
    policy = Path(config.run) / "policy.json"
    return Policy.load(policy).grid if policy.is_file() else MarginGrid()


def _check_same_chain(config: CollectConfig, folder: RunFolder) -> None:
    path = folder / "config.yaml"
    if path.exists():
        # More epochs and more chains extend the experience.
        different = changes(
            path, config, ("epochs", "chains", "seed", "output", "device", "workers")
        )
        got = f"{folder.path} with other settings ({different})"
        expect(not different, "output", "a chain with these settings", got)


def _check_identities(config: CollectConfig, faces: LabeledImages, folder: RunFolder) -> None:
    check_same_identities("run", faces, Path(config.run))
    if folder.begun:
        check_same_identities("output", faces, folder.path)


def _write_settings(config: CollectConfig, faces: LabeledImages, folder: RunFolder) -> None:
    write_json(folder / "identities.json", identities_record(faces))
    write_text(folder / "config.yaml", as_yaml(config))
