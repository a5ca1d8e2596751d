"""`pip install` as a user types it, into an environment that holds torch and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

CHECK = """
import torch, fairloss, fairloss_ext
info = fairloss_ext.build_info()
loss = fairloss_ext.margin_softmax_loss(torch.ones(2, 3), torch.eye(3), torch.tensor([0, 1]), 0.5)
assert loss.isfinite(), loss
print(info.backend, info.reason, sep="|")
"""


class Environment:
    """A virtual environment with only torch in it, and a folder away from the sources."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "venv" / "bin" / "python"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        # The very build that runs the tests, never a larger one with CUDA.
        result = self.pip("install", f"torch=={torch.__version__}")
        assert result.returncode == 0, result.stderr

    def run(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CXX")}
        environment = inherited | variables
        return subprocess.run(
            [str(self.python), *command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )

    def pip(self, *arguments: str, cwd: Path | None = None, **variables: str):
        return self.run("-m", "pip", *arguments, cwd=cwd or self.elsewhere, **variables)

    def backend(self) -> tuple[str, str]:
        """backend and reason of the installed build_info()."""
        result = self.run("-W", "ignore", "-c", CHECK, cwd=self.elsewhere)
        assert result.returncode == 0, result.stderr
        backend, _, reason = result.stdout.strip().partition("|")
        return backend, reason


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with tempfile.TemporaryDirectory() as folder:  # a gigabyte: pytest would keep it for a while
        yield Environment(Path(folder))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def build_wheel(environment: Environment, tree: Path, out: Path) -> dict[str, bytes]:
    result = environment.pip("wheel", ".", "--no-deps", "--wheel-dir", str(out), cwd=tree)
    assert result.returncode == 0, result.stdout + result.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


def test_wheel_is_complete_clean_and_follows_headers(environment, source_tree, tmp_path):
    before = names(source_tree)
    first = build_wheel(environment, source_tree, tmp_path / "first")
    assert {"fairloss_ext/_C.abi3.so", "fairloss_ext/_build.json", "fairloss/py.typed"} <= set(
        first
    )
    assert any(name.startswith("fairloss_ext/_host.") for name in first)
    assert [name for name in first if name.startswith(("csrc", "tests", "benchmarks"))] == []
    assert names(source_tree) - before <= {"build", "fairloss_ext.egg-info"}  # git ignores both

    library = next((source_tree / "build").glob("lib.*"))
    (library / "fairloss_ext" / "deleted_since.py").touch()
    header = source_tree / "csrc" / "include" / "fairloss" / "norm.h"
    text = header.read_text(encoding="utf-8")
    assert "kShortestNorm = 1e-12" in text
    header.write_text(
        text.replace("kShortestNorm = 1e-12", "kShortestNorm = 1e-11"), encoding="utf-8"
    )
    second = build_wheel(environment, source_tree, tmp_path / "second")
    header.write_text(text, encoding="utf-8")
    assert second["fairloss_ext/_C.abi3.so"] != first["fairloss_ext/_C.abi3.so"]
    assert second.keys() == first.keys()


@pytest.mark.parametrize("editable", [[], ["--editable"]], ids=["regular", "editable"])
def test_install_compiles_against_the_torch_that_is_there(environment, source_tree, editable):
    result = environment.pip("install", *editable, ".", cwd=source_tree)
    assert result.returncode == 0, result.stdout + result.stderr
    assert environment.backend() == ("compiled", "")
    version = environment.run("-c", "import torch; print(torch.__version__)", cwd=source_tree)
    assert version.stdout.strip() == torch.__version__


@pytest.mark.skipif(sys.platform != "linux", reason="a flag of its linkers")
def test_a_static_libstdcxx_keeps_to_itself(environment, source_tree):
    """Mixed with the libstdc++ of torch it loses numbers from messages, or crashes."""
    result = environment.pip("install", ".", cwd=source_tree, LDFLAGS="-static-libstdc++")
    assert result.returncode == 0, result.stdout + result.stderr
    call = "margin_loss(torch.zeros(2), torch.zeros(2), torch.zeros(3, dtype=torch.int64), 0.5)"
    result = environment.run(
        "-c", f"import torch; from fairloss_ext import *; {call}", cwd=environment.elsewhere
    )
    assert "labels: expected shape (2,), got (3,)" in result.stderr


@pytest.mark.parametrize("editable", [[], ["--editable"]], ids=["regular", "editable"])
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"FAIRLOSS_SKIP_EXT": "1"}, "built with FAIRLOSS_SKIP_EXT=1"),
        ({"CXX": "/nonexistent"}, "no C++20 compiler was found at build time"),
    ],
    ids=["skipped", "no compiler"],
)
def test_what_cannot_be_compiled_installs_and_says_why(
    environment, source_tree, editable, variables, reason
):
    result = environment.pip("install", *editable, ".", cwd=source_tree, **variables)
    assert result.returncode == 0, result.stdout + result.stderr
    backend, said = environment.backend()
    assert backend == "reference"
    assert reason in said


def test_cuda_on_demand_without_a_toolkit_is_refused_readably(environment, source_tree, tmp_path):
    result = environment.pip(
        "install", ".", cwd=source_tree, FORCE_CUDA="1", CUDA_HOME=str(tmp_path)
    )
    assert result.returncode != 0
    assert "FORCE_CUDA=1, but no nvcc was found" in result.stdout + result.stderr
