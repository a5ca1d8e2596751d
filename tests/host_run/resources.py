"""What the kernels take of a GPU: nvcc compiles them for each, a spilled register is an error.

python tests/host_run/resources.py        rewrites the table in docs/kernels.md
python tests/host_run/resources.py --check   and fails where the table was another
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import build

ARCHITECTURES = ("80", "90", "100")
PAGE = build.ROOT / "docs/kernels.md"
BEGIN, END = "<!-- resources: begin -->", "<!-- resources: end -->"


class Resources(NamedTuple):
    kernel: str
    architecture: str
    registers: int
    shared: int
    stack: int
    spilled: int


def compile_for(source: Path, architecture: str, folder: Path) -> str:
    """ptxas's report. The project's own headers and CUDA's must be all that a kernel needs."""
    nvcc = f"{build.cuda_folder()}/bin/nvcc"
    common = [nvcc, "-std=c++17", "-O3", "-I", str(build.ROOT / "csrc/include"), str(source)]
    out = folder / f"{source.stem}-{architecture}"
    subprocess.run(
        [*common, "-ptx", f"-arch=compute_{architecture}", "-o", f"{out}.ptx"], check=True
    )
    result = subprocess.run(
        [*common, "-cubin", f"-arch=sm_{architecture}", "-Xptxas", "-v", "-o", f"{out}.cubin"],
        check=True,
        capture_output=True,
        text=True,
    )
    return result.stderr


def parse(report: str) -> list[Resources]:
    demangled = subprocess.run(
        ["c++filt"], input=report, check=True, capture_output=True, text=True
    ).stdout
    found = []
    for part in demangled.split("Compiling entry function ")[1:]:
        signature, architecture = re.findall(r"'([^']*)'", part)[:2]
        short = re.sub(r"\(.*", "", signature.removeprefix("void ").replace("fairloss::cuda::", ""))
        shared = re.search(r"(\d+) bytes smem", part)
        stack, *spills = map(int, re.findall(r"(\d+) bytes (?:stack|spill)", part)[:3])
        registers = re.search(r"Used (\d+) registers", part)
        assert registers is not None
        found.append(
            Resources(
                short,
                architecture.removeprefix("sm_"),
                int(registers[1]),
                int(shared[1]) if shared else 0,
                stack,
                sum(spills),
            )
        )
    return found


def table(found: list[Resources]) -> str:
    """A row a kernel; registers, static shared memory and stack in bytes, for each architecture."""
    columns = [f"sm_{a}" for a in ARCHITECTURES]
    lines = [f"| kernel | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for kernel in sorted({r.kernel for r in found}):
        cells = {r.architecture: r for r in found if r.kernel == kernel}
        row = [f"{c.registers} / {c.shared} / {c.stack}" for a in ARCHITECTURES for c in [cells[a]]]
        lines.append(f"| `{kernel}` | {' | '.join(row)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        work = [(s, a, Path(name)) for s in build.kernels() for a in ARCHITECTURES]
        reports = list(pool.map(lambda w: compile_for(*w), work))
    found = [resources for report in reports for resources in parse(report)]
    spilling = [r for r in found if r.spilled]
    for r in spilling:
        print(f"{r.kernel} spills {r.spilled} bytes of registers on sm_{r.architecture}")
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    updated = f"{before}{BEGIN}\n{table(found)}\n{END}{after}"
    stale = updated != page
    PAGE.write_text(updated)
    if stale:
        print(f"{PAGE.relative_to(build.ROOT)}: the table has changed")
    print(f"{len(found)} compiled kernels, {len(spilling)} spill registers")
    return 1 if spilling or (stale and "--check" in arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
