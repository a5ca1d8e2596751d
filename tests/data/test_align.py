"""The similarity transform of five landmarks, and what it does to pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import least_squares

from fairloss.data import align_face, similarity_transform
from fairloss.data.align import SIDE, TEMPLATE


def apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize("degrees", [0, 30, 90, 170, -100])
def test_recovers_a_similarity(degrees):
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    expected = np.column_stack((1.7 * rotation, [12, -5]))
    result = similarity_transform(TEMPLATE, apply(expected, TEMPLATE))
    np.testing.assert_allclose(result, expected, atol=1e-9)


def test_is_the_least_squares_solution():
    generator = np.random.default_rng(0)
    for _ in range(5):
        points = TEMPLATE * 2 + generator.normal(scale=15, size=(5, 2))

        def residual(parameters, points=points):
            a, b, x, y = parameters
            return (apply(np.array([[a, -b, x], [b, a, y]]), points) - TEMPLATE).ravel()

        a, b, x, y = least_squares(residual, [1, 0, 0, 0]).x
        expected = np.array([[a, -b, x], [b, a, y]])
        np.testing.assert_allclose(similarity_transform(points, TEMPLATE), expected, atol=1e-5)


def test_never_mirrors():
    mirrored = TEMPLATE * [-1, 1]
    result = similarity_transform(mirrored, TEMPLATE)
    assert np.linalg.det(result[:, :2]) > 0


def test_landmarks_land_on_the_template():
    # One bright pixel at each landmark of a rotated, scaled and shifted face.
    turn = np.radians(25)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (TEMPLATE @ rotation.T * 2 + [90, 60]).round()
    pixels = np.zeros((400, 400), dtype=np.uint8)
    for x, y in points.astype(int):
        pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    aligned = np.asarray(align_face(Image.fromarray(pixels), points), dtype=float)
    assert aligned.shape == (SIDE, SIDE)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for x, y in TEMPLATE:
        near = aligned * ((abs(columns - x) < 5) & (abs(rows - y) < 5))
        center = np.array([(near * columns).sum(), (near * rows).sum()]) / near.sum()
        np.testing.assert_allclose(center, (x, y), atol=0.4)


def test_an_aligned_face_stays_untouched():
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    again = np.asarray(align_face(Image.fromarray(pixels), TEMPLATE)).astype(int)
    assert np.abs(again - pixels).max() <= 1  # Pillow cuts off where others round


def test_outside_is_black():
    white = Image.new("L", (50, 50), 255)
    aligned = np.asarray(align_face(white, TEMPLATE))
    assert aligned[:49, :49].min() == 255
    assert aligned[51:].max() == 0


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        (np.ones((5, 2)), "coincide"),
        (np.ones((5, 3)), r"\(K, 2\)"),
        (np.full((5, 2), np.nan), "finite"),
    ],
)
def test_refused(points, problem):
    with pytest.raises(ValueError, match=problem):
        similarity_transform(points, TEMPLATE)
