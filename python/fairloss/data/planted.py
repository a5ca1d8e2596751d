"""A made-up MegaFace challenge whose answer is known before it is run.

Image k of person i is sqrt(c) e_i + sqrt(1 - c) f_k, with an axis e_i for the person, an axis f_k
for the image's number and c of the person: two images of a person have cosine c, images of two
people 0.4 at most. A planted distractor leans on one image: 0.75 f_k + a e_i + rest, with a such
that its cosine with the image is one of two heights. Then its cosine with the person's other
images, a sqrt(c), and with image k of others, 0.75 sqrt(1 - c), stay below 0.57, and so below
every c. All other distractors lie beyond the axes: cosine 0 with every probe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairloss.data.devkit import DevkitList, write_devkit_list
from fairloss.data.features import check_npy, write_features, write_manifest
from fairloss.io.atomic import write_atomic

MATE_COSINES = (0.8, 0.6)  # of two images of one person: people alternate
PLANTED_COSINES = (0.9, 0.7)  # above both mates; above the second only
PLANTED_PER_PROBE = (0, 3, 0, 0, 12)  # the number of planted distractors of probe p is entry p % 5
LEAN = 0.75  # of a planted distractor on the axis of the image's number
CHUNK = 2**14  # rows made at a time


@dataclass(frozen=True, eq=False)
class Planted:
    """A challenge and its answer.

    Attributes:
        probes: (P, D) float32 unit features.
        names: P image names.
        identities: P names of people.
        distractors: M.
        planted: (P, 2) int64, how many distractors lean on each probe at each planted cosine.
    """

    probes: npt.NDArray[np.float32]
    names: list[str]
    identities: list[str]
    distractors: int
    planted: npt.NDArray[np.int64]

    def closer(self) -> npt.NDArray[np.int64]:
        """(P,) the rank of every trial with that probe, counted by hand."""
        return self.planted[:, 0] + self.planted[:, 1] * (self._mate_cosine() < PLANTED_COSINES[1])

    def recall(self, rank: int = 0) -> float:
        """Share of trials with at most `rank` closer distractors."""
        return float(np.average(self.closer() <= rank, weights=self._trials()))

    def tar(self, far: float) -> float:
        """Share of mates above the impostor score that is one too many at `far`."""
        allowed = int(far * len(self.probes) * self.distractors + 1e-6)
        high, low = self.planted.sum(axis=0).tolist()
        if allowed < high:
            return 0.0  # no mate scores above the higher plants
        below = PLANTED_COSINES[1] if allowed < high + low else 0.0
        return float(np.average(self._mate_cosine() > below, weights=self._trials()))

    def rows(self, seed: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """The (M, D) distractors in chunks: the planted ones spread evenly among the others."""
        dimension = self.probes.shape[1]
        axes = _axes(self.identities)
        pairs = [(p, h) for p in range(len(self.probes)) for h in range(2)]
        plants = np.repeat(pairs, self.planted.flatten(), axis=0)
        place = np.arange(len(plants)) * self.distractors // max(len(plants), 1)
        generator = np.random.default_rng(seed)
        for start in range(0, self.distractors, CHUNK):
            count = min(CHUNK, self.distractors - start)
            rows = np.zeros((count, dimension), dtype=np.float32)
            rows[:, axes:] = generator.standard_normal((count, dimension - axes), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            inside = np.flatnonzero((place >= start) & (place < start + count))
            for row, (probe, height) in zip(place[inside] - start, plants[inside], strict=True):
                image = self.probes[probe]
                person, number = np.flatnonzero(image)
                on_person = (PLANTED_COSINES[height] - LEAN * image[number]) / image[person]
                rows[row] *= np.sqrt(1 - LEAN**2 - on_person**2)
                rows[row, [person, number]] = on_person, LEAN
            yield rows

    def _mate_cosine(self) -> npt.NDArray[np.float64]:
        person = np.unique(self.identities, return_inverse=True)[1]
        return np.array(MATE_COSINES)[person % 2]

    def _trials(self) -> npt.NDArray[np.int64]:
        """(P,) trials of each probe: the other images of its person."""
        _, person, images = np.unique(self.identities, return_inverse=True, return_counts=True)
        return images[person] - 1


def planted_megaface(
    people: int = 80, probes: int = 3530, distractors: int = 1_000_000, dimension: int = 512
) -> Planted:
    """Plan a challenge; the defaults are MegaFace's sizes.

    Args:
        people: each gets probes // people images, the first ones more.
        probes: at least 2 for each person.
        distractors: at least as many as are planted.
        dimension: more than people + images of a person.

    Raises:
        ValueError: a size does not fit the others.
    """
    if people < 2 or probes < 2 * people:
        raise ValueError(f"need people >= 2 with 2 probes each, got {people} and {probes} probes")
    images = [len(part) for part in np.array_split(np.empty(probes), people)]
    identities = [f"person{i:04d}" for i, count in enumerate(images) for _ in range(count)]
    if dimension <= people + images[0]:
        raise ValueError(f"dimension must exceed {people + images[0]}, got {dimension}")
    per_probe = np.array(PLANTED_PER_PROBE)[np.arange(probes) % len(PLANTED_PER_PROBE)]
    planted = np.stack((per_probe // 3, per_probe - per_probe // 3), axis=1)
    if distractors < planted.sum():
        raise ValueError(f"distractors must be >= {planted.sum()}, got {distractors}")
    features = np.zeros((probes, dimension))
    number = np.concatenate([np.arange(count) for count in images])
    person = np.repeat(np.arange(people), images)
    cosine = np.array(MATE_COSINES)[person % 2]
    features[np.arange(probes), person] = np.sqrt(cosine)
    features[np.arange(probes), people + number] = np.sqrt(1 - cosine)
    names = [f"{who}/{shot}.png" for who, shot in zip(identities, number.tolist(), strict=True)]
    return Planted(features.astype(np.float32), names, identities, distractors, planted)


def write_planted(folder: str | os.PathLike[str], planted: Planted, seed: int = 0) -> None:
    """Write the challenge as `facescrub.npy`, `megaface.npy` and the kit's lists."""
    root = Path(folder)
    write_features(root / "facescrub.npy", planted.names, planted.probes, planted.identities)
    names = [f"{row // 1000}/{row}.jpg" for row in range(planted.distractors)]
    shape = (planted.distractors, planted.probes.shape[1])

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for rows in planted.rows(seed):
                file.write(rows.tobytes())

    file = root / "megaface.npy"
    check_npy(file)
    write_atomic(file, write)
    write_manifest(file, names)
    lists = root / "templatelists"
    write_devkit_list(
        lists / "facescrub_features_list.json", DevkitList(planted.names, planted.identities)
    )
    size = 10
    while size <= planted.distractors:
        write_devkit_list(
            lists / f"megaface_features_list.json_{size}_1", DevkitList(names[:size], None)
        )
        size *= 10


def _axes(identities: list[str]) -> int:
    """Dimensions that people and image numbers take."""
    _, images = np.unique(identities, return_counts=True)
    return len(images) + int(images.max())
