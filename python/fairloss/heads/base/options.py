"""Options that every head of a base class takes, with their types."""

import inspect
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any, Literal, TypedDict, TypeVar

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh
from typing_extensions import Unpack

from fairloss.checks import expect
from fairloss_ext.options import Extension, MarginGrad, Reduction

__all__ = ["CosineOptions", "HeadOptions", "Unpack", "UnscaledOptions"]

Workspace = int | Literal["auto", "recompute"]
AnyHead = TypeVar("AnyHead", bound=type[Any])

# Keyword that a head refuses: the reason.
RANKS = {"process_group": "a group", "device_mesh": "a mesh"}
REFUSED = dict.fromkeys(RANKS, "shares no classes among ranks") | dict.fromkeys(
    ("sample_rate", "sample_seed", "sparse", "workspace", "compute_dtype", "fused"),
    "is a DenseHead, which computes all logits and has no such option",
)


class HeadOptions(TypedDict, total=False):
    """Options of every `Head`.

    Attributes:
        reduction: "mean" over the samples that are not ignored, "sum" or "none".
        ignore_index: label of samples to ignore, as -1 is in any case; -100 in torch.
        initial_norm: length of every class weight at first, with directions uniform on the sphere.
            None: entries from N(0, 0.01), so a length of about ``0.01 sqrt(D)``.
    """

    reduction: Reduction
    ignore_index: int
    initial_norm: float | None


class UnscaledOptions(HeadOptions, total=False):
    """`CosineOptions` without the scale, for a head that sets it itself."""

    extension: Extension
    margin_grad: MarginGrad
    sample_rate: float
    sample_seed: int
    sparse: bool
    workspace: Workspace
    compute_dtype: torch.dtype | None
    fused: bool
    process_group: "distributed.ProcessGroup | None"
    device_mesh: "DeviceMesh | None"


class CosineOptions(UnscaledOptions, total=False):
    """Options of every `CosineHead`.

    Attributes:
        reduction: see `HeadOptions`.
        ignore_index: see `HeadOptions`.
        initial_norm: see `HeadOptions`.
        scale: s; a buffer, so it may change without recompiling a graph.
        extension: see `fairloss_ext.margin_softmax_loss`.
        margin_grad: see `fairloss_ext.margin_softmax_loss`.
        sample_rate: below 1, a training step compares with the classes of its batch and this
            fraction of the others (`sample_classes`), and the gradient of `weight` is row-sparse:
            use `fairloss.optim.RowSGD`. As in PartialFC the loss is that of the drawn classes, not
            corrected for those left out. In eval mode all classes count.
        sample_seed: seed of the draws.
        sparse: False makes the gradient of sampled classes dense, 0 in the rows of the others, as
            other optimizers, clipping and DistributedDataParallel need it.
        workspace: memory, see `fairloss_ext.cosine_partition`.
        compute_dtype: precision, see `fairloss_ext.cosine_partition`.
        fused: kernels, see `fairloss_ext.cosine_partition`.
        process_group: ranks of `torch.distributed` that divide the classes among them. Every rank
            passes its batch, of any size, and gets the loss of the batches of all; the backbone is
            in DistributedDataParallel, the head is not. None: the head has all classes.
        device_mesh: in place of a group, ranks in a mesh. The ranks of its only dimension, or of
            "class", divide the classes among them; those of the other, "data", have the same ones.
    """

    scale: float


def check_keywords(head: str, parameters: Sequence[str], keywords: Mapping[str, object]) -> None:
    """Check the keywords of a call of the class named `head`; ignore `RANKS` of None.

    Raises:
        TypeError: naming a keyword that is none of the `parameters` (of which the first are self,
            num_classes and embedding_size).
        ValueError: naming one that is in `REFUSED`.
    """
    for name, value in keywords.items():
        if name not in parameters and not (name in RANKS and value is None):
            got = RANKS.get(name, repr(value))
            expect(name not in REFUSED, name, f"none, as {head} {REFUSED.get(name)}", got)
            options = ", ".join(parameters[3:])
            raise TypeError(f"{name}: expected an option of {head} ({options}), got {got}")


def show_options(head: AnyHead) -> AnyHead:
    """List the options and their defaults in the signature of a class that takes `**options`.

    `help` does not look into a TypedDict. A call checks its keywords against that signature.
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
        signature = signature.replace(parameters=[*parameters, *listed])
        names, renamed = tuple(signature.parameters), getattr(initialize, "renamed", {})

        @wraps(initialize)
        def checked(self: Any, *arguments: Any, **keywords: Any) -> None:
            new = {renamed.get(keyword, keyword): value for keyword, value in keywords.items()}
            check_keywords(type(self).__name__, names, new)
            initialize(self, *arguments, **keywords)

        head.__init__ = checked
        head.__init__.__signature__ = signature
    return head
