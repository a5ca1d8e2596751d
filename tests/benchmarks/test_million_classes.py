from __future__ import annotations

import sys
from argparse import Namespace

import million_classes
import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_each_part_is_measured(tmp_path):
    given = Namespace(classes=50, rate=0.1, batches=[2], steps=2)
    path = tmp_path / "checkpoint.pt"
    parts = million_classes.head_alone(given)
    parts |= million_classes.train(given, 2, path) | million_classes.resume(given, 2, path)
    assert parts.keys() == {"batch", "build", "steps", "checkpoint", "resume", "step_after"}
    assert all(0 < parts[name]["peak_gb"] < 8 for name in parts.keys() - {"batch"})
