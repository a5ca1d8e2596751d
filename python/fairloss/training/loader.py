"""The batches of an epoch: which images they hold, and their pixels."""

import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fairloss.data import (
    LabeledImages,
    augment,
    augment_sample,
    balanced_batches,
    epoch_batches,
    per_class_batches,
)

STATISTICS_BATCH = 256  # images, as of `fairloss.models.embed`


@dataclass(frozen=True)
class Loader:
    """The batches of every epoch, drawn from (seed, epoch) and nothing else.

    Images in memory are read here and augmented batch by batch. Others are decoded by worker
    processes and augmented one by one, to the same bits with any number of workers.

    Args:
        images: the training set.
        batch_size: images of the largest batch.
        seed: of the run.
        augment: mirror and shift images.
        sampler: "shuffle", "balanced" or "per_class".
        images_per_class: of each class in a batch of the "per_class" sampler.
        workers: processes that decode images; 0: decode in this one.
        pin_memory: copy decoded batches to pinned memory, for a GPU.

    Raises:
        ValueError: as `per_class_batches`.
    """

    images: LabeledImages
    batch_size: int
    seed: int
    augment: bool = True
    sampler: str = "shuffle"
    images_per_class: int = 4
    workers: int = 2
    pin_memory: bool = False

    def __post_init__(self) -> None:
        if self.sampler == "per_class":
            self.batches(1)  # raises where a batch needs more classes than there are

    def batches(self, epoch: int) -> list[Tensor]:
        """Return the positions of the images of each batch."""
        labels, size = self.images.labels, self.batch_size
        if self.sampler == "balanced":
            return balanced_batches(labels, size, self.seed, epoch)
        if self.sampler == "per_class":
            return per_class_batches(labels, size, self.images_per_class, self.seed, epoch)
        return epoch_batches(len(labels), size, self.seed, epoch)

    def load(
        self, epoch: int, batches: list[Tensor], first: int = 0
    ) -> Generator[Tensor, None, None]:
        """Yield uint8 (B, channels, H, W) augmented images of `batches(epoch)` from a step on.

        Close the generator if it is left before its end: that ends the workers.

        Raises:
            FormatError, OSError: an image cannot be read; also where a worker met it.
        """
        if not self.images.in_memory:
            draws = (self.seed, epoch) if self.augment else None
            yield from self._decode(batches, first, draws)
            return
        for step in range(first, len(batches)):
            images = self.images.images(batches[step])
            if self.augment:
                images = augment(images, self.seed, epoch, step, self.images.mirror)
            yield images

    def load_in_order(self) -> Generator[Tensor, None, None]:
        """Yield uint8 images as they are, in the order of the data set."""
        batches = torch.arange(len(self.images)).split(STATISTICS_BATCH)
        yield from self._decode(list(batches), 0, None)

    def _decode(
        self, batches: list[Tensor], first: int, draws: tuple[int, int] | None
    ) -> Generator[Tensor, None, None]:
        steps = range(first, len(batches))
        workers = min(self.workers, len(steps))
        loader = DataLoader(
            _Batches(self.images, batches, draws),
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            pin_memory=self.pin_memory,
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # its seed would be drawn from that of dropout otherwise
        )
        iterator: Any = iter(loader)
        try:
            for images in _received(iterator):
                if isinstance(images, Exception):
                    raise images
                yield images
        finally:
            if workers:
                # not left to the garbage collector: a traceback may keep the iterator for long
                iterator._shutdown_workers()


def _received(iterator: Iterator[Tensor | Exception]) -> Iterator[Tensor | Exception]:
    try:
        yield from iterator
    except (OSError, EOFError) as error:  # those of images are values
        raise RuntimeError(
            f"a DataLoader worker ended before its batch was read: {error}"
        ) from error


class _Batches(Dataset[Tensor | Exception]):
    """Decoded images by step, or the error of a step.

    Returned, an error comes to the caller as it is: DataLoader makes a RuntimeError with a
    traceback of those whose class takes other arguments than a message.
    """

    def __init__(
        self, images: LabeledImages, batches: list[Tensor], draws: tuple[int, int] | None
    ) -> None:
        self.images, self.draws = images, draws
        # Arrays, as a tensor for each batch would be a file descriptor in a spawned worker.
        self.order = torch.cat(batches).numpy()
        self.starts = [0, *torch.tensor([len(batch) for batch in batches]).cumsum(0).tolist()]

    def __getitem__(self, step: int) -> Tensor | Exception:
        try:
            return self._read(self.starts[step], self.starts[step + 1])
        except (OSError, ValueError) as error:
            return error

    def _read(self, start: int, end: int) -> Tensor:
        images = self.images.images(self.order[start:end])
        if self.draws is None:
            return images
        samples = (
            augment_sample(image, *self.draws, position, self.images.mirror)
            for position, image in enumerate(images, start)
        )
        return torch.stack(list(samples))


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM to the training process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
