"""The findings of `fairloss doctor`: what is installed, what does not fit, and how to fix it.

`examine` reads this machine; `diagnose` is a pure function of what `examine` returns, and
`diagnose_data` of the survey of a folder.
"""

import importlib.metadata
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

import fairloss_ext
from fairloss.agent import GroupState
from fairloss.data.decode import first_names
from fairloss.data.survey import Survey
from fairloss_ext._architectures import OLDEST, covers, parse
from fairloss_ext._toolkit import Toolkit, find_toolkit

OLDEST_TORCH = (2, 11)  # the first whose stable ABI has all that the ops use
# As in pyproject.toml, without faiss, which has its own finding, ray and simplejpeg, both optional.
EXTRAS = {
    "train": ("typer", "rich", "pyyaml", "pillow", "fonttools", "tensorboard"),
    "report": ("matplotlib", "jinja2"),
    "compare": ("scipy", "statsmodels"),
}
REINSTALL = "pip install --force-reinstall --no-deps . (in the source folder)"


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    name: str
    status: Literal["ok", "note", "warning", "missing"]  # a note is nothing to fix
    detail: str
    remedy: str = ""  # what to type or change; empty where there is nothing to do


@dataclass(frozen=True)
class Machine:
    """All inputs of a diagnosis."""

    build: fairloss_ext.BuildInfo
    isa_limit: str | None  # the environment variable FAIRLOSS_ISA
    torch_cuda: str | None  # the CUDA that torch was built for
    gpus: Mapping[str, tuple[int, int]]  # name -> compute capability
    toolkit: Toolkit | None
    distributions: Mapping[str, str]  # lower-case name -> version


def examine() -> Machine:
    """Read the inputs of a diagnosis on this machine."""
    installed = importlib.metadata.distributions()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [torch.cuda.get_device_properties(number) for number in range(count)]
    return Machine(
        build=fairloss_ext.build_info(),
        isa_limit=os.environ.get("FAIRLOSS_ISA"),
        torch_cuda=torch.version.cuda,
        gpus={gpu.name: (gpu.major, gpu.minor) for gpu in gpus},
        toolkit=find_toolkit(os.environ.get("CUDA_HOME")),
        distributions={d.name.lower().replace("_", "-"): d.version for d in installed},
    )


def diagnose(machine: Machine | None = None) -> list[Finding]:
    """Return the findings about an installation, in the order in which to fix them."""
    machine = machine or examine()
    findings = [_torch(machine), _ops(machine)]
    if machine.build.backend == "compiled":
        findings.append(_isa(machine))
    findings += [_cuda(machine), _faiss(machine), *_extras(machine)]
    return findings


def diagnose_data(survey: Survey) -> list[Finding]:
    """Return the findings about a set of images; `is_complete` if training uses all of it."""
    usable = [count for count in survey.counts.values() if count]
    single = usable.count(1)
    memory = f"{survey.memory / 2**20:,.1f} MiB in memory" if survey.memory else "none in memory"
    findings = [
        Finding("identities", "ok", f"{len(usable)}, of which {single} have one image"),
        Finding("images", "ok", f"{sum(usable)} usable, {memory}"),
    ]
    reasons = [f"{name} ({reason})" for name, reason in survey.unreadable.items()]
    lost = [
        ("unreadable images", reasons, len(reasons), "fix or delete them"),
        ("dead links", survey.dead_links, len(survey.dead_links), "restore their targets"),
        ("empty identities", survey.empty, len(survey.empty), "add images or delete the folders"),
    ]
    lost += [(*part, "") for part in survey.listing.left_out()]
    for what, names, count, remedy in lost:
        if names:
            findings.append(Finding(what, "warning", f"{count}: {first_names(names)}", remedy))
    findings += _notes(survey)
    unused = GroupState(usable).unused_states if usable else ""
    if unused:  # all images are used all the same
        findings.append(Finding("FairLoss", "ok", unused, "set head.options.count_cuts"))
    if survey.refusal:
        findings.append(Finding("training", "missing", f"would stop: {survey.refusal}"))
    return findings


def is_complete(findings: list[Finding]) -> bool:
    """Return True if nothing is to be fixed."""
    return all(finding.status in ("ok", "note") for finding in findings)


def _notes(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about images that training uses, but that may be a mistake."""
    sizes = [f"{count} of {h} x {w}" for (h, w), count in survey.other_sizes.most_common()]
    for what, names, count in (
        ("label gaps", survey.label_gaps, len(survey.label_gaps)),
        ("images resized", sizes, survey.other_sizes.total()),
        ("same image twice", *_same(survey.duplicates)),
        ("same image in several identities", *_same(survey.shared)),
    ):
        if names:
            yield Finding(what, "note", f"{count}: {first_names(names)}")


def _same(groups: list[list[str]]) -> tuple[list[str], int]:
    """Return the groups of names as text, and the number of images in them."""
    return [" = ".join(group) for group in groups], sum(map(len, groups))


def render(findings: list[Finding]) -> str:
    """Return plain text: a line for each finding, followed by its remedy."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<7}  {finding.name:<{width}}  {finding.detail}")
        if finding.remedy:
            lines.append(f"{'':<7}  {'':<{width}}  -> {finding.remedy}")
    return "\n".join(lines)


def _torch(machine: Machine) -> Finding:
    running, built = machine.build.torch, machine.build.built_with_torch
    numbers = tuple(int(part) for part in re.findall(r"\d+", running)[:2])
    if numbers < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        return Finding(
            "torch",
            "missing",
            f"{running} is too old, {oldest} is needed",
            f'pip install "torch>={oldest}"',
        )
    other = "" if built in (running, "none") else f" (the ops were built with {built}, which fits)"
    return Finding("torch", "ok", running + other)


def _ops(machine: Machine) -> Finding:
    build = machine.build
    if build.backend == "compiled":
        return Finding("ops", "ok", f"compiled by {build.compiler}")
    first = ""
    if "FAIRLOSS_SKIP_EXT" in build.reason:
        first = "unset FAIRLOSS_SKIP_EXT, then "
    elif "compiler" in build.reason:
        first = "install a C++20 compiler (g++ 11 or clang 14, or newer) or set CXX to one, then "
    detail = f"plain torch runs in their place, several times slower: {build.reason}"
    return Finding("ops", "warning", detail, first + REINSTALL)


def _isa(machine: Machine) -> Finding:
    build = machine.build
    detail = f"{build.isa} (in this build: {', '.join(build.built_isas)})"
    if machine.isa_limit is not None and build.isa != build.built_isas[-1]:
        detail += f", and FAIRLOSS_ISA={machine.isa_limit} allows no more"
        return Finding("instruction set", "warning", detail, "unset FAIRLOSS_ISA")
    return Finding("instruction set", "ok", detail)


def _cuda(machine: Machine) -> Finding:
    toolkit, built = machine.toolkit, parse(machine.build.cuda_architectures)
    nvcc = f"nvcc {toolkit.release} in {toolkit.folder}" if toolkit else "no nvcc"
    kernels = f"kernels for compute capability {', '.join(map(str, built))}"
    if machine.torch_cuda is None:
        use = f"{kernels}, unused" if built else "not used"
        return Finding("CUDA", "ok", f"{use}: torch is built for CPU ({nvcc})")
    detail = f"torch is built for CUDA {machine.torch_cuda} ({nvcc})"
    lacking = {n: c for n, c in machine.gpus.items() if not covers(built, *c)}
    if built:
        detail = f"{kernels}; {detail}"
    else:
        detail += ", but fairloss without CUDA kernels: tensors on a GPU run plain torch"
    if built and not lacking:
        return Finding("CUDA", "ok", detail)
    for name, (major, minor) in lacking.items():
        old = ", too old for any" if (major, minor) < OLDEST else ""
        detail += f"; none for {name} ({major}.{minor}){old}"
    all_old = lacking and max(lacking.values()) < OLDEST
    return Finding("CUDA", "warning", detail, "" if all_old else _rebuild(machine))


def _rebuild(machine: Machine) -> str:
    """Return the command that builds kernels for all GPUs of this machine that can have them."""
    release = (machine.torch_cuda or "").split(".")[0]
    capabilities = sorted({c for c in machine.gpus.values() if c >= OLDEST})
    listed = ";".join(f"{major}.{minor}" for major, minor in capabilities)
    remedy = f"FORCE_CUDA=1 {REINSTALL}"
    if listed:
        remedy = f'TORCH_CUDA_ARCH_LIST="{listed}" {remedy}'
    if machine.toolkit is None or machine.toolkit.release.split(".")[0] != release:
        remedy = f"set CUDA_HOME to a CUDA {release} toolkit, then {remedy}"
    return remedy


def _faiss(machine: Machine) -> Finding:
    """Find faiss distributions: they all install the package `faiss`, over one another."""
    installed = sorted(d for d in machine.distributions if re.fullmatch(r"faiss(-[cg]pu.*)?", d))
    if not installed:
        detail = "not installed: no gallery search"
        return Finding("faiss", "missing", detail, 'pip install "fairloss-ext[gallery]"')
    named = ", ".join(f"{name} {machine.distributions[name]}" for name in installed)
    if len(installed) == 1:
        return Finding("faiss", "ok", named)
    keep = "faiss-gpu" if machine.torch_cuda else "faiss-cpu"
    return Finding(
        "faiss",
        "warning",
        f"{named} overwrite each other's files",
        f"pip uninstall -y {' '.join(installed)} && pip install {keep}",
    )


def _extras(machine: Machine) -> Iterator[Finding]:
    for extra, names in EXTRAS.items():
        missing = [name for name in names if name not in machine.distributions]
        if missing:
            remedy = f'pip install "fairloss-ext[{extra}]"'
            yield Finding(f"extra {extra}", "missing", f"without {', '.join(missing)}", remedy)
        else:
            versions = ", ".join(f"{name} {machine.distributions[name]}" for name in names)
            yield Finding(f"extra {extra}", "ok", versions)
