"""Options that every head of a base class takes, with their types."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, TypeVar, cast

import torch
from typing_extensions import Unpack

from fairloss.checks import expect
from fairloss_ext.options import Extension, MarginGrad, Reduction

__all__ = ["CosineOptions", "HeadOptions", "Unpack", "UnscaledOptions"]

Workspace = int | Literal["auto", "recompute"]
AnyOptions = TypeVar("AnyOptions", bound=Mapping[str, object])
AnyHead = TypeVar("AnyHead", bound=type[Any])


class HeadOptions(TypedDict, total=False):
    """Options of every `Head`.

    Attributes:
        reduction: "mean" over the samples that are not ignored, "sum" or "none".
    """

    reduction: Reduction


class UnscaledOptions(HeadOptions, total=False):
    """`CosineOptions` without the scale, for a head that sets it itself."""

    extension: Extension
    margin_grad: MarginGrad
    sample_rate: float
    sample_seed: int
    workspace: Workspace
    compute_dtype: torch.dtype | None
    fused: bool


class CosineOptions(UnscaledOptions, total=False):
    """Options of every `CosineHead`.

    Attributes:
        reduction: see `HeadOptions`.
        scale: s; a buffer, so it may change without recompiling a graph.
        extension: see `fairloss_ext.margin_softmax_loss`.
        margin_grad: see `fairloss_ext.margin_softmax_loss`.
        sample_rate: below 1, a training step compares with the classes of its batch and this
            fraction of the others (`sample_classes`), and the gradient of `weight` is row-sparse:
            use `fairloss.optim.RowSGD`. As in PartialFC the loss is that of the drawn classes, not
            corrected for those left out. In eval mode all classes count.
        sample_seed: seed of the draws.
        workspace: memory, see `fairloss_ext.cosine_partition`.
        compute_dtype: precision, see `fairloss_ext.cosine_partition`.
        fused: kernels, see `fairloss_ext.cosine_partition`.
    """

    scale: float


def with_defaults(head: str, defaults: AnyOptions, options: AnyOptions) -> AnyOptions:
    """Return `options` over the `defaults` of the class named `head`.

    Raises:
        TypeError: naming an option that the class does not have.
        ValueError: `process_group` is given.
    """
    no_group = "process_group" not in options
    expect(no_group, "process_group", f"none, as {head} shares no classes among ranks", "one")
    for name, value in options.items():
        if name not in defaults:
            raise TypeError(
                f"{name}: expected an option of {head} ({', '.join(defaults)}), got {value!r}"
            )
    return cast(AnyOptions, {**defaults, **options})


def show_options(head: AnyHead) -> AnyHead:
    """List the options and their defaults in the signature of a class that takes `**options`.

    `help` does not look into a TypedDict.
    """
    if initialize := vars(head).get("__init__"):
        signature = inspect.signature(initialize)
        *parameters, options = signature.parameters.values()
        (typed,) = options.annotation.__args__  # of Unpack[...]
        listed = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=head.defaults[name], annotation=kind
            )
            for name, kind in typed.__annotations__.items()
        ]
        initialize.__signature__ = signature.replace(parameters=[*parameters, *listed])
    return head
