"""The architecture of insightface's networks, from the names and shapes of their weights."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any, NamedTuple

from torch import Tensor

from fairloss.models import iresnet, mobilefacenet


class Architecture(NamedTuple):
    """The arguments of `build_model`."""

    name: str
    embedding_size: int
    image_size: tuple[int, int]
    channels: int

    def __str__(self) -> str:
        """Return it for a message: a name, its images and its embeddings."""
        height, width = self.image_size
        images = f"{self.channels} x {height} x {width} images"
        return f"{self.name} for {images} and embeddings of size {self.embedding_size}"


def infer_architecture(state: Mapping[str, Any]) -> Architecture | None:
    """Return the IResNet or MobileFaceNet that a state dict is of; None if it is of another.

    An IResNet is taken to be of square images: its weights show their area alone.
    """
    shapes = {
        name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)
    }
    try:
        return _infer_iresnet(shapes) if "fc.weight" in shapes else _infer_mobilefacenet(shapes)
    except (KeyError, ValueError, TypeError):  # other names, or shapes of another length
        return None


def _infer_iresnet(shapes: dict[str, tuple[int, ...]]) -> Architecture | None:
    units = tuple(_count_units(shapes, stage) for stage in range(1, 5))
    depth = next((depth for depth, counts in iresnet.UNITS.items() if counts == units), None)
    _, channels, _, _ = shapes["conv1.weight"]
    embedding_size, inputs = shapes["fc.weight"]
    cells = isqrt(inputs // iresnet.STAGE_CHANNELS[-1])
    if depth is None or cells * cells * iresnet.STAGE_CHANNELS[-1] != inputs:
        return None
    side = cells * iresnet.STRIDE
    return Architecture(f"iresnet{depth}", embedding_size, (side, side), channels)


def _count_units(shapes: dict[str, tuple[int, ...]], stage: int) -> int:
    convolution = re.compile(rf"layer{stage}\.\d+\.conv1\.weight")
    return sum(convolution.fullmatch(name) is not None for name in shapes)


def _infer_mobilefacenet(shapes: dict[str, tuple[int, ...]]) -> Architecture:
    _, channels, _, _ = shapes["layers.0.layers.0.weight"]
    _, _, rows, columns = shapes["features.layers.0.layers.0.weight"]
    embedding_size, _ = shapes["features.layers.2.weight"]
    size = (rows * mobilefacenet.STRIDE, columns * mobilefacenet.STRIDE)
    return Architecture("mobilefacenet", embedding_size, size, channels)
