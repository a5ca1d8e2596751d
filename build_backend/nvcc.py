"""The decision whether setup.py builds the CUDA kernels, for which GPUs, and the calls of nvcc.

The kernels (csrc/cuda) include no torch headers and the CUDA runtime is linked statically, so this
works beside any torch, one without CUDA included.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from sources import ROOT, files, words

# Two modules that import nothing of their package, whose own import would load the ops.
sys.path.append(str(ROOT / "fairloss_ext"))
from _architectures import OLDEST
from _toolkit import find_toolkit


class Decision(NamedTuple):
    build: bool
    reason: str  # why not, for a reader
    fatal: bool = False  # the user demanded it


def decide(force: str, torch_cuda: str | None, release: str | None) -> Decision:
    """Decide whether to build CUDA kernels.

    Args:
        force: the variable FORCE_CUDA: "1" demands them, "0" forbids them.
        torch_cuda: the CUDA of torch, None for a torch for CPU.
        release: the toolkit's CUDA, None where there is no nvcc.
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


def architectures(requested: str | None, supported: Iterable[str]) -> list[str]:
    """Return the architectures to compile for, as in ["80", "90", "100+PTX"].

    GPUs that are too old for the kernels are left out, because container images list them for other
    packages. The result may be empty.

    Args:
        requested: the variable TORCH_CUDA_ARCH_LIST, None for those of sources.json.
        supported: the architectures of this nvcc.

    Raises:
        ValueError: the list is not in the form of "8.0;9.0+PTX", or nvcc lacks an entry.
    """
    supported, default = set(supported), words("cuda", "architectures")
    selected = []
    for name in default if requested is None else re.split(r"[;,\s]+", requested.strip()):
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", name)
        if match and (int(match[1]), int(match[2])) < OLDEST:
            continue
        number = "".join(match.groups("")[:3]) if match else ""
        if match and number in supported:
            selected.append(number + (match[4] or ""))
        elif requested is not None:  # the default may be ahead of this nvcc, or behind it
            allowed = " ".join(sorted(supported, key=lambda n: (len(n), n)))
            raise ValueError(
                f"TORCH_CUDA_ARCH_LIST: expected numbers as in {';'.join(default)!r} that nvcc "
                f"supports ({allowed}, without the dots), got {name!r} in {requested!r}"
            )
    if selected and requested is None and not selected[-1].endswith("+PTX"):
        selected[-1] += "+PTX"
    return selected


def supported_architectures(nvcc: str) -> list[str]:
    """Return ["75", "80", ..., "90", "90a", ...]; --list-gpu-code omits those with a letter."""
    usage = subprocess.run(
        [nvcc, "--help"], check=True, capture_output=True, encoding="utf-8", errors="replace"
    )
    return sorted(set(re.findall(r"'sm_(\w+)'", usage.stdout)))


def code_flags(architectures: Iterable[str]) -> list[str]:
    """Return the -gencode options for architectures such as "90" or "100+PTX"."""
    flags = []
    for name in architectures:
        number = name.removesuffix("+PTX")
        flags += ["-gencode", f"arch=compute_{number},code=sm_{number}"]
        if name != number:
            flags += ["-gencode", f"arch=compute_{number},code=compute_{number}"]
    return flags


def compile_kernels(folder: Path, flags: list[str]) -> list[str]:
    """Compile into `folder`, MAX_JOBS files at a time; objects newer than all of csrc are reused.

    Returns:
        The paths of the object files.
    """
    toolkit: Any = find_toolkit(os.environ.get("CUDA_HOME"))
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(p.stat().st_mtime for p in (ROOT / "csrc").rglob("*") if p.is_file())
    command = [f"{toolkit.folder}/bin/nvcc", *words("cuda", "flags"), *flags]
    command += [f"-I{include}" for include in words("cuda", "includes")]
    command += ["-Xcompiler", "-fPIC,-fvisibility=hidden", "-c"]
    if "CXX" in os.environ:
        command += ["-ccbin", compiler_of(os.environ["CXX"])]

    def compile_kernel(source: str) -> str:
        out = folder / f"{Path(source).stem}.o"
        note = out.with_suffix(".flags")
        unchanged = note.exists() and note.read_text(encoding="utf-8") == " ".join(command)
        if not (unchanged and out.exists() and out.stat().st_mtime > newest):
            print(" ".join([*command, source]))
            subprocess.run([*command, source, "-o", str(out)], check=True, cwd=ROOT)
            note.write_text(" ".join(command), encoding="utf-8")
        return str(out)

    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
        return list(pool.map(compile_kernel, files("cuda")))


def compiler_of(command: str) -> str:
    """Return the program in a CXX such as "ccache g++ -m64"."""
    return [word for word in command.split() if not word.startswith("-")][-1]


def link_flags(folder: str) -> list[str]:
    """Return the options that link the CUDA runtime statically.

    A machine without a GPU may have no runtime to load.
    """
    candidates = [f"{folder}/lib64", f"{folder}/targets/x86_64-linux/lib", f"{folder}/lib"]
    existing = [f"-L{f}" for f in candidates if Path(f, "libcudart_static.a").exists()]
    return [*existing[:1], "-lcudart_static", "-ldl", "-lrt", "-lpthread"]
