"""Search against brute force, additions, removals and refusals."""

import sys

import numpy as np
import pytest
import torch

from fairloss.gallery import Gallery, Match

pytest.importorskip("faiss")


def unit(array):
    array = np.asarray(array, dtype=np.float64)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def sample(count, seed=0, size=16):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def numbered(count, prefix="identity"):
    return [f"{prefix} {i}" for i in range(count)]


def filled(count=50):
    gallery, embeddings = Gallery(16), sample(count)
    gallery.add(numbered(count), embeddings)
    return gallery, embeddings


def assert_search_equals_brute_force(gallery, names, embeddings, k=7):
    probes = sample(20, seed=99)
    cosine = unit(probes) @ unit(embeddings).T
    for row, matches in zip(cosine, gallery.search(probes, k), strict=True):
        best = np.argsort(-row)[:k]
        assert [m.name for m in matches] == [names[i] for i in best]
        np.testing.assert_allclose([m.score for m in matches], row[best], atol=1e-6)


def test_search_equals_brute_force():
    gallery, embeddings = filled()
    assert len(gallery) == 50
    assert_search_equals_brute_force(gallery, numbered(50), embeddings)


def test_embeddings_are_normalized():
    gallery = Gallery(2)
    gallery.add(["far", "near"], np.array([[100.0, 0.0], [0.01, 0.01]]))
    (matches,) = gallery.search([[0.0, 7.0]], k=2)
    assert matches[0] == Match("near", pytest.approx(0.5**0.5))
    assert matches[1] == Match("far", pytest.approx(0.0))


def test_a_name_may_hold_several_embeddings():
    gallery = Gallery(2)
    gallery.add(["ann", "bob", "ann"], [[1, 0], [0, 1], [1, 0.1]])
    gallery.add(["ann"], [[-1, 0]])
    assert len(gallery) == 4
    assert gallery.names == ["ann", "bob"]
    (matches,) = gallery.search([[1, 0.02]], k=2)
    assert [m.name for m in matches] == ["ann", "ann"]


def test_k_larger_than_the_gallery_and_an_empty_gallery():
    gallery, _ = filled(3)
    assert [len(m) for m in gallery.search(sample(2), k=10)] == [3, 3]
    assert Gallery(16).search(sample(2), k=10) == [[], []]
    assert gallery.search(np.empty((0, 16)), k=10) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors(dtype):
    tensor = torch.from_numpy(sample(10)).to(dtype).requires_grad_()
    array = tensor.detach().float().numpy()
    from_tensor, from_array = Gallery(16), Gallery(16)
    from_tensor.add(numbered(10), tensor)
    from_array.add(numbered(10), array)
    assert from_tensor.search(tensor) == from_array.search(array)


def test_tensors_of_float64_are_normalized_before_they_are_rounded():
    tensor = torch.tensor([[1e-200, 0.0], [3e200, 4e200]], dtype=torch.float64)
    gallery = Gallery(2)
    gallery.add(["small", "large"], tensor)
    (matches,) = gallery.search(torch.tensor([[1, 0]]))
    assert matches == [Match("small", 1.0), Match("large", pytest.approx(0.6))]


def test_complex_tensors_are_refused():
    with pytest.raises(ValueError, match="real numbers, got .* complex64"):
        Gallery(2).add(["a"], torch.ones(1, 2, dtype=torch.complex64))


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_any_integer_counts(number):
    gallery = Gallery(number)
    gallery.add(numbered(10), sample(10, size=3))
    assert type(gallery.embedding_size) is int
    probes = sample(2, seed=9, size=3)
    assert gallery.search(probes, number) == gallery.search(probes, 3)


@pytest.mark.parametrize("number", [0, -1, 2.0, "2", None, True, np.True_, torch.tensor(2.0)])
def test_other_numbers_are_refused(number):
    gallery, _ = filled()
    with pytest.raises(ValueError, match="k: expected an integer of at least 1, got"):
        gallery.search(sample(1), number)
    with pytest.raises(ValueError, match="embedding_size: expected an integer of at least 1, got"):
        Gallery(number)


def test_float16_and_fortran_order_arrays():
    embeddings = np.asfortranarray(sample(10).astype(np.float16))
    gallery = Gallery(16)
    gallery.add(numbered(10), embeddings)
    assert_search_equals_brute_force(gallery, numbered(10), embeddings)


def test_remove():
    gallery, embeddings = filled()
    gallery.add(["identity 3"], sample(1, seed=5))
    assert gallery.remove(["identity 3", "identity 10", "unknown"]) == 3
    assert gallery.remove(["identity 3"]) == 0
    remaining = [i for i in range(50) if i not in (3, 10)]
    assert gallery.names == [f"identity {i}" for i in remaining]
    assert_search_equals_brute_force(gallery, gallery.names, embeddings[remaining])


def test_add_after_remove():
    gallery, embeddings = filled()
    gallery.remove(["identity 49", "identity 0"])
    extra = sample(5, seed=5)
    gallery.add(numbered(5, "new"), extra)
    assert_search_equals_brute_force(
        gallery, gallery.names, np.concatenate((embeddings[1:49], extra))
    )


def test_merge_leaves_the_other_gallery_alone():
    gallery, embeddings = filled()
    other, extra = Gallery(16), sample(30, seed=5)
    other.add(numbered(30, "guest"), extra)
    other.remove(["guest 0"])
    gallery.merge(other)
    gallery.merge(Gallery(16))
    names = numbered(50) + numbered(30, "guest")[1:]
    assert gallery.names == names
    assert_search_equals_brute_force(gallery, names, np.concatenate((embeddings, extra[1:])))
    assert_search_equals_brute_force(other, names[50:], extra[1:])


@pytest.mark.parametrize(
    ("names", "embeddings", "message"),
    [
        (["a", "b"], [[1] * 16, [0] * 16], "row 1 with all zeros"),
        (["a", "b"], [[1] * 16, [np.nan] * 16], "row 1 with NaN"),
        (["a"], sample(2), "names: expected 2 entries, one for each embedding, got 1"),
        (["a", 7], sample(2), "names: expected non-empty strings, got 7"),
        (["a", ""], sample(2), "non-empty strings"),
        ("ab", sample(2), "names: expected a sequence of strings"),
        (["a", "b"], sample(2, size=15), r"shape \(N, 16\), got shape \(2, 15\)"),
        (["a"], sample(1)[0], r"\(N, D\)"),
    ],
)
def test_a_bad_batch_changes_nothing(names, embeddings, message):
    gallery, before = filled()
    with pytest.raises(ValueError, match=message):
        gallery.add(names, embeddings)
    assert len(gallery) == 50
    assert_search_equals_brute_force(gallery, numbered(50), before)


def test_bad_arguments():
    gallery, _ = filled()
    with pytest.raises(ValueError, match=r"shape \(N, 16\)"):
        gallery.search(sample(1, size=4))
    with pytest.raises(ValueError, match="other: expected embedding size 16, got 4"):
        gallery.merge(Gallery(4))
    with pytest.raises(ValueError, match="names: expected a sequence of strings"):
        gallery.remove("identity 1")


def test_missing_faiss_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'pip install "fairloss-ext\[gallery\]"'):
        Gallery(16)
