"""Server that runs pytest many times and imports torch once: every run is a fork of this process.

One JSON line in: {"folder": of the package fairloss_ext to load, "environment": {name: value},
"tests": [path or option], "seconds": CPU time limit}. One line out: the exit status; negative for
the signal that ended it, -24 (SIGXCPU) where the time limit ended it. Output is written to
folder/output.txt.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

# Modules that the tests import, except fairloss_ext, which loads the kernels.
import hypothesis  # noqa: F401
import pytest
import torch._dynamo  # noqa: F401

# opcheck takes seconds and tests the registration of an op, not what its kernel computes.
OPTIONS = ["-xq", "-k", "not opcheck", "--capture=sys", "-p", "no:cacheprovider", "-W", "ignore"]


def run(request: dict[str, Any]) -> None:
    """Run pytest in the child process, and end it."""
    # CPU time, not wall time: on a busy machine every mutant would look like one that never ends.
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
