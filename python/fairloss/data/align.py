"""Face alignment: the similarity transform that takes five landmarks to the common template."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 112
# x, y of eyes, nose and mouth corners in 112 x 112, as insightface and the sets aligned by it use
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)

Floats = npt.NDArray[np.float64]


def similarity_transform(source: npt.ArrayLike, target: npt.ArrayLike) -> Floats:
    """Rotation, scale and translation that take `source` nearest to `target`, least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991, equations 40 to 42: never a reflection.

    Args:
        source, target: (K, 2) points x, y, not all at one place.

    Returns:
        (2, 3) matrix A: the image of a point p is A[:, :2] p + A[:, 2].

    Raises:
        ValueError: shapes differ, a coordinate is not finite, or all source points coincide.
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 2:
        raise ValueError(f"source and target must be (K, 2) points, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("source and target must be finite")
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    variance = np.square(a - mean_a).sum() / len(a)
    if variance == 0:
        raise ValueError("source: all points coincide")
    left, singular, right = np.linalg.svd((b - mean_b).T @ (a - mean_a) / len(a))
    sign = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(sign) @ right
    scale = singular @ sign / variance
    return np.column_stack((scale * rotation, mean_b - scale * rotation @ mean_a))


def align_face(image: Any, points: npt.ArrayLike) -> Any:
    """A Pillow image turned, scaled and moved so that its landmarks lie on `TEMPLATE`.

    Args:
        image: any Pillow image.
        points: (5, 2) x, y of left eye, right eye, nose, left and right mouth corner (left in the
            image), pixel centres at whole numbers.

    Returns:
        A 112 x 112 Pillow image, bilinear, black outside of the original.

    Raises:
        ValueError: as `similarity_transform`.
    """
    from PIL import Image

    forward = np.vstack((similarity_transform(points, TEMPLATE), [0, 0, 1]))
    back = np.linalg.inv(forward)
    # Pillow counts from the corner of a pixel, the landmarks from its centre
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = centre @ back @ np.linalg.inv(centre)
    return image.transform(
        (SIDE, SIDE),
        Image.Transform.AFFINE,
        tuple(matrix[:2].flatten()),
        resample=Image.Resampling.BILINEAR,
    )
