"""The faiss module, and what of it runs on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from fairloss.gallery.rows import Floats, Ids

Faiss = Any  # a faiss index: its type stubs are incomplete, and faiss is imported only when used
Knn = Callable[[Floats, Floats, int], tuple[Floats, Ids]]

DEVICES = ("auto", "cpu", "cuda")
GPU_MOST = 2048  # faiss refuses a greater k or nprobe on a GPU


def import_faiss() -> ModuleType:
    """The faiss module; ImportError naming the extra if it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'the gallery needs faiss: pip install "fairloss-ext[gallery]" '
            "(or the gallery-gpu extra, not both)"
        ) from error
    return faiss


class Device:
    """Where searches run: on the first GPU that faiss sees, or on the processor.

    Args:
        device: "cpu", "cuda", or "auto": a GPU if there is one.

    Raises:
        ValueError: another name, or "cuda" where faiss has no GPU.
    """

    def __init__(self, device: str = "auto") -> None:
        if device not in DEVICES:
            raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
        self._faiss = import_faiss()
        self.resources: Any = None
        if device != "cpu" and self._faiss.get_num_gpus() > 0:
            self.resources = self._faiss.StandardGpuResources()
        elif device == "cuda":
            raise ValueError(
                'device is "cuda", but faiss sees no GPU: it takes one, and the extra gallery-gpu '
                "in place of gallery"
            )

    def knn(self) -> Knn:
        """Exact search: (probes, rows, k) -> the k highest inner products and their positions.

        A GPU is sent the rows of one shard at a time, so they need not fit in its memory.
        """
        metric = self._faiss.METRIC_INNER_PRODUCT
        here: Knn = partial(self._faiss.knn, metric=metric)
        if self.resources is None:
            return here
        there: Knn = partial(self._faiss.knn_gpu, self.resources, metric=metric)
        return lambda probes, rows, k: (there if k <= GPU_MOST else here)(probes, rows, k)

    def suits(self, kind: str, k: int, nprobe: int) -> bool:
        """Whether a GPU is there for such a search of an index, so that it needs to be `moved`.

        faiss has no graphs on a GPU, and product quantisers there of at most 96 bytes a row.
        """
        return self.resources is not None and kind == "ivf" and max(k, nprobe) <= GPU_MOST

    def moved(self, index: Faiss) -> Faiss:
        """A copy of an index on the GPU."""
        return self._faiss.index_cpu_to_gpu(self.resources, 0, index)
