"""Finds the CUDA toolkit. The build loads this file alone: it imports nothing of the package."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit."""

    folder: str
    release: str  # "13.0"


def find_toolkit(cuda_home: str | None) -> Toolkit | None:
    """The toolkit in `cuda_home`, or the one behind the nvcc on the path.

    That nvcc may be a link or a script which starts the real one, so it is asked for its folder.
    """
    nvcc = shutil.which("nvcc", path=os.path.join(cuda_home, "bin") if cuda_home else None)
    if nvcc is None:
        return None
    try:
        asked = [nvcc, "--dryrun", "-E", "-x", "cu", os.devnull]
        folders, version = _run(asked).stderr, _run([nvcc, "--version"]).stdout
    except OSError:
        return None
    top = re.search(r"^#\$ TOP=(.+)$", folders, re.MULTILINE)
    release = re.search(r"release (\d+\.\d+)", version)
    if release is None:
        return None
    folder = top[1].strip() if top else os.path.join(os.path.dirname(nvcc), "..")
    return Toolkit(os.path.realpath(folder), release[1])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command, whose output names files: any bytes are allowed in it."""
    encoding = sys.getfilesystemencoding()
    return subprocess.run(
        command, capture_output=True, check=False, encoding=encoding, errors="surrogateescape"
    )
