"""Optimizers by name."""

from collections.abc import Iterable

import torch
from torch import Tensor

from fairloss.checks import check_choice, expect
from fairloss.optim.row_sgd import RowSGD

OPTIMIZERS = ("sgd", "adamw")


def check_optimizer(name: str, row_sparse: bool) -> None:
    """Raise ValueError if there is no such optimizer, or it takes no row-sparse gradients."""
    check_choice("optimizer.name", name, OPTIMIZERS)
    expected = (
        "sgd where head.sample_rate is below 1, as gradients are sparse there without "
        "head.options.sparse=false"
    )
    expect(name == "sgd" or not row_sparse, "optimizer.name", expected, name)


def build_optimizer(
    name: str,
    params: Iterable[Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    row_sparse: bool = False,
) -> torch.optim.Optimizer:
    """Return an optimizer of torch, or `RowSGD` for row-sparse gradients.

    Args:
        name: "sgd" or "adamw".
        params: to train.
        lr: learning rate.
        momentum: of sgd alone; adamw has torch's betas.
        weight_decay: of sgd added to the gradient, of adamw decoupled from it.
        row_sparse: whether a gradient may be row-sparse.

    Raises:
        ValueError: as `check_optimizer`.
    """
    check_optimizer(name, row_sparse)
    if name == "adamw":
        return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay)
    kind = RowSGD if row_sparse else torch.optim.SGD
    return kind(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
