"""Face alignment: the similarity transform that takes five landmarks to the common template."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.data.decode import pillow
from fairloss.io.atomic import FormatError
from fairloss.typing import Float64s, Floats

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


def similarity_transform(source: npt.ArrayLike, target: npt.ArrayLike) -> Float64s:
    """Compute the rotation, scale and translation from `source` to `target` in least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991, equations 40 to 42: never a reflection.

    Args:
        source: (K, 2) points x, y, not all equal.
        target: (K, 2) points x, y.

    Returns:
        (2, 3) matrix A: the image of a point p is A[:, :2] p + A[:, 2].

    Raises:
        ValueError: shapes differ, a coordinate is not finite, or all source points coincide.
    """
    a, b = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    same_points = a.shape == b.shape and a.ndim == 2 and a.shape[1] == 2
    shapes = f"shapes {a.shape} and {b.shape}"
    expect(same_points, "source and target", "(K, 2) points each", shapes)
    finite = np.isfinite(a).all() and np.isfinite(b).all()
    expect(finite, "source and target", "finite points", "NaN or infinity")
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    variance = np.square(a - mean_a).sum() / len(a)
    expect(variance > 0, "source", "at least two different points", "points that all coincide")
    left, singular, right = np.linalg.svd((b - mean_b).T @ (a - mean_a) / len(a))
    sign = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(sign) @ right
    scale = singular @ sign / variance
    return np.column_stack((scale * rotation, mean_b - scale * rotation @ mean_a))


def align_face(image: Any, points: npt.ArrayLike) -> Any:
    """Turn, scale and move a Pillow image so that its landmarks lie on `TEMPLATE`.

    Args:
        image: any Pillow image.
        points: (5, 2) x, y of left eye, right eye, nose, left and right mouth corner (left in the
            image), pixel centers at integers.

    Returns:
        A 112 x 112 Pillow image, bilinear, black outside of the original.

    Raises:
        ValueError: as `similarity_transform`.
    """
    from PIL import Image

    forward = np.vstack((similarity_transform(points, TEMPLATE), [0, 0, 1]))
    back = np.linalg.inv(forward)
    # Pillow counts from the corner of a pixel, the landmarks from its center
    center = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = center @ back @ np.linalg.inv(center)
    return image.transform(
        (SIDE, SIDE),
        Image.Transform.AFFINE,
        tuple(matrix[:2].flatten()),
        resample=Image.Resampling.BILINEAR,
    )


def open_aligned(file: Path, points: Floats) -> Any:
    """Return `align_face` of an image file; FormatError if the image or its points are invalid."""
    try:
        with pillow().open(file) as image:
            # the landmarks are those of the stored pixels: the orientation is not applied
            return align_face(image, points)
    except Exception as error:
        raise FormatError(file, f"cannot be aligned: {error}") from error
