from __future__ import annotations

import os

import pytest
import torch
import torch._dynamo
from hypothesis import HealthCheck, settings

# No test fails for a slow machine.
TIMELESS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run; `pytest --hypothesis-profile=search` looks for new ones.
settings.register_profile("repeatable", TIMELESS, derandomize=True)
settings.register_profile("search", TIMELESS, max_examples=1000)
settings.load_profile("repeatable")

# Where the tensors of the tests live; benchmarks/gpu_check.py runs tests/ext on "cuda".
DEVICE = os.environ.get("FAIRLOSS_TEST_DEVICE", "cpu")
if DEVICE != "cpu":  # before test modules make theirs
    torch.set_default_device(DEVICE)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    yield
    torch._dynamo.reset()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`-m slow` selects the slow tests; without it they are left to `make test-slow`."""
    if DEVICE != "cpu":
        skip = pytest.mark.skip(reason="about the CPU, or about values that a GPU does not report")
        for item in items:
            if item.get_closest_marker("cpu_only"):
                item.add_marker(skip)
    if config.getoption("-m"):
        return
    # Not item.keywords, which has the names of folders too.
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
