"""Measuring what an index finds and what it takes, and taking the cheapest that finds enough."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fairloss.gallery import kinds
from fairloss.gallery.device import Device, import_faiss
from fairloss.gallery.exact_search import search_exact
from fairloss.gallery.index import Index, nearest, train
from fairloss.gallery.rows import Floats, Ids, Rows

HELD_OUT = 1000  # 99% is then 990 of them: known to 0.6% (two standard errors)
# A median of more than 15 rounds hardly moves, one of fewer than 5 is at the mercy of two; between
# them as many as fit in so many seconds.
ROUNDS, FEWEST_ROUNDS, BUDGET = 15, 5, 60.0
TURN = 0.02  # seconds of searches in a row: what the others left in the caches matters no more
EQUAL = 1e-6  # cosines closer than this are one: products in another order differ by so much

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Point:
    """What one index did with one value of its parameter.

    Attributes:
        kind: of the index.
        parameter: nprobe or efSearch; 0 for "flat".
        recall: share of the probes whose best match is as good as the exact one.
        milliseconds: for a probe; median over rounds in which all took turns.
        index_bytes: memory that the index takes.
        build_seconds: what it took to train and fill it.
    """

    kind: str
    parameter: int
    recall: float
    milliseconds: float
    index_bytes: int
    build_seconds: float


@dataclass(frozen=True, eq=False)
class Tuning:
    """All that was measured, the point chosen and its index, and how many probes and threads."""

    points: list[Point]
    chosen: Point
    index: Index | None
    probes: int
    threads: int


def tune(
    rows: Rows,
    device: Device,
    *,
    probes: Floats | None = None,
    recall: float = 0.99,
    batch: int = 1,
    wanted: Sequence[str] = kinds.KINDS,
    memory: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Tuning:
    """Build an index of each kind and search it with rising parameters.

    Args:
        probes: (Q, D) of unit length; None: up to 1,000 of the rows (at most a tenth), which the
            indexes must then do without while they are measured.
        recall: recall@1 against the exact search that the choice must reach.
        batch: probes of one timed search.
        wanted: kinds to measure; "flat" always is.
        memory: bytes that all indexes may take together; None: half of the machine's. Kinds that
            do not fit are left out, and "ivf-pq" where fewer than 256 rows remain to train on.

    Raises:
        ValueError: `recall` is not in (0, 1], `wanted` names no kind, or there are too few rows
            (1, and 20 without `probes`) or probes (`batch`).
    """
    wanted = kinds.check_kinds(wanted)
    if not len(rows):
        raise ValueError("tune needs embeddings, and the gallery is empty")
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and at most 1, got {recall}")
    held = _held_out(rows) if probes is None else None
    searched = rows.take(held) if held is not None else np.asarray(probes)
    if not 1 <= batch <= len(searched):
        raise ValueError(f"batch must be 1 to {len(searched)}, the number of probes, got {batch}")
    exact, _ = search_exact(rows.since(without=held), searched, 1, device.knn())
    left = kinds.default_memory() if memory is None else memory
    entries: list[_Entry] = []
    count = len(rows.ids(without=held))
    for kind in dict.fromkeys(("flat", *wanted)):
        needed = kinds.index_bytes(kind, len(rows), rows.size)
        if needed <= left and kinds.trainable(kind, count):
            left -= needed
            built = _build(kind, rows, held, device, progress)
            entries += _sweep(built, searched, exact[:, 0], recall, progress)
    _race(entries, searched, batch, progress)
    points = [entry.point() for entry in entries]
    good = [number for number, point in enumerate(points) if point.recall >= recall]
    best = min(good, key=lambda number: points[number].milliseconds)  # flat is always good
    index = entries[best].index
    if index is not None:
        index.parameter = entries[best].parameter
        if held is not None:
            index.add(rows, held)
    threads = import_faiss().omp_get_max_threads()
    return Tuning(points, points[best], index, len(searched), threads)


@dataclass(eq=False)
class _Entry:
    """An index with one value of its parameter, and how long its searches took."""

    rows: Rows
    device: Device
    kind: str
    index: Index | None
    seconds: float
    parameter: int = 0
    recall: float = 1.0
    times: list[float] = field(default_factory=list)

    def search(self, probes: Floats) -> Floats:
        """(Q, 1) best scores."""
        if self.index is not None:
            self.index.parameter = self.parameter
        return nearest(self.rows, self.index, probes, 1, self.device)[0]

    def point(self) -> Point:
        size = kinds.index_bytes(self.kind, len(self.rows), self.rows.size)
        wall = 1000 * statistics.median(self.times)
        return Point(self.kind, self.parameter, self.recall, wall, size, self.seconds)


def _held_out(rows: Rows) -> Ids:
    count = min(HELD_OUT, len(rows) // 10)
    if count < 2:
        raise ValueError(f"tune needs 20 embeddings or more, got {len(rows)}")
    return np.random.default_rng(0).permutation(rows.ids())[:count]


def _build(kind: str, rows: Rows, held: Ids | None, device: Device, progress: Progress) -> _Entry:
    if kind == "flat":
        return _Entry(rows, device, kind, None, 0.0)
    start = time.perf_counter()
    index = train(
        kind,
        rows,
        without=held,
        progress=lambda done, total: progress(f"build {kind}", done, total),
    )
    return _Entry(rows, device, kind, index, time.perf_counter() - start)


def _sweep(
    built: _Entry, probes: Floats, exact: Floats, bar: float, progress: Progress
) -> Iterator[_Entry]:
    """The entry with rising parameters, until one of them reaches the bar."""
    values = kinds.parameters(built.kind, len(built.rows))
    for number, value in enumerate(values, start=1):
        entry = replace(built, parameter=value, times=[])
        if entry.index is not None:
            entry.recall = float((entry.search(probes)[:, 0] >= exact - EQUAL).mean())
        progress(f"recall {built.kind}", number, len(values))
        yield entry
        if entry.recall >= bar:
            return


def _race(entries: Sequence[_Entry], probes: Floats, batch: int, progress: Progress) -> None:
    """Search in turn, so that what disturbs the machine disturbs all alike."""
    order, done, rounds = list(entries), 0, ROUNDS
    started = time.perf_counter()
    while done < rounds:
        order.append(order.pop(0))  # nobody always follows the same one
        for entry in order:
            entry.times.append(_turn(entry, probes, batch, done))
        if not done:
            elapsed = time.perf_counter() - started
            rounds = min(max(int(BUDGET / elapsed), FEWEST_ROUNDS), ROUNDS)
        done += 1
        progress("time", done, rounds)


def _turn(entry: _Entry, probes: Floats, batch: int, first: int) -> float:
    """Seconds for a probe, over searches of different batches; the first only warms the caches."""
    start, elapsed, count = 0.0, 0.0, 0
    while elapsed < TURN:
        at = (first + count) * batch
        entry.search(np.take(probes, range(at, at + batch), axis=0, mode="wrap"))
        if not count:
            start = time.perf_counter()
        elapsed = time.perf_counter() - start
        count += 1
    return elapsed / ((count - 1) * batch)
