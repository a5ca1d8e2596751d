"""Names in figures."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET

import numpy as np

from fairloss.data import Cmc
from fairloss.report.cmc import draw_cmc
from fairloss.report.nearest import Face, draw_nearest

NAMES = {
    "_ours.json": "_ours.json",
    "$x_1$ and $y$": "$x_1$ and $y$",
    "$\\frac$": "$\\frac$",
    "\\$5": "\\$5",
    "<b>&amp;": "<b>&amp;",
    "a\x1b[1m\n": r"a\x1b[1m\n",
    os.fsdecode(b"Jos\xe9"): r"Jos\udce9",
}
CURVE = Cmc(np.arange(3.0), np.linspace(0.2, 1, 3), np.array([2e-4, 7e-4]), np.array([0.5, 1.0]))


def texts(path):
    """Return the texts of an SVG file, which must be well-formed."""
    return [element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_curves_have_their_names_in_the_legend(tmp_path):
    draw_cmc(dict.fromkeys(NAMES, CURVE), tmp_path / "cmc.svg")
    drawn = texts(tmp_path / "cmc.svg")
    assert [text for text in drawn if text in NAMES.values()] == list(NAMES.values())
    assert not any("mathdefault" in text for text in drawn)
    assert {"1", "2", "3"} <= set(drawn)  # ranks, on an axis of less than a decade


def test_faces_have_their_names(tmp_path):
    pixels = np.zeros((1, 4, 4), dtype=np.uint8)
    draw_nearest([[Face(pixels, "probe", name) for name in NAMES]], tmp_path / "nearest.svg")
    assert sorted(set(texts(tmp_path / "nearest.svg"))) == sorted(["probe", *NAMES.values()])
