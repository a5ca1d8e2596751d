"""Builds the CUDA kernels for the host: a copy of fairloss_ext whose ops run csrc/cuda on fibers.

    python tests/host_run/build.py [plain] [memory] [races]

writes build/host_run/<variant>/fairloss_ext. With that folder first on PYTHONPATH, the ordinary
tests of the ops run the CUDA text on CPU tensors. `memory` is compiled with AddressSanitizer and
UndefinedBehaviorSanitizer, `races` with ThreadSanitizer.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from torch.utils import cpp_extension

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "host_run"
# Not through the package, which would load the ops.
find_toolkit = runpy.run_path(str(ROOT / "fairloss_ext/_toolkit.py"))["find_toolkit"]

MEMORY = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g"
VARIANTS = {  # flags of the kernels, and what tells the runtime of them
    "plain": ("", ""),
    "memory": (MEMORY, "-DHOST_RUN_ADDRESS"),
    "races": ("-fsanitize=thread -g", "-DHOST_RUN_THREAD"),
}

RULES = """\
ninja_required_version = 1.5
cxx = {cxx}
includes = -I{root}/csrc/include -I{root}/csrc/cuda -I{root}/tests/host_run -isystem {cuda}/include
ops = -DTORCH_TARGET_VERSION=0x020b000000000000 -DFAIRLOSS_CUDA=1 -DFAIRLOSS_HOST_RUN {torch}
rule compile
  command = $cxx -MMD -MF $out.d -fPIC -fvisibility=hidden $flags $includes -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = $cxx -shared $flags $in -o $out {link}
rule program
  command = $cxx $flags $in -o $out
"""


def cuda_folder() -> str:
    toolkit = find_toolkit(os.environ.get("CUDA_HOME"))
    if toolkit is None:
        sys.exit("No CUDA toolkit: put nvcc on PATH or set CUDA_HOME.")
    return toolkit.folder


def kernels() -> list[Path]:
    return sorted((ROOT / "csrc/cuda").glob("*.cu"))


def runtime() -> list[Path]:
    """What executes the kernels."""
    return sorted((ROOT / "tests/host_run").glob("*.cpp"))


def compiler() -> str:
    return os.environ.get("CXX", "g++")


def link_flags() -> list[str]:
    folders = cpp_extension.library_paths()
    where = [flag for f in folders for flag in (f"-L{f}", f"-Wl,-rpath,{f}")]
    return [*where, "-ltorch", "-ltorch_cpu", "-lc10"]


def sanitizer_runtime() -> str:
    """For LD_PRELOAD, as Python is not compiled for a sanitizer."""
    names = ("libasan.so", "libstdc++.so")
    command = [[compiler(), f"-print-file-name={name}"] for name in names]
    return " ".join(subprocess.check_output(c, text=True).strip() for c in command)


def ninja_file(variants: Sequence[str]) -> str:
    """Only kernels and their runtime differ between variants; the rest is compiled once."""
    torch = " ".join(f"-isystem {path}" for path in cpp_extension.include_paths())
    link = " ".join(link_flags())
    lines = [RULES.format(cxx=compiler(), root=ROOT, cuda=cuda_folder(), torch=torch, link=link)]

    def compile_file(source: Path, out: str, flags: str) -> str:
        lines.append(f"build {out}: compile {source}\n  flags = {flags}")
        return out

    common = []
    for folder, out, flags in (
        ("csrc/cpu", "cpu/", "-std=c++20 -O2 -Wno-psabi"),
        ("csrc/ops", "ops/", "-std=c++20 -O1 $ops"),
        ("tests/host_run/ops", "ops/host_run_", "-std=c++20 -O1 $ops"),
    ):
        for source in sorted((ROOT / folder).glob("*.cpp")):
            common.append(compile_file(source, f"{out}{source.stem}.o", flags))
    for variant in variants:
        sanitizer, define = VARIANTS[variant]
        objects = [
            compile_file(source, f"{variant}/{source.stem}.o", kernel_flags(variant))
            for source in kernels()
        ]
        engine = [
            compile_file(source, f"{variant}/{source.stem}.o", f"-std=c++20 -O2 {define}")
            for source in runtime()
        ]
        faults = compile_file(
            ROOT / "tests/host_run/faults.cu", f"{variant}/faults.o", kernel_flags(variant)
        )
        library = f"{variant}/fairloss_ext/_C.abi3.so"
        lines.append(
            f"build {library}: link {' '.join(common + objects + engine)}\n"
            f"  flags = {sanitizer}\n"
            f"build {variant}/faults: program {faults} {' '.join(engine)}\n  flags = {sanitizer}\n"
            f"build {variant}: phony {library} {variant}/faults"
        )
    return "\n".join([*lines, ""])


def kernel_flags(variant: str) -> str:
    sanitizer, _ = VARIANTS[variant]
    return f"-x c++ -std=c++17 -O1 -Wall -Wno-unknown-pragmas {sanitizer}"


def copy_package(folder: Path) -> None:
    """Links to the Python files; the compiled ops beside them will be others."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "fairloss_ext").iterdir():
        link = folder / path.name
        if path.name.startswith(("_C", "__pycache__", "_build.json")) or link.is_symlink():
            continue
        link.symlink_to(path)
    (folder / "_build.json").write_text('{"version": 1, "host_run": true}')


def build(variants: Sequence[str]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    text = ninja_file(list(VARIANTS))
    path = OUT / "build.ninja"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    jobs = ["-j", os.environ["MAX_JOBS"]] if "MAX_JOBS" in os.environ else []
    subprocess.run(["ninja", "-C", str(OUT), *jobs, *variants], check=True)
    for variant in variants:
        copy_package(OUT / variant / "fairloss_ext")


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["plain"]
    unknown = set(wanted) - set(VARIANTS)
    if unknown:
        sys.exit(f"variants are {', '.join(VARIANTS)}; got {', '.join(sorted(unknown))}")
    build(wanted)
