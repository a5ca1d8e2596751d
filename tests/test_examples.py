"""Every script of examples/ runs, and its last line of output is what the script shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

# The example and a pattern of its output whose groups are checked below.
OUTPUT = {
    "drop_in_loop": r"accuracy (\d\.\d+)",
    "long_tailed_training": r"epoch 3  margins \[0\.4499",
    "verification": r"AUC +(0\.\d+)  \[0\.\d+, 0\.\d+\]",
    "gallery": r"(?s)ada +(0\.[89]\d+)\nada",
    "custom_margins": r"(?s)per class .*per group .*per sample +\d+\.\d+",
}


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(OUTPUT)


@pytest.mark.parametrize("name", sorted(OUTPUT))
def test_example_runs(name, tmp_path):
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120
    )
    assert result.returncode == 0, result.stderr
    match = re.search(OUTPUT[name], result.stdout)
    assert match, result.stdout
    assert all(float(number) > 0.8 for number in match.groups())
