"""Description of the build, and of what runs on this machine."""

from dataclasses import dataclass

import torch

from fairloss_ext import _library


@dataclass(frozen=True)
class BuildInfo:
    """The compiled ops on this machine."""

    backend: str  # "compiled", or "reference": plain torch
    reason: str  # for which plain torch runs; empty otherwise
    compiler: str
    built_isas: tuple[str, ...]  # instruction sets in the shared object
    isa: str  # the one that runs on this CPU
    cuda_architectures: tuple[str, ...]  # empty: no CUDA kernels in this build
    torch: str  # version that is imported
    built_with_torch: str


def build_info() -> BuildInfo:
    """Return which kernels run on this machine, what compiled them, and why plain torch runs."""
    record = _library.build_record
    compiler, built, isa = record.get("compiler", "none"), (), "none"
    if _library.failure is None:
        import fairloss_ext._host as _host

        compiler, built, isa = _host.compiler(), tuple(_host.built_isas()), _host.selected_isa()
    return BuildInfo(
        backend="compiled" if _library.failure is None else "reference",
        reason=_library.failure or "",
        compiler=compiler,
        built_isas=built,
        isa=isa,
        cuda_architectures=tuple(record.get("cuda_architectures", ())),
        torch=torch.__version__,
        built_with_torch=record.get("torch", "none"),
    )
