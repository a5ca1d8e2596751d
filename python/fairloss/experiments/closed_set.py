"""Classification of held-out images of the training identities, by their numbers of images."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairloss.agent.state import GroupState
from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.metrics import ClassStatistics
from fairloss.models import embed
from fairloss.typing import Float64s

BIN_NAMES = ("tail", "mid", "head")  # count bins 0, 1, 2
GAPS = ("accuracy", "ncm")
CLOSED_METRICS = (
    *(f"{name}{part}" for name in (*GAPS, "angle") for part in ("", "_tail", "_mid", "_head")),
    *(f"{name}_gap" for name in GAPS),
)


def check_identities(name: str, images: LabeledImages, faces: LabeledImages) -> None:
    """Raise ValueError, before a run trains, for images of identities that it does not train."""
    unknown = sorted(set(images.identities) - set(faces.identities))
    got = f"{len(unknown)} others, the first {next(iter(unknown), None)!r}"
    expect(not unknown, name, "images of identities of data alone", got)


@torch.no_grad()
def classify(
    model: nn.Module, weight: Tensor, faces: LabeledImages, images: LabeledImages
) -> dict[str, float | str]:
    """Return accuracies and angles on images of the training identities.

    "accuracy" is that of the class weight, and "ncm" of the class center, with the largest cosine;
    "angle" is that between an image and its class center, in radians. Centers are means of the
    unit embeddings of the training images. Each is a mean over the images of a class and then over
    classes: over all, and over those with the most, medium and fewest training images (_head, _mid,
    _tail; terciles of the counts). A gap is head - tail.

    Args:
        model: the backbone.
        weight: (C, D) of the head.
        faces: the training set.
        images: of identities in it.
    """
    centers = _centers(model, faces)
    embeddings = nn.functional.normalize(embed(model, images).double().cpu())
    position = {identity: number for number, identity in enumerate(faces.identities)}
    classes = torch.tensor([position[identity] for identity in images.identities])
    target = classes[images.labels]
    weights = nn.functional.normalize(weight.double().cpu())
    cosines = (embeddings * centers[target]).sum(dim=1).clamp(-1, 1)
    values = {
        "accuracy": (embeddings @ weights.T).argmax(dim=1) == target,
        "ncm": (embeddings @ centers.T).argmax(dim=1) == target,
        "angle": cosines.acos(),
    }
    bins = GroupState(faces.counts.numpy()).count_bins[classes.numpy()]
    metrics: dict[str, Any] = {}
    for name, value in values.items():
        means = _class_means(value, images)
        metrics[name] = float(means.mean())
        for number, bin_name in enumerate(BIN_NAMES):
            members = means[bins == number]
            mean = float(members.mean()) if len(members) else "not measurable without classes"
            metrics[f"{name}_{bin_name}"] = mean
    for name in GAPS:
        metrics[f"{name}_gap"] = _gap(metrics[f"{name}_head"], metrics[f"{name}_tail"])
    return metrics


def _centers(model: nn.Module, faces: LabeledImages) -> Tensor:
    """Return (C, D) float64 unit class centers of un-augmented training images."""
    embeddings = embed(model, faces, flip=False)
    statistics = ClassStatistics(faces.num_classes, embeddings.shape[1])
    statistics.update(embeddings, faces.labels.to(embeddings.device))
    return nn.functional.normalize(statistics.sums.cpu())


def _class_means(values: Tensor, images: LabeledImages) -> Float64s:
    sums = np.bincount(images.labels.numpy(), values.double().numpy(), images.num_classes)
    means: Float64s = sums / images.counts.numpy()
    return means


def _gap(head: float | str, tail: float | str) -> float | str:
    missing = next((value for value in (head, tail) if isinstance(value, str)), None)
    return float(head) - float(tail) if missing is None else missing
