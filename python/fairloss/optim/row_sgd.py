"""Stochastic gradient descent that updates only the rows of a sparse gradient."""

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

from fairloss.checks import check_number, expect

# Rows are updated in blocks, so that their weight, momentum and gradient are read from memory once
# for all the arithmetic: blocks of these three and of one result, of 256 KiB each, fill the 1 MiB
# of a core's L2 (measured: 128 to 512 KiB are best, all rows at once half as fast).
BLOCK_BYTES_PER_THREAD = 256 * 1024


class RowSGD(torch.optim.Optimizer):
    """SGD with momentum and weight decay, for row-sparse and for dense gradients.

    ``g = gradient + weight_decay w;  m = momentum m + g;  w = w - lr m``, as `torch.optim.SGD` with
    dampening 0. Where the gradient is sparse, as `F.embedding(index, weight, sparse=True)` gives
    it, only the rows in `index` are updated: the others and their momentum are unchanged, so weight
    decay and momentum decay apply to a row only in the steps whose gradient contains it.
    (`torch.optim.SGD` refuses weight decay there, and updates every row in every step if the
    gradient is dense.) Dense gradients are handled as by `torch.optim.SGD`, so that one optimizer
    can hold a backbone and a head with sampled classes.

    Works with `torch.amp.GradScaler`, learning-rate schedulers, closures and accumulated gradients:
    rows that occur twice are summed first. Rows in ascending order, such as those of
    `fairloss.heads.sample_classes`, need no sort.

    Args:
        params: parameters, or parameter groups with separate options.
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
        """Add parameters, with separate options where `param_group` has them."""
        options = self.defaults | param_group
        check_number("lr", options["lr"], 0)
        check_number("momentum", options["momentum"], 0, 1, open_high=True)
        check_number("weight_decay", options["weight_decay"], 0)
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient and return the result of `closure`."""
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
        index, values = _distinct_rows(gradient)
        size = _block_size(parameter)
        for rows, row_gradients in zip(index.split(size), values.split(size), strict=True):
            blocks = [tensor.index_select(0, rows) for tensor in tensors]
            _descend(row_gradients, options, *blocks)
            for tensor, block in zip(tensors, blocks, strict=True):
                tensor.index_copy_(0, rows, block)


def _descend(
    gradient: Tensor, options: dict[str, Any], weight: Tensor, momentum: Tensor | None = None
) -> None:
    """Update `weight` and `momentum` in place."""
    if options["weight_decay"]:
        gradient = gradient.add(weight, alpha=options["weight_decay"])
    if momentum is not None:
        gradient = momentum.mul_(options["momentum"]).add_(gradient)
    weight.add_(gradient, alpha=-options["lr"])


def _distinct_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows (S,) of a sparse gradient and their gradients (S, ...)."""
    expect(gradient.sparse_dim() == 1, "gradient", "one sparse dimension", gradient.sparse_dim())
    index = gradient._indices()[0]
    if not gradient.is_coalesced() and not (index[1:] > index[:-1]).all():
        gradient = gradient.coalesce()  # sorts
        index = gradient._indices()[0]
    return index, gradient._values()


def _block_size(parameter: Tensor) -> int:
    """Return the rows of a block; on a GPU, where launches take the time, all rows are one."""
    if parameter.device.type != "cpu":
        return max(1, parameter.shape[0])
    row = parameter.element_size() * max(1, math.prod(parameter.shape[1:]))
    return max(1, BLOCK_BYTES_PER_THREAD * torch.get_num_threads() // row)
