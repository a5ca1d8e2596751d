"""Resources that the kernels use on each architecture, and what must not be in their machine code.

A spilled register, a serialized multiplication of tensor cores and a broken promise of accesses.py
are errors. Without nvdisasm accesses are not checked.

python tests/host_run/resources.py           rewrites the tables in docs/kernels.md
python tests/host_run/resources.py --check   fails as well where a table has changed
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
import work
from accesses import (
    Accesses,
    broken_promises,
    disassembled,
    find_disassembler,
    kernel_name,
    unused_promises,
)
from occupancy import occupancy

ARCHITECTURES = tuple(re.sub(r"\D", "", name) for name in build.words("cuda", "architectures"))
PAGE = build.ROOT / "docs/kernels.md"


class Compiled(NamedTuple):
    """A source for one architecture: ptxas's report, and the accesses of its kernels."""

    architecture: str
    report: str
    accesses: list[Accesses]  # none without nvdisasm


class Resources(NamedTuple):
    kernel: str
    architecture: str
    registers: int
    shared: int
    stack: int
    spilled: int


def compile_for(source: Path, architecture: str, folder: Path) -> Compiled:
    """Compile a source. A kernel includes only headers of this project and of CUDA."""
    tools = f"{build.cuda_folder()}/bin"
    out = folder / f"{source.stem}-{architecture}"
    includes = [f"-I{build.ROOT / folder}" for folder in build.words("cuda", "includes")]
    to_ptx = [f"{tools}/nvcc", *build.words("cuda", "flags"), *includes, "-ptx"]
    subprocess.run(
        [*to_ptx, f"-arch=compute_{architecture}", str(source), "-o", f"{out}.ptx"], check=True
    )
    to_code = [f"{tools}/ptxas", f"-arch=sm_{architecture}", "-v", f"{out}.ptx"]
    result = subprocess.run(
        [*to_code, "-o", f"{out}.cubin"], check=True, capture_output=True, encoding="utf-8"
    )
    tool = find_disassembler(build.cuda_folder())
    accesses = disassembled(tool, Path(f"{out}.cubin")) if tool else []
    return Compiled(architecture, result.stderr, accesses)


def parse(report: str) -> list[Resources]:
    resources = []
    for part in report.split("Compiling entry function ")[1:]:
        signature, architecture = re.findall(r"'([^']*)'", part)[:2]
        shared = re.search(r"(\d+) bytes smem", part)
        stack, *spills = map(int, re.findall(r"(\d+) bytes (?:stack|spill)", part)[:3])
        registers = re.search(r"Used (\d+) registers", part)
        assert registers is not None
        resources.append(
            Resources(
                kernel_name(signature),
                architecture.removeprefix("sm_"),
                int(registers[1]),
                int(shared[1]) if shared else 0,
                stack,
                sum(spills),
            )
        )
    return resources


def table(compiled: list[Resources]) -> str:
    """Return one row per kernel: registers, shared memory, stack, occupancy by architecture."""
    columns = [f"sm_{a}" for a in ARCHITECTURES]
    lines = [f"| kernel | threads | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for kernel in sorted({r.kernel for r in compiled}):
        cells = {r.architecture: r for r in compiled if r.kernel == kernel}
        threads, dynamic = launch_of(kernel)
        row = [cell(cells[a], threads, dynamic) for a in ARCHITECTURES]
        lines.append(f"| `{kernel}` | {threads} | {' | '.join(row)} |")
    return "\n".join(lines)


def launch_of(kernel: str) -> tuple[int, int]:
    """Return threads and dynamic shared memory of a block: the largest that work.py lists."""
    name = kernel.split("<")[0]
    rows = [row for row in work.ROWS if row.kernel == name]
    if not rows:
        sys.exit(f"{kernel}: expected a row in tests/host_run/work.py, got none")
    return max((row.threads, row.dynamic_shared) for row in rows)


def cell(r: Resources, threads: int, dynamic: int) -> str:
    share = occupancy(r.architecture, r.registers, r.shared + dynamic, threads)
    return f"{r.registers} / {r.shared + dynamic} / {r.stack} / {share:.0%}"


def between(page: str, name: str, content: str) -> str:
    """Return the page with `content` between the markers of `name`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n{content}\n{end}{after}"


def compile_all(sources: list[Path]) -> list[Compiled]:
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        tasks = [(source, a, Path(name)) for source in sources for a in ARCHITECTURES]
        return list(pool.map(lambda task: compile_for(*task), tasks))


def errors(compiled: list[Compiled]) -> list[str]:
    spills = [
        f"{r.kernel} spills {r.spilled} bytes of registers on sm_{r.architecture}"
        for c in compiled
        for r in parse(c.report)
        if r.spilled
    ]
    # Of wgmma instructions (C7510 and others).
    serialized = [
        line for c in compiled for line in c.report.splitlines() if re.search(r"\(C75\d\d\)", line)
    ]
    broken = [line for c in compiled for line in broken_promises(c.architecture, c.accesses)]
    return [*spills, *serialized, *broken]


def main(arguments: list[str]) -> int:
    compiled = compile_all(build.paths("cuda"))
    resources = [r for c in compiled for r in parse(c.report)]
    failures = errors(compiled)
    page = PAGE.read_text(encoding="utf-8")
    updated = between(page, "resources", table(resources))
    updated = between(updated, "work", work.table())
    stale = updated != page
    if stale:
        PAGE.write_text(updated, encoding="utf-8")
        print(f"{PAGE.relative_to(build.ROOT)}: a table has changed")
    if find_disassembler(build.cuda_folder()):
        failures += unused_promises([a for c in compiled for a in c.accesses])
    else:
        print("Loads and stores are not checked: no nvdisasm (pip install nvidia-cuda-nvdisasm).")
    print(*failures, f"{len(resources)} compiled kernels, {len(failures)} errors", sep="\n")
    return 1 if failures or (stale and "--check" in arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
