"""Count profiles by hand, and what a split must and must not depend on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fairloss.data import FaceImages, long_tailed, orl_split, pareto_counts, split_identities
from fairloss.data.long_tail import long_tailed_positions

MakeFaces = Callable[[list[int]], FaceImages]


def test_profile_by_hand() -> None:
    # 100 * 10^(-c/2)
    assert pareto_counts(5, 100).tolist() == [100, 32, 10, 3, 1]
    assert pareto_counts(5, 100).dtype == torch.int64
    # 16 * 2^-c
    assert pareto_counts(4, 16, 2).tolist() == [16, 8, 4, 2]
    assert pareto_counts(3, 7, 7).tolist() == [7, 7, 7]
    assert pareto_counts(1, 9).tolist() == [9]


def test_profile_at_full_size() -> None:
    counts = pareto_counts(10_575, 804, 2)
    assert (int(counts[0]), int(counts[-1])) == (804, 2)
    assert (counts.diff() <= 0).all()
    assert int(counts[5287]) == round((804 * 2) ** 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 1), "num_classes: .*got 0"),
        ((3, 5, 0), "smallest, largest: .*got 0, 5"),
        ((3, 5, 6), "smallest, largest: .*got 6, 5"),
        ((3, 0, 1), "smallest, largest: .*got 1, 0"),
    ],
)
def test_profile_refused(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pareto_counts(*arguments)


def test_long_tailed_keeps_counts_names_and_pixels(make_faces: MakeFaces) -> None:
    faces = make_faces([10, 12, 11, 10])
    cut = long_tailed(faces, pareto_counts(4, 8), seed=5)
    assert cut.identities == faces.identities
    assert sorted(cut.counts.tolist(), reverse=True) == [8, 4, 2, 1]
    assert len(set(cut.names)) == len(cut) == 15
    for index in range(len(cut)):
        image, label = cut[index]
        original = int(image[0, 0, 0])
        assert cut.names[index] == faces.names[original]
        assert label == faces.labels[original]


def test_long_tailed_depends_on_the_seed_alone(make_faces: MakeFaces) -> None:
    faces, counts = make_faces([6] * 8), pareto_counts(8, 6)
    torch.manual_seed(1)
    first = long_tailed(faces, counts, seed=0)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert long_tailed(faces, counts, seed=0).names == first.names
    assert torch.equal(torch.get_rng_state(), state)
    dealt = {tuple(long_tailed(faces, counts, seed).counts.tolist()) for seed in range(5)}
    assert len(dealt) > 1


def test_every_image_is_equally_likely(make_faces: MakeFaces) -> None:
    faces = make_faces([4, 5])
    drawn = torch.zeros(9)
    for seed in range(2000):
        for index in long_tailed(faces, [2, 2], seed).images(range(4))[:, 0, 0, 0].tolist():
            drawn[index] += 1
    # 2/4 and 2/5 of 2000 draws; one standard deviation is about 22
    expected = torch.tensor([1000.0] * 4 + [800.0] * 5)
    assert ((drawn - expected).abs() < 110).all()


def test_long_tailed_refusals(make_faces: MakeFaces) -> None:
    faces = make_faces([3, 3, 3])
    with pytest.raises(ValueError, match=r"got 1 with fewer, the first 'p\d' with 3 of 4"):
        long_tailed(faces, [4, 1, 1], seed=0)
    for counts in ([1, 1], [0, 1, 1], torch.ones(3)):
        with pytest.raises(ValueError, match="counts: expected 3 integers >= 1"):
            long_tailed(faces, counts, seed=0)


def test_positions_are_those_of_long_tailed_where_all_identities_take_part(
    make_faces: MakeFaces,
) -> None:
    faces = make_faces([8, 9, 12, 8, 8])
    positions = long_tailed_positions(faces.labels, 8, 2, seed=4)
    cut = long_tailed(faces, pareto_counts(5, 8, 2), seed=4)
    assert [faces.names[position] for position in positions.tolist()] == cut.names


def test_positions_leave_out_identities_with_too_few_images(make_faces: MakeFaces) -> None:
    faces = make_faces([3, 8, 1, 9, 8, 7])
    positions = long_tailed_positions(faces.labels, 8, 2, seed=0)
    counts = torch.bincount(faces.labels[positions], minlength=6).tolist()
    assert [counts[label] for label in (0, 2, 5)] == [0, 0, 0]
    assert sorted(counts[label] for label in (1, 3, 4)) == [2, 4, 8]
    assert (positions.diff() > 0).all()
    with pytest.raises(ValueError, match="largest: .*got 10, but the largest identity has 9"):
        long_tailed_positions(faces.labels, 10, 1, seed=0)


def test_split_identities(make_faces: MakeFaces) -> None:
    faces = make_faces([1, 2, 3, 4, 5])
    seen, unseen = split_identities(faces, unseen=2, seed=0)
    assert (seen.num_classes, unseen.num_classes) == (3, 2)
    assert sorted(seen.names + unseen.names) == sorted(faces.names)
    assert set(seen.identities).isdisjoint(unseen.identities)
    assert split_identities(faces, 2, 0)[1].names == unseen.names
    assert len({tuple(split_identities(faces, 2, seed)[1].identities) for seed in range(9)}) > 1
    for count in (0, 5):
        with pytest.raises(ValueError, match=r"unseen: expected 1\.\.4, got"):
            split_identities(faces, count, 0)


def test_orl_split_scales_to_the_images_there_are(make_faces: MakeFaces) -> None:
    train, test = orl_split(make_faces([8] * 7), unseen=2, seed=3)
    assert sorted(train.counts.tolist()) == sorted(pareto_counts(5, 8).tolist())
    assert test.counts.tolist() == [8, 8]
