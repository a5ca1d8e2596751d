"""IResNet, the residual network of ArcFace, with insightface's parameter names.

Architecture: the "improved residual unit" (BN-Conv-BN-PReLU-Conv-BN), a 3x3 stem without pooling
and the "E" output (BN-Dropout-FC-BN) of Deng et al., "ArcFace", CVPR 2019, section 3.1. Weights
saved by insightface's arcface_torch as `model.pt` load with `load_state_dict`.
"""

from typing import cast

from torch import Tensor, nn

from fairloss.checks import check_choice
from fairloss.models.layers import check_images, check_sizes, embedding_norm

STAGE_CHANNELS = (64, 128, 256, 512)
# every stage halves the image once
STRIDE = 1 << len(STAGE_CHANNELS)
# residual units per stage, by depth
UNITS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
    200: (6, 26, 60, 6),
}


class ResidualUnit(nn.Module):
    """BN-Conv-BN-PReLU-Conv-BN plus a shortcut; the second convolution carries the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output, of half the size with stride 2."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return cast(Tensor, self.bn3(self.conv2(out)) + shortcut)


class IResNet(nn.Module):
    """Images (B, channels, H, W), scaled to [-1, 1], to embeddings (B, embedding_size).

    Args:
        depth: 18, 34, 50, 100 or 200.
        embedding_size: length of the embedding, not normalized.
        image_size: (H, W), both divisible by 16; the fully connected layer is sized for it.
        channels: 3 for RGB, 1 for gray.
        dropout: probability before the fully connected layer.

    Raises:
        ValueError: if an argument is not one of those, or in `forward` if the images do not have
            the shape the network was built for.
    """

    def __init__(
        self,
        depth: int,
        embedding_size: int = 512,
        image_size: tuple[int, int] = (112, 112),
        channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("depth", depth, tuple(UNITS))
        check_sizes(embedding_size, image_size, channels, STRIDE)
        height, width = image_size
        self.image_size, self.channels = (height, width), channels

        stem = STAGE_CHANNELS[0]
        self.conv1 = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.prelu = nn.PReLU(stem)
        inputs = (stem, *STAGE_CHANNELS)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(*shape) for shape in zip(inputs, STAGE_CHANNELS, UNITS[depth], strict=False)
        )
        last = STAGE_CHANNELS[-1]
        self.bn2 = nn.BatchNorm2d(last)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(last * (height // STRIDE) * (width // STRIDE), embedding_size)
        self.features = embedding_norm(embedding_size)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # as insightface; normalization follows, so the scale is not critical
                nn.init.normal_(module.weight, 0.0, 0.1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, embedding_size) of images (B, channels, H, W)."""
        check_images(images, self.image_size, self.channels)
        x = self.prelu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.dropout(self.bn2(x).flatten(1))
        return cast(Tensor, self.features(self.fc(x)))


def _stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    rest = [ResidualUnit(outputs, outputs, stride=1) for _ in range(units - 1)]
    return nn.Sequential(ResidualUnit(inputs, outputs, stride=2), *rest)
