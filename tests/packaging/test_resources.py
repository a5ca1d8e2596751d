"""Reports of tests/host_run on kernels: registers, spills, occupancy, and the choice of mutants."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "host_run"))
import accesses
import build
import mutants
import resources
from occupancy import MULTIPROCESSORS, resident_warps

TOOLKIT = build.find_toolkit(None)
needs_nvcc = pytest.mark.skipif(TOOLKIT is None, reason="needs nvcc")

# With 1024 threads a thread has 64 registers: too few for 96 floats that live at the same time.
GREEDY = """
__global__ void __launch_bounds__(1024) greedy(float* data) {
  float values[96];
  for (int i = 0; i < 96; ++i) values[i] = data[i * 1024 + threadIdx.x];
  __syncthreads();
  for (int round = 0; round < 2; ++round) {
#pragma unroll
    for (int i = 0; i < 96; ++i) {
      values[i] = values[i] * values[(i * 7 + 5) % 96] + values[(i + 1) % 96];
    }
  }
#pragma unroll
  for (int i = 0; i < 96; ++i) data[i * 1024 + threadIdx.x] = values[i];
}
"""


@needs_nvcc
def test_a_spilled_register_is_reported(tmp_path):
    source = tmp_path / "greedy.cu"
    source.write_text(GREEDY, encoding="utf-8")
    compiled = resources.compile_all([source])
    assert [(r.kernel, r.architecture) for c in compiled for r in resources.parse(c.report)] == [
        ("greedy", a) for a in resources.ARCHITECTURES
    ]
    assert [
        re.match("greedy spills .* on sm_", e) is not None for e in resources.errors(compiled)
    ] == [True for _ in resources.ARCHITECTURES]
    source.write_text(
        "__global__ void frugal(float* data) { data[threadIdx.x] = 1; }", encoding="utf-8"
    )
    assert resources.errors(resources.compile_all([source])) == []


def test_a_serialized_multiplication_is_an_error():
    line = "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async is serialized"
    report = f"{line}\nptxas info    : 0 bytes gmem"
    assert resources.errors([resources.Compiled("90", report, [])]) == [line]


# A loop of two loads that are read together, and one that is read at once; stores of 2 and 8 bytes.
CODE = """
\t.section\t.text._ZN8fairloss4cuda10add_kernelEv,"ax",@progbits
.L_x_0:
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0020*/              @!P0 LDG.E.128.CONSTANT R8, desc[UR4][R2.64+0x10] ;
        /*0030*/                   FADD R12, R5, R9 ;
        /*0040*/                   LDG.E.128 R16, desc[UR4][R2.64+0x20] ;
        /*0050*/                   STG.E.64 desc[UR4][R2.64], R12 ;
        /*0060*/               @P0 STG.E.U16 desc[UR4][R2.64+0x8], R16 ;
        /*0068*/                   STS.64 [R30], R12 ;
        /*0070*/               @P1 BRA `(.L_x_0) ;
        /*0080*/                   LDG.E.128 R20, desc[UR4][R2.64] ;
        /*0090*/                   LDG.E.128 R24, desc[UR4][R2.64] ;
        /*00a0*/                   LDG.E.128 R28, desc[UR4][R2.64] ;
.L_x_1:
        /*00b0*/                   BRA `(.L_x_1) ;
"""


def test_loads_in_flight_and_widths_of_stores_are_those_of_the_code(monkeypatch):
    (kernel,) = accesses.parse(CODE)
    assert kernel == ("add_kernel", {128: 2}, {16, 64}, 1)
    for promise, expected in [
        ((2, 128, {16, 64}), []),
        ((3, 128, {16, 64}), ["3 loads of 128 bits in flight, got 2"]),
        ((1, 64, {16, 64}), ["1 loads of 64 bits in flight, got 0"]),
        ((2, 128, {64}), ["stores of [64] bits, got [16, 64]"]),
        ((2, 128, {16, 64}, 1), []),
        ((2, 128, {16, 64}, 0), ["at most 0 stores to shared memory, got 1"]),
    ]:
        monkeypatch.setitem(accesses.PROMISES, "add_kernel", accesses.Promise(*promise))
        lines = accesses.broken_promises("90", [kernel])
        assert lines == [f"add_kernel on sm_90: expected {line}" for line in expected]


def test_a_promise_of_no_kernel_is_an_error(monkeypatch):
    promise = accesses.Promise(2, 128, {128})
    monkeypatch.setattr(accesses, "PROMISES", {"add_kernel": promise, "old_kernel<float": promise})
    (kernel,) = accesses.parse(CODE)
    (error,) = accesses.unused_promises([kernel])
    assert error.startswith("old_kernel<float: expected a kernel")
    assert len(accesses.unused_promises([])) == 2  # as where nothing could be parsed


# The occupancy calculator of the toolkit, which runs on the host.
CALCULATOR = """
#include <cstdio>
#include <cuda_occupancy.h>
int main() {
  int major, warps, registers, shared, threads;
  long shared_size;
  while (scanf("%d %d %ld", &major, &warps, &shared_size) == 3) {
    scanf("%d %d %d", &registers, &shared, &threads);
    cudaOccDeviceProp device;
    device.computeMajor = major;
    device.computeMinor = 0;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = 32 * warps;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerMultiprocessor = shared_size;
    device.sharedMemPerBlock = 48 << 10;
    device.sharedMemPerBlockOptin = shared_size - 1024;
    device.reservedSharedMemPerBlock = 1024;
    device.numSms = 1;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = 0;
    kernel.maxDynamicSharedSizeBytes = shared_size - 1024;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    cudaOccDeviceState state;
    state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(
            &result, &device, &kernel, &state, threads, shared)) {
      return 1;
    }
    printf("%d ", result.activeBlocksPerMultiprocessor * ((threads + 31) / 32));
  }
}
"""


@needs_nvcc
def test_occupancy_is_that_of_the_toolkits_calculator(tmp_path):
    source = tmp_path / "calculator.cpp"
    source.write_text(CALCULATOR, encoding="utf-8")
    program = [build.compiler(), "-w", f"-I{TOOLKIT.folder}/include", str(source)]
    subprocess.run([*program, "-o", str(tmp_path / "calculator")], check=True)
    cases = [
        (architecture, registers, shared, threads)
        for architecture in MULTIPROCESSORS
        for registers in (16, 32, 40, 56, 64, 72, 96, 128, 168, 255)
        for shared in (0, 256, 1025, 17_000, 49_152, 100_000)
        for threads in (32, 96, 128, 256, 384, 1024)
        if registers * threads <= 65536
    ]
    lines = []
    for architecture, *case in cases:
        device = MULTIPROCESSORS[architecture]
        numbers = (int(architecture) // 10, device.warps, device.shared, *case)
        lines.append(" ".join(map(str, numbers)))
    done = subprocess.run(
        [tmp_path / "calculator"], input="\n".join(lines), capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0
    expected = dict(zip(cases, map(int, done.stdout.split()), strict=True))
    assert {case: resident_warps(*case) for case in cases} == expected


def test_the_choice_of_mutants_spreads_over_operators():
    def mutant(operator, line, kernel="k"):
        return mutants.Mutant("x.cu", line, operator, kernel, "", "")

    every = [mutant("bound", 1), mutant("mask", 2), mutant("bound", 3, "other")]
    every += [mutant("sign", 4, "other"), mutant("next", 5, "last"), mutant("mask", 6, "last")]
    selected = mutants.one_of_each_function(every)
    assert [(m.kernel, m.operator) for m in selected] == [
        ("k", "bound"),
        ("other", "sign"),
        ("last", "next"),
    ]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_every_kernel_has_enough_mutants():
    files = sorted(p for p in mutants.CUDA.glob("*.cu*") if p.name != "launch.cuh")
    assert mutants.too_few([m for path in files for m in mutants.mutants_of(path)]) == []


@pytest.mark.slow
@needs_nvcc
def test_every_mutant_fails_a_test():
    """`make cuda-check` tries one per device function; this takes a quarter of an hour."""
    command = [sys.executable, str(build.ROOT / "tests/host_run/mutants.py"), "--all"]
    run = subprocess.run(command, cwd=build.ROOT, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stdout[-4000:]
