"""Builds the C++ ops against the torch that is installed (see build_backend/backend.py).

Environment:
    FAIRLOSS_SKIP_EXT=1  build without C++; the plain-torch fallback runs
    FORCE_CUDA           1 builds the CUDA kernels even where torch is one for CPU, and fails where
                         it cannot; 0 leaves them out. By itself: where torch is built for CUDA and
                         nvcc is there
    CUDA_HOME            the CUDA toolkit, else the one behind the nvcc on PATH
    TORCH_CUDA_ARCH_LIST as in "8.0;9.0;10.0+PTX", which it is by itself; no GPU is needed
    CXX                  the C++20 compiler
    MAX_JOBS             parallel compilations
    DEBUG=1              -O0 -g and assertions
    SANITIZE             address, undefined, thread, or a list as in address,undefined: finds memory
                         errors, undefined behaviour or races (see `make sanitize`, which builds
                         beside the ordinary build)
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "build_backend"))
import nvcc  # noqa: E402

PACKAGES = {"fairloss_ext": "fairloss_ext", "fairloss": "python/fairloss"}


def sources(*folders: str) -> list[str]:
    """Every .cpp of the folders: CMakeLists.txt globs the same."""
    return sorted(str(p.relative_to(ROOT)) for f in folders for p in (ROOT / f).glob("*.cpp"))


def packages() -> list[str]:
    found = []
    for name, folder in PACKAGES.items():
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(ROOT / folder).parts
            found.append(".".join([name, *parts]))
    return found


def compiler_version(compiler: str) -> str | None:
    """First line of `compiler --version` if it compiles C++20, else None."""
    program = "#include <bit>\nint main() { return std::bit_cast<int>(0.0f); }\n"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text(program)
        command = [*compiler.split(), "-std=c++20", "-c", str(source), "-o", f"{folder}/probe.o"]
        try:
            subprocess.run(command, check=True, capture_output=True)
            version = subprocess.run(
                [*compiler.split(), "--version"], check=True, capture_output=True, text=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
    return version.stdout.splitlines()[0]


def why_not_compiled() -> str | None:
    """Why the ops cannot be built here, or None. What a user demanded and cannot have is fatal."""
    if os.environ.get("FAIRLOSS_SKIP_EXT") == "1":
        return "built with FAIRLOSS_SKIP_EXT=1"
    if sys.platform == "win32":
        return "the ops are not built on Windows yet"
    if importlib.util.find_spec("torch") is None:
        return "torch was not installed at build time"
    compiler = os.environ.get("CXX", "c++")
    if compiler_version(compiler) is None:
        return f"no C++20 compiler was found at build time (tried {compiler!r}; set CXX)"
    return None


def cuda_architectures() -> tuple[list[str], str]:
    """What to build CUDA kernels for, and why that is nothing."""
    import torch

    toolkit = nvcc.find_toolkit(os.environ.get("CUDA_HOME"))
    release = toolkit.release if toolkit else None
    force, wanted = os.environ.get("FORCE_CUDA", ""), os.environ.get("TORCH_CUDA_ARCH_LIST")
    decision = nvcc.decide(force, torch.version.cuda, release)
    if decision.build:
        known = nvcc.known_architectures(f"{toolkit.folder}/bin/nvcc")
        try:
            found = nvcc.architectures(wanted, known)
        except ValueError as error:
            sys.exit(f"fairloss: {error}.")
        if found:
            return found, ""
        who = f"TORCH_CUDA_ARCH_LIST={wanted}" if wanted else "nvcc"
        decision = nvcc.Decision(False, f"{who} has no card of 8.0 or newer", force == "1")
    if decision.fatal:
        sys.exit(f"fairloss: FORCE_CUDA=1, but {decision.reason}.")
    return [], decision.reason


class Build(build):
    """Runs build_ext even where there is nothing to compile: it writes down why."""

    sub_commands = [  # noqa: RUF012
        (name, None if name == "build_ext" else wanted) for name, wanted in build.sub_commands
    ]


class BuildOps(build_ext):
    """Builds with ninja through torch, and writes down what was built."""

    def run(self) -> None:
        record: dict[str, object] = {"version": 1, "cuda_architectures": CUDA}
        folder = (ROOT if self.inplace else Path(self.build_lib)) / "fairloss_ext"
        folder.mkdir(parents=True, exist_ok=True)
        if REASON is None:
            import torch

            compiler = os.environ.get("CXX", "c++")
            record |= {"torch": torch.__version__, "compiler": compiler_version(compiler)}
            record["cuda_reason"] = NO_CUDA
            print(f"fairloss: CUDA kernels: {' '.join(CUDA) or NO_CUDA}", file=sys.stderr)
            earlier = folder / "_build.json"
            if earlier.exists():  # sources alone would not tell of another FORCE_CUDA
                self.force |= json.loads(earlier.read_text()).get("cuda_architectures") != CUDA
            super().run()
        else:
            record["reason"] = REASON
            print(f"fairloss: {REASON}; the plain-torch fallback will run.", file=sys.stderr)
            for earlier in [*folder.glob("_C*.so"), *folder.glob("_host*.so")]:
                earlier.unlink()  # else it would be loaded
        (folder / "_build.json").write_text(json.dumps(record, indent=1))

    def build_extension(self, extension: Extension) -> None:
        if CUDA and extension.name == "fairloss_ext._C":
            folder = Path(self.build_temp).absolute() / "csrc/cuda"
            extension.extra_objects = nvcc.compile_kernels(folder, nvcc.code_flags(CUDA))
        super().build_extension(extension)


def sanitizer_flags() -> list[str]:
    """For the compiler and the linker; CMakeLists.txt has the same."""
    names = os.environ.get("SANITIZE", "")
    unknown = set(filter(None, names.split(","))) - {"address", "undefined", "thread"}
    if unknown:
        sys.exit(f"fairloss: SANITIZE={names}; allowed are address, undefined and thread.")
    if not names:
        return []
    # An undefined operation ends the program, as a bad access does. Python's own flags may hold
    # -fwrapv, which would define the overflow of integers.
    stop = ["-fno-sanitize-recover=undefined", "-fno-wrapv"]
    return [f"-fsanitize={names}", *stop, "-fno-omit-frame-pointer"]


def extensions() -> list[object]:
    from pybind11 import get_include
    from torch.utils.cpp_extension import CppExtension

    headers = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.*h"))
    sanitizers = sanitizer_flags()
    flags = ["-std=c++20", "-fvisibility=hidden", "-Wall", "-ffp-contract=fast", *sanitizers]
    if os.environ.get("DEBUG") == "1":
        flags += ["-O0", "-g", "-UNDEBUG"]
    elif sanitizers:
        flags += ["-O1", "-g", "-UNDEBUG"]
    else:
        flags += ["-O3", "-g0", "-DNDEBUG"]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("-Wno-psabi")  # vectors pass between inlined functions of one file only
    # 2.11 is the oldest torch whose stable ABI has all that csrc/ops uses.
    macros = [
        ("TORCH_TARGET_VERSION", "0x020b000000000000"),
        ("FAIRLOSS_CUDA", str(int(bool(CUDA)))),
    ]
    host_link = list(sanitizers)
    if sys.platform == "linux":
        # Of a library linked statically nothing is shared: a compiler whose libstdc++ is static
        # would mix its streams and locales with those of torch's libstdc++, and crash.
        host_link.append("-Wl,--exclude-libs,ALL")
    link = list(host_link)
    if CUDA:
        link += nvcc.link_flags(nvcc.find_toolkit(os.environ.get("CUDA_HOME")).folder)
    ops = CppExtension(
        "fairloss_ext._C",
        sources("csrc/cpu", "csrc/ops"),
        include_dirs=[str(ROOT / "csrc/include")],
        define_macros=macros,
        extra_compile_args=flags,
        extra_link_args=link,
        depends=[*headers, *nvcc.kernels()],
        py_limited_api=True,
    )
    host = Extension(
        "fairloss_ext._host",
        ["csrc/host/host.cpp", "csrc/cpu/isa.cpp"],
        include_dirs=[get_include()],
        depends=headers,
        extra_compile_args=flags,
        extra_link_args=host_link,
        language="c++",
    )
    return [ops, host]


REASON = why_not_compiled()
CUDA, NO_CUDA = cuda_architectures() if REASON is None else ([], "")


def command() -> type[build_ext]:
    if REASON is not None:
        return BuildOps
    from torch.utils.cpp_extension import BuildExtension

    return type("BuildOpsWithTorch", (BuildOps, BuildExtension), {})


setup(
    packages=packages(),
    package_dir={name: folder for name, folder in PACKAGES.items()},
    package_data={
        "fairloss_ext": ["py.typed"],
        "fairloss": ["py.typed", "**/*.json", "**/*.j2", "**/*.css"],
    },
    ext_modules=extensions() if REASON is None else [],
    cmdclass={"build": Build, "build_ext": command()},
)
