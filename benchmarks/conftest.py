from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import interleaved
import machine
import pytest
import table
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from record import Record

import fairloss_ext

LATEST = Path(__file__).parent / "results" / "latest"
RECORD = pytest.StashKey[Record]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks of the ops")
    group.addoption("--full", action="store_true", help="the sizes of real training as well")
    group.addoption("--threads", type=int, default=2, help="threads of torch (default 2)")
    group.addoption(
        "--isa",
        default="avx2,portable",
        help="lower instruction sets to run the head with as well (default avx2,portable)",
    )
    group.addoption("--only", default="", help="candidates to run, as in ours,bound")
    group.addoption(
        "--results",
        type=Path,
        default=LATEST,
        help="write the results to this path with .json and .csv (default %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORD] = Record(machine.describe(config.getoption("--threads")))
    info = fairloss_ext.build_info()
    if info.backend != "compiled":
        pytest.exit(
            "The benchmarks compare the compiled ops with plain torch, but here they are not "
            f"compiled: {info.reason}. `fairloss doctor` says how to fix it.",
            returncode=2,
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a benchmark with an argument `size` for its module's SIZES, then for FULL_SIZES."""
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
def record(request: pytest.FixtureRequest) -> Record:
    return request.config.stash[RECORD]


@pytest.fixture
def note(record: Record, title: tuple[str, str]) -> Callable[[str], None]:
    """Function that adds a note about the current op and size below the table."""
    return lambda text: record.note(f"{', '.join(title)}: {text}")


@pytest.fixture
def title(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The op and its size, as in "B=128 D=512 C=10000"."""
    op = request.path.stem.removeprefix("bench_")
    path = request.function.__name__.removeprefix("bench_").replace("_", " ")
    size = getattr(request.node, "callspec", None)
    numbers = size.params["size"] if size else request.module.SIZES[0]
    letters = request.module.LETTERS
    return f"{op} {path}", " ".join(f"{a}={n}" for a, n in zip(letters, numbers, strict=True))


@pytest.fixture
def compare(
    benchmark: BenchmarkFixture,
    request: pytest.FixtureRequest,
    record: Record,
    title: tuple[str, str],
    note: Callable[[str], None],
) -> Callable[..., None]:
    """Function to call as `compare({"ours": f, "reference": g})`; it fills the table of the end."""

    def run(
        candidates: Mapping[str, Callable[[], object]], thread_counts: Sequence[int] = ()
    ) -> None:
        benchmark.group, size = title
        only = [name for name in request.config.getoption("--only").split(",") if name]
        selected = {name: f for name, f in candidates.items() if not only or name in only}
        counts = thread_counts or [request.config.getoption("--threads")]
        results = interleaved.compare(benchmark, selected, counts, note)
        record.add(title[0], size, fairloss_ext.build_info().isa, results)

    return run


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    record = config.stash[RECORD]
    if not record.rows:
        return
    terminalreporter.section("medians of interleaved rounds")
    terminalreporter.write_line(table.headline(record.machine) + "\n\n" + table.markdown(record))
    paths = record.write(config.getoption("--results"))
    terminalreporter.write_line("written: " + ", ".join(map(str, paths)))
