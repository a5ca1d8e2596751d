"""Processes of a map."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from fairloss.loss_search import RayMap

SLEEPING = """
import os, time
from functools import partial
from fairloss.loss_search import ProcessMap
processes = ProcessMap(2)
list(processes(partial(os.write, 1), [b"ready\\n"]))
list(processes(time.sleep, [600, 600]))
"""


@pytest.mark.slow
def test_processes_end_with_a_parent_that_is_killed():
    """They hold its output, which otherwise does not end."""
    command = [sys.executable, "-c", SLEEPING]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(signal.SIGKILL)
        assert parent.communicate(timeout=60)[0] == b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)


def test_a_missing_ray_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"RayMap needs ray: .*\[cluster\]"):
        list(RayMap()(str, [1]))
