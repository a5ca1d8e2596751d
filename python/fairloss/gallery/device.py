"""The faiss module, and its searches on a GPU."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from fairloss.checks import check_choice, expect
from fairloss.typing import Float32s, Ints

FaissIndex = Any  # its type stubs are incomplete, and faiss is imported only when used
Knn = Callable[[Float32s, Float32s, int], tuple[Float32s, Ints]]

DEVICES = ("auto", "cpu", "cuda")
GPU_MOST = 2048  # faiss refuses a greater k or nprobe on a GPU


def import_faiss() -> ModuleType:
    """Return the faiss module; ImportError naming the extra if it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'the gallery needs faiss: pip install "fairloss-ext[gallery]" '
            "(or the gallery-gpu extra, not both)"
        ) from error
    return faiss


class Device:
    """The device of searches: the first GPU that faiss sees, or the CPU.

    Args:
        device: "cpu", "cuda", or "auto": a GPU if there is one.

    Raises:
        ValueError: another name, or "cuda" where faiss has no GPU.
    """

    def __init__(self, device: str = "auto") -> None:
        check_choice("device", device, DEVICES)
        faiss = import_faiss()
        self.name = device
        self._resources: Any = None
        gpus = 0 if device == "cpu" else faiss.get_num_gpus()
        no_gpu = "none that faiss sees; it needs the extra gallery-gpu in place of gallery"
        expect(device != "cuda" or gpus, "device", 'a GPU for "cuda"', no_gpu)
        if gpus:
            self._resources = faiss.StandardGpuResources()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the name: a copy, here or in another process, has resources of its own."""
        return Device, (self.name,)

    def knn(self) -> Knn:
        """Return an exact search: (probes, rows, k) -> the k highest products and their positions.

        A GPU is sent the rows of one shard at a time, so they need not fit in its memory.
        """
        faiss = import_faiss()
        metric = faiss.METRIC_INNER_PRODUCT
        on_cpu: Knn = partial(faiss.knn, metric=metric)
        if self._resources is None:
            return on_cpu
        on_gpu: Knn = partial(faiss.knn_gpu, self._resources, metric=metric)
        return lambda probes, rows, k: (on_gpu if k <= GPU_MOST else on_cpu)(probes, rows, k)

    def accelerates(self, kind: str, k: int, nprobe: int) -> bool:
        """Return True if there is a GPU that can search an index of this kind (`to_gpu`).

        faiss has no graphs on a GPU, and product quantizers there of at most 96 bytes a row.
        """
        return self._resources is not None and kind == "ivf" and max(k, nprobe) <= GPU_MOST

    def to_gpu(self, index: FaissIndex) -> FaissIndex:
        """Return a copy of an index on the GPU."""
        return import_faiss().index_cpu_to_gpu(self._resources, 0, index)
