"""All checks and measurements that need a GPU, in one command and one pair of files.

    python benchmarks/gpu_check.py [--dry-run] [--results FOLDER] [step or comparison ...]

Builds the kernels, runs the tests of the ops on the GPU, compute-sanitizer, CUDA graphs, the demo,
and comparisons with other trainers' losses, over peaks measured in the same run. A step that fails
is recorded, the others continue, and the exit status is 1. Named steps and comparisons are run
again, and the results of the others stay. --dry-run executes every line on a CPU, with tiny shapes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from gpu import steps
from gpu.clock import ROUNDS, Clock
from gpu.comparisons import COMPARISONS
from gpu.peaks import peaks
from gpu.results import Results, Step, read
from gpu.steps import BUILD, STEPS, Missing, Plan

RESULTS = Path(__file__).parent / "results"
BASELINES = ("pytorch-metric-learning", "liger-kernel", "cut-cross-entropy")
NO_GPU = 2
# A dry run leaves out steps that differ from others only in an argument.
DRY = ("build", "tests", "memcheck", "graphs", "convergence", "peaks")
DRY += ("head-128x512x100000", "partition-128x512x100000", "margins", "statistics", "ranks")


def find_obstacle(cuda: str | None, has_gpu: bool) -> str | None:
    """Return why nothing can be checked on this machine, or None."""
    if cuda is None:
        return (
            "torch is built for CPU. On a machine with a GPU: rm -r .venv && "
            "make gpu-check TORCH_BUILD=cu130 (or the build of your driver)"
        )
    if not has_gpu:
        return f"torch is built for CUDA {cuda}, but it finds no GPU: see nvidia-smi"
    return None


def check(plan: Plan, folder: Path, named: Sequence[str] = ()) -> Results:
    results = Results(device_name(plan), plan.dry_run, versions())
    if named and (earlier := folder / f"{results.slug}.json").exists():
        results = read(earlier)
    everything: dict[str, Callable[[], str]] = {
        **{name: partial(step, plan) for name, step in STEPS.items()},
        "peaks": partial(measure_peaks, plan, results),
        **{name: partial(compare, plan, results, name) for name in COMPARISONS},
    }
    for name, step in everything.items():
        if name in (named or (DRY if plan.dry_run else everything)):
            attempt(results, folder, name, step)
    return results


def attempt(results: Results, folder: Path, name: str, step: Callable[[], str]) -> None:
    """Run a step, and write the files with its result."""
    print(f"{name} ...", flush=True)
    started, status = time.perf_counter(), "passed"
    try:
        detail = step()
    except Missing as error:
        status, detail = "missing", str(error)
    except Exception as error:  # of any kind: the other steps continue
        status, detail = "failed", f"{type(error).__name__}: {error}"
    results.add_step(Step(name, status, time.perf_counter() - started, detail))
    print(f"{name}: {status}. {detail}", flush=True)
    results.write(folder)


def measure_peaks(plan: Plan, results: Results) -> str:
    side, copied = (64, 1 << 16) if plan.dry_run else (8192, 1 << 30)
    results.peaks |= peaks(clock_of(plan), side, copied)
    return ", ".join(f"{name} {rate:.3g}/s" for name, rate in results.peaks.items())


def compare(plan: Plan, results: Results, name: str) -> str:
    """Run a comparison; it fails if a candidate of ours does, not if a baseline does."""
    rows = steps.compare(plan, name)
    results.add_rows(rows)
    results.missing |= {row.candidate: row.reason for row in rows if "LeftOut" in row.reason}
    broken = [f"{r.candidate}: {r.reason}" for r in rows if r.reason and r.candidate[:4] == "ours"]
    if broken or not rows:
        raise RuntimeError("; ".join(broken) or "no candidate finished")
    return f"{len(rows)} candidates"


def clock_of(plan: Plan) -> Clock:
    return Clock(torch.device(plan.device), 2 if plan.dry_run else ROUNDS)


def device_name(plan: Plan) -> str:
    return "dry run" if plan.dry_run else torch.cuda.get_device_name()


def versions() -> dict[str, str]:
    installed = {"torch": torch.__version__, "CUDA": torch.version.cuda or "none"}
    for name in BASELINES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "missing"
    if torch.cuda.is_available():
        installed["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
    return installed


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="execute every line, on a CPU")
    parser.add_argument("--results", type=Path, help="folder of the two files")
    steps = [*STEPS, "peaks", *COMPARISONS]
    parser.add_argument("steps", nargs="*", metavar="step", help=f"of {', '.join(steps)}")
    options = parser.parse_args(arguments)
    if unknown := set(options.steps) - set(steps):
        parser.error(f"no step is named {', '.join(sorted(unknown))}; there are {', '.join(steps)}")
    plan = Plan("cpu" if options.dry_run else "cuda", options.dry_run)
    reason = None if plan.dry_run else find_obstacle(torch.version.cuda, torch.cuda.is_available())
    if reason is not None:
        print(f"gpu-check: {reason}", file=sys.stderr)
        return NO_GPU
    folder = options.results or (BUILD / "dry-run" if plan.dry_run else RESULTS)
    results = check(plan, folder, options.steps)
    print("written:", *results.write(folder))
    return 1 if any(step.status == "failed" for step in results.steps) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
