"""Every public class: an example of it survives a pickle and copies, or an exception says why not.

Dataclasses and named tuples are made from the types of their fields. A class that is neither these
nor in EXAMPLES or EXCEPTIONS fails `test_every_public_class_has_an_example`.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import tempfile
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import pytest
import torch
from gallery_cases import embeddings, numbered
from head_cases import CASES
from synthetic import faces, write_folder
from torch import Tensor, nn

import fairloss
import fairloss_ext
from fairloss import agent, data, evaluation, experience, gallery, heads, loss_search, models
from fairloss.agent import MarginGrid, Policy
from fairloss.heads import base
from fairloss.io.atomic import FormatError
from fairloss.io.pinned import PinnedFile
from fairloss.metrics import ClassStatistics
from fairloss.optim import RowSGD
from fairloss.training import Diverged, OptimizerConfig, RunFolder, Trainer

FILES = tempfile.TemporaryDirectory()
COPIES = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}
KEEP = Policy.constant("keep")
SCORES, GENUINE = [0.1, 0.9, 0.4, 0.5], [False, True, False, True]
SETTINGS = loss_search.SearchSettings(bins=2)


def trained(loss, classes=4):
    """A loss after a step, which may leave tensors of its graph behind."""
    points = torch.randn(classes, 8, requires_grad=True)
    loss.train()(points, torch.arange(classes) % 4).backward()
    return loss


def trainer():
    head = heads.CosFace(2, 8)
    head.margins = torch.full((2,), 0.35)
    model = models.SmallCNN(8, (32, 32), 1, width=4)
    made = Trainer(model, head, faces([2, 2]), OptimizerConfig(), batch_size=4, seed=0)
    made.run_epoch(1)
    return made


def small_gallery():
    made = gallery.Gallery(8, index="flat", device="cpu")
    made.add(numbered(9), embeddings(9))
    return made


def decoded_set(kind):
    """A set that decodes its images, of files that stay."""
    root = write_folder(Path(FILES.name) / kind.__name__, [2, 1], size=8)
    if kind is data.FolderImages:
        return kind(root, (8, 8), 1)
    names = data.list_images(root)
    (root / "list.txt").write_text("".join(f"{name}\t{name[:3]}\n" for name in names), "utf-8")
    images = [(number, (root / name).read_bytes()) for number, name in enumerate(names)]
    data.write_records(root / "train.rec", images)
    path = root / ("train.rec" if kind is data.RecordImages else "list.txt")
    return kind(path, image_size=(8, 8), channels=1)


def small_iresnet():
    made = models.IResNet(18, 8, (16, 16), 1)
    made.layer3 = made.layer4 = nn.Identity()  # instead of most of the weights
    return made


def optimizer():
    made = RowSGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    made.param_groups[0]["params"][0].grad = torch.ones(2)
    made.step()
    return made


EXAMPLES = {
    agent.MarginGrid: MarginGrid,
    agent.GroupBias: lambda: agent.GroupBias(3),
    agent.EffectModel: lambda: agent.EffectModel(
        [2, 3], [2, 0], [3, 3], [0, 0], [1, 2], [1.0, -1.0], [0.35, 0.45], MarginGrid()
    ),
    agent.Policy: lambda: KEEP,
    agent.QNetwork: lambda: agent.QNetwork(4),
    agent.GroupState: lambda: agent.GroupState([1, 2, 30]),
    agent.Transitions: lambda: agent.Transitions([0], [1], [0.5], np.eye(2)[:1]),
    data.UnreadableImage: lambda: data.UnreadableImage("a.jpg"),
    data.FaceImages: lambda: faces([2, 1]),
    data.FolderImages: lambda: decoded_set(data.FolderImages),
    data.ListedImages: lambda: decoded_set(data.ListedImages),
    data.RecordImages: lambda: decoded_set(data.RecordImages),
    evaluation.Pairs: lambda: evaluation.all_pairs([0, 0, 1]),
    evaluation.RocCorners: lambda: evaluation.RocCorners(SCORES, GENUINE),
    evaluation.SortedScores: lambda: evaluation.SortedScores(SCORES, GENUINE),
    experience.GroupEpochs: lambda: experience.GroupEpochs(trainer(), [0, 1], 0.1),
    gallery.Gallery: small_gallery,
    gallery.Tuning: lambda: gallery.Tuning([], example(gallery.Point), None, 5, 1),
    heads.CenterLoss: lambda: trained(heads.CenterLoss(4, 8)),
    heads.RingLoss: lambda: trained(heads.RingLoss()),
    heads.Triplet: lambda: trained(heads.Triplet(), 8),
    heads.UniformFace: lambda: trained(heads.UniformFace(4, 8)),
    loss_search.GaussianSearch: lambda: loss_search.GaussianSearch([0.1], 0.1, 0.3),
    loss_search.ProcessMap: lambda: loss_search.ProcessMap(2),
    loss_search.RayMap: lambda: loss_search.RayMap(num_cpus=2),
    loss_search.Space: lambda: loss_search.space_of(SETTINGS, 16.0),
    ClassStatistics: lambda: ClassStatistics(3, 4),
    models.SmallCNN: lambda: models.SmallCNN(8, (32, 32), 1, width=4),
    models.IResNet: small_iresnet,
    models.MobileFaceNet: lambda: models.MobileFaceNet(8, (16, 16), 1),
    RowSGD: optimizer,
    Diverged: lambda: Diverged("step 3"),
    RunFolder: lambda: RunFolder(tempfile.gettempdir()),
    Trainer: trainer,
}
EXCEPTIONS = dict.fromkeys(
    [base.Head, base.CosineHead, base.DenseHead, base.HardNegativeHead, base.NormHead],
    "abstract: their heads are examples",
) | {
    base.SampleLoss: "abstract: every loss is one",
    data.LabeledImages: "abstract: FaceImages and others are examples",
    base.ClassCenters: "abstract: CenterLoss and UniformFace are examples",
    base.HeadOptions: "type of a dict",
    base.UnscaledOptions: "type of a dict",
    base.CosineOptions: "type of a dict",
}
VALUES = {int: 2, float: 0.5, str: "a", bool: True, bytes: b"a", Any: "a", Tensor: torch.ones(2)}


def public_classes():
    """Every class in an `__all__` of the two packages."""
    for package in (fairloss, fairloss_ext):
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            if "__all__ = [" in path.read_text(encoding="utf-8"):
                parts = path.relative_to(root.parent).with_suffix("").parts
                module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
                yield from filter(inspect.isclass, (getattr(module, n) for n in module.__all__))


def is_record(kind):
    return is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def filled(kind):
    """A value of a type; of a dataclass or named tuple one with a value in every field."""
    if kind in VALUES:
        return VALUES[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if kind == npt.ArrayLike:
        return np.array([0.5, np.nan])
    if origin is np.ndarray:
        integers = issubclass(get_args(arguments[1])[0], np.integer)
        return np.array([1, 2]) if integers else np.array([0.5, np.inf])
    if origin in (list, tuple):
        return origin([filled(arguments[0])])
    if origin is dict:
        return {filled(arguments[0]): filled(arguments[1])}
    if inspect.isclass(kind):
        return example(kind)
    return filled(arguments[0])  # of a union


def example(kind):
    if kind in EXAMPLES:
        return EXAMPLES[kind]()
    hints = get_type_hints(kind)
    return kind(**{name: filled(hint) for name, hint in hints.items()})


MEANINGS = {
    nn.Module: lambda module: (repr(module), dict(module.state_dict())),
    torch.optim.Optimizer: lambda optimizer: optimizer.state_dict(),
    Trainer: lambda trainer: trainer.state(),
    gallery.Gallery: lambda gallery: (gallery.names, gallery.search(embeddings(3, seed=9))),
    partial: lambda function: (function.func, function.args, function.keywords),
    PinnedFile: lambda file: (file.path, file.size, file.read(0, file.size)),
    BaseException: lambda error: (error.args, vars(error)),
}


def check_same(one, other):
    """Compare all that two values hold, or what MEANINGS says of their type."""
    assert type(one) is type(other)
    for kind, meaning in MEANINGS.items():
        if isinstance(one, kind):
            one, other = meaning(one), meaning(other)
    if isinstance(one, (np.ndarray, Tensor)):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        check_same(list(one.values()), list(other.values()))
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            check_same(first, second)
    elif hasattr(one, "__dict__") and not inspect.isroutine(one):
        check_same(vars(one), vars(other))
    else:
        assert one == other


PUBLIC = {kind.__name__: kind for kind in public_classes()}
MADE = {
    name: partial(example, kind)
    for name, kind in PUBLIC.items()
    if kind in EXAMPLES or is_record(kind)
}
MADE |= {name: lambda case=case: trained(case.make(4, 8)) for name, case in CASES.items()}
MADE["FormatError"] = lambda: FormatError("a.npy", "damaged")


def test_every_public_class_has_an_example():
    assert len(PUBLIC) > 90
    assert set(PUBLIC) - set(MADE) == {kind.__name__ for kind in EXCEPTIONS}


@pytest.mark.parametrize("name", MADE)
def test_a_pickle_and_a_copy_hold_the_same(name):
    value = MADE[name]()
    before = [copied(value) for copied in COPIES.values()]
    for other in before:
        check_same(value, other)
    if isinstance(value, heads.SampleLoss):  # and its next step
        inputs, losses = torch.randn(8, 8), []
        for loss in (value, *before):
            torch.manual_seed(0)
            losses.append(loss(inputs, torch.arange(8) % 4).item())
        assert losses == losses[:1] * 3
