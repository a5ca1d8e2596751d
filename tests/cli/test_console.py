"""Names are printed as they are, on any terminal and in any encoding."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import os
import sys
from pathlib import Path

import pytest
from command import refuse

from fairloss.cli import __file__ as COMMANDS
from fairloss.cli import main
from fairloss.cli._console import print_line, print_message, status
from fairloss.cli._progress import progress_bars
from fairloss.cli._tables import print_table

NAMES = ["Anna [old]", "q[/b].jpg", "[link=x]y", ":smile:", "\\[b]", "[1, 2] 'a' http://x"]
USING_RICH = ["_console.py", "_progress.py", "_tables.py"]
LONG = "/".join(f"folder {number}" for number in range(40))
SOURCES = Path(COMMANDS).parent
PRINTING = ("print", "typer.echo", "typer.secho", "Console", "sys.stdout.write", "sys.stderr.write")


@functools.cache
def nodes(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imported(path):
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom):
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_three_modules_use_rich():
    paths = SOURCES.parent.rglob("*.py")
    using = [p for p in paths if any(name.split(".")[0] == "rich" for name in imported(p))]
    assert sorted(using) == [SOURCES / name for name in USING_RICH]


def test_all_output_of_the_package_passes_the_console():
    for path in SOURCES.parent.rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in PRINTING, path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("terminal", [False, True])
def test_names_are_printed_as_they_are(capsys, monkeypatch, name, terminal):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "dumb")  # without colors
    print_line(f"wrote {name}")
    print_message("error", "red", f"data: {name}")
    print_table(f"title {name}", ("n", f"column {name}"), [("cell", name)])
    with progress_bars() as progress:
        progress(f"train {name}", 2, 2)
    with status(f"reading {name}"):
        pass
    output, errors = capsys.readouterr()
    for text in (f"wrote {name}\n", f"title {name}\n", f"column {name} ", f" {name} "):
        assert text in output
    for text in (f"error: data: {name}\n", f"train {name} "):
        assert text in errors


def test_nothing_is_cut_or_folded_in_a_pipe(capsys):
    print_table(LONG, ("name", "number"), [(LONG, "1"), (LONG + "x", "2")])
    print_message("warning", "yellow", LONG)
    print_line(LONG)
    with progress_bars() as progress:
        progress(LONG, 1, 1)
    output, errors = capsys.readouterr()
    lines = output.splitlines()
    assert lines[0] == lines[-1] == LONG
    assert [line.split("│")[1].strip() for line in lines if "│" in line] == [LONG, LONG + "x"]
    assert f"warning: {LONG}\n" in errors
    assert f"{LONG} ━" in errors


def test_a_narrow_terminal_folds_names_and_cuts_none(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "30")
    name = "abcdefghij" * 9
    print_table("t", ("name", "number"), [(name, "1")])
    rows = [
        line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if "│" in line
    ]
    assert "".join(rows) == name


def test_a_name_cannot_control_the_terminal(capsys):
    name = "a\x1b[31m\nb\r\x9bc"
    print_line(name)
    print_table(name, (name,), [(name,)])
    print_message("error", "red", name)
    output, errors = capsys.readouterr()
    shown = r"a\x1b[31m\nb\r\x9bc"
    assert output.splitlines()[:2] == [shown, shown]
    assert output.count(shown) == 4
    assert errors == "error: a\\x1b[31m\nb\\r\\x9bc\n"  # messages may have several lines


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_any_name_is_printed_in_any_encoding(encoding, tmp_path, monkeypatch):
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    name = os.fsdecode(b"Jos\xe9") + " é 数 😀"
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        monkeypatch.setattr(sys, "argv", ["fairloss", "report", str(tmp_path / name)])
        with pytest.raises(SystemExit, match="2"):
            main()
        print_table(name, ("name",), [(name,)])
    for stream in (output, errors):
        stream.flush()
    shown = name.encode(encoding, "backslashreplace").decode(encoding)
    assert output.buffer.getvalue().decode(encoding).count(shown) == 2
    assert shown in errors.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("option", ["--[b]", "--x[/b]", "--:dog:"])
def test_mistaken_options_are_named_as_they_are(option):
    refuse(f"No such option: {option} ", "embed", option)
