"""One list of sources, one version, and a source distribution that can be built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import fairloss
import fairloss_ext

ROOT = Path(__file__).parents[2]


def globbed(folders: list[str]) -> set[Path]:
    return {path for folder in folders for path in (ROOT / folder).glob("*.cpp")}


def test_cmake_and_setup_compile_the_same_files():
    call = re.search(r"sources\((\"csrc.*?)\)", (ROOT / "setup.py").read_text())
    by_setup = globbed(re.findall(r"\"(.*?)\"", call[1]))
    cmake = (ROOT / "CMakeLists.txt").read_text()
    by_cmake = globbed(re.findall(r"GLOB \w+ CONFIGURE_DEPENDS (csrc/\w+)/\*\.cpp", cmake))
    everything = set((ROOT / "csrc").rglob("*.cpp")) - globbed(["csrc/host"])  # pybind11's
    assert by_setup == by_cmake == everything


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
        text=True,
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
        "setup.py",
        "CMakeLists.txt",
        "Makefile",
    }
    needed |= {"tests/oracles.py", "constraints.txt", "fairloss_ext/py.typed"}
    needed |= {str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*") if p.is_file()}
    assert needed <= sdist.keys()


def test_the_sdist_holds_nothing_built(sdist):
    assert [p for p in sdist if p.endswith((".so", "_build.json", ".pyc"))] == []


def test_the_version_stands_in_one_place(sdist):
    version = fairloss_ext.__version__
    assert fairloss.__version__ == version
    assert f"\nVersion: {version}\n" in sdist["PKG-INFO"].decode()
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt", "python/fairloss/__init__.py"):
        assert f'"{version}"' not in (ROOT / name).read_text(), name
