from types import SimpleNamespace

import numpy as np
import pytest
from gallery_cases import embeddings, numbered

from fairloss.gallery import Gallery, device

faiss = pytest.importorskip("faiss")


class Limited:
    """An index on a GPU, which takes no k or nprobe above 2,048."""

    def __init__(self, index):
        self.index, self.nprobe = index, 1

    def search(self, probes, k):
        assert max(k, self.nprobe) <= 2048
        self.index.nprobe = self.nprobe
        return self.index.search(probes, k)


@pytest.fixture
def gpu(monkeypatch):
    """Give faiss a fake GPU; return the names of the objects sent to it."""
    sent = []

    def knn_gpu(resources, probes, rows, k, metric):
        assert resources == "resources"
        assert k <= 2048
        sent.append(f"{len(rows)} rows")
        return faiss.knn(probes, rows, k, metric=metric)

    def index_cpu_to_gpu(resources, number, index):
        assert (resources, number) == ("resources", 0)
        sent.append(type(index).__name__)
        return Limited(faiss.clone_index(index))

    fake = SimpleNamespace(
        get_num_gpus=lambda: 1,
        StandardGpuResources=lambda: "resources",
        knn=faiss.knn,
        knn_gpu=knn_gpu,
        index_cpu_to_gpu=index_cpu_to_gpu,
        METRIC_INNER_PRODUCT=faiss.METRIC_INNER_PRODUCT,
    )
    monkeypatch.setattr(device, "import_faiss", lambda: fake)
    return sent


PROBES = embeddings(5, seed=9)


def filled(kind, device_name, count=500):
    gallery = Gallery(8, index=kind, device=device_name)
    gallery.add(numbered(count), embeddings(count))
    gallery.reindex()
    return gallery


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("flat", ["500 rows"] * 2),
        ("ivf", ["IndexIVFFlat"]),  # once, not for each search
        ("hnsw", []),
        ("ivf-pq", []),
    ],
)
def test_flat_and_ivf_go_to_the_gpu(gpu, kind, expected):
    on_cpu, on_gpu = filled(kind, "cpu"), filled(kind, "auto")
    assert on_gpu.search(PROBES) == on_gpu.search(PROBES) == on_cpu.search(PROBES)
    assert gpu == expected


def test_more_matches_than_a_gpu_takes_come_from_the_cpu(gpu):
    for kind in ("flat", "ivf"):
        on_cpu, on_gpu = filled(kind, "cpu", 2500), filled(kind, "cuda", 2500)
        for gallery in (on_cpu, on_gpu):
            if kind == "ivf":
                gallery._index.parameter = gallery._index.lists
        assert on_gpu.search(PROBES, 2049) == on_cpu.search(PROBES, 2049)
        assert gpu == []
        assert on_gpu.search(PROBES, 2048) == on_cpu.search(PROBES, 2048)
        assert gpu.pop()


def test_more_lists_than_a_gpu_takes_are_searched_by_the_cpu(gpu):
    gallery = filled("ivf", "cuda")
    gallery._index.parameter = 2049
    gallery.search(PROBES)
    assert gpu == []


def test_a_changed_index_is_sent_again(gpu):
    gallery = filled("ivf", "cuda")
    gallery.search(PROBES)
    (before,) = gallery.search(PROBES[:1], 1)
    gallery.remove([before[0].name])
    assert gallery.search(PROBES[:1], 1) != [before]
    gallery.add(["itself"], PROBES[:1])
    gallery.reindex()
    assert gallery.search(PROBES[:1], 1)[0][0].name == "itself"
    assert gpu == ["IndexIVFFlat"] * 3


def test_cuda_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(ValueError, match='device: expected a GPU for "cuda", got none'):
        Gallery(8, device="cuda")
    with pytest.raises(ValueError, match="device: expected one of 'auto', .* got 'gpu'"):
        Gallery(8, device="gpu")
    gallery = filled("flat", "auto")
    assert np.isfinite(gallery.search(PROBES, 1)[0][0].score)
