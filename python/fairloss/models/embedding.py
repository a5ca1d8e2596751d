"""From images to embeddings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fairloss.data import FaceImages, to_input


@torch.no_grad()
def embed(
    model: nn.Module,
    faces: FaceImages,
    *,
    flip: bool = True,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """(N, D) float32 raw embeddings of un-augmented images, on the model's device, in eval mode.

    With `flip` the embeddings of each image and its mirror are added, as published evaluations do;
    normalise afterwards. The model's mode is restored.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    parts = []
    for start in range(0, len(faces), batch_size):
        stop = min(start + batch_size, len(faces))
        images = to_input(faces.images(torch.arange(start, stop))).to(device)
        embeddings = model(images)
        parts.append(embeddings + model(images.flip(3)) if flip else embeddings)
        if progress is not None:
            progress(stop, len(faces))
    model.train(training)
    return torch.cat(parts).float()
