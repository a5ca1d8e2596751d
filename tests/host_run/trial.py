"""Whether the tests notice a change of a kernel: compiles it, links it and runs them."""

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
ROOMS = ("host_run", "ext")  # the short tests first
LONGEST = 120  # seconds of processor time of one run of the tests: a mutant may never end
PASSED, FAILED, ENDED = 0, 1, -24  # pytest's first two codes, and SIGXCPU
# A sanitizer that stops the process ends it with 1 as well.
REASON = r"(?:^FAILED [^:\n]+::|AddressSanitizer: |runtime error: )(.{1,70})"


class Laboratory:
    """A copy of csrc/cuda with one file replaced, and servers that run tests on it.

    For one thread; several can work side by side.
    """

    def __init__(self) -> None:
        self.servers: dict[str, subprocess.Popen[str]] = {}  # by variant

    def noticed_by(
        self,
        file: str,
        text: str,
        variant: str,
        rooms: Sequence[str] = ROOMS,
        schedules: Sequence[str] = SCHEDULES,
    ) -> str | None:
        """The tests that noticed that csrc/cuda/`file` holds `text`, or None."""
        with tempfile.TemporaryDirectory(prefix="mutant-") as name:
            folder = Path(name)
            shutil.copytree(CUDA, folder / "csrc/cuda")
            (folder / "csrc/cuda" / file).write_text(text)
            build.copy_package(folder / "fairloss_ext")
            for stem in users(file):
                if not built(folder, stem, variant):
                    return "compilation"
                for tests, schedule in runs(stem, variant, rooms, schedules):
                    status = self.run(folder, variant, schedule, tests)
                    if status != PASSED:
                        return result(status, f"{schedule}, {tests}", folder)
        return None

    def run(self, folder: Path, variant: str, schedule: str, tests: str) -> int:
        if variant not in self.servers:
            self.servers[variant] = start_server(variant)
        server = self.servers[variant]
        assert server.stdin is not None
        assert server.stdout is not None
        environment = {"HOST_RUN_SCHEDULE": schedule}
        marks = "not slow and not large" if variant == "memory" else "not slow"
        chosen = [tests, "-m", marks]
        request = {"folder": str(folder), "environment": environment, "tests": chosen}
        server.stdin.write(json.dumps(request | {"seconds": LONGEST}) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    def close(self) -> None:
        for server in self.servers.values():
            assert server.stdin is not None
            server.stdin.close()
            server.wait()


@contextmanager
def laboratory() -> Iterator[Laboratory]:
    opened = Laboratory()
    try:
        yield opened
    finally:
        opened.close()


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
    """The stems of the kernels that a file goes into."""
    if file.endswith(".cu"):
        return [file.removesuffix(".cu")]
    including = [p for p in CUDA.iterdir() if f'#include "{file}"' in p.read_text()]
    return sorted({stem for p in including for stem in users(p.name)})


def runs(
    stem: str, variant: str, rooms: Sequence[str], schedules: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Tests and schedules; under a sanitizer the short tests are enough."""
    for room in rooms[: 1 if variant == "memory" else None]:
        for schedule in schedules:
            if tests := tests_of(stem, room):
                yield tests, schedule


def tests_of(stem: str, room: str) -> str | None:
    """Of `x_y`: test_x_y.py, or where there is none test_x.py."""
    while stem:
        path = f"tests/{room}/test_{stem}.py"
        if (build.ROOT / path).exists():
            return path
        stem = stem.rpartition("_")[0]
    return None


def result(status: int, where: str, folder: Path) -> str:
    """Words for an exit status that says that a test noticed; any other one is an error here."""
    output = (folder / "output.txt").read_text(errors="replace")
    if status == ENDED:
        return f"no end: {where}"
    if status < 0:
        return f"{signal.Signals(-status).name}: {where}"
    if status == FAILED and (reason := re.search(REASON, output, re.M)):
        return f"{where}: {reason[1]}"
    raise RuntimeError(f"{where} did not run, pytest says {status}:\n{output}")


def built(folder: Path, stem: str, variant: str) -> bool:
    """Whether the kernel compiles; then it replaces its own in fairloss_ext of `folder`."""
    source = folder / "csrc/cuda" / f"{stem}.cu"
    if subprocess.run(compile_command(source, variant), capture_output=True).returncode:
        return False
    objects = [build.OUT / variant / f"{p.stem}.o" for p in build.kernels() if p.stem != stem]
    library = folder / "fairloss_ext" / "_C.abi3.so"
    command = link_command([source.with_suffix(".o"), *objects], library, variant)
    subprocess.run(command, check=True, capture_output=True)
    return True


def compile_command(source: Path, variant: str) -> list[str]:
    includes = [f"-I{build.ROOT}/csrc/include", f"-I{build.ROOT}/tests/host_run"]
    flags = [*build.kernel_flags(variant).split(), "-w", "-fPIC", "-fvisibility=hidden"]
    cuda = ["-isystem", f"{build.cuda_folder()}/include"]
    out = ["-c", str(source), "-o", str(source.with_suffix(".o"))]
    return [build.compiler(), *flags, *includes, *cuda, *out]


def link_command(objects: list[Path], library: Path, variant: str) -> list[str]:
    runtime = [build.OUT / variant / f"{p.stem}.o" for p in build.runtime()]
    common = [*(build.OUT / "cpu").glob("*.o"), *(build.OUT / "ops").glob("*.o")]
    inputs = [str(path) for path in [*common, *runtime, *objects]]
    sanitizer = build.VARIANTS[variant][0].split()
    out = ["-o", str(library), *build.link_flags()]
    return [build.compiler(), "-shared", *sanitizer, *inputs, *out]
