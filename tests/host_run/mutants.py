"""Breaks the kernels on purpose, one small change at a time: a test must fail for each.

    python tests/host_run/mutants.py [--all] [--list] [stem ...]

Every operator is applied at every place of csrc/cuda where its pattern matches, except those in
EQUIVALENT, which no result can show. Without --all, and without a stem, that is a choice of one a
device function, so that `make cuda-check` stays short. The tests of its op run against a mutant
until one fails: in order, then with one warp far ahead, and under AddressSanitizer where a mutant
reaches beyond an array. Survivors are printed, and so is a kernel with fewer than five mutants;
either ends in an error.
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

BEYOND = "bound"  # the operator whose mutants only a sanitizer sees for certain

# name: (pattern, replacement)
OPERATORS = {
    "dropped barrier": (r"__sync(threads|warp)\([^)]*\);", ";"),
    "shuffle width": (r"kWarp / 2(?=; distance)", "kWarp / 4"),
    "bound": (
        r"(?<=; )(\w+) < "
        r"(?=([\w.]+(\.batch|batch|elements|whole|partials|classes|samples|trials|probes)"
        r"|p\.rows|p\.columns|all)\b)"
        r"|(?<=first \+ row) < (?=rows\.present)",
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
    # No lane, or the first thread of another warp: the other lanes of a warp have its sum as well.
    "first lane": (r"(?<=\()(lane|threadIdx\.x) == 0", r"\1 == kWarp"),
    "stride": (r"\+= (thread_count\(\)|warp_count\(\)|blockDim\.x|kWarp)(?= \*|\))", r"+= 2 * \1"),
    "spoilt": (r"kIgnored \?", "kSpoilt ?"),
    "sign": (r"(\w\]) - p\.", r"\1 + p."),
    "next": (r"(?<=\[)([\w.]+) \+ 1(?=\])", r"\1"),
    "comparison": (r"(?<!distance) > (?=cosine|end|threshold|0)", " >= "),
    "comparison with": (r" >= (?=block|p\.samples)", " > "),
    "lost sum": (
        r"\b(group\[l\]|sum\[l\]|above\[k\]|angle|along|variance|sum|rank) \+= ",
        r"\1 = ",
    ),
    "parts": (r"2 \* kPartSamples", "kPartSamples"),
    "copies not waited for": (r"kStages - 2", "kStages - 1"),
    "copies not begun": (r"kStages - 1(?=;)", "kStages - 2"),
    "copies of no group": (r"(?<=  )commit_copies\(\);", ";"),
    "stage": (r"step % kStages", "(step + 1) % kStages"),
    "place": (r"(?<=place_of\()first", "first / 2"),
    "fragment": (r"\(a \? (\w+) : (\w+)\)", r"(a ? \2 : \1)"),
    "operand": (r"n % 2 \* 2 \+ 1", "n % 2 * 2"),
    "padding": (r"(i >= p\.batch|sample\.target == kPadding)(?=\)| \?)", "false"),
    "excluded": (r"targets \| absent", "targets"),
    "last rows": (r"row \+ 7\) / 8", "row) / 8"),
    "lanes": (r"kWarp < 4", "kWarp < 3"),
    "distance": (r"int distance = 4", "int distance = 8"),
    "nothing": (r"peak == -INFINITY", "false"),
    "tiles": (r"index \+= gridDim\.x", "index += 2 * gridDim.x"),
    "group": (r"group \* kGroup", "int16_t(group) * kGroup"),
}

# (file, operator, part of the line): why no test could tell.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("cosine_fused.cu", "first lane", "threadIdx.x == 0"): "every thread has the same position",
    # Not equivalent, but a warp would look through 500 million rows before it comes to these.
    ("margin_logits.cu", "index width", "p.target[(2 + k) * p.batch + i]"): "takes minutes",
    # Not equivalent either, but such a row of NaN has gigabytes.
    ("margin_logits.cu", "index width", "p.grad_cosine[i * p.classes + j]"): "takes gigabytes",
    ("margin_loss.cu", "index width", "p.derivatives[derivative * p.batch + i]"): "takes minutes",
    ("cosine_terms.cuh", "comparison", "exponent > 0"): "exp(0) is 1 on either side",
    ("cosine_partition.cu", "comparison", "largest > 0"): "a slope of 0 is 0 times any boost",
    ("cosine_partition.cu", "bound", "first < p.batch"): "no lane has a sample then",
    ("cosine_partition.cu", "first lane", "*p.boost = "): "all threads have the same boost",
    ("cosine_partition.cu", "short bound", "at < elements"): "elements come in fours",
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


# A function's head: group 1 says where it runs, group 2 is its name.
BOUNDS = r"(?:__launch_bounds__\([^)]*\)\s+)?"
FUNCTION = rf"^(?:static )?(__(?:global|device)__)?(?:[^\n#/}}]*?{BOUNDS})(\w+)\((?<!bounds__\()"


def enclosing(text: str, at: int) -> str | None:
    """The device function that position `at` is in; None in host code."""
    names = list(re.finditer(FUNCTION, text, re.M))
    for name in reversed(names):
        if name.start() <= at and not text[name.start()].isspace():
            closed = text.find("\n}\n", name.start())
            return name[2] if name[1] and at < closed else None
    return None


def chosen(mutants: Iterable[Mutant]) -> list[Mutant]:
    """One mutant of each device function: of the first its first, of the second its second, and so
    on, so that all operators take part."""
    functions: defaultdict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        functions[mutant.file, mutant.kernel].append(mutant)
    return [found[n % len(found)] for n, found in enumerate(functions.values())]


def too_few(mutants: list[Mutant]) -> list[str]:
    """Kernels without enough mutants; what a kernel calls from a header counts for it."""
    count = Counter(mutant.kernel for mutant in mutants)
    found = []
    for path in build.paths("cuda"):
        for kernel in re.findall(rf"__global__ void {BOUNDS}(\w+)\(", path.read_text()):
            shared = [m for m in mutants if m.file.endswith(".cuh") and path.stem in users(m.file)]
            if count[kernel] + len(shared) < ENOUGH:
                found.append(f"{path.name}: {kernel} has {count[kernel] + len(shared)} mutants")
    return found


Trial = tuple[Any, ...]  # arguments of Trials.failure


def check_unchanged(stems: Iterable[str], jobs: int) -> None:
    """A test that fails for the kernels as they are would notice every mutant."""
    files = [f"{stem}.cu" for stem in stems]
    trials = [
        (file, (CUDA / file).read_text(), variant, TEST_FOLDERS, SCHEDULES[:1])
        for file in files
        for variant in ("plain", "memory")
    ]
    for (file, _, variant, *_), noticed in zip(trials, judged(trials, jobs), strict=True):
        if noticed is not None:
            raise RuntimeError(f"{file} as it is fails its tests ({variant}): {noticed}")


def trial_of(mutant: Mutant) -> Trial:
    return mutant.file, mutant.text, "memory" if mutant.operator == BEYOND else "plain"


def judged(trials: list[Trial], jobs: int) -> Iterator[str | None]:
    """What noticed each change, in their order."""
    free: SimpleQueue[Trials] = SimpleQueue()

    def judge(trial: Trial) -> str | None:
        runner = free.get()
        try:
            return runner.failure(*trial)
        finally:
            free.put(runner)

    with ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        for _ in range(jobs):
            free.put(stack.enter_context(open_trials()))
        yield from pool.map(judge, trials)


def main(arguments: list[str]) -> int:
    stems = [a for a in arguments if not a.startswith("--")]
    files = sorted(p for p in CUDA.glob("*.cu*") if p.name != "launch.cuh")
    every = [mutant for path in files for mutant in mutants_of(path)]
    mutants = [m for m in every if not stems or set(stems) & set(users(m.file))]
    if not stems and "--all" not in arguments:
        mutants = chosen(mutants)
    if "--list" in arguments:
        print(*mutants, sep="\n")
        return 0
    started = time.monotonic()
    build.build(["plain", "memory"])
    jobs = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
    check_unchanged(sorted({s for m in mutants for s in users(m.file)}), jobs)
    survivors = 0
    for mutant, noticed in zip(mutants, judged([*map(trial_of, mutants)], jobs), strict=True):
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
