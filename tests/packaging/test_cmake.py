"""The kernels built by CMake without torch, with the tests of their mathematics."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_kernels_build_without_torch_and_pass_ctest(tmp_path):
    configure = ["cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DFAIRLOSS_BUILD_OPS=OFF"]
    configure += ["-DCMAKE_CXX_FLAGS_RELEASE=-O0"]  # compiles in a third of the time
    build = ["cmake", "--build", str(tmp_path), "--parallel", "2"]
    test = ["ctest", "--test-dir", str(tmp_path), "--output-on-failure", "--no-tests=error"]
    for command in (configure, build, test):
        result = subprocess.run(command, capture_output=True, encoding="utf-8")
        assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "compile_commands.json").exists()
