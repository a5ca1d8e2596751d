"""MobileFaceNet, a small network for phones, with insightface's parameter names.

Architecture: Chen et al., "MobileFaceNets", 2018, at twice the width, as the `mbf` of insightface's
arcface_torch, whose weights load with `load_state_dict`.
"""

from typing import cast

from torch import Tensor, nn

from fairloss.models.layers import check_images, check_sizes

# of the convolutions with stride 2 together
STRIDE = 16


class Block(nn.Module):
    """Layers in sequence; with `residual`, their output plus their input."""

    def __init__(self, *layers: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layers."""
        out = cast(Tensor, self.layers(x))
        return x + out if self.residual else out


class MobileFaceNet(nn.Module):
    """Images (B, channels, H, W), scaled to [-1, 1], to embeddings (B, embedding_size).

    Args:
        embedding_size: length of the embedding, not normalized.
        image_size: (H, W), both divisible by 16; the last depthwise convolution covers H/16 x W/16.
        channels: 3 for RGB, 1 for gray.

    Raises:
        ValueError: if an argument is not one of those, or in `forward` if the images do not have
            the shape the network was built for.
    """

    def __init__(
        self,
        embedding_size: int = 512,
        image_size: tuple[int, int] = (112, 112),
        channels: int = 3,
    ) -> None:
        super().__init__()
        check_sizes(embedding_size, image_size, channels, STRIDE)
        height, width = image_size
        self.image_size, self.channels = (height, width), channels

        self.layers = nn.ModuleList(
            [
                _convolution(channels, 128, 3, stride=2),
                _convolution(128, 128, 3, groups=64),
                _bottleneck(128, 128, 128, stride=2),
                _stage(128, 128, units=4),
                _bottleneck(128, 256, 256, stride=2),
                _stage(256, 256, units=6),
                _bottleneck(256, 512, 256, stride=2),
                _stage(256, 256, units=2),
            ]
        )
        self.conv_sep = _convolution(256, 512)
        remaining = (height // STRIDE, width // STRIDE)
        pool = nn.Conv2d(512, 512, remaining, groups=512, bias=False)
        self.features = Block(
            Block(pool, nn.BatchNorm2d(512)),
            nn.Flatten(),
            nn.Linear(512, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size),
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):  # as insightface
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, embedding_size) of images (B, channels, H, W)."""
        check_images(images, self.image_size, self.channels)
        x = images
        for layer in self.layers:
            x = layer(x)
        return cast(Tensor, self.features(self.conv_sep(x)))


def _convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> Block:
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return Block(convolution, nn.BatchNorm2d(outputs), nn.PReLU(outputs))


def _bottleneck(
    inputs: int, width: int, outputs: int, stride: int = 1, residual: bool = False
) -> Block:
    """Return an inverted bottleneck: to `width` channels, depthwise 3x3, to `outputs` channels."""
    projection = nn.Conv2d(width, outputs, 1, bias=False)
    return Block(
        _convolution(inputs, width),
        _convolution(width, width, 3, stride, groups=width),
        Block(projection, nn.BatchNorm2d(outputs)),
        residual=residual,
    )


def _stage(channels: int, width: int, units: int) -> Block:
    return Block(*(_bottleneck(channels, width, channels, residual=True) for _ in range(units)))
