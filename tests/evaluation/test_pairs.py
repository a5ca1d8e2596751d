import numpy as np
import pytest

from fairloss.evaluation import (
    Pairs,
    all_pairs,
    linked_identities,
    pair_scores,
    pairs,
    unit_embeddings,
)


def test_all_pairs_by_hand():
    listed = all_pairs(["b", "a", "b"])
    assert listed.first.tolist() == [0, 0, 1]
    assert listed.second.tolist() == [1, 2, 2]
    assert listed.genuine.tolist() == [False, True, False]


def test_all_pairs_counts_each_unordered_pair_once():
    identities = np.random.default_rng(0).integers(7, size=40)
    listed = all_pairs(identities)
    assert len(listed) == 40 * 39 // 2
    assert len({frozenset(p) for p in zip(listed.first, listed.second, strict=True)}) == len(listed)
    sizes = np.bincount(identities)
    assert listed.genuine.sum() == (sizes * (sizes - 1) // 2).sum()


def test_linked_identities_by_hand():
    # Images a..e; genuine pairs link a-b, b-c and d-e, the impostor pair a-d links nothing.
    images = ["a", "b", "b", "c", "a", "d", "d", "e"]
    rows = np.arange(8)
    listed = Pairs(rows[0::2], rows[1::2], np.array([True, True, False, True]))
    cluster = linked_identities(images, listed)
    assert cluster[0] == cluster[1] == cluster[2] == cluster[3] == cluster[4]
    assert cluster[5] == cluster[6] == cluster[7] != cluster[0]


def test_pair_scores_match_float64_in_any_chunk(monkeypatch):
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(30, 17)) * 10.0 ** generator.integers(-200, 200, (30, 1))
    listed = all_pairs(np.arange(30))
    unit = embeddings / np.abs(embeddings).max(1, keepdims=True)
    unit /= np.sqrt((unit**2).sum(1, keepdims=True))
    expected = (unit @ unit.T)[listed.first, listed.second]
    whole = pair_scores(embeddings, listed)
    monkeypatch.setattr(pairs, "CHUNK_FLOATS", 17 * 4)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, expected, atol=2e-7)
    np.testing.assert_array_equal(pair_scores(embeddings, listed), whole)


def test_unit_embeddings_of_float16_is_a_copy():
    embeddings = np.array([[3, 4], [0, -60000]], dtype=np.float16)
    np.testing.assert_allclose(unit_embeddings(embeddings), [[0.6, 0.8], [0, -1]], atol=1e-7)
    assert embeddings[0, 0] == 3
    assert unit_embeddings(embeddings).dtype == np.float32


@pytest.mark.parametrize(
    ("value", "reason"), [(0.0, "all zeros"), (np.nan, "NaN"), (np.inf, "infinity")]
)
def test_an_invalid_row_is_named(value, reason):
    embeddings = np.ones((4, 3))
    embeddings[2] = value
    with pytest.raises(ValueError, match=f"row 2 with .*{reason}"):
        pair_scores(embeddings, all_pairs([0, 0, 1, 1]))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        unit_embeddings(np.ones(3))
    with pytest.raises(ValueError, match="integers or strings"):
        all_pairs([0.5, 1.5])
    with pytest.raises(ValueError, match=r"pairs\.second: expected rows 0\.\.1"):
        pair_scores(np.ones((2, 3)), all_pairs([0, 0, 1]))
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="second"):
        Pairs(one, np.zeros(2, dtype=np.int64), np.array([True]))
