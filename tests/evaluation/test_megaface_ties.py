"""Distractors that are copies of mates: a tie is a hit, whatever the sizes of the products."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairloss.embeddings import equal_rows, pair_products, unit_embeddings
from fairloss.evaluation import evaluate_megaface
from fairloss.evaluation.megaface import trials


def challenge_with_copies(dimension, dtype=np.float32, distractors=500):
    """Return probes of any length, identities, and distractors that hold a copy of each probe."""
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(40), 3)
    centers = rng.normal(size=(40, dimension))[identities]
    probes = centers + 0.7 * rng.normal(size=(120, dimension))
    rows = rng.normal(size=(distractors, dimension))
    probes, rows = (x * np.exp(rng.normal(size=(len(x), 1))) for x in (probes, rows))
    rows[rng.permutation(distractors)[:120]] = probes
    return probes.astype(dtype), identities, rows.astype(dtype)


def exact_ranks(probes, identities, rows):
    """Count in float64, by the difference of a distractor and the mate: 0 where they are equal."""
    mates, probe = trials(identities)
    unit, other = (unit_embeddings(x).astype(np.float64) for x in (probes, rows))
    return [int(((other - unit[m]) @ unit[p] > 0).sum()) for m, p in zip(mates, probe, strict=True)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dimension", [1, 3, 64, 512])
def test_a_copy_of_the_mate_ties_with_it(dimension, dtype, threads):
    probes, identities, rows = challenge_with_copies(dimension, dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    result = evaluate_megaface(probes, identities, rows)
    torch.set_num_threads(before)
    assert result.rank.tolist() == exact_ranks(probes, identities, rows)
    # the copy's score is that of the mate in the ROC too
    assert np.isin(result.score, result.impostor).all()


@pytest.mark.parametrize("chunk", [37, 499])
def test_copies_tie_in_chunks_of_any_size(chunk, monkeypatch):
    challenge = challenge_with_copies(512)
    whole = evaluate_megaface(*challenge)
    monkeypatch.setattr("fairloss.evaluation.megaface.CHUNK", chunk)
    monkeypatch.setattr("fairloss.evaluation.megaface.COPIED", 7)
    result = evaluate_megaface(*challenge)
    np.testing.assert_array_equal(result.rank, whole.rank)
    np.testing.assert_array_equal(result.impostor, whole.impostor)


def test_many_copies_fill_the_tail_and_no_more(monkeypatch):
    probes, identities, rows = challenge_with_copies(16)
    rows = np.concatenate((np.repeat(probes[:2], 70, axis=0), rows))
    whole = evaluate_megaface(probes, identities, rows)
    assert len(whole.impostor) == whole.impostors
    products = unit_embeddings(probes).astype(np.float64) @ unit_embeddings(rows).T
    np.testing.assert_allclose(whole.impostor, np.sort(products, axis=None)[::-1], atol=1e-6)
    monkeypatch.setattr("fairloss.evaluation.megaface.ROC_IMPOSTORS", 100)
    result = evaluate_megaface(probes, identities, rows)
    np.testing.assert_array_equal(result.impostor, whole.impostor[:100])
    assert result.rank.tolist() == exact_ranks(probes, identities, rows)


def test_excluded_copies_are_not_counted():
    probes, identities, rows = challenge_with_copies(64)
    copies = np.flatnonzero((rows[:, None] == probes[3]).all(-1).any(-1))
    assert len(copies) == 1
    result = evaluate_megaface(probes, identities, rows, excluded=copies)
    clean = evaluate_megaface(probes, identities, np.delete(rows, copies, axis=0))
    np.testing.assert_array_equal(result.rank, clean.rank)
    assert np.isneginf(result.impostor[-120:]).all()


@pytest.mark.parametrize("dimension", [1, 61, 512, 9000])
def test_pair_products_depend_on_the_pair_alone(dimension):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 50, dimension)).astype(np.float32)
    products = pair_products(left, right)
    np.testing.assert_allclose(products, np.einsum("nd,nd->n", *np.float64((left, right))), 1e-6)
    assert np.array_equal(pair_products(right[::-1], left[::-1]), products[::-1])
    assert [pair_products(left[n : n + 1], right[n])[0] for n in range(50)] == products.tolist()
    assert len(set(pair_products(np.repeat(left[:1], 50, 0), right[0]).tolist())) == 1


def test_equal_rows_names_the_first_of_the_table():
    table = np.float32([[1, 2], [2, 1], [1, 2], [0, 3]])
    rows = np.float32([[1, 2], [3, 0], [0, 3], [2, 1], [5, 5]])
    assert equal_rows(rows, table).tolist() == [0, -1, 3, 1, -1]
    assert equal_rows(rows[:0], table).tolist() == []
    assert equal_rows(rows, table[:0]).tolist() == [-1] * 5
