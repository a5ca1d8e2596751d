"""The whole method on real photographs, in minutes.

Pre-train on 30 identities with a long tail; move margins and measure what follows (experience); fit
the policy. Train networks of several seeds with it, and as many with the fixed margin that is best
on identities held out from the 30. Compare both on 10 unseen identities; search a gallery; write a
report.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fairloss.agent.state import legal_actions
from fairloss.checks import expect
from fairloss.data import FaceImages, orl_split, read_images, read_orl, split_identities
from fairloss.demo.config import DemoConfig
from fairloss.demo.phases import Costs, count_folds, learn_policy, train_arm, tune_margin
from fairloss.demo.results import evaluate_arms, search_gallery
from fairloss.evaluation.compare_extra import import_extra
from fairloss.experience import Experience, Fit
from fairloss.io.atomic import write_text
from fairloss.io.json import read_json_if_exists, write_json
from fairloss.io.output import locked_output
from fairloss.progress import Progress, labeled
from fairloss.report import write_report
from fairloss.threads import torch_threads
from fairloss.training import as_yaml, changes
from fairloss.training.settings import prepare

__all__ = ["DemoConfig", "demo"]


def demo(config: DemoConfig, progress: Progress | None = None) -> Path:
    """Run everything into `config.output` and return the path of report.html.

    Two runs with one seed give the same numbers, on a CPU with any number of threads, as all is
    computed with one: the networks are small. Finished parts of an interrupted demo are not
    repeated. Of a finished demo of an earlier version, which has one network an arm, only the
    report is written.
    """
    config = prepare(config)
    with locked_output(Path(config.output)):
        return _demo(config, progress)


def _demo(config: DemoConfig, progress: Progress | None) -> Path:
    output = Path(config.output)
    _check_same_demo(config, output)
    if not _has_one_network_an_arm(output):
        import_extra("scipy.stats")  # a missing library comes before the training
        seen, unseen = _read_faces(config, progress)
        write_text(output / "config.yaml", as_yaml(config))
        with torch_threads(1):
            _run(config, seen, unseen, progress)
    return write_report(output)


def _run(
    config: DemoConfig, seen: FaceImages, unseen: FaceImages, progress: Progress | None
) -> None:
    output, costs = Path(config.output), Costs()
    experience, fit = learn_policy(config, seen, costs, progress)
    margin, aucs = tune_margin(config, seen, costs, progress)
    arms = {
        arm: train_arm(config, arm, fixed, seen, costs, progress)
        for arm, fixed in (("fixed", margin), ("fair", None))
    }
    with costs.measure("evaluate"):
        evaluate_arms(config, arms, unseen)
    with costs.measure("gallery"):
        search_gallery(arms["fair"][0], unseen, output)
    tuning = {"margin": margin, "auc": {str(margin): values for margin, values in aucs.items()}}
    summary = _summary(config, seen, unseen, experience, fit)
    write_json(output / "demo.json", summary | {"tuning": tuning, "phases": costs.phases})


def _check_same_demo(config: DemoConfig, output: Path) -> None:
    path = output / "config.yaml"
    changed = changes(path, config, ("output", "replicates", "device")) if path.exists() else ""
    expect(
        not changed, "output", "a folder without a demo of other settings", f"{output}: {changed}"
    )


def _has_one_network_an_arm(output: Path) -> bool:
    summary = read_json_if_exists(output / "demo.json")
    return summary is not None and "seeds" not in summary


def _read_faces(config: DemoConfig, progress: Progress | None) -> tuple[FaceImages, FaceImages]:
    """Return the images to train on and those of the identities held out."""
    height, width = config.image_size
    if config.data is None:
        report = labeled(progress, "fetch the ORL faces")
        report(0, 1)
        faces = read_orl((height, width))
        report(1, 1)
        seen, unseen = orl_split(faces, config.unseen, config.seed)
    else:  # with its own tail
        report = labeled(progress, "read images")
        faces = read_images(config.data, (height, width), channels=1, progress=report)
        seen, unseen = split_identities(faces, config.unseen, config.seed)
    most = int(unseen.counts.max())
    expect(
        unseen.num_classes > 1 and most > 1,
        "unseen",
        "two identities to verify or more, one of them with two images",
        f"{unseen.num_classes} with {most} images at most",
    )
    count_folds(seen)
    return seen, unseen


def _summary(
    config: DemoConfig, seen: FaceImages, unseen: FaceImages, experience: Experience, fit: Fit
) -> dict[str, Any]:
    visits = fit.policy.visits
    return {
        "seed": config.seed,
        "seeds": config.arm_seeds(),
        "data": config.data or "ORL faces (AT&T Laboratories Cambridge), long tail cut by seed",
        "train_images": len(seen),
        "train_identities": seen.num_classes,
        "test_images": len(unseen),
        "test_identities": unseen.num_classes,
        "experience": {
            "transitions": len(experience),
            "dropped_cells": experience.dropped,
            "min_cell": experience.min_cell,
            "chains": len(np.unique(experience.seed)),
            "epochs": int(experience.epoch.max()),
            "visited_pairs": int((visits > 0).sum()),
            "legal_pairs": int(legal_actions(fit.policy.grid).sum()),
        },
        "dqn_agrees_with_tabular": fit.disagreements == 0,
        "largest_gap": fit.largest_gap,
    }
