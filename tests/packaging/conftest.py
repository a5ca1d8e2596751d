from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SOURCE = (".*", "build", "dist", "runs", "*.egg-info", "*.so", "_build.json", "__pycache__")


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy of the repository: nothing was ever built in it."""
    tree = tmp_path_factory.mktemp("source") / "fairloss"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    return tree
