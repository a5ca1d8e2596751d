"""Stochastic gradient descent that touches the rows of a sparse gradient and no others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

# Rows are updated in blocks, so that their weight, momentum and gradient cross the memory bus once
# for all the arithmetic: blocks of these three and of one result, of 256 KiB each, fill the 1 MiB
# of a core's second-level cache (measured: 128 to 512 KiB are best, all rows at once half as fast).
BLOCK_BYTES_PER_THREAD = 256 * 1024


class RowSGD(torch.optim.Optimizer):
    """SGD with momentum and weight decay, for row-sparse and for dense gradients.

    ``g = gradient + weight_decay w;  m = momentum m + g;  w = w - lr m``, as `torch.optim.SGD` with
    dampening 0. Where the gradient is sparse, as `F.embedding(index, weight, sparse=True)` gives
    it, this happens to the rows in `index` alone: the others and their momentum keep their bits,
    so a row decays and slows down only in the steps that it takes part in. (`torch.optim.SGD`
    refuses weight decay there, and moves every row in every step if the gradient is dense.) Dense
    gradients are updated as by `torch.optim.SGD`, so that one optimiser holds a backbone and a head
    with sampled classes.

    Works with `torch.amp.GradScaler`, learning-rate schedulers, closures and accumulated gradients:
    rows that occur twice are summed first. Rows in ascending order, such as those of
    `fairloss.heads.sample_classes`, need no sort.

    Args:
        params: parameters, or groups of them with options of their own.
        lr: learning rate, >= 0.
        momentum: in [0, 1). The momentum buffer is dense and has the parameter's dtype.
        weight_decay: >= 0.

    Raises:
        ValueError: an option is out of range; or, in `step`, a gradient is sparse in more than the
            first dimension.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own where `param_group` names them."""
        _check(self.defaults | param_group)
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; returns what `closure` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, options: dict[str, Any]) -> None:
        tensors = [parameter]
        if options["momentum"]:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            tensors.append(state["momentum_buffer"])
        if not gradient.is_sparse:
            _descend(gradient, options, *tensors)
            return
        rows, values = _rows(gradient)
        block = _block(parameter)
        for some, change in zip(rows.split(block), values.split(block), strict=True):
            parts = [tensor.index_select(0, some) for tensor in tensors]
            _descend(change, options, *parts)
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.index_copy_(0, some, part)


def _descend(
    gradient: Tensor, options: dict[str, Any], weight: Tensor, momentum: Tensor | None = None
) -> None:
    """One step of `weight` and `momentum`, in place."""
    if options["weight_decay"]:
        gradient = gradient.add(weight, alpha=options["weight_decay"])
    if momentum is not None:
        gradient = momentum.mul_(options["momentum"]).add_(gradient)
    weight.add_(gradient, alpha=-options["lr"])


def _rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows (S,) and their gradients (S, ...)."""
    if gradient.sparse_dim() != 1:
        raise ValueError(
            f"gradient: got {gradient.sparse_dim()} sparse dimensions, allowed is the first alone"
        )
    rows = gradient._indices()[0]
    if not gradient.is_coalesced() and not (rows[1:] > rows[:-1]).all():
        gradient = gradient.coalesce()  # sorts
        rows = gradient._indices()[0]
    return rows, gradient._values()


def _block(parameter: Tensor) -> int:
    """Rows to update at a time; on a GPU, which waits for launches and not for memory, all."""
    if parameter.device.type != "cpu":
        return max(1, parameter.shape[0])
    row = parameter.element_size() * max(1, math.prod(parameter.shape[1:]))
    return max(1, BLOCK_BYTES_PER_THREAD * torch.get_num_threads() // row)


def _check(options: dict[str, Any]) -> None:
    for name, bound in (("lr", math.inf), ("momentum", 1), ("weight_decay", math.inf)):
        if not 0 <= options[name] < bound:
            raise ValueError(f"{name}: got {options[name]}, allowed is [0, {bound})")
