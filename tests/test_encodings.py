"""Every text file is opened with an encoding, also where ruff does not see that it is a file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("python", "fairloss_ext", "build_backend", "benchmarks", "tests", "examples", "docs")
RUNS = {"run", "Popen", "check_output", "check_call"}
TEXT_MODES = set("rwax+t")


def opens_text(call: ast.Call) -> bool:
    """Return True for `open`, `Path.open` and their like without an encoding."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    if keywords.keys() & {"encoding", None}:
        return False
    if method and name in ("read_text", "write_text"):
        return len(call.args) == (name == "write_text")
    if name in RUNS:
        return bool(keywords.keys() & {"text", "universal_newlines"})
    if name in ("fdopen", "open"):
        position = 0 if method and name == "open" else 1
        default = "" if method and call.args else "r"  # Image.open(file) has an argument, no mode
        given = keywords.get("mode", call.args[position] if len(call.args) > position else None)
        mode = default if given is None else getattr(given, "value", "")
        return isinstance(mode, str) and mode != "" and set(mode) <= TEXT_MODES
    return name == "TextIOWrapper" and len(call.args) < 2


def test_every_text_file_has_an_encoding():
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    places = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in [*paths, *ROOT.glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opens_text(node)
    ]
    assert not places


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open(x)", True),
        ("open(x, 'a')", True),
        ("open(x, 'rb')", False),
        ("x.open()", True),
        ("x.open('w')", True),
        ("x.open(mode='wb')", False),
        ("x.open('w', encoding=y)", False),
        ("Image.open(x)", False),
        ("os.fdopen(x, 'w')", True),
        ("x.read_text()", True),
        ("x.write_text(y)", True),
        ("x.read_text('utf-8')", False),
        ("read_text(x)", False),
        ("subprocess.run(x, text=True)", True),
        ("io.TextIOWrapper(x)", True),
    ],
)
def test_calls_that_open_text(code, expected):
    assert opens_text(ast.parse(code, mode="eval").body) == expected
