"""Whether setup.py builds the CUDA kernels, for which GPUs, and how nvcc is called.

The kernels (csrc/cuda) include no torch headers and the CUDA runtime is linked statically, so this
works beside any torch, one without CUDA included.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
# Not through the package, which would load the ops.
find_toolkit = runpy.run_path(str(ROOT / "fairloss_ext/_toolkit.py"))["find_toolkit"]
OLDEST = runpy.run_path(str(ROOT / "fairloss_ext/_architectures.py"))["OLDEST"]

# Ampere, Hopper and Blackwell data-centre cards; what lies between runs the older one's code, and
# what comes after compiles the PTX of the last when it first meets it.
ARCHITECTURES = "8.0;9.0;10.0+PTX"
FLAGS = ["-std=c++17", "-O3", "-lineinfo", "-Icsrc/include"]


class Decision(NamedTuple):
    build: bool
    reason: str  # why not, for a reader
    fatal: bool = False  # the user demanded it


def decide(force: str, torch_cuda: str | None, release: str | None) -> Decision:
    """Build CUDA kernels?

    Args:
        force: the variable FORCE_CUDA: "1" demands them, "0" forbids them.
        torch_cuda: the CUDA of torch, None for a torch for CPU.
        release: the toolkit's CUDA, None where no nvcc is found.
    """
    demanded = force == "1"
    if force == "0":
        return Decision(False, "built with FORCE_CUDA=0")
    if torch_cuda is None and not demanded:
        return Decision(False, "torch is built for CPU (FORCE_CUDA=1 builds CUDA kernels anyway)")
    if release is None:
        reason = "no nvcc was found: put it on PATH, or set CUDA_HOME to the toolkit"
        return Decision(False, reason, demanded)
    if torch_cuda is not None and torch_cuda.split(".")[0] != release.split(".")[0]:
        major = torch_cuda.split(".")[0]
        reason = (
            f"nvcc is of CUDA {release} but torch is built for CUDA {torch_cuda}: "
            f"set CUDA_HOME to a CUDA {major} toolkit"
        )
        return Decision(False, reason, demanded)
    return Decision(True, "")


def architectures(wanted: str | None, known: Iterable[str]) -> list[str]:
    """["80", "90", "100+PTX"] from TORCH_CUDA_ARCH_LIST, or from what this nvcc knows.

    Cards that are too old for the kernels are left out: images for many cards list them. So
    nothing may be left.

    Raises:
        ValueError: the list is not in the form of "8.0;9.0+PTX", or nvcc does not know an entry.
    """
    known = set(known)
    names = re.split(r"[;,\s]+", (wanted or ARCHITECTURES).strip())
    found = []
    for name in names:
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", name)
        if match and (int(match[1]), int(match[2])) < OLDEST:
            continue
        number = "".join(match.groups("")[:3]) if match else ""
        if not match or number not in known:
            if wanted is None:
                continue  # an nvcc older or younger than our default
            allowed = " ".join(sorted(known, key=lambda n: (len(n), n)))
            raise ValueError(
                f"TORCH_CUDA_ARCH_LIST: {name!r} in {wanted!r}: expected numbers as in "
                f"{ARCHITECTURES!r} that nvcc knows ({allowed}, without the dots)"
            )
        found.append(number + (match[4] or ""))
    if found and wanted is None and not found[-1].endswith("+PTX"):
        found[-1] += "+PTX"
    return found


def known_architectures(nvcc: str) -> list[str]:
    """["75", "80", ..., "90", "90a", ...]; --list-gpu-code leaves out those with a letter."""
    listed = subprocess.run([nvcc, "--help"], check=True, capture_output=True, text=True)
    return sorted(set(re.findall(r"'sm_(\w+)'", listed.stdout)))


def code_flags(architectures: Iterable[str]) -> list[str]:
    flags = []
    for name in architectures:
        number = name.removesuffix("+PTX")
        flags += ["-gencode", f"arch=compute_{number},code=sm_{number}"]
        if name != number:
            flags += ["-gencode", f"arch=compute_{number},code=compute_{number}"]
    return flags


def kernels() -> list[str]:
    """Every .cu: CMakeLists.txt globs the same."""
    return sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc/cuda").glob("*.cu"))


def compile_kernels(folder: Path, flags: list[str]) -> list[str]:
    """Object files in `folder`, MAX_JOBS at a time; those newer than all of csrc are kept."""
    toolkit: Any = find_toolkit(os.environ.get("CUDA_HOME"))
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(p.stat().st_mtime for p in (ROOT / "csrc").rglob("*") if p.is_file())
    command = [f"{toolkit.folder}/bin/nvcc", *FLAGS, *flags, "-Xcompiler", "-fPIC"]
    command += ["-Xcompiler", "-fvisibility=hidden", "-c"]
    if "CXX" in os.environ:
        command += ["-ccbin", compiler_of(os.environ["CXX"])]

    def compile_kernel(source: str) -> str:
        out = folder / f"{Path(source).stem}.o"
        note = out.with_suffix(".flags")
        unchanged = note.exists() and note.read_text() == " ".join(command)
        if not (unchanged and out.exists() and out.stat().st_mtime > newest):
            print(" ".join([*command, source]))
            subprocess.run([*command, source, "-o", str(out)], check=True, cwd=ROOT)
            note.write_text(" ".join(command))
        return str(out)

    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(compile_kernel, kernels()))


def compiler_of(command: str) -> str:
    """The program in a CXX such as "ccache g++ -m64"."""
    return [word for word in command.split() if not word.startswith("-")][-1]


def link_flags(folder: str) -> list[str]:
    """The runtime goes into the shared object: a machine without a GPU has none to load."""
    candidates = [f"{folder}/lib64", f"{folder}/targets/x86_64-linux/lib", f"{folder}/lib"]
    where = [f for f in candidates if Path(f, "libcudart_static.a").exists()]
    return [*(f"-L{f}" for f in where[:1]), "-lcudart_static", "-ldl", "-lrt", "-lpthread"]
