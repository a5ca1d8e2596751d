"""Networks that turn face images into embeddings."""

from torch import nn

from fairloss.checks import check_choice
from fairloss.models.architecture import Architecture, infer_architecture
from fairloss.models.cnn import SmallCNN
from fairloss.models.embedding import embed, embed_batches, embed_shares, rank_share
from fairloss.models.iresnet import UNITS, IResNet
from fairloss.models.mobilefacenet import MobileFaceNet
from fairloss.models.timm_network import TimmNetwork

TIMM = "timm:"
MODEL_NAMES = ("small_cnn", "mobilefacenet", *(f"iresnet{depth}" for depth in UNITS))

__all__ = [
    "MODEL_NAMES",
    "Architecture",
    "IResNet",
    "MobileFaceNet",
    "SmallCNN",
    "build_model",
    "embed",
    "embed_batches",
    "embed_shares",
    "infer_architecture",
    "rank_share",
]


def build_model(
    name: str,
    embedding_size: int = 512,
    image_size: tuple[int, int] = (112, 112),
    channels: int = 3,
) -> nn.Module:
    """Return a freshly initialized network: of `MODEL_NAMES`, or "timm:" and a name of timm.

    It takes images (B, channels, *image_size), scaled to [-1, 1] by `fairloss.data.to_input`, and
    returns embeddings (B, embedding_size), not normalized. Weights come from torch's global
    generator.

    Raises:
        ImportError: if the network is of timm, and timm is missing.
        ValueError: if the name is unknown or the network does not support the sizes.
    """
    if name.startswith(TIMM):
        return TimmNetwork(name.removeprefix(TIMM), embedding_size, image_size, channels)
    check_choice("name", name, (*MODEL_NAMES, f"{TIMM}NAME"))
    if name == "small_cnn":
        return SmallCNN(embedding_size, image_size, channels)
    if name == "mobilefacenet":
        return MobileFaceNet(embedding_size, image_size, channels)
    depth = int(name.removeprefix("iresnet"))
    return IResNet(depth, embedding_size, image_size, channels)
