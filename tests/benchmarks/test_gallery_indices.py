from __future__ import annotations

import draw_gallery
import gallery_indices
import numpy as np
import pytest

from fairloss.evaluation import unit_embeddings


@pytest.fixture(scope="module")
def rows():
    return unit_embeddings(np.random.default_rng(0).standard_normal((5000, 16)))


def test_queries_leave_the_gallery(rows):
    gallery, queries = gallery_indices.split(rows, 100)
    assert (len(gallery), len(queries)) == (4900, 100)
    assert not {row.tobytes() for row in gallery} & {row.tobytes() for row in queries}


def test_recall_counts_equal_rows_and_no_answer():
    gallery = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    queries = np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]
    nearest = np.array([0, 1, 2, -1])  # the nearest, its equal, a wrong one, none
    best = np.ones(4, dtype=np.float32)
    assert gallery_indices.recall(gallery, queries, nearest, best) == 0.5


@pytest.mark.parametrize("name", gallery_indices.KINDS)
def test_an_index_is_built_once_and_agrees_with_brute_force(rows, name, tmp_path):
    gallery, queries = gallery_indices.split(rows, 50)
    built = gallery_indices.build_candidate(name, gallery, tmp_path)
    again = gallery_indices.build_candidate(name, gallery, tmp_path)
    assert again.build_s == built.build_s
    gallery_indices.tune(again.index, gallery_indices.KINDS[name][1][-1])  # the most thorough
    nearest = gallery_indices.search(again.index, queries, batch=7)
    best = (queries @ gallery.T).max(axis=1)
    assert gallery_indices.recall(gallery, queries, nearest, best) > 0.2  # chance: 1 / 4,950


def test_cheapest_is_the_fastest_over_the_bar_or_else_the_best():
    def row(share: float, seconds: float, batch: int) -> dict[str, object]:
        return {"index": "HNSW", "batch": batch, "recall_at_1": share, "query_s": seconds}

    rows = [row(0.9, 1, 1), row(0.99, 3, 1), row(1.0, 4, 1), row(0.5, 1, 1000), row(0.8, 2, 1000)]
    assert gallery_indices.cheapest(rows, 0.99) == [rows[1], rows[4]]


def test_the_figure_leaves_out_settings_that_another_beats_at_both():
    points = [(0.5, 9.0), (0.1, 8.0), (0.2, 7.0), (0.01, 1.0)]  # (missed, times as fast as Flat)
    assert draw_gallery._frontier(points) == [(0.01, 1.0), (0.1, 8.0), (0.5, 9.0)]
