"""The command `fairloss collect`."""

import math
from pathlib import Path

import fairloss.experience
from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.cli._settings import Settings, load_settings
from fairloss.loss_search import ProcessMap
from fairloss.ranks import on_every_rank, rank_number


def collect(settings: Settings = None) -> None:
    """Collect experience: move margins from a pre-trained run, and measure what follows.

    Example: `fairloss collect run=runs/mine output=runs/experience epochs=45`

    Writes output/experience.npz; an interrupted chain resumes. On several GPUs:
    `torchrun --nproc_per_node=4 -m fairloss collect ...`. Settings and their defaults:

    - run=RUN, output=FOLDER: must be given; a run of FairLoss, or of ArcFace or CosFace at a
      margin of the grid
    - grid=[0.15,0.25,0.35,0.45]: margins; default those of the run's policy, or these
    - epochs=45, chains=1, seed=0: chains run with seeds seed, seed + 1, ...
    - min_cell=5: cells of fewer classes are dropped, and counted
    - learning_rate=0.01
    - data=FOLDER: default that of the run
    - layout=chain: every cell moves in every epoch; single: one cell, the others keep; branches:
      branches=4 epochs from the same network, one in which all keep, and the best is kept, by the
      distances of the training images or the TAR on validation=FOLDER of other identities
    - workers=1: processes, each with an equal part of the threads; the experience is the same to
      the bit where each has the same number of threads (OMP_NUM_THREADS=1)
    """
    config = on_every_rank(lambda: load_settings(settings, fairloss.experience.CollectConfig))
    with progress_bars() as progress, ProcessMap(config.workers) as processes:
        experience = fairloss.experience.collect(
            config, progress=progress, map=map if config.workers == 1 else processes
        )
    if rank_number() != 0:
        return
    run = experience.pretraining_steps
    print_line(
        f"{len(experience)} transitions in {experience.steps} optimizer steps "
        f"(cost with the statistics {experience.cost_steps:.0f} steps, of the run "
        f"{'unknown' if math.isnan(run) else f'{run:.0f}'}), "
        f"{experience.dropped} cells below {experience.min_cell} classes dropped: "
        f"{Path(config.output) / 'experience.npz'}"
    )
