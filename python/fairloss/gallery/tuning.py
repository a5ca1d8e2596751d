"""Measuring recall and time of indexes, and taking the fastest with enough recall."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fairloss.checks import check_number, expect
from fairloss.gallery import kinds
from fairloss.gallery.device import Device, import_faiss
from fairloss.gallery.exact_search import search_exact
from fairloss.gallery.index import Index, nearest, train
from fairloss.gallery.rows import Rows
from fairloss.progress import Progress, labeled, no_progress
from fairloss.typing import Float32s, Ints

HELD_OUT = 1000  # 99% is then 990 of them: exact to 0.6% (two standard errors)
# A median of more than 15 rounds hardly changes, one of fewer than 5 depends on two of them.
# Between these, as many as fit in so many seconds.
ROUNDS, FEWEST_ROUNDS, BUDGET = 15, 5, 60.0
TURN = 0.02  # seconds of searches in a row, so that the caches hold this index's data
EQUAL = 1e-6  # cosines closer than this are equal: products in another order differ by so much


@dataclass(frozen=True)
class Point:
    """The measurements of one index with one value of its parameter.

    Attributes:
        kind: of the index.
        parameter: nprobe or efSearch; 0 for "flat".
        recall: share of the probes whose best match is as good as the exact one.
        milliseconds: for a probe; median over rounds in which all indexes took turns.
        index_bytes: memory that the index takes.
        build_seconds: time to train and fill it.
    """

    kind: str
    parameter: int
    recall: float
    milliseconds: float
    index_bytes: int
    build_seconds: float


@dataclass(frozen=True, eq=False)
class Tuning:
    """All measurements, the point chosen and its index, and the number of probes and threads."""

    points: list[Point]
    chosen: Point
    index: Index | None
    probes: int
    threads: int


def tune(
    rows: Rows,
    device: Device,
    *,
    probes: Float32s | None = None,
    recall: float = 0.99,
    batch: int = 1,
    candidates: Sequence[str] = kinds.KINDS,
    memory: int | None = None,
    progress: Progress = no_progress,
) -> Tuning:
    """Build an index of each kind and search it with rising parameters.

    Args:
        rows: of the gallery.
        device: of the searches.
        probes: (Q, D) of unit length; None: up to 1,000 of the rows (at most a tenth), which are
            left out of the indexes while they are measured.
        recall: recall@1 against the exact search that the choice must reach.
        batch: probes of one timed search.
        candidates: kinds to measure; "flat" always is.
        memory: bytes that all indexes may take together; None: half of the machine's. Kinds that
            do not fit are left out, and "ivf-pq" where fewer than 256 rows remain to train on.
        progress: called as progress(label, done, total).

    Raises:
        ValueError: `recall` is not in (0, 1], `candidates` names no kind, or there are too few rows
            (1, and 20 without `probes`) or probes (`batch`).
    """
    candidates = kinds.check_kinds(candidates)
    expect(
        len(rows), "gallery", "at least one embedding to tune with", "none: the gallery is empty"
    )
    check_number("recall", recall, 0, 1, open_low=True)
    held_out = _held_out(rows) if probes is None else None
    probes = np.asarray(probes) if held_out is None else rows.take(held_out)
    in_range = 1 <= batch <= len(probes)
    expect(in_range, "batch", f"1 to {len(probes)}, the number of probes", batch)
    exact, _ = search_exact(rows.shards_from(excluded=held_out), probes, 1, device.knn())
    budget = kinds.default_memory() if memory is None else memory
    entries: list[_Entry] = []
    count = len(rows.ids(excluded=held_out))
    for kind in dict.fromkeys(("flat", *candidates)):
        needed = kinds.index_bytes(kind, len(rows), rows.size)
        if needed <= budget and kinds.trainable(kind, count):
            budget -= needed
            built = _build(kind, rows, held_out, device, progress)
            entries += _sweep(built, probes, exact[:, 0], recall, progress)
    _measure_times(entries, probes, batch, progress)
    points = [entry.point() for entry in entries]
    sufficient = [number for number, point in enumerate(points) if point.recall >= recall]
    fastest = min(sufficient, key=lambda number: points[number].milliseconds)  # flat always is
    index = entries[fastest].index
    if index is not None:
        index.parameter = entries[fastest].parameter
        if held_out is not None:
            index.add(rows, held_out)
    threads = import_faiss().omp_get_max_threads()
    return Tuning(points, points[fastest], index, len(probes), threads)


@dataclass(eq=False)
class _Entry:
    """An index with one value of its parameter, and the times of its searches."""

    rows: Rows
    device: Device
    kind: str
    index: Index | None
    build_seconds: float
    parameter: int = 0
    recall: float = 1.0
    times: list[float] = field(default_factory=list)

    def search(self, probes: Float32s) -> Float32s:
        """Return (Q, 1) best scores."""
        if self.index is not None:
            self.index.parameter = self.parameter
        return nearest(self.rows, self.index, probes, 1, self.device)[0]

    def point(self) -> Point:
        """Return the measurements."""
        size = kinds.index_bytes(self.kind, len(self.rows), self.rows.size)
        wall = 1000 * statistics.median(self.times)
        return Point(self.kind, self.parameter, self.recall, wall, size, self.build_seconds)


def _held_out(rows: Rows) -> Ints:
    expect(len(rows) >= 20, "gallery", "at least 20 embeddings to tune with", len(rows))
    return np.random.default_rng(0).permutation(rows.ids())[: min(HELD_OUT, len(rows) // 10)]


def _build(
    kind: str, rows: Rows, held_out: Ints | None, device: Device, progress: Progress
) -> _Entry:
    if kind == "flat":
        return _Entry(rows, device, kind, None, 0.0)
    start = time.perf_counter()
    index = train(kind, rows, excluded=held_out, progress=labeled(progress, f"build {kind}"))
    return _Entry(rows, device, kind, index, time.perf_counter() - start)


def _sweep(
    built: _Entry, probes: Float32s, exact: Float32s, threshold: float, progress: Progress
) -> Iterator[_Entry]:
    """Yield the entry with rising parameters, until the recall of one reaches the threshold."""
    values = kinds.parameters(built.kind, len(built.rows))
    for number, value in enumerate(values, start=1):
        entry = replace(built, parameter=value, times=[])
        if entry.index is not None:
            entry.recall = float((entry.search(probes)[:, 0] >= exact - EQUAL).mean())
        progress(f"recall {built.kind}", number, len(values))
        yield entry
        if entry.recall >= threshold:
            return


def _measure_times(
    entries: Sequence[_Entry], probes: Float32s, batch: int, progress: Progress
) -> None:
    """Time the entries in turn, so that a disturbance of the machine affects all of them."""
    order, done, rounds = list(entries), 0, ROUNDS
    start = time.perf_counter()
    while done < rounds:
        order.append(order.pop(0))  # no entry always follows the same one
        for entry in order:
            entry.times.append(_seconds_per_probe(entry, probes, batch, done))
        if not done:
            elapsed = time.perf_counter() - start
            rounds = min(max(int(BUDGET / elapsed), FEWEST_ROUNDS), ROUNDS)
        done += 1
        progress("time", done, rounds)


def _seconds_per_probe(entry: _Entry, probes: Float32s, batch: int, first: int) -> float:
    """Time searches of different batches, after one that only warms the caches."""
    start, elapsed, count = 0.0, 0.0, 0
    while elapsed < TURN:
        offset = (first + count) * batch
        entry.search(np.take(probes, range(offset, offset + batch), axis=0, mode="wrap"))
        if not count:
            start = time.perf_counter()
        elapsed = time.perf_counter() - start
        count += 1
    return elapsed / ((count - 1) * batch)
