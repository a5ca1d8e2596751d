"""Recall against time of faiss's indices on real features, for docs/gallery-scale.md.

    python benchmarks/gallery_indices.py features.npy --indices built --results NAME.json

Some rows are drawn as queries and leave the gallery. An index is built once and stored in the
folder `built`. Then all of them, at every setting, search the same queries in the same batches on
the same threads, in turn for several rounds; times are medians, and compared with those of
IndexFlatIP. A query is recalled where the first result is as similar as the nearest row: the order
of equal rows does not matter.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import machine
import numpy as np

from fairloss.embeddings import unit_embeddings
from fairloss.io.atomic import write_text
from fairloss.typing import Float32s, Ints

FEWEST = 2000  # queries timed in a round of batches
SINGLES = 200  # queries timed in a round of single queries
EQUAL = 1e-6  # a few roundings of a sum of 128 products
PER_LIST = 64  # training rows for each list of an inverted file: faiss warns below 39
SEED = 0

PROBES = [{"nprobe": n} for n in (1, 2, 4, 8, 16, 32, 64, 128)]
# name -> faiss's factory string and the settings to search with; {lists} is about 4 sqrt(N),
# {half} half the dimension. Codes of 4 bits: training 25 of 8 took faiss 1.15 four minutes.
KINDS: dict[str, tuple[str, list[dict[str, int]]]] = {
    "Flat": ("Flat", [{}]),
    "IVF-Flat": ("IVF{lists},Flat", PROBES),
    "IVF-SQ8": ("IVF{lists},SQ8", PROBES),
    "HNSW": ("HNSW32", [{"efSearch": n} for n in (8, 16, 32, 64, 128, 256)]),
    "IVF-PQ": ("IVF{lists},PQ{half}x4fs", PROBES),
    "IVF-PQ, refined": (
        "IVF{lists},PQ{half}x4fs,RFlat",
        [{"nprobe": n, "k_factor_rf": k} for k in (4, 16, 64) for n in (4, 8, 16, 32, 64, 128)],
    ),
}


@dataclass
class Candidate:
    """A built index, with its build time and size."""

    name: str
    factory: str
    index: Any
    build_s: float
    mib: float


def split(rows: Float32s, count: int) -> tuple[Float32s, Float32s]:
    """Return gallery and queries, drawn at random."""
    is_query = np.zeros(len(rows), dtype=np.bool_)
    is_query[np.random.default_rng(SEED).choice(len(rows), count, replace=False)] = True
    return rows[~is_query], rows[is_query]


def build_candidate(name: str, gallery: Float32s, folder: Path) -> Candidate:
    """Build an index, or read it from the folder if it was built from the same gallery."""
    count, dim = gallery.shape
    lists = 2 ** round(np.log2(4 * count**0.5))
    factory = KINDS[name][0].format(lists=lists, half=dim // 2)
    file = folder / f"{factory}-{zlib.crc32(gallery):08x}.faiss"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        started = time.perf_counter()
        sample = np.random.default_rng(SEED).permutation(count)[: PER_LIST * lists]
        index.train(gallery[sample])
        index.add(gallery)
        took = time.perf_counter() - started
        file.with_suffix(".json").write_text(json.dumps({"build_s": took}), encoding="utf-8")
        faiss.write_index(index, str(file))
        print(f"{factory}: built in {took:.0f} s", flush=True)
    took = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["build_s"]
    size = file.stat().st_size / 2**20
    return Candidate(name, factory, faiss.read_index(str(file)), took, size)


def search(index: Any, queries: Float32s, batch: int) -> Ints:
    """Return the (Q,) first result of every query, -1 for none."""
    parts = [index.search(queries[i : i + batch], 1)[1] for i in range(0, len(queries), batch)]
    return np.concatenate(parts)[:, 0]


def recall(gallery: Float32s, queries: Float32s, nearest: Ints, best: Float32s) -> float:
    scores = np.einsum("qd,qd->q", gallery[nearest], queries)
    return float(((scores > best - EQUAL) & (nearest >= 0)).mean())


def compare(
    candidates: Sequence[Candidate],
    gallery: Float32s,
    queries: Float32s,
    batches: Sequence[int],
    rounds: int,
) -> list[dict[str, Any]]:
    """Return one row for every index, setting and batch size."""
    best = candidates[0].index.search(queries, 1)[0][:, 0]
    entries = []
    for one in candidates:
        for setting in KINDS[one.name][1]:
            tune(one.index, setting)
            share = recall(gallery, queries, search(one.index, queries, 1000), best)
            entries.append((one, setting, share))
    rows = []
    for batch in batches:
        part = queries[: max(batch, FEWEST) if batch > 1 else SINGLES]
        times: list[list[float]] = [[] for _ in entries]
        for _ in range(rounds):
            for (one, setting, _), took in zip(entries, times, strict=True):
                tune(one.index, setting)
                started = time.perf_counter()
                search(one.index, part, batch)
                took.append((time.perf_counter() - started) / len(part))
        flat = statistics.median(times[0])
        for (one, setting, share), took in zip(entries, times, strict=True):
            median = statistics.median(took)
            rows.append(
                {
                    "index": one.name,
                    "factory": one.factory,
                    "setting": setting,
                    "batch": batch,
                    "recall_at_1": share,
                    "query_s": median,
                    "flat_over_it": flat / median,
                    "rounds_s": took,
                    "build_s": one.build_s,
                    "mib": one.mib,
                }
            )
    return rows


def tune(index: Any, setting: dict[str, int]) -> None:
    for key, value in setting.items():
        faiss.ParameterSpace().set_index_parameter(index, key, value)


def cheapest(rows: list[dict[str, Any]], bar: float) -> list[dict[str, Any]]:
    """Return of every index and batch the fastest setting of enough recall, else the best one."""
    selected = []
    for batch in sorted({row["batch"] for row in rows}):
        for name in KINDS:
            settings = [r for r in rows if (r["index"], r["batch"]) == (name, batch)]
            enough = [row for row in settings if row["recall_at_1"] >= bar]
            if not settings:
                continue
            if enough:
                selected.append(min(enough, key=lambda row: row["query_s"]))
            else:
                selected.append(max(settings, key=lambda row: row["recall_at_1"]))
    return selected


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| batch | index | setting | recall@1 | a query | Flat over it | built in | size |",
        "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        setting = ", ".join(f"{key} {value}" for key, value in row["setting"].items())
        lines.append(
            f"| {row['batch']} | `{row['factory']}` | {setting} | {row['recall_at_1']:.4f} | "
            f"{1e3 * row['query_s']:.3f} ms | {row['flat_over_it']:.1f} | {row['build_s']:.0f} s | "
            f"{row['mib']:.0f} MiB |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path, nargs="+", help=".npy files, one after the other")
    parser.add_argument("--indices", type=Path, required=True, help="folder to store them in")
    # with at least 128,000 / dimension queries faiss multiplies matrices, ten times as fast
    parser.add_argument("--batch", type=int, default=1000, help="queries at a time, besides 1")
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bar", type=float, default=0.99, help="required recall@1")
    parser.add_argument("--results", type=Path, help="a .json file")
    given = parser.parse_args()
    faiss.omp_set_num_threads(given.threads)
    rows = np.concatenate([unit_embeddings(np.load(file)) for file in given.features])
    gallery, queries = split(rows, given.queries)
    del rows
    candidates = [build_candidate(name, gallery, given.indices) for name in KINDS]
    compared = compare(candidates, gallery, queries, (1, given.batch), given.rounds)
    print(markdown(cheapest(compared, given.bar)))
    if given.results:
        described = machine.describe(given.threads) | {"faiss": faiss.__version__}
        sizes = {"gallery": len(gallery), "queries": len(queries), "dimension": gallery.shape[1]}
        record = {"version": 1, "machine": described, "sizes": sizes, "rows": compared}
        write_text(given.results, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
