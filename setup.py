"""Builds the C++ ops against the torch that is installed (see build_backend/backend.py).

What is compiled, and with which flags, is listed in build_backend/sources.json.

Environment:
    FAIRLOSS_SKIP_EXT=1  build without C++; the plain-torch fallback runs
    FORCE_CUDA           1 builds the CUDA kernels even where torch is one for CPU, and fails where
                         it cannot; 0 leaves them out. By default: where torch is built for CUDA and
                         nvcc is there
    CUDA_HOME            the CUDA toolkit, by default the one of the nvcc on PATH
    TORCH_CUDA_ARCH_LIST by default "8.0;9.0;10.0+PTX"; no GPU is needed
    CXX                  the C++20 compiler
    MAX_JOBS             parallel compilations
    DEBUG=1              -O0 -g and assertions
    SANITIZE             address, undefined, thread, or a list as in address,undefined: finds memory
                         errors, undefined behavior or data races (see `make sanitize`, which builds
                         beside the ordinary build)
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "build_backend"))
import nvcc  # noqa: E402
from sources import files, words  # noqa: E402

COMPILER = os.environ.get("CXX", "c++")


def compiler_version() -> str | None:
    """Return the first line of `$CXX --version` if it compiles C++20, else None."""
    program = "#include <bit>\nint main() { return std::bit_cast<int>(0.0f); }\n"
    options = ["-std=c++20", "-x", "c++", "-S", "-o", os.devnull, "-"]
    run = {"check": True, "capture_output": True, "text": True}
    try:
        subprocess.run([*COMPILER.split(), *options], input=program, **run)
        version = subprocess.run([*COMPILER.split(), "--version"], **run)
    except (OSError, subprocess.CalledProcessError):
        return None
    return version.stdout.splitlines()[0]


def find_obstacle() -> str | None:
    """Return why the ops cannot be built here, or None."""
    if os.environ.get("FAIRLOSS_SKIP_EXT") == "1":
        return "built with FAIRLOSS_SKIP_EXT=1"
    if sys.platform == "win32":
        return "the ops are not built on Windows yet"
    if importlib.util.find_spec("torch") is None:
        return "torch was not installed at build time"
    if compiler_version() is None:
        return f"no C++20 compiler was found at build time (tried {COMPILER!r}; set CXX)"
    return None


def cuda_architectures() -> tuple[list[str], str]:
    """Return the architectures of the CUDA kernels, and the reason where there are none.

    The process ends where FORCE_CUDA=1 demands kernels that cannot be built.
    """
    import torch

    toolkit = nvcc.find_toolkit(os.environ.get("CUDA_HOME"))
    release = toolkit.release if toolkit else None
    force, requested = os.environ.get("FORCE_CUDA", ""), os.environ.get("TORCH_CUDA_ARCH_LIST")
    decision = nvcc.decide(force, torch.version.cuda, release)
    if decision.build:
        supported = nvcc.supported_architectures(f"{toolkit.folder}/bin/nvcc")
        try:
            selected = nvcc.architectures(requested or None, supported)
        except ValueError as error:
            sys.exit(f"fairloss: {error}.")
        if selected:
            return selected, ""
        source = f"TORCH_CUDA_ARCH_LIST={requested}" if requested else "nvcc"
        decision = nvcc.Decision(False, f"{source} has no GPU of 8.0 or newer", force == "1")
    if decision.fatal:
        sys.exit(f"fairloss: FORCE_CUDA=1, but {decision.reason}.")
    return [], decision.reason


class Build(build):
    """Runs build_ext even where there is nothing to compile: it records the reason."""

    sub_commands = [  # noqa: RUF012
        (name, None if name == "build_ext" else needed) for name, needed in build.sub_commands
    ]


class BuildOps(build_ext):
    """Builds with ninja through torch, and records what was built."""

    def run(self) -> None:
        record: dict[str, object] = {"version": 1, "cuda_architectures": CUDA}
        folder = (ROOT if self.inplace else Path(self.build_lib)) / "fairloss_ext"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "_build.json"
        if OBSTACLE is None:
            import torch

            record |= {"torch": torch.__version__, "compiler": compiler_version()}
            record["cuda_reason"] = NO_CUDA
            print(f"fairloss: CUDA kernels: {' '.join(CUDA) or NO_CUDA}", file=sys.stderr)
            if path.exists():  # a changed FORCE_CUDA changes no source
                self.force |= (
                    json.loads(path.read_text(encoding="utf-8")).get("cuda_architectures") != CUDA
                )
            super().run()
        else:
            record["reason"] = OBSTACLE
            print(f"fairloss: {OBSTACLE}; the plain-torch fallback will run.", file=sys.stderr)
            for library in [*folder.glob("_C*.so"), *folder.glob("_host*.so")]:
                library.unlink()  # of an earlier build: it would be loaded
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")

    def build_extension(self, extension: Extension) -> None:
        if CUDA and extension.name == "fairloss_ext._C":
            folder = Path(self.build_temp).absolute() / "csrc/cuda"
            extension.extra_objects = nvcc.compile_kernels(folder, nvcc.code_flags(CUDA))
        super().build_extension(extension)


def sanitizer() -> list[str]:
    """Return the option for compiler and linker that SANITIZE asks for."""
    names = os.environ.get("SANITIZE", "")
    if set(filter(None, names.split(","))) - {"address", "undefined", "thread"}:
        sys.exit(f"fairloss: SANITIZE: expected address, undefined or thread, got {names}.")
    return [f"-fsanitize={names}"] if names else []


def extensions() -> list[Extension]:
    from pybind11 import get_include
    from torch.utils.cpp_extension import CppExtension

    link = sanitizer()
    flags = words("cpp", "flags") + link + (words("cpp", "sanitized") if link else [])
    if os.environ.get("DEBUG") == "1":
        flags += words("cpp", "debug")
    elif not link:
        flags += words("cpp", "release")
    if sys.platform == "linux":
        # No symbol of a static library is exported: a compiler whose libstdc++ is static would mix
        # its streams and locales with those of torch's libstdc++, and crash.
        link.append("-Wl,--exclude-libs,ALL")
    runtime = nvcc.link_flags(nvcc.find_toolkit(os.environ.get("CUDA_HOME")).folder) if CUDA else []
    macros = [tuple(macro.split("=")) for macro in words("ops", "macros")]
    headers = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.*h"))
    ops = CppExtension(
        "fairloss_ext._C",
        files("cpu") + files("ops"),
        include_dirs=[str(ROOT / folder) for folder in words("cpp", "includes")],
        define_macros=[*macros, ("FAIRLOSS_CUDA", str(int(bool(CUDA))))],
        extra_compile_args=flags,
        extra_link_args=link + runtime,
        depends=[*headers, *files("cuda"), "build_backend/sources.json"],
        py_limited_api=True,
    )
    host = Extension(
        "fairloss_ext._host",
        files("host"),
        include_dirs=[get_include()],
        extra_compile_args=flags,
        extra_link_args=link,
        depends=[*headers, "build_backend/sources.json"],
        language="c++",
    )
    return [ops, host]


def build_command() -> type[build_ext]:
    if OBSTACLE is not None:
        return BuildOps
    from torch.utils.cpp_extension import BuildExtension

    return type("BuildOpsWithTorch", (BuildOps, BuildExtension), {})


OBSTACLE = find_obstacle()
CUDA, NO_CUDA = cuda_architectures() if OBSTACLE is None else ([], "")
setup(
    packages=find_packages(include=["fairloss_ext*"]) + find_packages("python"),
    package_dir={"fairloss_ext": "fairloss_ext", "fairloss": "python/fairloss"},
    package_data={
        "fairloss_ext": ["py.typed"],
        "fairloss": ["py.typed", "**/*.json", "**/*.j2", "**/*.css"],
    },
    ext_modules=extensions() if OBSTACLE is None else [],
    cmdclass={"build": Build, "build_ext": build_command()},
)
