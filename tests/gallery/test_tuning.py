"""The choice of an index by recall and time, with a fake clock and by brute force."""

import numpy as np
import pytest
from gallery_cases import embeddings, numbered, unit

from fairloss.gallery import Gallery, tuning


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    monkeypatch.setattr(tuning, "ROUNDS", 2)
    monkeypatch.setattr(tuning, "FEWEST_ROUNDS", 2)


def filled(count=1500):
    gallery, array = Gallery(16), embeddings(count, 16)
    gallery.add(numbered(count), array)
    return gallery, array


def slow(monkeypatch, kinds):
    """The clock shows a second for each of these and a millisecond for others."""
    now = [0.0]

    def search(self, probes, real=tuning._Entry.search):
        now[0] += 1.0 if self.kind in kinds else 0.001
        return real(self, probes)

    monkeypatch.setattr(tuning._Entry, "search", search)
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: now[0])


def test_the_fastest_with_enough_recall_is_chosen(monkeypatch, tmp_path):
    slow(monkeypatch, ["flat", "hnsw", "ivf-pq"])
    gallery, _ = filled()
    tuned = gallery.tune(0.9)
    assert (tuned.chosen.kind, gallery.index) == ("ivf", "ivf")
    assert tuned.chosen.recall >= 0.9
    assert tuned.chosen.milliseconds == pytest.approx(1.0)
    assert gallery._index.parameter == tuned.chosen.parameter
    assert gallery._index.faiss_index.ntotal == 1500  # with the probes that were held out
    gallery.save(tmp_path)
    loaded = Gallery.load(tmp_path)
    assert loaded._index.parameter == tuned.chosen.parameter
    loaded.reindex()
    assert loaded.index == "ivf"


def test_flat_is_chosen_if_none_is_faster(monkeypatch):
    slow(monkeypatch, ["ivf", "hnsw", "ivf-pq"])
    gallery, _ = filled()
    gallery.reindex("ivf")
    assert gallery.tune(0.9).chosen == tuning.Point("flat", 0, 1.0, pytest.approx(1.0), 0, 0.0)
    assert gallery.index == "flat"


def test_recall_equals_a_count():
    """Recall of probes outside the gallery equals brute force in float64."""
    gallery, array = filled()
    probes = embeddings(200, 16, seed=9)
    best = (unit(probes) @ unit(array).T).argmax(axis=1)
    tuned = gallery.tune(1.0, probes=probes, kinds=["ivf"])
    assert tuned.probes == 200
    points = [point for point in tuned.points if point.kind == "ivf"]
    assert len(points) > 3
    assert points[-1].recall == 1.0
    gallery.reindex("ivf")
    for point in points:
        gallery._index.parameter = point.parameter
        names = [matches[0].name for matches in gallery.search(probes, 1)]
        same = np.mean([name == f"identity {i}" for name, i in zip(names, best, strict=True)])
        assert point.recall == pytest.approx(same)


def test_probes_are_held_out():
    """A probe that is in an index finds itself; here no identity has a second image."""
    gallery = Gallery(16)
    gallery.add(numbered(1000), np.random.default_rng(0).normal(size=(1000, 16)))
    tuned = gallery.tune(1.0, kinds=["ivf"])
    assert tuned.probes == 100
    assert tuned.points[1].kind == "ivf"
    assert tuned.points[1].recall < 0.9


def test_kinds_that_do_not_fit_are_left_out():
    gallery, _ = filled()
    assert {p.kind for p in gallery.tune(0.5, memory=60_000).points} == {"flat", "ivf-pq"}


@pytest.mark.parametrize(("count", "trained"), [(20, False), (283, False), (284, True)])
def test_codes_are_left_out_where_too_few_rows_remain(count, trained):
    """A tenth is held out, 256 centroids want as many rows."""
    measured = {point.kind for point in filled(count)[0].tune(0.5).points}
    assert measured == {"flat", "ivf", "hnsw"} | ({"ivf-pq"} if trained else set())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recall": 0}, r"recall: expected a number in \(0, 1\], got 0"),
        ({"recall": 1.1}, r"recall: expected a number in \(0, 1\], got 1.1"),
        ({"batch": 151}, "batch: expected 1 to 150"),
        ({"kinds": ["lsh"]}, r"kinds: expected a sequence of flat, .*, got \['lsh'\]"),
        ({"kinds": ["auto"]}, r"kinds: expected .*, got \['auto'\]"),
        ({"kinds": "ivf"}, "kinds: expected a sequence of .*, got 'ivf'"),
        ({"probes": np.ones((3, 4))}, r"shape \(N, 16\)"),
    ],
)
def test_bad_arguments(options, message):
    gallery, _ = filled()
    with pytest.raises(ValueError, match=message):
        gallery.tune(**options)


def test_a_gallery_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="expected at least 20 embeddings to tune with, got 19"):
        filled(19)[0].tune()
    with pytest.raises(ValueError, match="the gallery is empty"):
        Gallery(16).tune(probes=embeddings(5, 16))
