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


def test_the_fastest_over_the_bar_is_kept(monkeypatch, tmp_path):
    slow(monkeypatch, ["flat", "hnsw", "ivf-pq"])
    gallery, _ = filled()
    found = gallery.tune(0.9)
    assert (found.chosen.kind, gallery.index) == ("ivf", "ivf")
    assert found.chosen.recall >= 0.9
    assert found.chosen.milliseconds == pytest.approx(1.0)
    assert gallery._index.parameter == found.chosen.parameter
    assert gallery._index.faiss.ntotal == 1500  # with the probes that were held out
    gallery.save(tmp_path)
    loaded = Gallery.load(tmp_path)
    assert loaded._index.parameter == found.chosen.parameter
    loaded.reindex()
    assert loaded.index == "ivf"


def test_flat_wins_where_nothing_is_faster(monkeypatch):
    slow(monkeypatch, ["ivf", "hnsw", "ivf-pq"])
    gallery, _ = filled()
    gallery.reindex("ivf")
    assert gallery.tune(0.9).chosen == tuning.Point("flat", 0, 1.0, pytest.approx(1.0), 0, 0.0)
    assert gallery.index == "flat"


def test_recall_is_that_of_a_count():
    """Of probes that are no part of the gallery, by brute force in float64."""
    gallery, array = filled()
    probes = embeddings(200, 16, seed=9)
    best = (unit(probes) @ unit(array).T).argmax(axis=1)
    found = gallery.tune(1.0, probes=probes, kinds=["ivf"])
    assert found.probes == 200
    points = [point for point in found.points if point.kind == "ivf"]
    assert len(points) > 3
    assert points[-1].recall == 1.0
    gallery.reindex("ivf")
    for point in points:
        gallery._index.parameter = point.parameter
        names = [matches[0].name for matches in gallery.search(probes, 1)]
        same = np.mean([name == f"person {i}" for name, i in zip(names, best, strict=True)])
        assert point.recall == pytest.approx(same)


def test_probes_are_held_out():
    """A probe that is in an index finds itself; here nobody has a second photograph."""
    gallery = Gallery(16)
    gallery.add(numbered(1000), np.random.default_rng(0).normal(size=(1000, 16)))
    found = gallery.tune(1.0, kinds=["ivf"])
    assert found.probes == 100
    assert found.points[1].kind == "ivf"
    assert found.points[1].recall < 0.9


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
        ({"recall": 0}, "recall must be above 0"),
        ({"recall": 1.1}, "recall must be"),
        ({"batch": 151}, "batch must be 1 to 150"),
        ({"kinds": ["lsh"]}, r"kinds must be a sequence of flat, .*, got \['lsh'\]"),
        ({"kinds": ["auto"]}, r"kinds must be .*, got \['auto'\]"),
        ({"kinds": "ivf"}, "kinds must be a sequence of .*, got 'ivf'"),
        ({"probes": np.ones((3, 4))}, "16 columns"),
    ],
)
def test_bad_arguments(options, message):
    gallery, _ = filled()
    with pytest.raises(ValueError, match=message):
        gallery.tune(**options)


def test_too_small_a_gallery():
    with pytest.raises(ValueError, match="tune needs 20 embeddings or more, got 19"):
        filled(19)[0].tune()
    with pytest.raises(ValueError, match="the gallery is empty"):
        Gallery(16).tune(probes=embeddings(5, 16))
