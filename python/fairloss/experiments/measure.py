"""The metrics of a run."""

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.evaluation import identity_folds, streamed_verification
from fairloss.evaluation.verification import not_measurable
from fairloss.experiments.closed_set import CLOSED_METRICS, classify
from fairloss.io.run_folder import RunFolder
from fairloss.models import embed
from fairloss.training import load_backbone
from fairloss.training.backbone import read_state
from fairloss.training.trainer import Diverged

Images = TypeVar("Images", bound=LabeledImages)

MEAN_FARS = tuple(np.logspace(-5, -3, 13).tolist())
FARS = {"tar_1e-4": 1e-4, "tar_1e-3": 1e-3, "tar_1e-2": 1e-2}
METRICS = ("mean_tar", *FARS, "auc")
"""All as fractions of 1, higher is better; the primary one is the first that can be measured."""
HELD_OUT = 5  # one in so many identities is tested where no test folder is given


def verify(embeddings: npt.ArrayLike, identities: npt.ArrayLike) -> dict[str, float | str]:
    """Return the `METRICS` over all pairs of samples, or why one cannot be measured.

    "mean_tar" is the mean TAR at 13 FARs from 1e-5 to 1e-3, log-spaced.

    Args:
        embeddings: (N, D), normalized here.
        identities: (N,) integers or strings.
    """
    result = streamed_verification(embeddings, identities, (*MEAN_FARS, *FARS.values()))
    missing = not_measurable(result.impostor)
    tars = [result.tar[far] for far in MEAN_FARS]
    metrics: dict[str, float | str] = {
        "mean_tar": missing if None in tars else float(np.mean(np.array(tars, float)))
    }
    for name, far in FARS.items():
        tar = result.tar[far]
        metrics[name] = missing if tar is None else tar
    return metrics | {"auc": result.auc}


def hold_out(faces: Images) -> tuple[Images, Images]:
    """Split by identities: four fifths to train on, and the rest to test on.

    The split is the same for all arms and seeds.

    Raises:
        ValueError: there are too few identities.
    """
    several = int((faces.counts > 1).sum())
    least = 2 * HELD_OUT
    expected = f"a folder, or {least} identities in data of which a fifth is held out"
    got = f"{faces.num_classes}, {several} with several images"
    expect(faces.num_classes >= least and several, "test", expected, got)
    fold = identity_folds(faces.labels.numpy(), HELD_OUT, 0)
    return faces.subset(np.flatnonzero(fold)), faces.subset(np.flatnonzero(fold == 0))


def check_pairs(name: str, images: LabeledImages, faces: LabeledImages) -> None:
    """Raise ValueError, before a run trains, for a set without genuine or impostor pairs."""
    several = int((images.counts > 1).sum())
    expected = "two identities or more, one of them with several images"
    got = f"{images.num_classes}, {several} with several images"
    expect(images.num_classes > 1 and several, name, expected, got)


def measure(
    folder: RunFolder, faces: LabeledImages, sets: Mapping[str, LabeledImages]
) -> dict[str, float | str]:
    """Return the metrics of a finished run on each set, named after it.

    Args:
        folder: of the run.
        faces: the training set.
        sets: "test" and "validation" to verify, "closed" to classify.
    """
    model, _ = load_backbone(folder / "model.pt")
    metrics: dict[str, float | str] = {}
    for part, images in sets.items():
        if part == "closed":
            weight = read_state("head", folder / "head.pt")["weight"]
            metrics |= prefixed(part, classify(model, weight, faces, images))
        else:
            metrics |= prefixed(part, verify_images(model, images))
    return metrics


def verify_images(model: nn.Module, images: LabeledImages) -> dict[str, float | str]:
    """Return the `METRICS` of a network on images; Diverged where embeddings have no direction."""
    embeddings = embed(model, images).cpu().numpy()
    invalid = ~(np.isfinite(embeddings).all(axis=1) & embeddings.any(axis=1))
    if invalid.any():
        number = np.count_nonzero(invalid)
        raise Diverged(f"{number} of {len(invalid)} embeddings are zero or not finite")
    return verify(embeddings, images.labels.numpy())


def metric_names(part: str) -> list[str]:
    """Return the names of the metrics of a set, such as "test"."""
    return [f"{part}_{name}" for name in (CLOSED_METRICS if part == "closed" else METRICS)]


def prefixed(part: str, metrics: Mapping[str, float | str]) -> dict[str, float | str]:
    """Return metrics with the name of their set before their own."""
    return {f"{part}_{name}": value for name, value in metrics.items()}


def unit(metric: str) -> float:
    """Return the factor that makes points of a metric, and degrees of an angle."""
    return math.degrees(1) if "angle" in metric else 100.0
