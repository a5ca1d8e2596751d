"""The metrics and the cost of a run."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.evaluation import identity_folds, streamed_verification
from fairloss.evaluation.verification import not_measurable
from fairloss.io.run_folder import RunFolder
from fairloss.models import embed
from fairloss.training import load_backbone

Images = TypeVar("Images", bound=LabeledImages)

MEAN_FARS = tuple(np.logspace(-5, -3, 13).tolist())
FARS = {"tar_1e-4": 1e-4, "tar_1e-3": 1e-3, "tar_1e-2": 1e-2}
METRICS = ("mean_tar", *FARS, "auc")
"""All as fractions of 1, higher is better; the primary one is the first that can be measured."""
HELD_OUT = 5  # one in so many identities is tested where no test folder is given
FORWARD_COST = 1 / 3  # of a batch without a backward pass, in training steps


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


def check_pairs(name: str, faces: LabeledImages) -> None:
    """Raise ValueError, before a run trains, for a set without genuine or impostor pairs."""
    several = int((faces.counts > 1).sum())
    expected = "two identities or more, one of them with several images"
    got = f"{faces.num_classes}, {several} with several images"
    expect(faces.num_classes > 1 and several, name, expected, got)


def measure(folder: RunFolder, faces: LabeledImages) -> dict[str, float | str]:
    """Return the metrics of the network of a run on images of identities."""
    model, _ = load_backbone(folder / "model.pt")
    return verify(embed(model, faces).cpu().numpy(), faces.labels.numpy())


def cost(folder: RunFolder) -> dict[str, Any]:
    """Return the cost of a finished run.

    "cost_steps" counts a training step as 1, and a forward-only batch of its size as 1/3: the
    class statistics after an epoch are a third of its steps. "seconds" has no evaluation.
    """
    epochs = [line for line in folder.metrics() if line["event"] == "epoch"]
    steps = epochs[-1]["step"]
    passes = sum(line["groups"][0]["variance_bin"] is not None for line in epochs)
    return {
        "train_steps": steps,
        "cost_steps": steps + FORWARD_COST * passes * steps / len(epochs),
        "seconds": sum(sum(line["seconds"].values()) for line in epochs),
    }
