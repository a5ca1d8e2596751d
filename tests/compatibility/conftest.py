"""Access to the files that version 0.1.0 wrote; make_fixtures.py says how."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

FIXTURES = Path(__file__).parent / "fixtures"
PLACEHOLDER = b"@ROOT@"
TEXT = {".yaml", ".json", ".jsonl"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each head that 0.1.0 had."""
    if "head_name" in metafunc.fixturenames:
        metafunc.parametrize("head_name", read_expected()["heads"])


def read_expected() -> dict:
    return json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def expected() -> dict:
    """Return the values that 0.1.0 computed from the files."""
    return read_expected()


@pytest.fixture
def unpack(tmp_path):
    """A function of topics: unpacks their archives and returns the folder that holds them.

    Absolute paths in text files are those of that folder.
    """
    root = tmp_path.resolve() / "old"

    def unpack_topics(*topics: str) -> Path:
        for topic in topics:
            with zipfile.ZipFile(FIXTURES / f"{topic}.zip") as archive:
                for name in archive.namelist():
                    content = archive.read(name)
                    if Path(name).suffix in TEXT:
                        content = content.replace(PLACEHOLDER, str(root).encode())
                    path = root / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
        return root

    return unpack_topics


@pytest.fixture(autouse=True)
def _one_thread():
    """The files were written with one thread; another number sums in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def _wide_terminal():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        yield
