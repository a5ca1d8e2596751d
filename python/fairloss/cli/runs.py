"""Commands that train: demo, train, collect, fit-policy, search-loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from fairloss.agent.states import legal_actions
from fairloss.cli.progress import bars
from fairloss.demo import DemoConfig
from fairloss.experience import CollectConfig, Experience
from fairloss.experience import collect as collect_experience
from fairloss.experience import fit_policy as fit
from fairloss.loss_search import ProcessMap, SearchConfig
from fairloss.loss_search import search as search_run
from fairloss.training import TrainConfig, load_config, read_json
from fairloss.training import train as train_run

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="A YAML file first, then overrides."),
]
C = TypeVar("C", DemoConfig, TrainConfig, CollectConfig, SearchConfig)


def demo(settings: Settings = None) -> None:
    """The whole method on real photographs, in a few minutes.

    Trains Fair Loss and a fixed margin on the ORL faces (fetched once), verifies both on people
    never seen, searches a gallery and writes a report.

    Example: `fairloss demo output=runs/demo seed=0`

    Settings:

    - output=runs/demo, seed=0
    - data=FOLDER: your own identity/image files instead of ORL
    - unseen=10: identities held out for verification
    - pretrain_epochs=30, chain_epochs=45, epochs=40 (of each arm)
    - image_size=[56,48], replicates=1000 (of the bootstrap)
    """
    from fairloss.demo import demo as run_demo

    config = _config(settings, DemoConfig)
    with bars() as progress:
        report = run_demo(config, progress)
    typer.echo(f"report: {report}")


def train(settings: Settings = None) -> None:
    """Train on a folder of identity/image files.

    Example: `fairloss train data=faces output=runs/mine epochs=20 seed=1`

    Ends with output/model.pt, the backbone's state dict. Settings and their defaults:

    - data=FOLDER, output=RUN: must be given
    - epochs=32, batch_size=64, seed=0
    - resume=auto: an interrupted run goes on after its last finished epoch; never: refuse one
    - init=RUN: start from the weights of a finished run
    - image_size=[112,112], channels=3 (1: grey), augment=true (mirror and shift)
    - model.name=small_cnn (or iresnet18, iresnet34, iresnet50, iresnet100),
      model.embedding_size=128
    - head.name=FairLoss (or any head of docs/losses.md), head.scale=32, head.margin (its first
      margin), head.kind=arc (or cos), head.policy=policy.json (default: the package's),
      head.options={t: 1.12} (what else the head takes), head.sample_rate=1; or
      head.loss=loss.json (of `fairloss search-loss`)
    - optimizer.learning_rate=0.1, optimizer.decay_at=[0.625,0.875] (fractions of the epochs),
      optimizer.momentum=0.9, optimizer.weight_decay=5e-4, optimizer.clip=5
    - tensorboard=false: also write scalars to output/tensorboard
    """
    config = _config(settings, TrainConfig)
    with bars() as progress:
        folder = train_run(config, progress=progress)
    typer.echo(f"backbone: {folder / 'model.pt'}")


def collect(settings: Settings = None) -> None:
    """Collect experience: move margins from a pre-trained run, and measure what follows.

    Example: `fairloss collect run=runs/mine output=runs/experience epochs=45`

    Writes output/experience.npz; an interrupted chain goes on. Settings and their defaults:

    - run=RUN, output=FOLDER: must be given; a run of FairLoss, or of ArcFace or CosFace at a
      margin of the grid (0.15, 0.25, 0.35, 0.45)
    - epochs=45, chains=1, seed=0: chains run with seeds seed, seed + 1, ...
    - min_cell=5: cells of fewer classes are dropped, and counted
    - learning_rate=0.01
    - data=FOLDER: default that of the run
    """
    config = _config(settings, CollectConfig)
    with bars() as progress:
        experience = collect_experience(config, progress=progress)
    typer.echo(
        f"{len(experience)} transitions in {experience.steps} optimiser steps, "
        f"{experience.dropped} cells below {experience.min_cell} classes dropped: "
        f"{Path(config.output) / 'experience.npz'}"
    )


def fit_policy(
    experience: Annotated[Path, typer.Argument(help="experience.npz from `fairloss collect`.")],
    output: Annotated[Path, typer.Option(help="Where to write the policy.")] = Path("policy.json"),
    gamma: Annotated[float, typer.Option(help="Discount per epoch, in [0, 1).")] = 0.9,
    seed: Annotated[int, typer.Option(help="Seed of the Q-network.")] = 0,
) -> None:
    """Learn the policy from experience, by deep Q-learning checked against the exact solution.

    Example: `fairloss fit-policy runs/experience/experience.npz --output policy.json`, then
    `fairloss train data=faces output=runs/fair head.policy=policy.json`
    """
    if not experience.is_file():
        raise FileNotFoundError(f"experience: {experience} does not exist")
    with bars() as progress:
        result = fit(Experience.load(experience), gamma=gamma, seed=seed, progress=progress)
    result.policy.save(output)
    visited = (result.policy.visits > 0).sum()
    typer.echo(
        f"{output}: {visited} of {legal_actions(result.policy.grid).sum()} legal pairs visited, "
        f"largest difference to the exact Q {result.largest_gap:.2g}, "
        f"{result.disagreements} states decided otherwise"
    )


def search_loss(settings: Settings = None) -> None:
    """Search a loss: a population of models trains with different ones, and the best go on.

    Example: `fairloss search-loss data=faces output=runs/search epochs=30`, then
    `fairloss train data=faces output=runs/found head.loss=runs/search/loss.json`

    Writes output/loss.json, output/model (the run folder of the last best model), and
    trajectory.svg and loss.svg. Settings are those of `fairloss train`, of the head only
    head.scale and head.sample_rate, and:

    - search.method=search-softmax, random-softmax or am-lfs
    - search.population=4: models of a round; a round is one epoch of each
    - search.held_out=10: training identities that only give the reward, verification of them
    - search.learning_rate=0.3, search.sigma=0.1, search.start=0.2: of the Gaussian
    - search.unit=margin (a = 1 - e^(s z), z Gaussian) or linear (a = -z e^(s / 3))
    - search.bins=1 (of p, each with its own a), search.intervals=6 (of am-lfs)
    - workers=1: processes
    """
    config = _config(settings, SearchConfig)
    with bars() as progress, ProcessMap(config.workers) as processes:
        path = search_run(config, None, progress, map if config.workers == 1 else processes)
    provenance = read_json(path)["provenance"]
    typer.echo(
        f"{provenance['steps']} optimiser steps in {provenance['rounds']} rounds, reward "
        f"{provenance['reward']:.4f}: {path}"
    )
    try:
        from fairloss.report.loss_search import write_search_figures
    except ImportError:
        typer.echo('no figures: they need pip install "fairloss-ext[report]"')
    else:
        typer.echo(f"figures: {', '.join(str(name) for name in write_search_figures(path.parent))}")


def _config(settings: list[str] | None, schema: type[C]) -> C:
    """A leading argument without "=" is a configuration file, the others are overrides."""
    given = list(settings or [])
    path = given.pop(0) if given and "=" not in given[0] else None
    return load_config(path, given, schema)
