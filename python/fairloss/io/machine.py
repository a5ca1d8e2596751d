"""A record of the machine and the software of a measurement."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fairloss_ext

EXTENSIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
}


def machine_record() -> dict[str, Any]:
    """Return what the bits of a result depend on beside its settings, JSON-ready.

    `commit` is that of the checkout with this package, "-dirty" where files were changed, or None.
    """
    cpuinfo = read_cpuinfo()
    info = fairloss_ext.build_info()
    return {
        "commit": commit(Path(__file__)),
        "fairloss": fairloss_ext.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "ops": info.backend,
        "instruction_set": info.isa,
        "cpu": cpu_model(cpuinfo) or platform.machine(),
        "cpu_extensions": extensions(cpuinfo),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def commit(file: Path) -> str | None:
    """Return the commit of the git checkout that has a file, or None where none has."""
    described = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        for command in (("ls-files", "--error-unmatch", file.name), described):
            output = subprocess.run(
                ["git", "-C", str(file.parent), *command], capture_output=True, check=True
            ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return output.decode().strip()


def read_cpuinfo() -> str:
    """Return the text of Linux about its CPU; "" on other systems."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def cpu_model(cpuinfo: str) -> str:
    """Return the name of the CPU, or ""."""
    return first_group(r"^model name\s*: (.*)$", cpuinfo)


def extensions(cpuinfo: str) -> list[str]:
    """Return the vector instruction sets that decide the speed of a matrix product."""
    flags = first_group(r"^flags\s*: (.*)$", cpuinfo).split()
    return [name for flag, name in EXTENSIONS.items() if flag in flags]


def first_group(pattern: str, text: str) -> str:
    """Return the first group of a pattern in a text, or ""."""
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""
