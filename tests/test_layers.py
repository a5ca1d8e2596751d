"""Imports point downward only, and there is no circle between packages."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "fairloss"
# Low to high: a module imports its own package and what stands in an earlier row.
LAYERS = (
    {"typing", "checks", "progress", "threads", "deprecation", "ranks"},
    {"collectives", "embeddings", "io"},
    {"agent", "data", "glyphs", "metrics", "models", "optim", "evaluation", "heads"},
    {"gallery"},
    {"training"},
    {"experience", "loss_search"},
    {"experiments"},
    {"report"},
    {"demo", "doctor", "plan"},
    {"cli"},
    {"__main__"},
)
# Imports within a row: (from, to).
WITHIN = {
    ("heads", "agent"),
    ("models", "data"),
    ("glyphs", "data"),
    ("data", "evaluation"),
}


def layer(name: str) -> int:
    return next(number for number, row in enumerate(LAYERS) if name in row)


def imports() -> set[tuple[str, str]]:
    """Pairs (from, to) of parts of the package."""
    pairs = set()
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fairloss."):
                pairs.add((part, node.module.split(".")[1]))
    return {(a, b) for a, b in pairs if a != b and a != "__init__"}


@pytest.mark.parametrize(("source", "target"), sorted(imports()))
def test_imports_point_downward(source, target):
    assert layer(target) < layer(source) or (source, target) in WITHIN
