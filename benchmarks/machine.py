"""Description of the machine of a measurement."""

from __future__ import annotations

import os
import platform

import torch

import fairloss_ext
from fairloss.io.machine import cpu_model, extensions, first_group, read_cpuinfo


def describe(threads: int) -> dict[str, str]:
    cpuinfo = read_cpuinfo()
    built_with = torch.__config__.show()
    info = fairloss_ext.build_info()
    return {
        "processor": cpu_model(cpuinfo) or platform.processor() or platform.machine(),
        "extensions": ", ".join(extensions(cpuinfo)),
        "threads": f"{threads} of {os.cpu_count()}",
        "torch": torch.__version__,
        "MKL": first_group(r"Math Kernel Library Version (\S+?)-", built_with),
        "oneDNN": first_group(r"MKL-DNN v(\S+)", built_with),
        "compiler": info.compiler,
        "instruction set": info.isa,
    }
