"""The architecture of insightface's networks, from the names and shapes of their weights."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

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

    All names and shapes must agree. An IResNet is taken to be of square images: its weights show
    their area alone.
    """
    shapes = _shapes(state)
    infer = _infer_iresnet if "fc.weight" in shapes else _infer_mobilefacenet
    try:
        with torch.device("meta"):
            architecture, model = infer(shapes)
    except (KeyError, ValueError, TypeError):  # other names, or shapes of another length
        return None
    return architecture if _shapes(model.state_dict()) == shapes else None


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors but scalars: old files lack `num_batches_tracked`."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {name: tuple(value.shape) for name, value in tensors.items() if value.dim()}


def _infer_iresnet(shapes: dict[str, tuple[int, ...]]) -> tuple[Architecture, nn.Module]:
    units = tuple(_count_units(shapes, stage) for stage in range(1, 5))
    depths: dict[tuple[int, ...], int] = {counts: d for d, counts in iresnet.UNITS.items()}
    depth = depths[units]
    _, channels, _, _ = shapes["conv1.weight"]
    embedding_size, inputs = shapes["fc.weight"]
    side = isqrt(inputs // iresnet.STAGE_CHANNELS[-1]) * iresnet.STRIDE
    sizes = (embedding_size, (side, side), channels)
    return Architecture(f"iresnet{depth}", *sizes), iresnet.IResNet(depth, *sizes)


def _count_units(shapes: dict[str, tuple[int, ...]], stage: int) -> int:
    convolution = re.compile(rf"layer{stage}\.\d+\.conv1\.weight")
    return sum(convolution.fullmatch(name) is not None for name in shapes)


def _infer_mobilefacenet(shapes: dict[str, tuple[int, ...]]) -> tuple[Architecture, nn.Module]:
    _, channels, _, _ = shapes["layers.0.layers.0.weight"]
    _, _, rows, columns = shapes["features.layers.0.layers.0.weight"]
    embedding_size, _ = shapes["features.layers.2.weight"]
    stride = mobilefacenet.STRIDE
    sizes = (embedding_size, (rows * stride, columns * stride), channels)
    return Architecture("mobilefacenet", *sizes), mobilefacenet.MobileFaceNet(*sizes)
