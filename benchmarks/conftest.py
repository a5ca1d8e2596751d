from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import interleaved
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import fairloss_ext

TABLE = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the sizes of real training as well")
    parser.addoption("--threads", type=int, default=1, help="threads of torch (default 1)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = []
    info = fairloss_ext.build_info()
    if info.backend != "compiled":
        pytest.exit(
            "The benchmarks compare the compiled ops with plain torch, but here plain torch would "
            f"race against itself: {info.reason}. `fairloss doctor` says how to mend it.",
            returncode=2,
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A benchmark with an argument `size` runs for its module's SIZES, then for FULL_SIZES."""
    if "size" in metafunc.fixturenames:
        sizes = list(metafunc.module.SIZES)
        if metafunc.config.getoption("--full"):
            sizes += metafunc.module.FULL_SIZES
        metafunc.parametrize("size", sizes, ids=["x".join(map(str, size)) for size in sizes])


@pytest.fixture(autouse=True)
def _same_conditions(request: pytest.FixtureRequest) -> Iterator[None]:
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(request.config.getoption("--threads"))
    yield
    torch.set_num_threads(before)


@pytest.fixture
def race(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest
) -> Callable[[Mapping[str, Callable[[], object]]], None]:
    """`race({"ours": f, "reference": g})`, which also fills the table printed at the end."""

    def run(contenders: Mapping[str, Callable[[], object]]) -> None:
        benchmark.group = request.path.stem
        results = interleaved.race(benchmark, contenders)
        lines = request.config.stash[TABLE]
        lines.append(f"{request.path.stem} {request.node.name}")
        first = next(iter(results.values()))
        for name, result in results.items():
            peak = "" if result.peak is None else f"   peak {result.peak:8.1f} MiB"
            wall, cpu = result.wall / first.wall, result.cpu / first.cpu
            lines.append(
                f"  {name:<12} wall {1e3 * result.wall:9.2f} ms {wall:6.2f}x"
                f"   cpu {1e3 * result.cpu:9.2f} ms {cpu:6.2f}x{peak}"
            )

    return run


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.stash[TABLE]:
        terminalreporter.section(
            f"medians of interleaved rounds, {config.getoption('--threads')} thread(s)"
        )
        terminalreporter.write_line("\n".join(config.stash[TABLE]))
