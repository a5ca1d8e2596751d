"""What the kernels take of a GPU: nvcc compiles them for each, a spilled register is an error.

python tests/host_run/resources.py           rewrites the tables in docs/kernels.md
python tests/host_run/resources.py --check   and fails where a table was another
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
from occupancy import occupancy

ARCHITECTURES = ("80", "90", "100")
PAGE = build.ROOT / "docs/kernels.md"
LANGUAGE = ("-std=c++17", "-O3")


class Resources(NamedTuple):
    kernel: str
    architecture: str
    registers: int
    shared: int
    stack: int
    spilled: int


def compile_for(source: Path, architecture: str, folder: Path) -> str:
    """ptxas's report. The project's own headers and CUDA's must be all that a kernel needs."""
    tools = f"{build.cuda_folder()}/bin"
    out = folder / f"{source.stem}-{architecture}"
    to_ptx = [f"{tools}/nvcc", *LANGUAGE, "-I", str(build.ROOT / "csrc/include"), "-ptx"]
    subprocess.run(
        [*to_ptx, f"-arch=compute_{architecture}", str(source), "-o", f"{out}.ptx"], check=True
    )
    to_code = [f"{tools}/ptxas", f"-arch=sm_{architecture}", "-v", f"{out}.ptx"]
    result = subprocess.run(
        [*to_code, "-o", f"{out}.cubin"], check=True, capture_output=True, text=True
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
    """A row a kernel: registers, static shared memory, stack and occupancy on each architecture."""
    columns = [f"sm_{a}" for a in ARCHITECTURES]
    lines = [f"| kernel | threads | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for kernel in sorted({r.kernel for r in found}):
        cells = {r.architecture: r for r in found if r.kernel == kernel}
        threads, dynamic = launch_of(kernel)
        row = [cell(cells[a], threads, dynamic) for a in ARCHITECTURES]
        lines.append(f"| `{kernel}` | {threads} | {' | '.join(row)} |")
    return "\n".join(lines)


def launch_of(kernel: str) -> tuple[int, int]:
    """Threads and dynamic shared memory of a block: the largest that work.py has, or the usual."""
    name = kernel.split("<")[0]
    rows = [row for row in work.ROWS if row.kernel == name]
    if not rows:
        sys.exit(f"{kernel}: tests/host_run/work.py has no row of it")
    return max((row.threads, row.dynamic_shared) for row in rows)


def cell(r: Resources, threads: int, dynamic: int) -> str:
    share = occupancy(r.architecture, r.registers, r.shared + dynamic, threads)
    return f"{r.registers} / {r.shared + dynamic} / {r.stack} / {share:.0%}"


def between(page: str, name: str, content: str) -> str:
    """The page with `content` between the markers of `name`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n{content}\n{end}{after}"


def report(sources: list[Path]) -> list[Resources]:
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:
        tasks = [(source, a, Path(name)) for source in sources for a in ARCHITECTURES]
        reports = list(pool.map(lambda task: compile_for(*task), tasks))
    return [resources for text in reports for resources in parse(text)]


def spills(found: list[Resources]) -> list[str]:
    return [
        f"{r.kernel} spills {r.spilled} bytes of registers on sm_{r.architecture}"
        for r in found
        if r.spilled
    ]


def main(arguments: list[str]) -> int:
    found = report(build.kernels())
    spilling = spills(found)
    page = PAGE.read_text()
    updated = between(page, "resources", table(found))
    updated = between(updated, "work", work.table())
    stale = updated != page
    if stale:
        PAGE.write_text(updated)
        print(f"{PAGE.relative_to(build.ROOT)}: a table has changed")
    print(*spilling, f"{len(found)} compiled kernels, {len(spilling)} spill registers", sep="\n")
    return 1 if spilling or (stale and "--check" in arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
