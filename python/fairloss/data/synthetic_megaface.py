"""A synthetic MegaFace challenge whose results are known by construction.

Image k of identity i is sqrt(c) e_i + sqrt(1 - c) f_k, with an axis e_i for the identity, an axis
f_k for the image's number and c of the identity: two images of an identity have cosine c, images of
two identities 0.4 at most. A planted distractor is 0.75 f_k + a e_i + rest for one image, with a
such that its cosine with the image is one of two values. Then its cosine with the identity's other
images, a sqrt(c), and with image k of others, 0.75 sqrt(1 - c), stay below 0.57, and so below
every c. All other distractors are orthogonal to these axes: cosine 0 with every probe.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fairloss.checks import expect
from fairloss.data.features import write_features, write_manifest
from fairloss.data.megaface import DevkitList, write_devkit_list
from fairloss.data.npy import write_npy_parts
from fairloss.data.text_files import StrPath
from fairloss.deprecation import renamed_keywords
from fairloss.typing import Float32s, Float64s, Ints

MATE_COSINES = (0.8, 0.6)  # of two images of one identity: identities alternate
PLANTED_COSINES = (0.9, 0.7)  # above both mates; above the second only
PLANTED_PER_PROBE = (0, 3, 0, 0, 12)  # the number of planted distractors of probe p is entry p % 5
IMAGE_WEIGHT = 0.75  # of a planted distractor on the axis of the image's number
CHUNK = 2**14  # rows generated at a time


@dataclass(frozen=True, eq=False)
class Planted:
    """A challenge and its results.

    Attributes:
        probes: (P, D) float32 unit features.
        names: P image names.
        identities: P names of identities.
        distractors: M.
        planted: (P, 2) int64, the number of distractors at each planted cosine of each probe.
    """

    probes: Float32s
    names: list[str]
    identities: list[str]
    distractors: int
    planted: Ints

    def closer(self) -> Ints:
        """Return (P,) the rank of all trials with that probe, by counting."""
        return self.planted[:, 0] + self.planted[:, 1] * (self._mate_cosine() < PLANTED_COSINES[1])

    def recall(self, rank: int = 0) -> float:
        """Return the share of trials with at most `rank` closer distractors."""
        return float(np.average(self.closer() <= rank, weights=self._trials()))

    def tar(self, far: float) -> float:
        """Return the share of mates above the first impostor score that `far` does not allow."""
        allowed = int(far * len(self.probes) * self.distractors + 1e-6)
        high, low = self.planted.sum(axis=0).tolist()
        if allowed < high:
            return 0.0  # no mate scores above the higher planted cosine
        threshold = PLANTED_COSINES[1] if allowed < high + low else 0.0
        return float(np.average(self._mate_cosine() > threshold, weights=self._trials()))

    def rows(self, seed: int = 0) -> Iterator[Float32s]:
        """Yield the (M, D) distractors in chunks, the planted ones evenly spread."""
        dimension = self.probes.shape[1]
        axes = self._axes()
        levels = [(p, level) for p in range(len(self.probes)) for level in range(2)]
        planted = np.repeat(levels, self.planted.flatten(), axis=0)
        position = np.arange(len(planted)) * self.distractors // max(len(planted), 1)
        generator = np.random.default_rng(seed)
        for start in range(0, self.distractors, CHUNK):
            count = min(CHUNK, self.distractors - start)
            rows = np.zeros((count, dimension), dtype=np.float32)
            rows[:, axes:] = generator.standard_normal((count, dimension - axes), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            inside = np.flatnonzero((position >= start) & (position < start + count))
            for row, (probe, level) in zip(position[inside] - start, planted[inside], strict=True):
                image = self.probes[probe]
                identity, number = np.flatnonzero(image)
                rest = PLANTED_COSINES[level] - IMAGE_WEIGHT * image[number]
                identity_weight = rest / image[identity]
                rows[row] *= np.sqrt(1 - IMAGE_WEIGHT**2 - identity_weight**2)
                rows[row, [identity, number]] = identity_weight, IMAGE_WEIGHT
            yield rows

    def _mate_cosine(self) -> Float64s:
        label = np.unique(self.identities, return_inverse=True)[1]
        return np.array(MATE_COSINES)[label % 2]

    def _trials(self) -> Ints:
        """Return (P,) the trials of each probe: the other images of its identity."""
        _, label, images = np.unique(self.identities, return_inverse=True, return_counts=True)
        return images[label] - 1

    def _axes(self) -> int:
        """Return the number of dimensions for identities and image numbers."""
        _, images = np.unique(self.identities, return_counts=True)
        return len(images) + int(images.max())


@renamed_keywords(people="num_identities")
def planted_megaface(
    num_identities: int = 80, probes: int = 3530, distractors: int = 1_000_000, dimension: int = 512
) -> Planted:
    """Construct a challenge; the defaults are MegaFace's sizes.

    Args:
        num_identities: each has probes // num_identities images, the first ones more.
        probes: at least 2 for each identity.
        distractors: at least as many as are planted.
        dimension: more than identities + images of an identity.

    Raises:
        ValueError: a size does not fit the others.
    """
    valid = num_identities >= 2 and probes >= 2 * num_identities
    expect(
        valid, "num_identities, probes", "at least 2 and 2 for each", f"{num_identities}, {probes}"
    )
    images = [len(part) for part in np.array_split(np.empty(probes), num_identities)]
    identities = [f"person{i:04d}" for i, count in enumerate(images) for _ in range(count)]
    axes = num_identities + images[0]
    expect(dimension > axes, "dimension", f"more than {axes}", dimension)
    per_probe = np.array(PLANTED_PER_PROBE)[np.arange(probes) % len(PLANTED_PER_PROBE)]
    planted = np.stack((per_probe // 3, per_probe - per_probe // 3), axis=1)
    total = int(planted.sum())
    expect(distractors >= total, "distractors", f"at least {total}", distractors)
    features = np.zeros((probes, dimension))
    number = np.concatenate([np.arange(count) for count in images])
    label = np.repeat(np.arange(num_identities), images)
    cosine = np.array(MATE_COSINES)[label % 2]
    features[np.arange(probes), label] = np.sqrt(cosine)
    features[np.arange(probes), num_identities + number] = np.sqrt(1 - cosine)
    names = [f"{name}/{k}.png" for name, k in zip(identities, number.tolist(), strict=True)]
    return Planted(features.astype(np.float32), names, identities, distractors, planted)


def write_planted(folder: StrPath, planted: Planted, seed: int = 0) -> None:
    """Write the challenge as `facescrub.npy`, `megaface.npy` and the kit's lists."""
    root, count = Path(folder), planted.distractors
    write_features(root / "facescrub.npy", planted.names, planted.probes, planted.identities)
    names = [f"{row // 1000}/{row}.jpg" for row in range(count)]
    write_npy_parts(root / "megaface.npy", planted.rows(seed), count)
    write_manifest(root / "megaface.npy", names)
    lists = root / "templatelists"
    probes = DevkitList(planted.names, planted.identities)
    write_devkit_list(lists / "facescrub_features_list.json", probes)
    size = 10
    while size <= count:
        distractors = DevkitList(names[:size], None)
        write_devkit_list(lists / f"megaface_features_list.json_{size}_1", distractors)
        size *= 10
