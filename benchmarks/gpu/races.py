"""The races: every op against plain torch, and the whole loss against what trainers run.

python -m gpu.races NAME DEVICE [tiny]   prints a JSON line for each contender

Each in a process of its own: after an illegal access nothing works any more in that process.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import peers
import torch
from peers import MARGIN, SCALE
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
from gpu.clock import ROUNDS, Clock, Contender
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
    contenders: Mapping[str, Contender],
) -> Iterator[Row]:
    title = " ".join(f"{letter}={number}" for letter, number in size.items())
    for name, found in clock.race(contenders).items():
        yield Row(op, title, name, found.seconds, found.peak_mib, *work, found.reason)


def work_of_head(batch: int, dim: int, classes: int) -> tuple[float, float]:
    """Three products; the float32 weight read twice and its gradient written, cosines of 16 bits
    written once and read twice."""
    return 6.0 * batch * dim * classes, 12.0 * classes * dim + 6.0 * batch * classes


def problem(clock: Clock, size: Size, dtype: torch.dtype = torch.float32) -> tuple[Any, Tensor]:
    batch, dim, classes = size
    leaves = [torch.randn(n, dim, device=clock.device, dtype=dtype) for n in (batch, classes)]
    labels = torch.randint(classes, (batch,), device=clock.device)
    return [leaf.requires_grad_() for leaf in leaves], labels


def head(clock: Clock, tiny: bool, size: Size) -> Iterator[Row]:
    """Forward and backward of the whole loss."""
    size = TINY if tiny else size
    leaves, labels = problem(clock, size)
    half = [leaf.detach().bfloat16().requires_grad_() for leaf in leaves]

    def step(loss: Callable[..., Tensor], leaves: Any = leaves, **options: Any) -> Contender:
        return lambda: torch.autograd.grad(loss(*leaves, labels, **options), leaves)

    def ours(*leaves: Tensor, **options: Any) -> Tensor:
        return margin_softmax_loss(*leaves, MARGIN, scale=SCALE, **options)

    compiled_in_autocast = in_autocast(clock, peers.compiled_step)
    contenders = {
        "ours": step(ours),
        "ours, recompute": step(ours, workspace="recompute"),
        "ours, bf16 inputs": step(ours, half),
        "eager": step(peers.insightface_style),
        "eager, autocast": step(in_autocast(clock, peers.insightface_style)),
        "compiled": lambda: peers.compiled_step(*leaves, labels),
        "compiled, autocast": lambda: compiled_in_autocast(*leaves, labels),
        "linear_cross_entropy": step(peers.linear_cross_entropy),
        "metric_learning": metric_learning(leaves, labels),
        "liger": step(peers.liger),
        "liger, bf16": step(peers.liger, half),
        "cut_cross_entropy, bf16": step(peers.cut_cross_entropy, half),
    }
    for name, options in choices(margin_softmax_loss).items():
        contenders[f"ours, {name}"] = step(ours, **options)
    names = dict(zip("BDC", size, strict=True))
    yield from rows(clock, "margin_softmax_loss", names, work_of_head(*size), contenders)


def partition(clock: Clock, tiny: bool, size: Size) -> Iterator[Row]:
    size = TINY if tiny else size
    leaves, labels = problem(clock, size)

    def step(function: Callable[..., Any], **options: Any) -> Contender:
        def run() -> object:
            target, nlse = function(*leaves, labels, **options)
            return torch.autograd.grad((nlse - SCALE * target).sum(), leaves)

        return run

    contenders = {"ours": step(cosine_partition), "reference": step(reference.cosine_partition)}
    for name, options in choices(cosine_partition).items():
        contenders[f"ours, {name}"] = step(cosine_partition, **options)
    names = dict(zip("BDC", size, strict=True))
    yield from rows(clock, "cosine_partition", names, work_of_head(*size), contenders)


def choices(function: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Options of the op that trade digits or memory for time, as far as it has them."""
    known = inspect.signature(function).parameters
    found: dict[str, dict[str, Any]] = {}
    if "compute_dtype" in known:
        found["computed in bf16"] = {"compute_dtype": torch.bfloat16}
    if "fused" in known:
        found["fused"] = {"fused": True}
        found["fused, computed in bf16"] = {"fused": True, "compute_dtype": torch.bfloat16}
    return found


def in_autocast(clock: Clock, loss: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Tensor) -> Any:
        with torch.autocast(clock.device.type, torch.bfloat16):
            return loss(*arguments)

    return run


def metric_learning(leaves: Any, labels: Tensor) -> Contender:
    made: list[peers.PytorchMetricLearning] = []

    def run() -> object:
        if not made:  # here, so that its absence is this contender's failure alone
            made.append(peers.PytorchMetricLearning(*leaves))
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

    def small(function: Callable[..., Tensor]) -> Contender:
        leaves = (target, nlse, table)
        return lambda: torch.autograd.grad(function(target, nlse, labels, table).sum(), leaves)

    def large(function: Callable[..., Tensor]) -> Contender:
        return lambda: torch.autograd.grad(function(cosine, labels, table), cosine, upstream)

    names, moved = {"B": batch, "C": classes}, 16.0 * batch * classes  # two matrices each way
    pair = {"ours": small(margin_loss), "reference": small(reference.margin_loss)}
    yield from rows(clock, "margin_loss", names, (0.0, 100.0 * batch), pair)
    pair = {"ours": large(margin_logits), "reference": large(reference.margin_logits)}
    yield from rows(clock, "margin_logits", names, (0.0, moved), pair)


def statistics(clock: Clock, tiny: bool) -> Iterator[Row]:
    samples, dim, classes = (60, 16, 7) if tiny else (500_000, DIM, 20_000)
    embeddings = torch.randn(samples, dim, device=clock.device)
    labels = torch.randint(classes, (samples,), device=clock.device)

    def call(function: Callable[..., object]) -> Contender:
        return lambda: function(embeddings, labels, classes)

    names = {"N": samples, "D": dim, "C": classes}
    work = float(classes) ** 2 * dim, 8.0 * samples * dim  # pairs of centres; rows read twice
    pair = {"ours": call(class_statistics), "reference": call(reference.class_statistics)}
    yield from rows(clock, "class_statistics", names, work, pair)


def ranks(clock: Clock, tiny: bool) -> Iterator[Row]:
    probes, dim, distractors, trials = (9, 16, 50, 20) if tiny else (3530, DIM, 1_000_000, 20_000)
    device = clock.device
    a, b = (F.normalize(torch.randn(n, dim, device=device)) for n in (probes, distractors))
    index = torch.randint(probes, (trials,), device=device)
    scores = torch.rand(trials, device=device) / 4
    tail = max(1, probes * distractors // 1_000_000)

    def call(function: Callable[..., object]) -> Contender:
        return lambda: function(a, b, index, scores, tail)

    names = {"P": probes, "D": dim, "M": distractors, "T": trials}
    work = 2.0 * probes * dim * distractors, 4.0 * dim * (probes + distractors)
    contenders = {"ours": call(distractor_ranks), "top-k": lambda: top_k(a, b, min(1000, len(b)))}
    yield from rows(clock, "distractor_ranks", names, work, contenders)


def top_k(probes: Tensor, distractors: Tensor, k: int) -> Tensor:
    """The k highest similarities of every probe: ranks beyond k stay unknown."""
    highest = probes.new_empty(len(probes), 0)
    for chunk in distractors.split(100_000):
        found = (probes @ chunk.T).topk(min(k, len(chunk))).values
        highest = torch.cat([highest, found], dim=1)
        highest = highest.topk(min(k, highest.shape[1])).values
    return highest


RACES: dict[str, Callable[[Clock, bool], Iterator[Row]]] = {
    **{f"head-{'x'.join(map(str, size))}": partial(head, size=size) for size in SIZES},
    **{f"partition-{'x'.join(map(str, size))}": partial(partition, size=size) for size in SIZES},
    "margins": margins,
    "statistics": statistics,
    "ranks": ranks,
}


def main(name: str, device: str, *options: str) -> None:
    torch.manual_seed(0)
    tiny = "tiny" in options
    for row in RACES[name](Clock(torch.device(device), 2 if tiny else ROUNDS), tiny):
        print(json.dumps(asdict(row)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
