"""Embeddings of images by a trained network."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

from fairloss.data import LabeledImages, to_input
from fairloss.ranks import gather_objects, num_ranks, on_every_rank, rank_number


def embed(
    model: nn.Module,
    faces: LabeledImages,
    *,
    flip: bool = True,
    batch_size: int = 256,
    progress: Callable[[int, int], object] | None = None,
    process_group: "distributed.ProcessGroup | None" = None,
) -> Tensor:
    """Return (N, D) float32 raw embeddings of images, on the model's device, in eval mode.

    With `flip` the embeddings of each image and its mirror are added, as published evaluations do;
    normalize afterwards. Without `faces.mirror` no mirror images are added. The model's mode is
    restored. The ranks of `process_group` have the same images, of which each embeds a share, and
    all get all embeddings, with the bits of one process; an error of one rank is raised on all.
    """
    flip = flip and faces.mirror
    parts = []
    done = 0
    share = torch.from_numpy(rank_share(len(faces), batch_size, process_group))
    batches = (faces.images(rows) for rows in share.split(batch_size) if len(rows))
    for embeddings in embed_shares(model, batches, flip=flip, process_group=process_group):
        parts.append(embeddings)
        done += len(embeddings)
        if progress is not None:
            progress(done, len(faces))
    return torch.cat(parts)


def rank_share(
    length: int, batch_size: int, group: "distributed.ProcessGroup | None"
) -> npt.NDArray[np.int64]:
    """Return the positions of this rank: every W-th batch of those that one process embeds."""
    rows = np.arange(length)
    if group is None:
        return rows
    return np.flatnonzero(rows // batch_size % num_ranks(group) == rank_number(group))


def embed_shares(
    model: nn.Module,
    batches: Iterable[Tensor],
    *,
    flip: bool = True,
    process_group: "distributed.ProcessGroup | None" = None,
) -> Iterator[Tensor]:
    """Yield on every rank the embeddings of all, in the order of the images, W batches at a time.

    Args:
        model: the same on every rank.
        batches: those of this rank, as of `rank_share`.
        flip: as of `embed`.
        process_group: of the ranks; None: as `embed_batches`.

    Raises:
        Exception: an error of `batches`, on other ranks as RankError; see `on_every_rank`.
    """
    embedded = embed_batches(model, batches, flip=flip)
    if process_group is None:
        yield from embedded
        return
    device = next(model.parameters()).device

    def embed_next() -> Tensor | None:
        embeddings = next(embedded, None)
        return None if embeddings is None else embeddings.cpu()

    while True:
        parts = gather_objects(on_every_rank(embed_next, process_group), process_group)
        embeddings = [part for part in parts if part is not None]
        if not embeddings:
            return
        yield torch.cat(embeddings).to(device)


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
