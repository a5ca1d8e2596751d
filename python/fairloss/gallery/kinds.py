"""The choice of an index by the number of embeddings, and its size; plain arithmetic.

flat     no index: all rows are compared. Exact, nothing to build, rows may stay on disk.
ivf      inverted file: rows in the lists of their nearest centroids, `nprobe` lists are searched.
hnsw     graph of near neighbors (Malkov & Yashunin 2020), `efSearch` candidates are kept.
ivf-pq   inverted file of product-quantized rows (Jegou et al. 2011); candidates are compared again
         by their rows, which may stay on disk.
"""

import math
from collections.abc import Sequence

from fairloss.checks import check_choice, expect
from fairloss_ext.memory import physical_memory

KINDS = ("flat", "ivf", "hnsw", "ivf-pq")
AUTO = "auto"

# One core reads about 10 GB/s, so one probe is compared with 100 MB of rows (48,828 of 512) in
# about 10 ms: less than the network takes to embed the probe.
FLAT_BYTES = 100_000_000
# k-means expects so many points for each centroid (faiss warns below 39) ...
FEWEST_POINTS = 39
# ... and gains little from more than this; the sample must fit in memory.
MOST_POINTS = 64
# Rounds of k-means: those of faiss for the lists; its 25 for the codes take minutes at D = 512.
ROUNDS = 10
# Links of a node, twice as many on the lowest level: the most that its authors recommend is 48, for
# data of high dimension; faiss's own default.
LINKS = 32
# Candidates that ivf-pq compares again, besides k.
SPARE_CANDIDATES = 64
PQ_CENTROIDS = 256  # of one byte


def check_kind(index: str) -> str:
    """Return the name, or raise ValueError unless it is "auto" or one of `KINDS`."""
    check_choice("index", index, (AUTO, *KINDS))
    return index


def check_kinds(kinds: Sequence[str]) -> list[str]:
    """Return the names, once each, or raise ValueError unless all are of `KINDS`."""
    valid = not isinstance(kinds, str) and all(kind in KINDS for kind in kinds)
    expect(valid, "kinds", f"a sequence of {', '.join(KINDS)}", repr(kinds))
    return list(dict.fromkeys(kinds))


def trainable(kind: str, count: int) -> bool:
    """Return True if there are enough rows: k-means needs one for each centroid of the codes."""
    return kind != "ivf-pq" or count >= PQ_CENTROIDS


def choose_kind(count: int, size: int, memory: int) -> str:
    """Choose the fastest kind that fits, for `count` embeddings of length `size`.

    `flat` while a search of all rows takes about 10 ms at most, otherwise the first of `hnsw`,
    `ivf` and `ivf-pq` that needs at most `memory` bytes; `ivf-pq` in any case.
    """
    if 4 * count * size <= FLAT_BYTES:
        return "flat"
    fitting = (kind for kind in ("hnsw", "ivf") if index_bytes(kind, count, size) <= memory)
    return next(fitting, "ivf-pq")


def index_bytes(kind: str, count: int, size: int) -> int:
    """Return the memory that an index takes, without the rows, which are mapped from disk."""
    if kind == "flat":
        return 0
    if kind == "hnsw":
        # ids here and in the graph, links on the lowest level, 1 of LINKS - 1 rows one level up
        links = 4 * (2 * LINKS + LINKS / (LINKS - 1))
        return int(count * (4 * size + links + 8 + 12))
    row = 4 * size if kind == "ivf" else code_bytes(size)
    return count * (row + 8) + 4 * size * lists(count)


def default_memory() -> int:
    """Return half of the machine's memory: the rest is for the network and cached rows."""
    return physical_memory() // 2


def lists(count: int) -> int:
    """Return the lists of an inverted file: 4 sqrt(N), as faiss's guidelines have it.

    A search costs the comparison with the centroids plus nprobe N / lists rows, which balance where
    lists are a multiple of sqrt(N). Below 24,336 rows N / 39: more could not be trained.
    """
    return max(min(int(4 * math.sqrt(count)), count // FEWEST_POINTS), 1)


def code_bytes(size: int) -> int:
    """Return the bytes of a product-quantized row: the largest divisor of D up to D / 4, or 1."""
    return next(pieces for pieces in range(max(size // 4, 1), 0, -1) if size % pieces == 0)


def default_parameter(kind: str, lists: int) -> int:
    """Return nprobe or efSearch without a measurement (docs/gallery.md); `tune` measures it."""
    return 256 if kind == "hnsw" else max(lists // 8, 1)


def parameters(kind: str, count: int) -> list[int]:
    """Return the values to measure, the cheapest first: powers of two."""
    if kind == "flat":
        return [0]
    if kind == "hnsw":
        return [2**power for power in range(4, 12)]
    return [2**power for power in range(lists(count).bit_length())]
