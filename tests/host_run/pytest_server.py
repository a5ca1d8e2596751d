"""Runs pytest again and again without importing torch again: every run is a fork of this process.

One JSON line in: {"folder": of the package fairloss_ext to load, "environment": {name: value},
"tests": [path or option], "seconds": of processor time that it may take}. One line out: the exit
status; negative for the signal that ended it, -24 (SIGXCPU) where the seconds were over. Output
goes to folder/output.txt.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

# What the tests import, fairloss_ext aside: it loads the kernels.
import hypothesis  # noqa: F401
import pytest
import torch._dynamo  # noqa: F401

# opcheck takes seconds and looks at what torch makes of an op, not at what its kernel computes.
OPTIONS = [
    "-x",
    "-q",
    "-k",
    "not opcheck",
    "--capture=sys",
    "-p",
    "no:cacheprovider",
    "-W",
    "ignore",
]


def run(request: dict[str, Any]) -> None:
    """In the child; does not return."""
    # Not of the clock: on a busy machine time alone would look like a mutant that never ends.
    resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"], request["seconds"] + 5))
    output = os.open(Path(request["folder"]) / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(request["environment"])
    sys.path.insert(0, request["folder"])
    code = pytest.main([*OPTIONS, *request["tests"]])
    sys.stdout.flush()
    os._exit(code)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(request)
        status = os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
