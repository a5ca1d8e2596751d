"""Breaks the kernels on purpose, one small change at a time: a test must fail for each.

    python tests/host_run/mutants.py [--list] [stem ...]

Every operator is applied at every place of csrc/cuda where its pattern matches, except those in
EQUIVALENT, which no result can show. A mutant is compiled in a folder of its own, and the tests of
its op run against it until one fails: in order, then with one warp far ahead, and under
AddressSanitizer where a mutant reaches beyond an array. Survivors are printed, and so is a kernel
with fewer than five mutants; either ends in an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import build

CUDA = build.ROOT / "csrc/cuda"
SCHEDULES = ("forward", "greedy")
ENOUGH = 5  # mutants a kernel
LONGEST = 120.0  # seconds of one run of the tests: a mutant may never end

BEYOND = "bound"  # the operator whose mutants only a sanitizer sees for certain

# name: (pattern, replacement)
OPERATORS = {
    "dropped barrier": (r"__sync(threads|warp)\([^)]*\);", ";"),
    "shuffle width": (r"kWarp / 2(?=; distance)", "kWarp / 4"),
    "bound": (
        r"(?<=; )(\w+) < "
        r"(?=([\w.]+(\.batch|batch|elements|whole|partials|classes|samples|trials|probes)"
        r"|p\.rows|p\.columns|all)\b)",
        r"\1 <= ",
    ),
    "short bound": (
        r"(?<=; )(\w+) < "
        r"((?:p\.)?(?:batch|elements|partials|classes|samples|trials|rows|columns|all));",
        r"\1 < \2 - 1;",
    ),
    "index width": (
        r"((?:[ij]|derivative|[(]2 [+] k[)]|\bk) [*] p[.](?:batch|classes))",
        r"int(unsigned(\1))",
    ),
    "tail guard": (r"(j < i|label < p\.classes|other == nullptr) (&&|\?|\))", r"true \2"),
    "initialisation": (r"(?<!\()\b(\w+) (\w+) = 0;", r"\1 \2 = 1;"),
    "first of a loop": (r"(?<=for \()(\w+) (\w+) = 0;", r"\1 \2 = 1;"),
    "mask": (r"\bkAllLanes\b(?=,)", "0x0000ffffu"),
    "first lane": (r"(?<=\()(lane|threadIdx\.x) == 0", r"\1 == 1"),
    "stride": (r"\+= (thread_count\(\)|warp_count\(\)|blockDim\.x|kWarp)(?= \*|\))", r"+= 2 * \1"),
    "spoilt": (r"kIgnored \?", "kSpoilt ?"),
    "sign": (r"(\w\]) - p\.", r"\1 + p."),
    "next": (r"(?<=\[)([\w.]+) \+ 1(?=\])", r"\1"),
    "comparison": (r"(?<!distance) > (?=cosine|end|threshold|0)", " >= "),
    "comparison with": (r" >= (?=block|p\.samples)", " > "),
    "lost sum": (r"\b(group\[l\]|sum\[l\]|above\[k\]|angle|variance|sum|rank) \+= ", r"\1 = "),
    "parts": (r"2 \* kPartSamples", "kPartSamples"),
}

# (file, operator, part of the line): why no test could tell.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("class_statistics.cu", "bound", "first < p.columns"): "no lane has a column then",
    ("class_statistics.cu", "comparison", "count > 0"): "what is read is not used",
    ("class_statistics.cu", "short bound", "thread_index(); work < all"): "it begins no class",
}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    operator: str
    kernel: str  # or the device function that kernels call
    before: str
    text: str  # the whole file

    def __str__(self) -> str:
        return f"{self.file}:{self.line} [{self.operator}] {self.before}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    text = path.read_text()
    for operator, (pattern, replacement) in OPERATORS.items():
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            code = text.splitlines()[line - 1].strip()
            kernel = enclosing(text, match.start())
            known = any((path.name, operator) == key[:2] and key[2] in code for key in EQUIVALENT)
            if kernel is None or code.startswith("//") or known:
                continue
            changed = text[: match.start()] + match.expand(replacement) + text[match.end() :]
            yield Mutant(path.name, line, operator, kernel, code, changed)


def enclosing(text: str, at: int) -> str | None:
    """The device function that position `at` is in; None in host code."""
    names = list(re.finditer(r"^(?:static )?(__(?:global|device)__)?[^\n#/}]*?(\w+)\(", text, re.M))
    for name in reversed(names):
        if name.start() <= at and not text[name.start()].isspace():
            closed = text.find("\n}\n", name.start())
            return name[2] if name[1] and at < closed else None
    return None


def users(file: str) -> list[str]:
    """The stems of the kernels that a file goes into."""
    if file.endswith(".cu"):
        return [file.removesuffix(".cu")]
    including = [p for p in CUDA.glob("*.cu*") if f'#include "{file}"' in p.read_text()]
    return sorted({stem for p in including for stem in users(p.name)})


def noticed_by(mutant: Mutant) -> str | None:
    """The schedule under which a test failed, or None. Not to compile is to be noticed too."""
    variant = "memory" if mutant.operator == BEYOND else "plain"
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        shutil.copytree(CUDA, folder / "csrc/cuda")
        (folder / "csrc/cuda" / mutant.file).write_text(mutant.text)
        stems = users(mutant.file)
        for stem in stems:
            source = folder / "csrc/cuda" / f"{stem}.cu"
            if subprocess.run(compile_command(source, variant), capture_output=True).returncode:
                return "compilation"
        kernels = [folder / "csrc/cuda" / f"{p.stem}.o" for p in build.kernels()]
        objects = [o if o.exists() else build.OUT / variant / o.name for o in kernels]
        build.copy_package(folder / "fairloss_ext")
        library = folder / "fairloss_ext" / "_C.abi3.so"
        subprocess.run(link_command(objects, library, variant), check=True, capture_output=True)
        # The short tests first; under a sanitizer they are enough.
        rooms = ("host_run",) if variant == "memory" else ("host_run", "ext")
        tests = [f"tests/{room}/test_{stem}.py" for room in rooms for stem in stems]
        for schedule in SCHEDULES:
            if fails(folder, variant, schedule, [t for t in tests if (build.ROOT / t).exists()]):
                return schedule
    return None


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
    return [
        build.compiler(),
        "-shared",
        *sanitizer,
        *inputs,
        "-o",
        str(library),
        *build.link_flags(),
    ]


def fails(folder: Path, variant: str, schedule: str, tests: list[str]) -> bool:
    variables = {"PYTHONPATH": str(folder), "HOST_RUN_SCHEDULE": schedule, "OMP_NUM_THREADS": "1"}
    if variant == "memory":
        variables |= {"ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": build.sanitizer_runtime()}
    # `python -m pytest` would put this folder, and the ordinary ops in it, before PYTHONPATH.
    pytest = [str(Path(sys.executable).parent / "pytest"), "-x", "-p", "no:cacheprovider"]
    try:
        result = subprocess.run(
            [*pytest, "-W", "ignore", "--capture=sys", *tests],
            cwd=build.ROOT,
            env=os.environ | variables,
            capture_output=True,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return True
    return result.returncode != 0


def too_few(mutants: list[Mutant]) -> list[str]:
    """Kernels without enough mutants; what a kernel calls from a header counts for it."""
    count = Counter(mutant.kernel for mutant in mutants)
    found = []
    for path in build.kernels():
        for kernel in re.findall(r"__global__ void (\w+)\(", path.read_text()):
            shared = [m for m in mutants if m.file.endswith(".cuh") and path.stem in users(m.file)]
            if count[kernel] + len(shared) < ENOUGH:
                found.append(f"{path.name}: {kernel} has {count[kernel] + len(shared)} mutants")
    return found


def main(arguments: list[str]) -> int:
    stems = [a for a in arguments if not a.startswith("--")]
    files = sorted(p for p in CUDA.glob("*.cu*") if p.name != "launch.cuh")
    every = [mutant for path in files for mutant in mutants_of(path)]
    mutants = [m for m in every if not stems or set(stems) & set(users(m.file))]
    if "--list" in arguments:
        print(*mutants, sep="\n")
        return 0
    build.build(["plain", "memory"])
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    with ThreadPoolExecutor(jobs) as pool:
        noticed = []
        for mutant, by in zip(mutants, pool.map(noticed_by, mutants), strict=True):
            noticed.append(by)
            print(f"{by or 'SURVIVED':<12} {mutant}", flush=True)
    few = too_few(every)
    survivors = noticed.count(None)
    print(f"{len(mutants)} mutants, {survivors} survived", *few, sep="\n")
    return 1 if survivors or few else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
