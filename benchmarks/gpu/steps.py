"""The steps of a check, each in its own process, so that a failure does not affect the others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from gpu.results import Row

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "build_backend"))
from nvcc import find_toolkit  # noqa: E402

BUILD = ROOT / "build" / "gpu"
LIMIT = 3600.0  # seconds of one process


class Missing(Exception):
    """Raised where a step needs what is not on this machine."""


@dataclass(frozen=True)
class Plan:
    """Device of the steps. A dry run uses the CPU, the existing library and tiny shapes."""

    device: str
    dry_run: bool

    def environment(self) -> dict[str, str]:
        library = ROOT if self.dry_run else BUILD / "lib"
        folders = [library, ROOT / "benchmarks", ROOT / "python", ROOT / "tests"]
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "FAIRLOSS_TEST_DEVICE": self.device,
        }


def build(plan: Plan) -> str:
    """Build for this GPU only, beside the ordinary build."""
    if plan.dry_run:
        return "the existing library"
    major, minor = torch.cuda.get_device_capability()
    architectures = os.environ.get("TORCH_CUDA_ARCH_LIST", f"{major}.{minor}+PTX")
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(BUILD)]
    variables = {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": architectures}
    call([*command, "--build-lib", str(BUILD / "lib")], os.environ | variables, ROOT)
    return f"for {architectures}"


def tests(plan: Plan) -> str:
    """Run the ordinary tests of the ops, with tensors on the GPU."""
    selection = ["tests/ext"]
    if plan.dry_run:
        selection = ["tests/ext/test_margin_loss.py", "-k", "formula or straight_through"]
    pytest = str(Path(sys.executable).parent / "pytest")
    output = call([pytest, *selection, "--capture=sys"], plan.environment(), ROOT)
    return output.strip().splitlines()[-1]


def sanitizer(tool: str, *cases: str) -> Callable[[Plan], str]:
    """Return a step: a tool of compute-sanitizer on small shapes of every op, or of some cases.

    It checks torch's kernels too: initcheck has to see what they write, and racecheck of CUDA 13.0
    breaks those of cuBLAS where they are excluded.
    """

    def run(plan: Plan) -> str:
        program = [sys.executable, "-m", "gpu.small", plan.device, *cases]
        if plan.dry_run:
            return call(program, plan.environment()).strip()
        program_path = shutil.which("compute-sanitizer") or in_toolkit("compute-sanitizer")
        if program_path is None:
            raise Missing("compute-sanitizer is neither on PATH nor in the CUDA toolkit")
        checker = [program_path, "--tool", tool, "--error-exitcode", "86"]
        # torch's allocator returns parts of larger blocks, whose ends memcheck cannot see.
        variables = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"} if tool == "memcheck" else {}
        output = call([*checker, *program], plan.environment() | variables)
        summary = re.findall(r"ERROR SUMMARY: .*|RACECHECK SUMMARY: .*", output)
        return summary[-1] if summary else "no summary"

    return run


def in_toolkit(name: str) -> str | None:
    toolkit = find_toolkit(os.environ.get("CUDA_HOME"))
    return None if toolkit is None else shutil.which(name, path=f"{toolkit.folder}/bin")


def graphs(plan: Plan) -> str:
    """Capture every op in a CUDA graph, which fails for a call that synchronizes."""
    program = [sys.executable, "-m", "gpu.graph", plan.device]
    return call(program, plan.environment()).strip().splitlines()[-1]


def convergence(plan: Plan) -> str:
    """Run the demo: the loss must halve. A dry run uses generated images."""
    output = BUILD / ("dry-demo" if plan.dry_run else "demo")
    shutil.rmtree(output, ignore_errors=True)
    settings = [f"output={output}", f"device={plan.device}"]
    if plan.dry_run:
        small = {
            "pretrain_epochs": 2,
            "chain_epochs": 3,
            "epochs": 2,
            "replicates": 20,
            "unseen": 3,
        }
        settings += [f"{name}={number}" for name, number in small.items()]
        settings += ["image_size=[32,32]", f"data={generated_faces(plan, BUILD / 'dry-faces')}"]
    command = [sys.executable, "-c", "from fairloss.cli import main; main()", "demo"]
    call([*command, *settings], plan.environment())
    lines = [
        json.loads(line)
        for line in (output / "fair/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    losses = [line["loss"] for line in lines if line["event"] == "epoch"]
    summary = f"loss of the first epoch {losses[0]:.3g}, of the last {losses[-1]:.3g}"
    if not plan.dry_run and not losses[-1] < 0.5 * losses[0]:
        raise RuntimeError(f"it does not converge: {summary}")
    return summary


def generated_faces(plan: Plan, folder: Path) -> Path:
    """Write faces of tests/synthetic.py."""
    code = "import pathlib, synthetic, sys; "
    code += "synthetic.write_folder(pathlib.Path(sys.argv[1]), [6] * 10)"
    shutil.rmtree(folder, ignore_errors=True)
    call([sys.executable, "-c", code, str(folder)], plan.environment())
    return folder


def compare(plan: Plan, name: str) -> list[Row]:
    command = [sys.executable, "-m", "gpu.comparisons", name, plan.device]
    output = call([*command, "tiny"] if plan.dry_run else command, plan.environment())
    lines = [line for line in output.splitlines() if line.startswith('{"op"')]
    return [Row(**json.loads(line)) for line in lines]


def call(
    command: list[str], environment: Mapping[str, str], folder: Path = ROOT / "benchmarks"
) -> str:
    """Return the output of a process; raise RuntimeError with its last lines if it failed.

    Python searches its working folder first, and the root of the repository has the ordinary build.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=LIMIT,
    )
    if done.returncode != 0:
        end = "\n".join(done.stdout.splitlines()[-40:])
        raise RuntimeError(f"exit status {done.returncode}: {end}")
    return done.stdout


STEPS: dict[str, Callable[[Plan], str]] = {
    "build": build,
    "tests": tests,
    **{tool: sanitizer(tool) for tool in ("memcheck", "racecheck", "synccheck")},
    # It tracks every byte: with the workspaces of products it takes more than ten minutes.
    "initcheck": sanitizer("initcheck", "margins", "samples"),
    "graphs": graphs,
    "convergence": convergence,
}
