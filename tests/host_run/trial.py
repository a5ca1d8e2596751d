"""One trial of a changed kernel: it is compiled and linked, and the tests run until one fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import build

CUDA = build.ROOT / "csrc/cuda"
SCHEDULES = ("forward", "greedy")
TEST_FOLDERS = ("host_run", "ext")  # the short tests first
TIME_LIMIT = 120  # seconds of CPU time of one run of the tests: a mutant may never end
PASSED, FAILED, ENDED = 0, 1, -24  # pytest's first two codes, and SIGXCPU
# A sanitizer that stops the process ends it with 1 as well.
REASON = r"(?:^FAILED [^:\n]+::|AddressSanitizer: |runtime error: )(.{1,70})"


class Trials:
    """Trials of changed kernels, with the servers that run the tests.

    Every thread needs an instance of its own.
    """

    def __init__(self) -> None:
        self.servers: dict[str, subprocess.Popen[str]] = {}  # by variant

    def failure(
        self,
        file: str,
        text: str,
        variant: str,
        folders: Sequence[str] = TEST_FOLDERS,
        schedules: Sequence[str] = SCHEDULES,
    ) -> str | None:
        """Return which test fails where csrc/cuda/`file` contains `text`, or None if none does."""
        with tempfile.TemporaryDirectory(prefix="mutant-") as name:
            folder = Path(name)
            shutil.copytree(CUDA, folder / "csrc/cuda")
            (folder / "csrc/cuda" / file).write_text(text, encoding="utf-8")
            build.copy_package(folder / "fairloss_ext")
            for stem in users(file):
                if not compile_and_link(folder, stem, variant):
                    return "compilation"
                for tests, schedule in runs(stem, variant, folders, schedules):
                    status = self.run(folder, variant, schedule, tests)
                    if status != PASSED:
                        return describe(status, f"{schedule}, {tests}", folder)
        return None

    def run(self, folder: Path, variant: str, schedule: str, tests: str) -> int:
        if variant not in self.servers:
            self.servers[variant] = start_server(variant)
        server = self.servers[variant]
        assert server.stdin is not None
        assert server.stdout is not None
        environment = {"HOST_RUN_SCHEDULE": schedule}
        marks = "not slow and not large" if variant == "memory" else "not slow"
        request = {"folder": str(folder), "environment": environment, "tests": [tests, "-m", marks]}
        server.stdin.write(json.dumps(request | {"seconds": TIME_LIMIT}) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    def close(self) -> None:
        for server in self.servers.values():
            assert server.stdin is not None
            server.stdin.close()
            server.wait()


@contextmanager
def open_trials() -> Iterator[Trials]:
    trials = Trials()
    try:
        yield trials
    finally:
        trials.close()


def start_server(variant: str) -> subprocess.Popen[str]:
    variables = {"OMP_NUM_THREADS": "1"}
    if variant == "memory":
        variables |= {"ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": build.sanitizer_runtime()}
    options: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, str(build.ROOT / "tests/host_run/pytest_server.py")],
        cwd=build.ROOT,
        env=os.environ | variables,
        **options,
    )


def users(file: str) -> list[str]:
    """Return the stems of the kernels that include a file, or its own."""
    if file.endswith(".cu"):
        return [file.removesuffix(".cu")]
    including = [p for p in CUDA.iterdir() if f'#include "{file}"' in p.read_text(encoding="utf-8")]
    return sorted({stem for p in including for stem in users(p.name)})


def runs(
    stem: str, variant: str, folders: Sequence[str], schedules: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Generate tests and schedules; under a sanitizer the short tests are enough."""
    for folder in folders[: 1 if variant == "memory" else None]:
        for schedule in schedules:
            if tests := tests_of(stem, folder):
                yield tests, schedule


def tests_of(stem: str, folder: str) -> str | None:
    """Return the tests of `x_y`: test_x_y.py, or where there is none test_x.py."""
    while stem:
        path = f"tests/{folder}/test_{stem}.py"
        if (build.ROOT / path).exists():
            return path
        stem = stem.rpartition("_")[0]
    return None


def describe(status: int, where: str, folder: Path) -> str:
    """Return the reason of an exit status that means a failed test.

    Raises:
        RuntimeError: pytest ended with any other status.
    """
    output = (folder / "output.txt").read_text(errors="replace", encoding="utf-8")
    if status == ENDED:
        return f"time limit: {where}"
    if status < 0:
        return f"{signal.Signals(-status).name}: {where}"
    if status == FAILED and (reason := re.search(REASON, output, re.M)):
        return f"{where}: {reason[1]}"
    raise RuntimeError(f"{where} did not run, pytest says {status}:\n{output}")


def compile_and_link(folder: Path, stem: str, variant: str) -> bool:
    """Compile the kernel into fairloss_ext of `folder`; False where it does not compile."""
    source = folder / "csrc/cuda" / f"{stem}.cu"
    if subprocess.run(compile_command(source, variant), capture_output=True).returncode:
        return False
    objects = [build.OUT / variant / f"{p.stem}.o" for p in build.paths("cuda") if p.stem != stem]
    library = folder / "fairloss_ext" / "_C.abi3.so"
    command = link_command([source.with_suffix(".o"), *objects], library, variant)
    subprocess.run(command, check=True, capture_output=True)
    return True


def compile_command(source: Path, variant: str) -> list[str]:
    flags = [*build.kernel_flags(variant).split(), "-w", "-fPIC", "-fvisibility=hidden"]
    out = ["-c", str(source), "-o", str(source.with_suffix(".o"))]
    return [build.compiler(), *flags, *build.include_flags(source.parent), *out]


def link_command(objects: list[Path], library: Path, variant: str) -> list[str]:
    runtime = [build.OUT / variant / f"{p.stem}.o" for p in build.runtime()]
    common = [*(build.OUT / "cpu").glob("*.o"), *(build.OUT / "ops").glob("*.o")]
    inputs = [str(path) for path in [*common, *runtime, *objects]]
    sanitizer = build.VARIANTS[variant][0].split()
    out = ["-o", str(library), *build.link_flags()]
    return [build.compiler(), "-shared", *sanitizer, *inputs, *out]
