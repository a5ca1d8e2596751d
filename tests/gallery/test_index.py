"""Indexes against brute force, with parameters that make them exact."""

import numpy as np
import pytest
from gallery_cases import embeddings, numbered, unit

from fairloss.gallery import Gallery, kinds, rows
from fairloss.gallery.exact_search import best

faiss = pytest.importorskip("faiss")

APPROXIMATE = ["ivf", "hnsw", "ivf-pq"]
ALL = ["flat", *APPROXIMATE]
PROBES = embeddings(40, 16, seed=9)


def indexed(kind, count=1000):
    gallery, array = Gallery(16, index=kind), embeddings(count, 16)
    gallery.add(numbered(count), array)
    gallery.reindex()
    assert gallery.index == kind
    return gallery, array


def assert_search_equals_brute_force(gallery, names, array, k=7):
    """With parameters that make every index exact."""
    if gallery._index is not None:
        gallery._index.parameter = 4000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "SPARE_CANDIDATES", 4000)
        result = gallery.search(PROBES, k)
    cosine = unit(PROBES) @ unit(array).T
    for row, matches in zip(cosine, result, strict=True):
        best = np.argsort(-row)[:k]
        assert [m.name for m in matches] == [names[i] for i in best]
        np.testing.assert_allclose([m.score for m in matches], row[best], atol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_finds_the_nearest(kind):
    gallery, array = indexed(kind)
    assert_search_equals_brute_force(gallery, numbered(1000), array)


@pytest.mark.parametrize("kind", ALL)
def test_what_the_index_lacks_is_searched_too(kind):
    gallery, array = indexed(kind)
    extra = embeddings(100, 16, seed=5)
    gallery.add(numbered(100, "late"), extra)
    names = numbered(1000) + numbered(100, "late")
    assert_search_equals_brute_force(gallery, names, np.concatenate((array, extra)))
    gallery.reindex()
    if kind != "flat":
        assert gallery._index.faiss_index.ntotal == 1100
    assert_search_equals_brute_force(gallery, names, np.concatenate((array, extra)))


@pytest.mark.parametrize("kind", ALL)
def test_removed_faces_are_not_found(kind):
    gallery, array = indexed(kind)
    late = embeddings(2, 16, seed=5)
    gallery.add(["late 0", "late 1"], late)
    gone = [f"identity {i}" for i in range(0, 1000, 3)]
    assert gallery.remove([*gone, "late 0"]) == len(gone) + 1
    assert gallery.index == ("flat" if kind == "hnsw" else kind)  # a graph cannot forget
    kept = [i for i in range(1000) if i % 3]
    names, array = [*(f"identity {i}" for i in kept), "late 1"], np.vstack((array[kept], late[1:]))
    assert_search_equals_brute_force(gallery, names, array)
    gallery.reindex()
    assert gallery.index == kind
    assert_search_equals_brute_force(gallery, names, array)


@pytest.mark.parametrize("kind", ALL)
def test_an_index_does_not_outlive_its_embeddings(kind):
    gallery, _ = indexed(kind, 400)
    gallery.remove(gallery.names)
    assert gallery.index == "flat"
    assert gallery.search(PROBES) == [[]] * 40
    gallery.add(["late"], PROBES[:1])
    assert [match.name for match in gallery.search(PROBES[:1])[0]] == ["late"]


@pytest.mark.parametrize("kind", ALL)
def test_round_trip(kind, tmp_path):
    gallery, _ = indexed(kind)
    gallery.add(["late"], PROBES[:1])
    gallery.save(tmp_path)
    result = Gallery.load(tmp_path)
    assert result.index == kind
    assert result.search(PROBES) == gallery.search(PROBES)
    result.reindex()  # brings in the late one, of the same kind
    assert result.index == kind
    assert result.search(PROBES[:1], 1)[0][0].name == "late"


def test_search_over_shards_equals_search_of_one(monkeypatch):
    gallery, array = indexed("flat")
    monkeypatch.setattr(rows, "SHARD_BYTES", 64 * 4 * 16)
    sharded, _ = indexed("flat")
    assert max(map(len, sharded._rows.shards)) == 64
    assert_search_equals_brute_force(sharded, numbered(1000), array)
    assert_search_equals_brute_force(sharded, numbered(1000), array, k=100)  # more than a shard
    sharded.remove(numbered(200)[100:])
    gallery.remove(numbered(200)[100:])
    assert sharded.names == gallery.names
    np.testing.assert_allclose(
        [[m.score for m in row] for row in sharded.search(PROBES)],
        [[m.score for m in row] for row in gallery.search(PROBES)],
        atol=1e-6,
    )


def test_single_additions_are_packed(monkeypatch):
    monkeypatch.setattr(rows, "SHARD_BYTES", 10 * 4 * 16)
    gallery, array = Gallery(16), embeddings(25, 16)
    for number in range(25):
        gallery.add([f"identity {number}"], array[number : number + 1])
        gallery.search(PROBES[:1], 1)
    assert [len(shard) for shard in gallery._rows.shards] == [10, 10, 5]
    assert_search_equals_brute_force(gallery, numbered(25), array)


def test_an_index_is_trained_again_for_many_more_rows():
    gallery, _ = indexed("ivf", 400)
    lists = gallery._index.faiss_index.nlist
    gallery.add(numbered(400, "more"), embeddings(400, 16, seed=1))
    gallery.reindex()
    assert gallery._index.faiss_index.nlist == lists
    gallery.add(numbered(2000, "most"), embeddings(2000, 16, seed=2))
    gallery.reindex()
    assert gallery._index.faiss_index.nlist > 2 * lists


@pytest.mark.parametrize("kind", ["ivf", "ivf-pq"])
def test_an_index_trained_again_searches_the_same_share(kind):
    gallery, _ = indexed(kind, 400)  # 10 lists
    gallery._index.parameter = 3
    gallery.add(numbered(2000, "more"), embeddings(2000, 16, seed=1))
    gallery.reindex()  # 61 lists
    assert gallery._index.parameter == 18
    untouched, _ = indexed(kind, 400)
    untouched.add(numbered(2000, "more"), embeddings(2000, 16, seed=1))
    untouched.reindex()
    assert untouched._index.parameter == kinds.default_parameter(kind, 61)


def test_a_graph_built_again_keeps_as_many_candidates():
    gallery, _ = indexed("hnsw", 400)
    gallery._index.parameter = 1024
    gallery.remove(["identity 7"])
    gallery.reindex("flat")
    gallery.reindex("hnsw")
    assert gallery._index.parameter == 1024
    gallery._index.parameter = 256  # the default, measured or not
    gallery.remove(["identity 8"])
    gallery.reindex()
    assert gallery._index.parameter == 256


def test_auto_follows_the_size(monkeypatch):
    gallery, _ = indexed("flat")
    gallery.reindex("auto")
    assert gallery.index == "flat"
    monkeypatch.setattr(kinds, "FLAT_BYTES", 1000)
    gallery.reindex(memory=10**9)
    assert gallery.index == "hnsw"
    gallery.reindex(memory=80_000)
    assert gallery.index == "ivf"
    gallery.reindex(memory=0)
    assert gallery.index == "ivf-pq"
    gallery.remove(gallery.names)
    gallery.reindex()
    assert gallery.index == "flat"
    assert gallery.search(PROBES) == [[]] * 40


def test_a_search_of_one_list_gives_fewer_matches():
    """One list has fewer rows than k."""
    gallery, _ = indexed("ivf")
    gallery._index.parameter = 1
    result = gallery.search(PROBES, 900)
    assert all(0 < len(matches) < 900 for matches in result)
    assert all(np.isfinite(match.score) for matches in result for match in matches)


@pytest.mark.parametrize("kind", ["ivf", "ivf-pq"])
def test_a_probe_whose_list_is_empty_is_compared_with_all(kind):
    gallery, array = indexed(kind)
    gallery._index.parameter = 1
    first = [match.name for match in gallery.search(PROBES[:1], 1000)[0]]
    assert 0 < len(first) < 1000  # all that its list holds
    gallery.remove(first)
    gallery.add(["late"], -PROBES[:1])  # in no list; not all that there is
    assert gallery.index == kind
    kept = [i for i in range(1000) if f"identity {i}" not in set(first)]
    best = kept[(unit(PROBES[:1]) @ unit(array[kept]).T)[0].argmax()]
    (matches,) = gallery.search(PROBES[:1], 2000)
    assert len(matches) == len(kept) + 1
    assert (matches[0].name, matches[-1].name) == (f"identity {best}", "late")
    assert [len(result) > 0 for result in gallery.search(PROBES, 1)] == [True] * 40


@pytest.mark.parametrize("together", [7, 32_768])
def test_product_quantized_scores_are_exact(monkeypatch, together):
    """Also where candidates are compared again in many parts."""
    gallery, array = indexed("ivf-pq")
    cosine = unit(PROBES) @ unit(array).T
    monkeypatch.setattr(rows, "SHARD_BYTES", together * 4 * 16)
    result = gallery.search(PROBES, 5)
    for row, matches in zip(cosine, result, strict=True):
        assert len(matches) == 5
        expected = dict(zip(numbered(1000), row, strict=True))
        for match in matches:
            assert match.score == pytest.approx(expected[match.name], abs=1e-6)


def test_every_part_of_the_gallery_has_its_share_of_the_sample(monkeypatch):
    """Two halves of opposite direction have centroids in both directions."""
    monkeypatch.setattr(kinds, "PQ_CENTROIDS", 1)
    monkeypatch.setattr(kinds, "MOST_POINTS", 2)  # 50 rows of 1,000 for 25 lists
    gallery, array = Gallery(16, index="ivf"), 0.1 * embeddings(1000, 16)
    array[:500, 0], array[500:, 0] = 10, -10
    gallery.add(numbered(1000), array)
    gallery.reindex()
    inverted = gallery._index.faiss_index
    assert inverted.nlist == 25
    ahead = inverted.quantizer.reconstruct_n(0, 25)[:, 0] > 0
    assert 5 < ahead.sum() < 20


def test_removing_what_the_index_lacks_leaves_it_alone():
    gallery, _ = indexed("hnsw")
    gallery.add(["late"], PROBES[:1])
    assert gallery.remove(["late"]) == 1
    assert gallery.index == "hnsw"


def test_progress_counts_what_is_added():
    gallery, calls = Gallery(16, index="ivf"), []
    gallery.add(numbered(400), embeddings(400, 16))
    gallery.reindex(progress=lambda *call: calls.append(call))
    assert calls == [(0, 400), (400, 400)]
    gallery.add(numbered(30, "late"), embeddings(30, 16, seed=1))
    calls.clear()
    gallery.reindex(progress=lambda *call: calls.append(call))
    assert calls == [(30, 30)]


def test_equal_scores_keep_their_order():
    """Longer than what sorting algorithms do by insertion, which is stable by chance."""
    scores, ids = np.zeros((1, 1000), np.float32), np.arange(1000)[None]
    scores[0, 500:] = 1
    order = best(scores, ids, 1000)[1][0]
    assert order.tolist() == [*range(500, 1000), *range(500)]
