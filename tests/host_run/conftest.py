"""Skips the tests of the host run without the library of build.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import fairloss_ext

ROOT = Path(__file__).parents[2]


def is_host_run() -> bool:
    library = Path(fairloss_ext.__file__).parent / "_C.abi3.so"
    return library.exists() and b"HOST_RUN_SCHEDULE" in library.read_bytes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_host_run():
        return
    skip = pytest.mark.skip(reason="needs the library of tests/host_run/build.py: make cuda-check")
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(skip)
