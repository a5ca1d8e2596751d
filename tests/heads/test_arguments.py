"""Errors of constructors and of calls: the same type and words from every head."""

from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest
import torch
from head_cases import CASES

from fairloss import heads
from fairloss.heads.base import cosine
from fairloss_ext import class_statistics, cosine_partition

CLASSES, DIM = 7, 4
REGULARIZERS = {
    "CenterLoss": lambda: heads.CenterLoss(CLASSES, DIM),
    "UniformFace": lambda: heads.UniformFace(CLASSES, DIM),
    "RingLoss": heads.RingLoss,
    "Triplet": heads.Triplet,
}
SIZED = [*heads.HEADS, "CenterLoss", "UniformFace"]  # the others take any embedding size


def make(name, **options):
    if name in REGULARIZERS:
        return REGULARIZERS[name]()
    return CASES[name].make(CLASSES, DIM, **options)


def batch(size=6):
    return torch.randn(size, DIM), torch.arange(size)


def check_message(message, function, *arguments, error=ValueError):
    with pytest.raises(error) as raised:
        function(*arguments)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: heads.ArcFace(0, 4), "num_classes: expected an integer of at least 1, got 0"),
        (lambda: heads.ArcFace(3, 4, scale=-1), "scale: expected a number above 0, got -1"),
        (
            lambda: heads.ArcFace(3, 4, reduction="max"),
            "reduction: expected one of 'mean', 'sum', 'none', got 'max'",
        ),
        (
            lambda: heads.CosineHead(3, 4, [0.1, 0.2], kind="cos"),
            "margins: expected shape () or (3,), got (2,)",
        ),
        (lambda: heads.ArcFace(3, 0), "embedding_size: expected an integer of at least 1, got 0"),
        (
            lambda: heads.ArcFace(3, 4, sample_rate=0),
            "sample_rate: expected a number in (0, 1], got 0",
        ),
        (
            lambda: heads.ArcFace(3, 4, extension="hard"),
            "extension: expected one of 'linear', 'easy', 'none', got 'hard'",
        ),
        (
            lambda: heads.SearchSoftmax(3, 4, a=[0.5]),
            "a: expected a number of at most 0, or one for each bin of p, got [0.5]",
        ),
        (
            lambda: heads.SearchSoftmax(3, 4, a=[]),
            "a: expected a number of at most 0, or one for each bin of p, got []",
        ),
        (
            lambda: heads.AMLFS(3, 4, t=[[1.0]]),
            "t: expected finite rows (a, b), one for each interval, got [[1.0]]",
        ),
        (
            lambda: heads.MVSoftmax(3, 4, kind="sphere"),
            "kind: expected one of 'arc', 'cos', got 'sphere'",
        ),
        (lambda: heads.MVSoftmax(3, 4, t=0.9), "t: expected a number of at least 1, got 0.9"),
        (
            lambda: heads.ElasticFace(3, 4, sigma=-1),
            "sigma: expected a number of at least 0, got -1",
        ),
        (
            lambda: heads.MagFace(3, 4, norms_at=(5, 5)),
            "norms_at: expected two ascending positive numbers, got (5, 5)",
        ),
        (lambda: heads.LDAM(3, 4, counts=[1, 2]), "counts: expected shape (3,), got (2,)"),
        (
            lambda: heads.LDAM(3, 4, counts=[1, 2, 3], beta=1),
            "beta: expected a number in [0, 1), got 1",
        ),
        (lambda: heads.LSoftmax(3, 4, 2.5), "margin: expected a positive integer, got 2.5"),
        (lambda: heads.SoftMargin(3, 4, -1), "margin: expected a number of at least 0, got -1"),
        (lambda: heads.SphereFace2(3, 4, alpha=1), "alpha: expected a number in (0, 1), got 1"),
        (lambda: heads.UniFace(3, 4, scale=0), "scale: expected a number above 0, got 0"),
        (lambda: heads.NPTLoss(3, 4, r=0), "r: expected a number above 0, got 0"),
        (lambda: heads.ArcFace(3, 4, np.nan), "margins: expected finite numbers, got nan"),
        (
            lambda: heads.Combined(3, 4, m2=np.inf),
            "margins: expected finite numbers, got (1.0, inf, 0.2)",
        ),
        (lambda: heads.SphereFaceR(3, 4, 0.9), "margin: expected a number of at least 1, got 0.9"),
        (
            lambda: heads.AdaFace(3, 4, momentum=1.5),
            "momentum: expected a number in [0, 1], got 1.5",
        ),
        (
            lambda: heads.CurricularFace(3, 4, momentum=-1),
            "momentum: expected a number in [0, 1], got -1",
        ),
        (lambda: heads.KappaFace(3, 4, gamma=2), "gamma: expected a number in [0, 1], got 2"),
        (lambda: heads.KappaFace(3, 4, np.inf), "margins: expected finite numbers, got inf"),
        (
            lambda: heads.MagFace(3, 4, margins_at=(0.4, np.nan)),
            "margins_at: expected a finite number, got nan",
        ),
        (
            lambda: heads.LDAM(3, 4, counts=[1, 2, 3], largest_margin=-1),
            "largest_margin: expected a number of at least 0, got -1",
        ),
        (lambda: heads.SphereFace2(3, 4, t=0), "t: expected a number above 0, got 0"),
        (lambda: heads.SphereFace2(3, 4, np.nan), "margin: expected a finite number, got nan"),
        (lambda: heads.UniFace(3, 4, np.inf), "margin: expected a finite number, got inf"),
        (
            lambda: heads.UniFace(3, 4, negative_weight=-1),
            "negative_weight: expected a number of at least 0, got -1",
        ),
        (lambda: heads.NPTLoss(3, 4, np.nan), "margin: expected a finite number, got nan"),
        (lambda: heads.Triplet(margin=0), "margin: expected a number above 0, got 0"),
        (lambda: heads.CenterLoss(0, 4), "num_classes: expected an integer of at least 1, got 0"),
        (lambda: heads.UniformFace(3, 4, alpha=2), "alpha: expected a number in [0, 1], got 2"),
        (
            lambda: heads.RingLoss(reduction="max"),
            "reduction: expected one of 'mean', 'sum', 'none', got 'max'",
        ),
        (
            lambda: heads.FairLoss(3, 4, kind="sphere"),
            "kind: expected one of 'arc', 'cos', got 'sphere'",
        ),
        (
            lambda: heads.FairLoss(3, 4, initial_margin=0.4),
            "margins: expected margins on the grid (0.15, 0.25, 0.35, 0.45), got 0.4",
        ),
    ],
)
def test_a_constructor_names_the_argument_what_it_expects_and_what_it_got(make, message):
    check_message(message, make)


@pytest.mark.parametrize("size", [0, 5.5, True])
@pytest.mark.parametrize("name", ["CenterLoss", "UniformFace", "AdaptiveFace", "ArcFace", "LDAM"])
def test_sizes_are_positive_integers(name, size):
    build = getattr(heads, name)
    if name == "LDAM":
        build = partial(build, counts=[1])
    for sizes, argument in (((size, 4), "num_classes"), ((1, size), "embedding_size")):
        message = f"{argument}: expected an integer of at least 1, got {size}"
        check_message(message, build, *sizes)


@pytest.mark.parametrize("name", SIZED)
def test_another_embedding_size_is_refused(name):
    loss = make(name)
    wrong, labels = torch.randn(7, 5), torch.arange(7)
    message = "embeddings: expected shape (B, 4), got (7, 5)"
    check_message(message, loss, wrong, labels)
    if name in heads.HEADS:
        check_message(message, loss.logits, wrong)


@pytest.mark.parametrize("name", [*heads.HEADS, *REGULARIZERS])
def test_embeddings_and_labels_of_another_shape_or_dtype_are_refused(name):
    loss, (embeddings, labels) = make(name), batch()
    size = DIM if name in SIZED else "D"
    for wrong, message in (
        (embeddings[0], f"embeddings: expected shape (B, {size}), got (4,)"),
        (
            embeddings.long(),
            "embeddings: expected a tensor of floating-point numbers, got torch.int64",
        ),
    ):
        check_message(message, loss, wrong, labels)
    for wrong, message in (
        (labels.float(), "labels: expected a tensor of integers, got torch.float32"),
        (labels[:1], "labels: expected shape (6,), got (1,)"),
    ):
        check_message(message, loss, embeddings, wrong)
    message = "sample_weights: expected shape (6,), got (6, 1)"
    check_message(message, loss, embeddings, labels, torch.ones(6, 1))


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("label", [CLASSES, -2])
def test_a_label_that_is_no_class_is_named_with_its_position(name, rate, label):
    sampled = name in heads.HEADS and issubclass(heads.HEADS[name], heads.CosineHead)
    loss = make(name, **{"sample_rate": rate} if sampled else {})
    embeddings, labels = batch()
    labels[3] = label
    check_message(f"labels: expected -1 to 6, got {label} at position 3", loss, embeddings, labels)


@pytest.mark.parametrize("name", list(heads.HEADS))
def test_an_unknown_option_is_named_with_the_options_of_the_head(name):
    options = ", ".join([*inspect.signature(heads.HEADS[name]).parameters][2:])
    message = f"color: expected an option of {name} ({options}), got 'red'"
    check_message(message, lambda: make(name, color="red"), error=TypeError)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: heads.SphereFace(7, 5, bass=1),
            "bass: expected an option of SphereFace (margin, base, gamma, power, lowest, "
            "reduction, ignore_index, initial_norm), got 1",
        ),
        (
            lambda: heads.AdaCos(7, 5, scale=8),
            "scale: expected an option of AdaCos (dynamic, reduction, ignore_index, initial_norm, "
            "extension, margin_grad, sample_rate, sample_seed, sparse, workspace, compute_dtype, "
            "fused, process_group, device_mesh), got 8",
        ),
        (
            lambda: heads.VirtualSoftmax(7, 5, scale=8),
            "scale: expected an option of VirtualSoftmax (reduction, ignore_index, initial_norm), "
            "got 8",
        ),
        (
            lambda: heads.MagFace(7, 5, color="red"),
            "color: expected an option of MagFace (margins_at, norms_at, regularizer, reduction, "
            "ignore_index, initial_norm, extension, margin_grad, sample_rate, sample_seed, sparse, "
            "workspace, compute_dtype, fused, process_group, device_mesh, scale), got 'red'",
        ),
    ],
)
def test_the_options_are_those_of_the_signature(make, message):
    check_message(message, make, error=TypeError)


@pytest.mark.parametrize("option", ["kind", "margins"])
@pytest.mark.parametrize("name", list(heads.HEADS))
def test_what_a_head_passes_to_its_base_is_no_option(name, option):
    options = [*inspect.signature(heads.HEADS[name]).parameters][2:]
    if option not in options:
        message = f"{option}: expected an option of {name} ({', '.join(options)}), got 'cos'"
        check_message(message, lambda: make(name, **{option: "cos"}), error=TypeError)


def test_a_subclass_is_named_and_may_use_the_keywords_of_its_base():
    class Wide(heads.CosineHead):
        def __init__(self, num_classes, embedding_size, **options):
            super().__init__(num_classes, embedding_size, 0.1, kind="cos", **options)

    assert Wide(num_classes=7, embedding_size=5, scale=8.0).scale == 8
    with pytest.raises(TypeError, match=r"color: expected an option of Wide \(margins, kind, "):
        Wide(7, 5, color="red")


@pytest.mark.parametrize("name", list(heads.HEADS))
def test_ranks_that_divide_the_classes_are_those_of_a_group_and_of_no_dense_head(name):
    message = f"process_group: expected none, as {name} shares no classes among ranks, got a group"
    if issubclass(heads.HEADS[name], heads.CosineHead):
        message = "process_group: expected a group with this rank in it, got 'world'"
    check_message(message, lambda: make(name, process_group="world"))
    make(name, process_group=None)


@pytest.mark.parametrize(
    "option", ["sample_rate", "sample_seed", "sparse", "workspace", "compute_dtype", "fused"]
)
def test_dense_heads_have_no_options_of_cosine_heads(option):
    for name, head in heads.HEADS.items():
        if issubclass(head, heads.DenseHead):
            message = (
                f"{option}: expected none, as {name} is a DenseHead, which computes all logits "
                "and has no such option, got 1"
            )
            check_message(message, partial(make, name, **{option: 1}))


@pytest.mark.parametrize("head", [heads.FairLoss, heads.KappaFace])
def test_statistics_of_another_set_are_refused(head):
    statistics = class_statistics(torch.randn(6, 4), torch.arange(6) % 3, 3)
    check_message("statistics: expected 5 classes, got 3", head(5, 4).end_of_epoch, statistics)


@pytest.mark.parametrize("head", [heads.ArcFace, heads.MVSoftmax])
def test_options_of_the_op_reach_it(head, monkeypatch):
    given = {}

    def spy(*arguments, **options):
        given.update(options)
        return cosine_partition(*arguments, **options)

    monkeypatch.setattr(cosine, "cosine_partition", spy)
    options = {"workspace": 4096, "compute_dtype": torch.bfloat16, "fused": True}
    head(9, 4, **options)(*batch())
    assert options.items() <= given.items()
