"""The accesses of memory in machine code, compared with what the kernels' source promises.

resources.py disassembles the kernels and calls `broken_promises`.
"""

from __future__ import annotations

import re
import shutil
import site
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Promise(NamedTuple):
    """The loads that a loop of a kernel issues before it waits, and all stores of the kernel.

    Of global memory, but for `shared_stores`.
    """

    loads: int  # in flight at least
    load_bits: int
    store_bits: set[int]
    shared_stores: int | None = None  # instructions at most


# A thread of cosine_fused_kernel stages 64 numbers in pairs; one by one they would take 32 more.
STAGED = 64
# The narrower stores are of one number a sample or row, or of rows that are not aligned.
PROMISES = {
    "add_kernel": Promise(2, 128, {128}),
    "cosine_terms_kernel": Promise(6, 128, {64, 32}),
    "cosine_fused_kernel<__half, FusedTermsProblem": Promise(0, 128, {128, 32}, STAGED),
    "cosine_fused_kernel<__nv_bfloat16, FusedTermsProblem": Promise(0, 128, {128, 32}, STAGED),
    "cosine_fused_kernel<float, FusedTermsProblem": Promise(0, 128, {128, 32}, STAGED),
    "cosine_fused_kernel<__half, FusedSlopesProblem": Promise(0, 128, {128, 64}, STAGED),
    "cosine_fused_kernel<__nv_bfloat16, FusedSlopesProblem": Promise(0, 128, {128, 64}, STAGED),
    "cosine_fused_kernel<float, FusedSlopesProblem": Promise(0, 128, {128, 64}, STAGED),
    "merge_parts_kernel": Promise(7, 32, {64}),
    "logsumexp_kernel": Promise(8, 64, {32}),
    "slopes_kernel<short": Promise(4, 64, {64}),
    "slopes_kernel<float, __half>": Promise(2, 128, {64}),
    "slopes_kernel<float, __nv_bfloat16>": Promise(2, 128, {64}),
    "slopes_kernel<float, float>": Promise(2, 128, {128, 64}),
    "scale_gradient_kernel": Promise(8, 64, {32}),
    "unit_rows_kernel<float, float>": Promise(1, 128, {128, 32}),
    "unit_rows_kernel<float": Promise(1, 128, {64, 32}),
    "unit_rows_kernel": Promise(1, 128, {128, 32}),
    "row_gradient_kernel<float>": Promise(2, 128, {128, 32}),
    "row_gradient_kernel": Promise(3, 128, {128, 16}),
    "nearest_of_row_kernel": Promise(5, 32, {64, 32}),
    "nearest_of_column_kernel": Promise(8, 32, {64, 32}),
    "count_ranks_kernel": Promise(2, 128, {64}),
}


class Accesses(NamedTuple):
    kernel: str
    in_flight: Counter[int]  # the most loads that a loop issues before it reads one, by their bits
    store_bits: set[int]
    shared_stores: int  # instructions


def find_disassembler(toolkit: str) -> str | None:
    """Return nvdisasm of the path, of the toolkit or of the package nvidia-cuda-nvdisasm."""
    packages = [Path(p) for p in (*site.getsitepackages(), site.getusersitepackages())]
    folders = [f"{toolkit}/bin", *(f for p in packages for f in p.glob("nvidia/*/bin"))]
    return shutil.which("nvdisasm") or shutil.which("nvdisasm", path=":".join(map(str, folders)))


def disassembled(tool: str, code: Path) -> list[Accesses]:
    return parse(subprocess.check_output([tool, "-c", str(code)], encoding="utf-8"))


def kernel_name(signature: str) -> str:
    """Return the name of a kernel, mangled or not, without its namespaces and parameters."""
    command = ["c++filt", signature]
    signature = subprocess.check_output(command, encoding="utf-8").strip()
    return re.sub(r"\(.*", "", signature.replace("void ", "").replace("fairloss::cuda::", ""))


def parse(text: str) -> list[Accesses]:
    accesses = []
    for part in re.split(r"^\s*\.section\s+\.text\.", text, flags=re.M)[1:]:
        instructions, labels = [], {}
        for line in part.splitlines():
            if label := re.match(r"(\.L\w+):", line.strip()):
                labels[label[1]] = len(instructions)
            elif code := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?(.*?)\s*;", line):
                instructions.append(code[1])
        stores = {bits_of(i) for i in instructions if i.startswith("STG")}
        shared_stores = sum(i.startswith("STS") for i in instructions)
        in_flight: Counter[int] = Counter()
        for loop in innermost_loops(instructions, labels):
            in_flight |= loads_in_flight(loop)
        accesses.append(Accesses(kernel_name(part.split(",")[0]), in_flight, stores, shared_stores))
    return accesses


def bits_of(instruction: str) -> int:
    width = re.search(r"\.[US]?(8|16|64|128)\b", instruction.split()[0])
    return int(width[1]) if width else 32


def innermost_loops(instructions: list[str], labels: dict[str, int]) -> list[list[str]]:
    loops = []
    for end, instruction in enumerate(instructions):
        target = re.search(r"^BRA.*`\((\S+)\)", instruction)
        begin = labels.get(target[1], end) if target else end
        if begin < end:
            loops.append((begin, end))
    return [
        instructions[begin : end + 1]
        for begin, end in loops
        if not any(begin <= b and e <= end for b, e in loops if (b, e) != (begin, end))
    ]


def loads_in_flight(loop: list[str]) -> Counter[int]:
    """Return the most loads whose results no instruction has read yet, by bits."""
    most: Counter[int] = Counter()
    waiting: list[tuple[int, set[int]]] = []  # bits and registers of each load
    for instruction in loop:
        name, _, operands = instruction.partition(" ")
        result, _, inputs = operands.partition(",")
        read = {int(r) for r in re.findall(r"\bR(\d+)", operands if "ST" in name else inputs)}
        used = [n for n, (_, registers) in enumerate(waiting) if registers & read]
        if used:  # loads arrive in their order
            del waiting[: used[-1] + 1]
        register = re.match(r"R(\d+)", result.strip())
        if re.match(r"LDG(\.|$)", name) and register:
            first, bits = int(register[1]), bits_of(instruction)
            waiting.append((bits, set(range(first, first + max(1, bits // 32)))))
            most |= Counter(b for b, _ in waiting)
    return most


def unused_promises(accesses: list[Accesses]) -> list[str]:
    """Return the promises of no kernel, which none could break."""
    kernels = [a.kernel for a in accesses]
    return [
        f"{name}: expected a kernel of this name in the machine code, got none"
        for name in PROMISES
        if not any(kernel.startswith(name) for kernel in kernels)
    ]


def broken_promises(architecture: str, accesses: list[Accesses]) -> list[str]:
    lines = []
    for kernel, in_flight, store_bits, shared_stores in accesses:
        promise = next((p for name, p in PROMISES.items() if kernel.startswith(name)), None)
        if promise is None:
            continue
        prefix = f"{kernel} on sm_{architecture}: expected"
        if store_bits != promise.store_bits:
            lines.append(
                f"{prefix} stores of {sorted(promise.store_bits)} bits, got {sorted(store_bits)}"
            )
        if promise.shared_stores is not None and shared_stores > promise.shared_stores:
            expected = f"at most {promise.shared_stores} stores to shared memory"
            lines.append(f"{prefix} {expected}, got {shared_stores}")
        loads = in_flight[promise.load_bits]
        if loads < promise.loads:
            expected = f"{promise.loads} loads of {promise.load_bits} bits in flight"
            lines.append(f"{prefix} {expected}, got {loads}")
    return lines
