"""Fetching fonts, with a fake apt-get on the path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from glyph_fonts import write_font

from fairloss.glyphs import FULL, LITE, fetch_fonts

APT = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *update*) touch {lists}; exit 0 ;;
esac
if [ -n "{needs_lists}" ] && [ ! -e {lists} ]; then
  echo "E: Unable to locate package fonts-a"; exit 100
fi
for name in "$@"; do
  case "$name" in
    fonts-none) echo "E: Unable to locate package fonts-none"; exit 100 ;;
    fonts-*) echo "Get:1 somewhere $name"; cp {store}/$name.deb "${{name}}_1_all.deb" ;;
  esac
done
"""
CONTROL = """Package: {}
Version: 1:2.0-3
Architecture: all
Maintainer: none
Description: none"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages with a font, a symbolic link, a copyright and other files."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    folder = tmp_path_factory.mktemp("store")
    for design, package in enumerate(("fonts-a", "fonts-b")):
        tree = folder / package
        font = write_font(tree / "usr/share/fonts/truetype" / f"{package}.ttf", design)
        (font.parent / "link.ttf").symlink_to(font.name)
        for file, text in (
            ("usr/share/doc/{}/copyright", "free"),
            ("usr/share/doc/{}/changelog", "old"),
            ("DEBIAN/control", CONTROL),
        ):
            path = tree / file.format(package)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(package) + "\n", encoding="utf-8")
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", tree, folder / f"{package}.deb"],
            check=True,
            capture_output=True,
        )
    return folder


@pytest.fixture
def apt(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a fake apt-get; returns what it was called with."""

    def install(needs_lists: str = "") -> Path:
        log, lists, tools = tmp_path / "log", tmp_path / "lists", tmp_path / "bin"
        tools.mkdir()
        script = APT.format(log=log, lists=lists, store=store, needs_lists=needs_lists)
        (tools / "apt-get").write_text(script, encoding="utf-8")
        (tools / "apt-get").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        return log

    return install


def test_the_lists():
    assert (len(LITE), len(FULL), len(set(FULL))) == (23, 50, 50)
    assert set(LITE) < set(FULL)
    assert all(name.startswith("fonts-") for name in FULL)


def test_fetched_once(apt, tmp_path: Path):
    log = apt()
    cache, calls = tmp_path / "cache", []
    folders = fetch_fonts(["fonts-a", "fonts-b"], cache, lambda *call: calls.append(call))
    assert folders == [cache / "fonts/fonts-a", cache / "fonts/fonts-b"]
    files = sorted(path.name for path in folders[0].iterdir())
    assert files == ["copyright", "fonts-a.ttf", "package.json"]
    record = json.loads((folders[0] / "package.json").read_text(encoding="utf-8"))
    assert (record["package"], record["version"]) == ("fonts-a", "1:2.0-3")
    assert len(record["sha256"]) == 64
    assert [path.name for path in (cache / "fonts").iterdir() if path.name[0] == "."] == []
    assert calls == [("fetch fonts", done, 2) for done in (0, 1, 2, 2)]
    fetch_fonts(["fonts-a", "fonts-b"], cache)
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1


def test_only_what_is_missing(apt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = apt()
    monkeypatch.setenv("FAIRLOSS_CACHE", str(tmp_path))
    fetch_fonts(["fonts-b"])
    fetch_fonts(["fonts-a", "fonts-b"])
    assert log.read_text(encoding="utf-8").splitlines()[1].endswith("download fonts-a")


def test_without_lists_they_are_fetched_to_the_cache(apt, tmp_path: Path):
    log = apt(needs_lists="yes")
    fetch_fonts(["fonts-a"], tmp_path / "cache")
    first, update, second = log.read_text(encoding="utf-8").splitlines()
    assert "Dir::State" not in first
    for line in (update, second):
        assert f"Dir::State={tmp_path}/cache/fonts/.apt/state" in line
    assert " update " in f" {update} "


def test_a_missing_package_error_has_a_hint(apt, tmp_path: Path):
    apt()
    with pytest.raises(RuntimeError, match="could not fetch fonts") as raised:
        fetch_fonts(["fonts-a", "fonts-none"], tmp_path / "cache")
    assert "--fonts FOLDER" in str(raised.value)
    assert "Unable to locate package fonts-none" in str(raised.value)


def test_a_machine_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="no apt-get on this machine.*--fonts FOLDER"):
        fetch_fonts(["fonts-a"], tmp_path / "cache")
