"""Description of the machine of a measurement."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

import fairloss_ext

EXTENSIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "amx_tile": "AMX",
}


def describe(threads: int) -> dict[str, str]:
    cpuinfo = (
        Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    )
    built_with = torch.__config__.show()
    info = fairloss_ext.build_info()
    return {
        "processor": cpu_model(cpuinfo) or platform.processor() or platform.machine(),
        "extensions": ", ".join(extensions(cpuinfo)),
        "threads": f"{threads} of {os.cpu_count()}",
        "torch": torch.__version__,
        "MKL": _first_group(r"Math Kernel Library Version (\S+?)-", built_with),
        "oneDNN": _first_group(r"MKL-DNN v(\S+)", built_with),
        "compiler": info.compiler,
        "instruction set": info.isa,
    }


def cpu_model(cpuinfo: str) -> str:
    return _first_group(r"^model name\s*: (.*)$", cpuinfo)


def extensions(cpuinfo: str) -> list[str]:
    """Return the vector instruction sets that decide the speed of a matrix product."""
    flags = _first_group(r"^flags\s*: (.*)$", cpuinfo).split()
    return [name for flag, name in EXTENSIONS.items() if flag in flags]


def _first_group(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""
