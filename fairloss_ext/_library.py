"""Loading of the compiled ops, and registration of their fake kernels and gradients."""

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fairloss_ext._architectures import covers, parse

_PACKAGE = Path(__file__).parent
_RECORD = _PACKAGE / "_build.json"
# What the build has recorded; empty where the package was never built.
build_record: dict[str, Any] = (
    json.loads(_RECORD.read_text(encoding="utf-8")) if _RECORD.exists() else {}
)


def _load() -> str | None:
    """Load the shared object; return the reason where that fails, else None."""
    libraries = sorted(_PACKAGE.glob("_C*.so")) + sorted(_PACKAGE.glob("_C*.pyd"))
    if not libraries:
        return str(build_record.get("reason", "the compiled ops are not beside the package"))
    try:
        torch.ops.load_library(str(libraries[-1]))
    except OSError as error:
        return f"{libraries[-1].name} does not load: {error}"
    return None


failure = _load()
_architectures = parse(build_record.get("cuda_architectures", ()))
_host_run = bool(build_record.get("host_run"))  # see tests/host_run/README.md
_devices: dict[str, frozenset[str]] = {}  # op -> devices with a kernel
_warned = False
# The messages of csrc/ops/checks.h.
INVALID_ARGUMENT = re.compile(r"\w+: expected .*, got ")
# Of torch's allocator, and of cudaMallocAsync's.
OUT_OF_MEMORY = ("CUDA out of memory", "would exceed allowed memory")


def serves(name: str, tensor: torch.Tensor) -> bool:
    """Return whether op `name` has a kernel for the tensor's device; if not, plain torch runs."""
    reason = failure or _missing_kernels(tensor.device)
    if reason:
        _warn_once(reason)
        return False
    return tensor.device.type in _devices[name]


def _missing_kernels(device: torch.device) -> str:
    """Return why no CUDA kernel runs on a GPU; empty where they do, and for other devices."""
    if device.type == "cuda" and not _architectures:
        return "it was built without CUDA kernels"
    if device.type != "cuda" or not torch.cuda.is_initialized():  # a fake tensor
        return ""
    gpu = torch.cuda.get_device_properties(device)
    if covers(_architectures, gpu.major, gpu.minor):
        return ""
    return f"it has no kernels for compute capability {gpu.major}.{gpu.minor}"


def call(name: str, *arguments: Any) -> Any:
    """Call the compiled op `name`.

    Torch raises every C++ exception as a RuntimeError. Two of them get their own type back, unless
    the call is part of a compiled graph.

    Raises:
        ValueError: an argument is invalid; the message has the form of `_checks.expect`.
        torch.OutOfMemoryError: with torch 2.13 or newer, which passes the message on.
    """
    try:
        return getattr(torch.ops.fairloss, name)(*arguments)
    except RuntimeError as error:
        message = str(error)
        if INVALID_ARGUMENT.match(message):
            raise ValueError(message) from None
        if any(part in message for part in OUT_OF_MEMORY):
            raise torch.OutOfMemoryError(message) from None
        raise


def runs_cuda_kernels(tensor: torch.Tensor) -> bool:
    """Return whether kernels of csrc/cuda run for this tensor: on a GPU, or on a CPU in tests."""
    return tensor.is_cuda or _host_run


def _warn_once(reason: str) -> None:
    """Warn at the first use of plain torch in place of an op."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"fairloss_ext runs its plain-torch fallback, several times slower: {reason}. "
            "`fairloss doctor` reports more.",
            RuntimeWarning,
            stacklevel=4,
        )


def register(
    name: str,
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., Any] | None = None,
) -> None:
    """Attach a fake kernel and a gradient to a compiled op.

    Args:
        name: of the op, without its namespace.
        fake: the op on fake tensors.
        backward: the gradient; without one, differentiation of the op raises an error rather than
            return a silent zero.
        setup_context: saves in `ctx` what `backward` reads.
    """
    if failure is not None:
        return
    qualified = f"fairloss::{name}"
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    _devices[name] = frozenset(d for d in ("cpu", "cuda") if has_kernel(qualified, d.upper()))
    torch.library.register_fake(qualified, fake)
    torch.library.register_autograd(
        qualified, backward or _no_backward(name), setup_context=setup_context
    )


def _no_backward(name: str) -> Callable[..., Any]:
    """Return a backward that raises RuntimeError."""

    def backward(ctx: Any, *grads: torch.Tensor) -> None:
        raise RuntimeError(f"fairloss_ext: {name} cannot be differentiated (no double backward)")

    return backward
