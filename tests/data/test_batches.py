"""Order, batches and augmentation: against loops, and repeatable from (seed, epoch, step)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fairloss.data import augment, augment_sample, epoch_batches, epoch_order, to_input


def picture(count: int = 64, channels: int = 2, height: int = 48, width: int = 35) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_order_is_a_permutation_of_seed_and_epoch() -> None:
    order = epoch_order(100, seed=1, epoch=2)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(100))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(epoch_order(100, 1, 2), order)
    assert torch.equal(torch.get_rng_state(), state)
    # (1, 2) and (2, 1) differ too: the two numbers are not merely added
    others = [epoch_order(100, *key).tolist() for key in ((1, 3), (2, 2), (2, 1), (0, 3))]
    assert order.tolist() not in others
    assert len({tuple(other) for other in others}) == 4


def test_order_does_not_change_between_versions() -> None:
    # a run saved by one release must resume with the same batches in the next
    assert epoch_order(8, seed=0, epoch=0).tolist() == [4, 1, 3, 7, 0, 5, 2, 6]


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "sizes"),
    [
        (10, 4, [4, 3, 3]),
        (9, 8, [5, 4]),
        (8, 8, [8]),
        (3, 100, [3]),
        (1, 5, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batches_are_nearly_equal(num_samples: int, batch_size: int, sizes: list[int]) -> None:
    batches = epoch_batches(num_samples, batch_size, seed=0, epoch=4)
    assert [len(batch) for batch in batches] == sizes
    assert torch.equal(torch.cat(batches), epoch_order(num_samples, 0, 4))


def test_no_batch_of_one() -> None:
    for num_samples in range(2, 60):
        for batch_size in range(3, 60):
            sizes = [len(batch) for batch in epoch_batches(num_samples, batch_size, 0, 0)]
            assert len(sizes) == -(-num_samples // batch_size)
            assert max(sizes) <= batch_size
            assert 2 <= min(sizes) >= max(sizes) - 1


def shifted(image: Tensor, down: int, right: int, mirrored: bool) -> Tensor:
    """One image moved pixel by pixel, with the edge repeated, then mirrored."""
    _, height, width = image.shape
    out = torch.empty_like(image)
    for row in range(height):
        for column in range(width):
            from_row = min(max(row + down, 0), height - 1)
            from_column = min(max(column + right, 0), width - 1)
            out[:, row, column] = image[:, from_row, from_column]
    return out.flip(-1) if mirrored else out


def recover(image: Tensor, augmented: Tensor) -> tuple[int, int, bool]:
    """The one shift and mirror that explain an augmented image (random pixels make it unique)."""
    _, height, width = image.shape
    result = []
    for mirrored in (False, True):
        plain = augmented.flip(-1) if mirrored else augmented
        for down in range(-(height // 16), height // 16 + 1):
            for right in range(-(width // 16), width // 16 + 1):
                rows = (torch.arange(height) + down).clamp(0, height - 1)
                columns = (torch.arange(width) + right).clamp(0, width - 1)
                if torch.equal(plain, image[:, rows][:, :, columns]):
                    result.append((down, right, mirrored))
    assert len(result) == 1
    return result[0]


def test_augment_is_mirror_and_shift_with_repeated_edge() -> None:
    images = picture()
    out = augment(images, seed=0, epoch=0, step=0)
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    moves = [recover(image, changed) for image, changed in zip(images, out, strict=True)]
    for index in range(3):
        assert torch.equal(out[index], shifted(images[index], *moves[index]))
    down, right, mirrored = zip(*moves, strict=True)
    assert set(down) == set(range(-3, 4))
    assert set(right) == set(range(-2, 3))
    assert 16 < sum(mirrored) < 48


def test_augment_depends_on_seed_epoch_and_step() -> None:
    images = picture(count=16)
    first = augment(images, 1, 2, 3)
    before = images.clone()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert torch.equal(augment(images, 1, 2, 3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, before)
    for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (3, 2, 1), (1, 3, 2)):
        assert not torch.equal(augment(images, *key), first)


def test_augment_takes_any_layout() -> None:
    images = picture(count=8)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(channels_last, 0, 0, 0), augment(images, 0, 0, 0))
    tiny = picture(count=8, height=8, width=8)
    out = augment(tiny, 0, 0, 0)
    same = (out == tiny).flatten(1).all(1) | (out == tiny.flip(-1)).flatten(1).all(1)
    assert same.all()


def test_to_input_by_hand() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    scaled = to_input(images)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    assert images.flatten().tolist() == [0, 51, 255]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, got 0"):
        epoch_batches(5, 0, 0, 0)
    with pytest.raises(ValueError, match="num_samples: expected an integer of at least 1, got 0"):
        epoch_order(0, 0, 0)
    for bad in (torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"images: expected uint8 \(B, channels, H, W\), got"):
            to_input(bad)
        with pytest.raises(ValueError, match=r"images: expected uint8 \(B, channels, H, W\), got"):
            augment(bad, 0, 0, 0)


def test_without_mirroring_only_shifts() -> None:
    images = torch.arange(32 * 32).remainder(251).to(torch.uint8).view(1, 1, 32, 32)
    images = images.repeat(64, 1, 1, 1)
    shifted = augment(images, seed=0, epoch=1, step=2, mirror=False)
    both = augment(images, seed=0, epoch=1, step=2)
    # a row still ascends by one from left to right, the wrap at 251 and the edges aside
    rising = (shifted[..., 16, 3:-3].int().diff(dim=2).remainder(251) == 1).all(dim=2)
    assert rising.all()
    same = (shifted == both).flatten(1).all(dim=1)
    assert 16 < int(same.sum()) < 48


def test_a_sample_is_mirrored_and_shifted_as_a_batch_is() -> None:
    images = picture(count=1)[0]
    out = [augment_sample(images, 0, 0, position) for position in range(140)]
    assert all(image.dtype == torch.uint8 and image.is_contiguous() for image in out)
    moves = [recover(images, changed) for changed in out]
    for index in range(3):
        assert torch.equal(out[index], shifted(images, *moves[index]))
    # 7 vertical and 5 horizontal shifts and 2 mirrors are equally frequent, to 5 deviations
    for part, size in zip(zip(*moves, strict=True), (7, 5, 2), strict=True):
        values, counts = torch.tensor(part).unique(return_counts=True)
        assert len(values) == size
        assert (counts - 140 / size).abs().max() < 5 * (140 / size) ** 0.5
    # and independent of each other: most of the 70 combinations occur
    assert len(set(moves)) > 45


def test_a_sample_depends_on_seed_epoch_and_position() -> None:
    image = picture(count=1, height=112, width=112)[0]
    first = augment_sample(image, 1, 2, 3)
    state, before = torch.get_rng_state(), image.clone()
    assert torch.equal(augment_sample(image, 1, 2, 3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(image, before)
    decoded = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # as decoders lay it out
    assert torch.equal(augment_sample(decoded, 1, 2, 3), first)
    for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (3, 2, 1), (1, 3, 2)):
        assert not torch.equal(augment_sample(image, *key), first)


def test_the_draws_of_a_sample_do_not_change_between_versions() -> None:
    # a run saved by one release must resume with the same images in the next
    image = picture(count=1)[0]
    moves = [recover(image, augment_sample(image, 5, 6, position)) for position in range(4)]
    assert moves == [(1, -1, False), (-1, -1, True), (-2, 2, False), (1, -1, True)]


def test_a_sample_without_mirroring_is_only_shifted() -> None:
    image = picture(count=1)[0]
    for position in range(20):
        down, right, mirrored = recover(image, augment_sample(image, 0, 0, position))
        right = -right if mirrored else right  # which is that of the image before it was mirrored
        plain = augment_sample(image, 0, 0, position, mirror=False)
        assert torch.equal(plain, shifted(image, down, right, False))
    with pytest.raises(ValueError, match=r"image: expected uint8 \(channels, H, W\), got"):
        augment_sample(image[0], 0, 0, 0)
