"""Breaks the kernels on purpose, one small change at a time: a test must fail for each of them.

    python tests/host_run/mutants.py [--all] [--list] [stem ...]

Every operator is applied at every place of csrc/cuda where its pattern matches, except those in
EQUIVALENT, which change no result. Without --all and without a stem one mutant of each device
function is tested, so that `make cuda-check` stays short. The tests of its op run against a mutant
until one fails: in order, then with one warp far ahead, and under AddressSanitizer where a mutant
reaches beyond an array. Survivors and kernels with fewer than five mutants are printed, and make
the run fail.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import build
from trial import CUDA, SCHEDULES, TEST_FOLDERS, Trials, open_trials, users

ENOUGH = 5  # mutants a kernel

BEYOND = "bound"  # the operator whose mutants only a sanitizer detects for certain

# name: (pattern, replacement)
OPERATORS = {
    "dropped barrier": (r"__sync(threads|warp)\([^)]*\);", ";"),
    "shuffle width": (r"kWarp / 2(?=; distance)", "kWarp / 4"),
    "bound": (
        r"(?<=; )(\w+) < "
        r"(?=([\w.]+(\.batch|batch|elements|whole|partials|classes|samples|trials|probes)"
        r"|p\.rows|p\.columns|all|count)\b)"
        r"|(?<=first \+ row) < (?=rows\.present)",
        r"\1 <= ",
    ),
    "short bound": (
        r"(?<=; )(\w+) < "
        r"((?:p\.)?(?:batch|elements|partials|classes|samples|trials|rows|columns|all|count));",
        r"\1 < \2 - 1;",
    ),
    "index width": (
        r"((?:[ij]|derivative|[(]2 [+] k[)]|\bk) [*] p[.](?:batch|classes))",
        r"int(unsigned(\1))",
    ),
    "tail guard": (
        r"(j < i|other < count|label < p\.classes|other == nullptr) (&&|\?|\))",
        r"true \2",
    ),
    "initialization": (r"(?<!\()\b(\w+) (\w+) = 0;", r"\1 \2 = 1;"),
    "first of a loop": (r"(?<=for \()(\w+) (\w+) = 0;", r"\1 \2 = 1;"),
    "mask": (r"\bkAllLanes\b(?=,)", "0x0000ffffu"),
    # No lane, or the first thread of another warp: the other lanes of a warp have its sum as well.
    "first lane": (r"(?<=\()(lane|threadIdx\.x) == 0", r"\1 == kWarp"),
    "stride": (
        r"\+= (thread_count\(\)|warp_count\(\)|blockDim\.x|kSumThreads|kWarp)(?= \*|\))",
        r"+= 2 * \1",
    ),
    "ignored": (r"kIgnored \?", "kInvalid ?"),
    "sign": (r"(\w\]) - p\.", r"\1 + p."),
    "next": (r"(?<=\[)([\w.]+) \+ 1(?=\])", r"\1"),
    "comparison": (r"(?<!distance) > (?=cosine|end|threshold|0)", " >= "),
    "comparison with": (r" >= (?=block|p\.samples)", " > "),
    "lost sum": (
        r"\b(partial\[l\]|sum\[l\]|above\[k\]|angle|radial|grad_scale|variance|sum|rank) \+= ",
        r"\1 = ",
    ),
    "parts": (r"2 \* kPartSamples", "kPartSamples"),
    "copies not awaited": (r"kStages - 2", "kStages - 1"),
    "copies not begun": (r"kStages - 1(?=;)", "kStages - 2"),
    "copies of no group": (r"(?<=  )commit_copies\(\);", ";"),
    "stage": (r"step % kStages", "(step + 1) % kStages"),
    "swizzle": (r"(?<=swizzled_offset\()first", "first / 2"),
    "fragment": (r"\(a \? (\w+) : (\w+)\)", r"(a ? \2 : \1)"),
    "operand": (r"n % 2 \* 2 \+ 1", "n % 2 * 2"),
    "padding": (r"(i >= p\.batch|sample\.target == kPadding)(?=\)| \?)", "false"),
    "excluded": (r"targets \| absent", "targets"),
    "last rows": (r"row \+ 7\) / 8", "row) / 8"),
    "lanes": (r"kWarp < 4", "kWarp < 3"),
    "distance": (r"int distance = 4", "int distance = 8"),
    "tiles": (r"index \+= gridDim\.x", "index += 2 * gridDim.x"),
    "tile row": (r"(?<==.)row \* kTileClasses", "int16_t(row) * kTileClasses"),
}

# (file, operator, part of the line): why no test can fail.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("cosine_fused.cu", "first lane", "threadIdx.x == 0"): "every thread has the same position",
    # Not equivalent, but a warp would read 500 million rows before these.
    ("margin_logits.cu", "index width", "p.target[(2 + k) * p.batch + i]"): "takes minutes",
    # Not equivalent either, but such a row of NaN has gigabytes.
    ("margin_logits.cu", "index width", "p.grad_cosine[i * p.classes + j]"): "takes gigabytes",
    ("margin_loss.cu", "index width", "p.derivatives[derivative * p.batch + i]"): "takes minutes",
    ("cosine_partition.cu", "bound", "first < p.batch"): "no lane has a sample then",
    ("cosine_partition.cu", "first lane", "*p.gradient_scale = "): "all threads have the same",
    ("cosine_partition.cu", "short bound", "at < elements"): "elements come in fours",
    ("class_statistics.cu", "bound", "first < p.columns"): "no lane has a column then",
    ("class_statistics.cu", "bound", "k < count"): "each load has a guard of its own",
    ("class_statistics.cu", "comparison", "count > 0"): "what is read is not used",
    ("class_statistics.cu", "short bound", "thread_index(); work < all"): "it begins no class",
}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    operator: str
    kernel: str  # or a device function that kernels call
    before: str
    text: str  # the whole file

    def __str__(self) -> str:
        return f"{self.file}:{self.line} [{self.operator}] {self.before}"


def mutants_of(path: Path) -> Iterator[Mutant]:
    text = path.read_text(encoding="utf-8")
    for operator, (pattern, replacement) in OPERATORS.items():
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            code = text.splitlines()[line - 1].strip()
            kernel = enclosing(text, match.start())
            equivalent = any(
                (path.name, operator) == key[:2] and key[2] in code for key in EQUIVALENT
            )
            if kernel is None or code.startswith("//") or equivalent:
                continue
            changed = text[: match.start()] + match.expand(replacement) + text[match.end() :]
            yield Mutant(path.name, line, operator, kernel, code, changed)


# A function's head: group 1 is __global__ or __device__, group 2 the name.
BOUNDS = r"(?:__launch_bounds__\([^)]*\)\s+)?"
FUNCTION = rf"^(?:static )?(__(?:global|device)__)?(?:[^\n#/}}]*?{BOUNDS})(\w+)\((?<!bounds__\()"


def enclosing(text: str, position: int) -> str | None:
    """Return the device function at a position of the text; None in host code."""
    names = list(re.finditer(FUNCTION, text, re.M))
    for name in reversed(names):
        if name.start() <= position and not text[name.start()].isspace():
            closed = text.find("\n}\n", name.start())
            return name[2] if name[1] and position < closed else None
    return None


def one_of_each_function(mutants: Iterable[Mutant]) -> list[Mutant]:
    """Return one mutant of each device function: the first of the first function, the second of the
    second, and so on, so that all operators occur."""
    functions: defaultdict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        functions[mutant.file, mutant.kernel].append(mutant)
    return [choices[n % len(choices)] for n, choices in enumerate(functions.values())]


def too_few(mutants: list[Mutant]) -> list[str]:
    """Return the kernels without enough mutants; those of device functions in headers count."""
    count = Counter(mutant.kernel for mutant in mutants)
    messages = []
    for path in build.paths("cuda"):
        for kernel in re.findall(
            rf"__global__ void {BOUNDS}(\w+)\(", path.read_text(encoding="utf-8")
        ):
            shared = [m for m in mutants if m.file.endswith(".cuh") and path.stem in users(m.file)]
            if count[kernel] + len(shared) < ENOUGH:
                messages.append(f"{path.name}: {kernel} has {count[kernel] + len(shared)} mutants")
    return messages


Trial = tuple[Any, ...]  # arguments of Trials.failure


def check_unchanged(stems: Iterable[str], jobs: int) -> None:
    """Raise an error if a test fails for the unchanged kernels: it would fail for every mutant."""
    files = [f"{stem}.cu" for stem in stems]
    trials = [
        (file, (CUDA / file).read_text(encoding="utf-8"), variant, TEST_FOLDERS, SCHEDULES[:1])
        for file in files
        for variant in ("plain", "memory")
    ]
    for (file, _, variant, *_), noticed in zip(trials, test_results(trials, jobs), strict=True):
        if noticed is not None:
            raise RuntimeError(f"{file} as it is fails its tests ({variant}): {noticed}")


def trial_of(mutant: Mutant) -> Trial:
    return mutant.file, mutant.text, "memory" if mutant.operator == BEYOND else "plain"


def test_results(trials: list[Trial], jobs: int) -> Iterator[str | None]:
    """Yield the test that failed for each change, or None, in their order."""
    free: SimpleQueue[Trials] = SimpleQueue()

    def run(trial: Trial) -> str | None:
        runner = free.get()
        try:
            return runner.failure(*trial)
        finally:
            free.put(runner)

    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        for _ in range(jobs):
            free.put(stack.enter_context(open_trials()))
        yield from pool.map(run, trials)


def main(arguments: list[str]) -> int:
    stems = [a for a in arguments if not a.startswith("--")]
    files = sorted(p for p in CUDA.glob("*.cu*") if p.name != "launch.cuh")
    every = [mutant for path in files for mutant in mutants_of(path)]
    mutants = [m for m in every if not stems or set(stems) & set(users(m.file))]
    if not stems and "--all" not in arguments:
        mutants = one_of_each_function(mutants)
    if "--list" in arguments:
        print(*mutants, sep="\n")
        return 0
    started = time.monotonic()
    build.build(["plain", "memory"])
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    check_unchanged(sorted({s for m in mutants for s in users(m.file)}), jobs)
    survivors = 0
    for mutant, noticed in zip(mutants, test_results([*map(trial_of, mutants)], jobs), strict=True):
        survivors += noticed is None
        print(f"{mutant}\n    {noticed or 'SURVIVED'}", flush=True)
    few = too_few(every)
    seconds = time.monotonic() - started
    print(
        f"{len(mutants)} of {len(every)} mutants in {seconds:.0f} s, {survivors} survived",
        *few,
        sep="\n",
    )
    return 1 if survivors or few else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
