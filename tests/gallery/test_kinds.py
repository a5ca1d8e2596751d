"""The choice of an index by arithmetic, against sizes that faiss reports."""

import numpy as np
import pytest
from gallery_cases import embeddings, numbered

from fairloss.gallery import Gallery, kinds
from fairloss.gallery.index import train

faiss = pytest.importorskip("faiss")
GB = 10**9


@pytest.mark.parametrize(
    ("count", "size", "memory", "kind"),
    [
        (0, 512, GB, "flat"),
        (48_828, 512, 0, "flat"),  # 100 MB
        (48_829, 512, GB, "hnsw"),
        (10_000_000, 2, GB, "flat"),
        (1_000_000, 512, 8 * GB, "hnsw"),
        (1_000_000, 512, 2_200_000_000, "ivf"),  # the links do not fit
        (1_000_000, 512, GB, "ivf-pq"),
        (10**9, 512, GB, "ivf-pq"),  # nothing fits: the smallest
    ],
)
def test_auto_chooses_the_fastest_that_fits(count, size, memory, kind):
    assert kinds.choose_kind(count, size, memory) == kind


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "ivf-pq"])
def test_bytes_are_those_of_faiss(kind):
    gallery = Gallery(64)
    gallery.add(numbered(6000), embeddings(6000, 64))
    index = train(kind, gallery._rows)
    size = len(faiss.serialize_index(index.faiss_index))
    codebook = 4 * 64 * kinds.PQ_CENTROIDS if kind == "ivf-pq" else 0  # no more with more rows
    assert kinds.index_bytes(kind, 6000, 64) + codebook == pytest.approx(size, rel=0.02)


def test_lists():
    assert kinds.lists(1_000_000) == 4000
    assert kinds.lists(10) == 1
    assert all(39 * kinds.lists(count) <= count for count in range(39, 30_000, 97))


@pytest.mark.parametrize(("size", "code"), [(512, 128), (50, 10), (16, 4), (13, 1), (2, 1)])
def test_codes_divide_the_size(size, code):
    assert kinds.code_bytes(size) == code


@pytest.mark.parametrize("kind", ["ivf", "ivf-pq"])
def test_parameters_end_below_the_number_of_lists(kind):
    values = kinds.parameters(kind, 1_000_000)
    assert values == sorted(values)
    assert values[-1] <= kinds.lists(1_000_000) < 2 * values[-1]
    assert kinds.default_parameter(kind, 4000) in range(1, 4000)


def test_names_of_kinds():
    with pytest.raises(
        ValueError, match="index: expected one of 'auto', 'flat', 'ivf', .* got 'lsh'"
    ):
        Gallery(8, index="lsh")
    gallery = Gallery(8)
    with pytest.raises(ValueError, match="got 'IVF'"):
        gallery.reindex("IVF")


def test_too_few_to_train_on():
    gallery = Gallery(8, index="ivf-pq")
    gallery.add(numbered(255), embeddings(255))
    with pytest.raises(ValueError, match="index: expected at least 256 embeddings .* got 255"):
        gallery.reindex()
    assert gallery.index == "flat"
    assert len(gallery.search(np.eye(8))) == 8
