"""Networks of the library timm by name, with insightface's last batch normalization."""

from difflib import get_close_matches
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from fairloss.checks import expect
from fairloss.models.layers import check_images, check_sizes, embedding_norm


class TimmNetwork(nn.Module):
    """Images (B, channels, H, W), scaled to [-1, 1], to embeddings (B, embedding_size).

    The classifier of timm's network, of `embedding_size` outputs, is followed by the batch
    normalization with fixed scale of insightface's networks. The state dict of timm's network is
    that of the submodule `network`.

    Args:
        name: of timm, such as "mobilenetv4_conv_small" or "vit_tiny_patch16_224".
        embedding_size: length of the embedding, not normalized.
        image_size: (H, W); networks built for one size, such as vision transformers, are built for
            this one.
        channels: 3 for RGB, 1 for gray.

    Raises:
        ImportError: timm is missing, or cannot be imported.
        ValueError: timm has no such network, or it does not take such images; or in `forward` if
            the images do not have the shape the network was built for.
    """

    def __init__(
        self,
        name: str,
        embedding_size: int = 512,
        image_size: tuple[int, int] = (112, 112),
        channels: int = 3,
    ) -> None:
        super().__init__()
        check_sizes(embedding_size, image_size, channels)
        timm = _import_timm()
        _check_name(timm, name)
        self.image_size, self.channels = image_size, channels
        try:
            self.network = _create(timm, name, embedding_size, image_size, channels)
            output = _output_shape(self.network, image_size, channels)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            output = str(error).partition("\n")[0] or type(error).__name__
        height, width = image_size
        expected = (
            f"a network of timm that turns {channels} x {height} x {width} images into "
            f"embeddings of size {embedding_size}"
        )
        expect(output == (1, embedding_size), "name", expected, f"{name!r} ({output})")
        self.features = embedding_norm(embedding_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, embedding_size) of images (B, channels, H, W)."""
        check_images(images, self.image_size, self.channels)
        return cast(Tensor, self.features(self.network(images)))


def _import_timm() -> ModuleType:
    try:
        return import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        raise ImportError(
            'networks of timm need timm: pip install "fairloss-ext[timm]", with torchvision from '
            f"where torch was installed from ({error})"
        ) from error


def _check_name(timm: ModuleType, name: str) -> None:
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        expected = f"a network of timm, such as {', '.join(near or timm.list_models()[:5])}"
        raise ValueError(f"name: expected {expected}, got {name!r}")


def _create(
    timm: ModuleType, name: str, embedding_size: int, image_size: tuple[int, int], channels: int
) -> nn.Module:
    create = partial(
        timm.create_model, name, pretrained=False, num_classes=embedding_size, in_chans=channels
    )
    try:
        return cast(nn.Module, create(img_size=image_size))
    except TypeError as error:  # the network is not built for one size
        if "img_size" not in str(error):
            raise
        return cast(nn.Module, create())


@torch.no_grad()
def _output_shape(network: nn.Module, image_size: tuple[int, int], channels: int) -> Any:
    """Return the shape of the output for one image; the mode stays that of training."""
    network.eval()
    output = network(torch.zeros(1, channels, *image_size))
    network.train()
    return tuple(output.shape)
