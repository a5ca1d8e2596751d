"""Loads the compiled ops, and attaches to each its fake kernel and its gradient."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fairloss_ext._architectures import covers, parse

_PACKAGE = Path(__file__).parent


def _load() -> str | None:
    """Load the shared object; returns why it could not be, or None."""
    libraries = sorted(_PACKAGE.glob("_C*.so")) + sorted(_PACKAGE.glob("_C*.pyd"))
    if not libraries:
        return str(build_record().get("reason", "the compiled ops are not beside the package"))
    try:
        torch.ops.load_library(str(libraries[-1]))
    except OSError as error:
        return f"{libraries[-1].name} does not load: {error}"
    return None


def build_record() -> dict[str, Any]:
    """What the build wrote down about itself; empty where the package was never built."""
    path = _PACKAGE / "_build.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return record


failure = _load()
_architectures = parse(build_record().get("cuda_architectures", ()))
_host_run = bool(build_record().get("host_run"))  # tests/host_run
_devices: dict[str, frozenset[str]] = {}  # of each op's kernels
_warned = False
# The messages of csrc/ops/checks.h.
INVALID_ARGUMENT = re.compile(r"\w+: expected .*, got ")
# Of torch's allocator, and of cudaMallocAsync's.
OUT_OF_MEMORY = ("CUDA out of memory", "would exceed allowed memory")


def serves(name: str, tensor: torch.Tensor) -> bool:
    """Whether op `name` has a kernel for this tensor's device; if not, plain torch runs."""
    if failure is not None:
        _warn_once(failure)
        return False
    if tensor.device.type == "cuda" and (why := _no_kernels(tensor.device)):
        _warn_once(why)
        return False
    return tensor.device.type in _devices[name]


def _no_kernels(device: torch.device) -> str:
    """Why none of the CUDA kernels runs on this GPU; empty where they do."""
    if not _architectures:
        return "it was built without CUDA kernels"
    if not torch.cuda.is_initialized():  # a fake tensor
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


def runs_cuda_text(tensor: torch.Tensor) -> bool:
    """Whether the kernels of csrc/cuda run for this tensor: on a GPU, or executed on the host."""
    return tensor.is_cuda or _host_run


def _warn_once(why: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"fairloss_ext runs its plain-torch fallback, several times slower: {why}. "
            "`fairloss doctor` says more.",
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

    Without `backward` the op refuses to be differentiated, rather than returning a silent zero.
    """
    if failure is not None:
        return
    qualified = f"fairloss::{name}"
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    _devices[name] = frozenset(d for d in ("cpu", "cuda") if has_kernel(qualified, d.upper()))
    torch.library.register_fake(qualified, fake)
    torch.library.register_autograd(
        qualified, backward or _refuse(name), setup_context=setup_context
    )


def _refuse(name: str) -> Callable[..., Any]:
    def backward(ctx: Any, *grads: torch.Tensor) -> None:
        raise RuntimeError(f"fairloss_ext: {name} cannot be differentiated (no double backward)")

    return backward
