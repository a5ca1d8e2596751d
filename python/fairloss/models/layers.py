"""The last layer and the checks that the embedding networks share."""

from torch import Tensor, nn

from fairloss.checks import check_integer, expect


def embedding_norm(embedding_size: int) -> nn.BatchNorm1d:
    """Return the last layer of insightface's networks: batch normalization with scale 1."""
    norm = nn.BatchNorm1d(embedding_size)
    norm.weight.requires_grad_(False)
    return norm


def check_sizes(
    embedding_size: int, image_size: tuple[int, int], channels: int, divisor: int = 1
) -> None:
    """Raise ValueError unless all are positive integers and `image_size` is a (height, width).

    The divisor is that of both sides.
    """
    check_integer("embedding_size", embedding_size)
    check_integer("channels", channels)
    valid = len(image_size) == 2 and min(image_size) >= 1
    expect(valid, "image_size", "(height, width), both >= 1", image_size)
    divisible = all(side % divisor == 0 for side in image_size)
    expect(divisible, "image_size", f"sides divisible by {divisor}", image_size)


def check_images(images: Tensor, image_size: tuple[int, int], channels: int) -> None:
    """Raise ValueError unless `images` is floating point of shape (B, channels, *image_size)."""
    shape, (height, width) = tuple(images.shape), image_size
    valid = len(shape) == 4 and shape[1:] == (channels, height, width)
    expected = f"floating point of shape (B, {channels}, {height}, {width})"
    got = f"{images.dtype} of shape {shape}"
    expect(valid and images.is_floating_point(), "images", expected, got)
