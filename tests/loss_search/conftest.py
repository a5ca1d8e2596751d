"""A finished search for several tests."""

from __future__ import annotations

import pytest
from search_runs import COUNTS, config
from synthetic import faces

from fairloss.loss_search import search


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed search, which others are compared with."""
    output = tmp_path_factory.mktemp("searches") / "whole"
    assert search(config(output), faces(COUNTS)) == output / "loss.json"
    return output
