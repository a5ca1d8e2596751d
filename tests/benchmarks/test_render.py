from __future__ import annotations

from xml.etree import ElementTree

import pytest
import render

PAGE = "prose\n<!-- table -->\nold\n<!-- /table -->\nmore prose\n"


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "benchmarks.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def results_file(results, tmp_path):
    return results.write(tmp_path / "results")[0]


def test_only_the_text_between_the_markers_is_replaced(docs, results_file):
    render.render(results_file, docs)
    page = (docs / "benchmarks.md").read_text(encoding="utf-8")
    assert page.startswith("prose\n<!-- table -->\nTest CPU (AVX2), threads 2 of 2;")
    assert page.endswith("- a note\n<!-- /table -->\nmore prose\n")
    assert "old" not in page


def test_the_same_results_give_the_same_bytes(docs, results_file):
    paths = render.render(results_file, docs)
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in render.render(results_file, docs)] == first
    assert sorted(path.name for path in docs.iterdir() if "tmp" in path.name) == []


def test_the_picture_has_a_bar_for_each_candidate_and_none_for_threads(docs, results_file):
    _, image = render.render(results_file, docs)
    texts = [element.text for element in ElementTree.parse(image).iter() if element.text]
    assert "Time over the roofline bound's, on Test CPU" in texts
    assert "2.0  (500 ms)" in texts
    assert "4.0  (1 s)" in texts
    assert not any("threads" in text for text in texts)


@pytest.mark.parametrize("page", ["no markers", PAGE + PAGE])
def test_a_page_without_one_pair_of_markers_stays_as_it_is(docs, results_file, page):
    (docs / "benchmarks.md").write_text(page, encoding="utf-8")
    with pytest.raises(ValueError, match="markers"):
        render.render(results_file, docs)
    assert (docs / "benchmarks.md").read_text(encoding="utf-8") == page


def test_the_page_of_this_repository_has_its_markers(results):
    page = (render.DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert "Test CPU" in render.with_table(page, results)
