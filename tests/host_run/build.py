"""Builds the CUDA kernels for the host: a copy of fairloss_ext whose ops run csrc/cuda on fibers.

    python tests/host_run/build.py [plain] [memory] [races]

writes build/host_run/<variant>/fairloss_ext. With that folder first on PYTHONPATH, the ordinary
tests of the ops run the CUDA text on CPU tensors. `memory` is compiled with AddressSanitizer and
UndefinedBehaviorSanitizer, `races` with ThreadSanitizer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from torch.utils import cpp_extension

sys.path.append(str(Path(__file__).parents[2] / "build_backend"))
from nvcc import find_toolkit
from sources import ROOT, files, words

OUT = ROOT / "build" / "host_run"
HOST_RUN = ROOT / "tests" / "host_run"
MEMORY = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g"
VARIANTS = {  # options of the kernels, and the macro of the runtime
    "plain": ("", ""),
    "memory": (MEMORY, "-DHOST_RUN_ADDRESS"),
    "races": ("-fsanitize=thread -g", "-DHOST_RUN_THREAD"),
}

RULES = """\
ninja_required_version = 1.5
cxx = {cxx}
includes = {includes}
ops = {macros} -DFAIRLOSS_CUDA=1 -DFAIRLOSS_HOST_RUN {torch}
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


def paths(part: str) -> list[Path]:
    """Return the sources of a part of build_backend/sources.json."""
    return [ROOT / file for file in files(part)]


def runtime() -> list[Path]:
    """Return the sources of what executes the kernels."""
    return sorted(HOST_RUN.glob("*.cpp"))


def compiler() -> str:
    return os.environ.get("CXX", "g++")


def include_flags(kernel_folder: Path = ROOT / "csrc/cuda") -> list[str]:
    """Return the options that find the headers of kernels and runtime, and CUDA's."""
    folders = [*(ROOT / folder for folder in words("cuda", "includes")), kernel_folder, HOST_RUN]
    return [*(f"-I{folder}" for folder in folders), "-isystem", f"{cuda_folder()}/include"]


def link_flags() -> list[str]:
    folders = cpp_extension.library_paths()
    search = [flag for f in folders for flag in (f"-L{f}", f"-Wl,-rpath,{f}")]
    return [*search, "-ltorch", "-ltorch_cpu", "-lc10"]


def sanitizer_runtime() -> str:
    """Return the libraries for LD_PRELOAD, as Python is not compiled for a sanitizer."""
    names = ("libasan.so", "libstdc++.so")
    command = [[compiler(), f"-print-file-name={name}"] for name in names]
    return " ".join(subprocess.check_output(c, encoding="utf-8").strip() for c in command)


def ninja_file(variants: Sequence[str]) -> str:
    """Return build.ninja. Variants differ in kernels and runtime; the rest is compiled once."""
    rules = RULES.format(
        cxx=compiler(),
        includes=" ".join(include_flags()),
        macros=" ".join(f"-D{macro}" for macro in words("ops", "macros")),
        torch=" ".join(f"-isystem {path}" for path in cpp_extension.include_paths()),
        link=" ".join(link_flags()),
    )
    lines = [rules]

    def compile_file(source: Path, out: str, flags: str) -> str:
        lines.append(f"build {out}: compile {source}\n  flags = {flags}")
        return out

    cpp = " ".join(words("cpp", "flags"))
    common = [
        compile_file(source, f"{prefix}{source.stem}.o", f"{cpp} {flags}")
        for prefix, flags, sources in (
            ("cpu/", "-O2", paths("cpu")),
            ("ops/", "-O1 $ops", paths("ops")),
            ("ops/host_run_", "-O1 $ops", sorted(HOST_RUN.glob("ops/*.cpp"))),
        )
        for source in sources
    ]
    for variant in variants:
        sanitizer, define = VARIANTS[variant]
        objects = [
            compile_file(source, f"{variant}/{source.stem}.o", kernel_flags(variant))
            for source in paths("cuda")
        ]
        engine = [  # the runtime
            compile_file(source, f"{variant}/{source.stem}.o", f"-std=c++20 -O2 {define}")
            for source in runtime()
        ]
        faults = compile_file(HOST_RUN / "faults.cu", f"{variant}/faults.o", kernel_flags(variant))
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
    standard = next(flag for flag in words("cuda", "flags") if flag.startswith("-std="))
    return f"-x c++ {standard} -O1 -Wall -Wno-unknown-pragmas {sanitizer}"


def copy_package(folder: Path) -> None:
    """Link to the Python files in `folder`, where other compiled ops will stand."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "fairloss_ext").iterdir():
        link = folder / path.name
        if path.name.startswith(("_C", "__pycache__", "_build.json")) or link.is_symlink():
            continue
        link.symlink_to(path)
    (folder / "_build.json").write_text('{"version": 1, "host_run": true}', encoding="utf-8")


def build(variants: Sequence[str]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    text = ninja_file(list(VARIANTS))
    path = OUT / "build.ninja"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    jobs = ["-j", os.environ["MAX_JOBS"]] if "MAX_JOBS" in os.environ else []
    subprocess.run(["ninja", "-C", str(OUT), *jobs, *variants], check=True)
    for variant in variants:
        copy_package(OUT / variant / "fairloss_ext")


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["plain"]
    if unknown := set(arguments) - set(VARIANTS):
        sys.exit(f"variants: expected {', '.join(VARIANTS)}, got {', '.join(sorted(unknown))}")
    build(arguments)
