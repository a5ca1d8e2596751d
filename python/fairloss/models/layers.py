"""What the embedding networks have in common."""

from __future__ import annotations

from torch import Tensor, nn


def embedding_norm(embedding_size: int) -> nn.BatchNorm1d:
    """The last layer of insightface's networks: batch normalisation with its scale fixed at 1."""
    norm = nn.BatchNorm1d(embedding_size)
    norm.weight.requires_grad_(False)
    return norm


def check_sizes(embedding_size: int, image_size: tuple[int, int], channels: int) -> None:
    """Raise ValueError unless all are positive integers and `image_size` is a (height, width)."""
    for name, value in (("embedding_size", embedding_size), ("channels", channels)):
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value!r}")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"image_size must be (height, width), both >= 1, got {image_size!r}")


def check_images(images: Tensor, image_size: tuple[int, int], channels: int) -> None:
    """Raise ValueError unless `images` is floating point of shape (B, channels, *image_size)."""
    expected = (channels, *image_size)
    if images.dim() != 4 or tuple(images.shape[1:]) != expected or not images.is_floating_point():
        raise ValueError(
            f"images must be floating point of shape (B, {', '.join(map(str, expected))}), "
            f"got {images.dtype} of shape {tuple(images.shape)}"
        )
