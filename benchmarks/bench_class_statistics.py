from __future__ import annotations

import roofline
import torch
from torch.nn import functional as F

from fairloss_ext import class_statistics, reference

LETTERS = "NDC"
SIZES = [(20_000, 512, 2000)]
FULL_SIZES = [(500_000, 512, 20_000)]
CHUNK = 4096  # rows: 8 MB of 512 floats


def bench_forward(compare, size, note):
    samples, dim, classes = size
    embeddings, labels = torch.randn(samples, dim), torch.randint(classes, (samples,))
    pairs = roofline.triangle(F.normalize(torch.randn(classes, dim)), note)

    def bound():
        """Read the embeddings twice, and multiply all pairs of centers."""
        embeddings.sum()
        embeddings.sum()
        pairs()

    expected = class_statistics(embeddings, labels, classes)
    angles = blocked(embeddings, labels, classes)
    # The arc cosine of a float32 next to 1 is off by sqrt(2 eps) = 5e-4.
    expected_angles = (expected.intra_angle, expected.inter_angle)
    torch.testing.assert_close(angles, expected_angles, rtol=0, atol=1e-3)
    candidates = {
        "ours": lambda: class_statistics(embeddings, labels, classes),
        "blocked": lambda: blocked(embeddings, labels, classes),
        "bound": bound,
    }
    if size in SIZES:
        candidates["reference"] = lambda: reference.class_statistics(embeddings, labels, classes)
    compare(candidates)


def blocked(embeddings, labels, classes):
    """Compute the angles in plain torch: in chunks, in float32, without special cases."""
    count = torch.bincount(labels, minlength=classes)
    total = embeddings.new_zeros(classes, embeddings.shape[1])
    angle = embeddings.new_zeros(classes)
    chunks = list(zip(embeddings.split(CHUNK), labels.split(CHUNK), strict=True))
    for rows, classes_of_rows in chunks:
        total.index_add_(0, classes_of_rows, F.normalize(rows))
    center = F.normalize(total)
    for rows, classes_of_rows in chunks:
        cosine = (F.normalize(rows) * center[classes_of_rows]).sum(dim=1)
        angle.index_add_(0, classes_of_rows, cosine.clamp(-1, 1).acos())
    nearest = []
    for first in range(0, classes, CHUNK):
        cosine = center[first : first + CHUNK] @ center.T
        cosine.diagonal(first).fill_(-1)
        nearest.append(cosine.amax(dim=1))
    return angle / count, torch.cat(nearest).clamp(-1, 1).acos()
