"""The list of sources, the version, and the source distribution."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import sources

import fairloss
import fairloss_ext

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"


def test_every_source_of_csrc_is_compiled():
    compiled = {file for part in ("cpu", "ops", "host", "cuda") for file in sources.files(part)}
    present = {str(p.relative_to(ROOT)) for kind in ("cpp", "cu") for p in CSRC.rglob(f"*.{kind}")}
    assert compiled == present


@pytest.fixture(scope="module")
def sdist(source_tree: Path) -> dict[str, bytes]:
    """Path in the source distribution -> content."""
    (source_tree / "fairloss_ext" / "_C.abi3.so").touch()  # left over from an editable build
    (source_tree / "fairloss_ext" / "_build.json").touch()
    result = subprocess.run(
        [sys.executable, "-c", "import backend; backend.build_sdist('dist')"],
        cwd=source_tree,
        env=os.environ | {"PYTHONPATH": "build_backend", "FAIRLOSS_SKIP_EXT": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    with tarfile.open(next((source_tree / "dist").glob("*.tar.gz"))) as archive:
        members = [member for member in archive if member.isfile()]
        return {m.name.partition("/")[2]: archive.extractfile(m).read() for m in members}


def test_the_sdist_holds_all_that_a_build_needs(sdist):
    needed = {
        "LICENSE",
        "build_backend/backend.py",
        "build_backend/nvcc.py",
        "build_backend/sources.json",
        "build_backend/sources.py",
        "setup.py",
        "CMakeLists.txt",
        "Makefile",
        "examples/gallery.py",
    }
    needed |= {"tests/oracles.py", "constraints.txt", "fairloss_ext/py.typed"}
    needed |= {str(p.relative_to(ROOT)) for p in CSRC.rglob("*") if p.is_file()}
    assert needed <= sdist.keys()


def test_the_sdist_holds_nothing_built(sdist):
    assert [p for p in sdist if p.endswith((".so", "_build.json", ".pyc"))] == []


def test_the_version_stands_in_one_place(sdist):
    version = fairloss_ext.__version__
    assert fairloss.__version__ == version
    assert f"\nVersion: {version}\n" in sdist["PKG-INFO"].decode()
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt", "python/fairloss/__init__.py"):
        assert f'"{version}"' not in (ROOT / name).read_text(encoding="utf-8"), name
