"""Autograd functions that join the batches and results of ranks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed

from fairloss.collectives import gather_rows


def gather_batch(
    rows: Tensor, labels: Tensor, lengths: list[int], group: "distributed.ProcessGroup"
) -> tuple[Tensor, Tensor]:
    """Concatenate the rows and labels of ranks; the gradient of rows is the sum over the ranks."""
    return _Gather.apply(rows, labels, lengths, group)  # type: ignore


def gather_losses(
    losses: Tensor, labels: Tensor, lengths: list[int], group: "distributed.ProcessGroup"
) -> tuple[Tensor, Tensor]:
    """Concatenate the losses and labels of ranks; the gradient of losses is times their number."""
    return _GatherLosses.apply(losses, labels, lengths, group)  # type: ignore


def map_gradient(values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the values as they are; their gradient is changed."""
    return _MapGradient.apply(values, change)  # type: ignore


def join_partitions(
    target_cosine: Tensor, negative_logsumexp: Tensor, group: "distributed.ProcessGroup"
) -> tuple[Tensor, Tensor]:
    """Compute from the results of `cosine_partition` on each rank those of all classes."""
    return _Join.apply(target_cosine, negative_logsumexp, group)  # type: ignore


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, labels: Tensor, lengths: list[int], group: Any
    ) -> tuple[Tensor, ...]:
        ctx.lengths, ctx.group = lengths, group
        return gather_rows((rows, labels), lengths, group)

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor, _: None) -> tuple[Tensor | None, ...]:
        longest = max(ctx.lengths)
        parts = grad_rows.new_zeros(len(ctx.lengths), longest, grad_rows.shape[1])
        for part, gradient in zip(parts, grad_rows.split(ctx.lengths), strict=True):
            part[: len(gradient)] = gradient
        total = torch.empty_like(parts[0])
        distributed.reduce_scatter(total, [*parts], group=ctx.group)
        return total[: ctx.lengths[distributed.get_rank(ctx.group)]], None, None, None


class _GatherLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, losses: Tensor, labels: Tensor, lengths: list[int], group: Any
    ) -> tuple[Tensor, ...]:
        rank = distributed.get_rank(group)
        ctx.start, ctx.length, ctx.ranks = sum(lengths[:rank]), lengths[rank], len(lengths)
        return gather_rows((losses, labels), lengths, group)

    @staticmethod
    def backward(ctx: Any, grad_losses: Tensor, _: None) -> tuple[Tensor | None, ...]:
        return ctx.ranks * grad_losses[ctx.start :][: ctx.length], None, None, None


class _MapGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradient), None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, target_cosine: Tensor, negative_logsumexp: Tensor, group: Any
    ) -> tuple[Tensor, Tensor]:
        highest = negative_logsumexp.clone()
        distributed.all_reduce(highest, distributed.ReduceOp.MAX, group=group)
        highest = torch.where(highest.isfinite(), highest, 0)  # -inf: one class in all
        sums = torch.stack([target_cosine, (negative_logsumexp - highest).exp()])
        distributed.all_reduce(sums, group=group)
        joined = highest + sums[1].log()
        ctx.save_for_backward(negative_logsumexp, joined)
        return sums[0].clone(), joined

    @staticmethod
    def backward(ctx: Any, grad_target: Tensor, grad_joined: Tensor) -> tuple[Tensor | None, ...]:
        negative_logsumexp, joined = ctx.saved_tensors
        share = (negative_logsumexp - joined).exp()
        share = torch.where(negative_logsumexp.isneginf(), 0, share)  # no class on this rank
        return grad_target, grad_joined * share, None
