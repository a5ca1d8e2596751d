"""Comparisons of every op with plain torch, and of the whole loss with those of other trainers.

python -m gpu.comparisons NAME DEVICE [tiny]   prints a JSON line for each candidate

Every comparison runs in its own process: after an illegal access no call of that process works.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import baselines
import torch
from baselines import MARGIN, SCALE
from torch import Tensor
from torch.nn import functional as F

from fairloss_ext import (
    class_statistics,
    cosine_partition,
    distractor_ranks,
    margin_logits,
    margin_loss,
    margin_softmax_loss,
    reference,
)
from gpu.clock import ROUNDS, Candidate, Clock
from gpu.results import Row

DIM = 512
SIZES = [(128, DIM, 100_000), (1024, DIM, 100_000), (1024, DIM, 1_000_000)]
TINY = (8, 16, 40)
Size = tuple[int, ...]


def rows(
    clock: Clock,
    op: str,
    size: Mapping[str, int],
    work: tuple[float, float],
    candidates: Mapping[str, Candidate],
) -> Iterator[Row]:
    title = " ".join(f"{letter}={number}" for letter, number in size.items())
    for name, time in clock.compare(candidates).items():
        yield Row(op, title, name, time.seconds, time.peak_mib, *work, time.reason)


def work_of_head(batch: int, dim: int, classes: int) -> tuple[float, float]:
    """Return operations and bytes of a head.

    Three products; the float32 weight is read twice and its gradient written, cosines of 16 bits
    are written once and read twice.
    """
    return 6.0 * batch * dim * classes, 12.0 * classes * dim + 6.0 * batch * classes


def problem(clock: Clock, size: Size, dtype: torch.dtype = torch.float32) -> tuple[Any, Tensor]:
    batch, dim, classes = size
    leaves = [torch.randn(n, dim, device=clock.device, dtype=dtype) for n in (batch, classes)]
    labels = torch.randint(classes, (batch,), device=clock.device)
    return [leaf.requires_grad_() for leaf in leaves], labels


def head(clock: Clock, tiny: bool, size: Size) -> Iterator[Row]:
    """Compare forward and backward of the whole loss."""
    size = TINY if tiny else size
    leaves, labels = problem(clock, size)
    half = [leaf.detach().bfloat16().requires_grad_() for leaf in leaves]

    def step(loss: Callable[..., Tensor], leaves: Any = leaves, **options: Any) -> Candidate:
        return lambda: torch.autograd.grad(loss(*leaves, labels, **options), leaves)

    def ours(*leaves: Tensor, **options: Any) -> Tensor:
        return margin_softmax_loss(*leaves, MARGIN, scale=SCALE, **options)

    compiled_in_autocast = in_autocast(clock, baselines.compiled_step)
    candidates = {
        "ours": step(ours),
        "ours, recompute": step(ours, workspace="recompute"),
        "ours, bf16 inputs": step(ours, half),
        "eager": step(baselines.insightface_style),
        "eager, autocast": step(in_autocast(clock, baselines.insightface_style)),
        "compiled": lambda: baselines.compiled_step(*leaves, labels),
        "compiled, autocast": lambda: compiled_in_autocast(*leaves, labels),
        "linear_cross_entropy": step(baselines.linear_cross_entropy),
        "metric_learning": metric_learning(leaves, labels),
        "liger": step(baselines.liger),
        "liger, bf16": step(baselines.liger, half),
        "cut_cross_entropy, bf16": step(baselines.cut_cross_entropy, half),
    }
    for name, options in choices(margin_softmax_loss).items():
        candidates[f"ours, {name}"] = step(ours, **options)
    names = dict(zip("BDC", size, strict=True))
    yield from rows(clock, "margin_softmax_loss", names, work_of_head(*size), candidates)


def partition(clock: Clock, tiny: bool, size: Size) -> Iterator[Row]:
    size = TINY if tiny else size
    leaves, labels = problem(clock, size)

    def step(function: Callable[..., Any], **options: Any) -> Candidate:
        def run() -> object:
            target, nlse = function(*leaves, labels, **options)
            return torch.autograd.grad((nlse - SCALE * target).sum(), leaves)

        return run

    candidates = {"ours": step(cosine_partition), "reference": step(reference.cosine_partition)}
    for name, options in choices(cosine_partition).items():
        candidates[f"ours, {name}"] = step(cosine_partition, **options)
    names = dict(zip("BDC", size, strict=True))
    yield from rows(clock, "cosine_partition", names, work_of_head(*size), candidates)


def choices(function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Return the options of an op that trade accuracy or memory for time."""
    parameters = inspect.signature(function).parameters
    options: dict[str, dict[str, Any]] = {}
    if "compute_dtype" in parameters:
        options["computed in bf16"] = {"compute_dtype": torch.bfloat16}
    if "fused" in parameters:
        options["fused"] = {"fused": True}
        options["fused, computed in bf16"] = {"fused": True, "compute_dtype": torch.bfloat16}
    return options


def in_autocast(clock: Clock, loss: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Tensor) -> Any:
        with torch.autocast(clock.device.type, torch.bfloat16):
            return loss(*arguments)

    return run


def metric_learning(leaves: Any, labels: Tensor) -> Candidate:
    made: list[baselines.PytorchMetricLearning] = []

    def run() -> object:
        if not made:  # here, so that its absence is this candidate's failure alone
            made.append(baselines.PytorchMetricLearning(*leaves))
        return made[0].step(labels)

    return run


def margins(clock: Clock, tiny: bool) -> Iterator[Row]:
    batch, classes = (8, 40) if tiny else (1024, 100_000)
    device = clock.device
    target = (2 * torch.rand(batch, device=device) - 1).requires_grad_()
    nlse = (40 + torch.randn(batch, device=device)).requires_grad_()
    labels = torch.randint(classes, (batch,), device=device)
    table = torch.rand(classes, device=device, requires_grad=True)
    cosine = (2 * torch.rand(batch, classes, device=device) - 1).requires_grad_()
    upstream = torch.randn(batch, classes, device=device)

    def small(function: Callable[..., Tensor]) -> Candidate:
        leaves = (target, nlse, table)
        return lambda: torch.autograd.grad(function(target, nlse, labels, table).sum(), leaves)

    def large(function: Callable[..., Tensor]) -> Candidate:
        return lambda: torch.autograd.grad(function(cosine, labels, table), cosine, upstream)

    names, traffic = {"B": batch, "C": classes}, 16.0 * batch * classes  # two matrices each way
    pair = {"ours": small(margin_loss), "reference": small(reference.margin_loss)}
    yield from rows(clock, "margin_loss", names, (0.0, 100.0 * batch), pair)
    pair = {"ours": large(margin_logits), "reference": large(reference.margin_logits)}
    yield from rows(clock, "margin_logits", names, (0.0, traffic), pair)


def statistics(clock: Clock, tiny: bool) -> Iterator[Row]:
    samples, dim, classes = (60, 16, 7) if tiny else (500_000, DIM, 20_000)
    embeddings = torch.randn(samples, dim, device=clock.device)
    labels = torch.randint(classes, (samples,), device=clock.device)

    def call(function: Callable[..., object]) -> Candidate:
        return lambda: function(embeddings, labels, classes)

    names = {"N": samples, "D": dim, "C": classes}
    work = float(classes) ** 2 * dim, 8.0 * samples * dim  # pairs of centers; rows read twice
    pair = {"ours": call(class_statistics), "reference": call(reference.class_statistics)}
    yield from rows(clock, "class_statistics", names, work, pair)


def ranks(clock: Clock, tiny: bool) -> Iterator[Row]:
    probes, dim, distractors, trials = (9, 16, 50, 20) if tiny else (3530, DIM, 1_000_000, 20_000)
    device = clock.device
    a, b = (F.normalize(torch.randn(n, dim, device=device)) for n in (probes, distractors))
    index = torch.randint(probes, (trials,), device=device)
    scores = torch.rand(trials, device=device) / 4
    tail = max(1, probes * distractors // 1_000_000)

    def call(function: Callable[..., object]) -> Candidate:
        return lambda: function(a, b, index, scores, tail)

    names = {"P": probes, "D": dim, "M": distractors, "T": trials}
    work = 2.0 * probes * dim * distractors, 4.0 * dim * (probes + distractors)
    candidates = {"ours": call(distractor_ranks), "top-k": lambda: top_k(a, b, min(1000, len(b)))}
    yield from rows(clock, "distractor_ranks", names, work, candidates)


def top_k(probes: Tensor, distractors: Tensor, k: int) -> Tensor:
    """Return the k highest similarities of every probe: ranks beyond k stay unknown."""
    highest = probes.new_empty(len(probes), 0)
    for chunk in distractors.split(100_000):
        best = (probes @ chunk.T).topk(min(k, len(chunk))).values
        highest = torch.cat([highest, best], dim=1)
        highest = highest.topk(min(k, highest.shape[1])).values
    return highest


COMPARISONS: dict[str, Callable[[Clock, bool], Iterator[Row]]] = {
    **{f"head-{'x'.join(map(str, size))}": partial(head, size=size) for size in SIZES},
    **{f"partition-{'x'.join(map(str, size))}": partial(partition, size=size) for size in SIZES},
    "margins": margins,
    "statistics": statistics,
    "ranks": ranks,
}


def main(name: str, device: str, *options: str) -> None:
    torch.manual_seed(0)
    tiny = "tiny" in options
    for row in COMPARISONS[name](Clock(torch.device(device), 2 if tiny else ROUNDS), tiny):
        print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
