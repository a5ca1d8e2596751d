"""Embeddings of images by a trained network."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from fairloss.data import LabeledImages, to_input


def embed(
    model: nn.Module,
    faces: LabeledImages,
    *,
    flip: bool = True,
    batch_size: int = 256,
    progress: Callable[[int, int], object] | None = None,
) -> Tensor:
    """Return (N, D) float32 raw embeddings of images, on the model's device, in eval mode.

    With `flip` the embeddings of each image and its mirror are added, as published evaluations do;
    normalize afterwards. Without `faces.mirror` no mirror images are added. The model's mode is
    restored.
    """
    flip = flip and faces.mirror
    parts = []
    starts = range(0, len(faces), batch_size)
    batches = (faces.images(torch.arange(s, min(s + batch_size, len(faces)))) for s in starts)
    for start, embeddings in zip(starts, embed_batches(model, batches, flip=flip), strict=True):
        parts.append(embeddings)
        if progress is not None:
            progress(min(start + batch_size, len(faces)), len(faces))
    return torch.cat(parts)


@torch.no_grad()
def embed_batches(
    model: nn.Module, batches: Iterable[Tensor], *, flip: bool = True
) -> Iterator[Tensor]:
    """Yield (B, D) float32 embeddings, as `embed`, of uint8 (B, channels, H, W) batches.

    The images need not fit in memory; the embeddings are on the model's device. The model is in
    eval mode while a batch is embedded; its mode is restored after it.
    """
    device = next(model.parameters()).device
    for batch in batches:
        training = model.training
        model.eval()
        images = to_input(batch).to(device)
        embeddings = model(images)
        if flip:
            embeddings = embeddings + model(images.flip(3))
        model.train(training)
        yield embeddings.float()
