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
from fairloss.data.batches import rank_rows
from fairloss.ranks import num_ranks, rank_number
from fairloss.typing import Bytes

STATISTICS_BATCH = 256  # images, as of `fairloss.models.embed`
PREFETCH = 2  # batches that each worker may be ahead


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
        accumulate: micro-batches of a batch, each of which is divided among the ranks.

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
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.sampler == "per_class":
            self.batches(1)  # raises where a batch needs more classes than there are

    def batches(self, epoch: int) -> list[Tensor]:
        """Return the positions of the images of each batch, those of all ranks."""
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

        On several ranks each gets its images alone, to the same bits as one process.

        A batch is valid until the next one is asked for, as images are decoded into memory that is
        used again; copy what is needed longer. Close the generator if it is left before its end:
        that ends the workers.

        Raises:
            FormatError, OSError: an image cannot be read; also where a worker met it.
        """
        if not self.images.in_memory:
            draws = (self.seed, epoch) if self.augment else None
            starts = [0, *torch.tensor([len(batch) for batch in batches]).cumsum(0).tolist()]
            positions = [
                start + self._rows(batch) for start, batch in zip(starts, batches, strict=False)
            ]
            yield from self._decode(torch.cat(batches), positions, first, draws)
            return
        for step in range(first, len(batches)):
            rows, count = self._rows(batches[step]), len(batches[step])
            images = self.images.images(batches[step][rows])
            if self.augment:
                mirror, seed = self.images.mirror, self.seed
                images = augment(images, seed, epoch, step, mirror, rows=rows, batch_size=count)
            yield images

    def load_in_order(self) -> Generator[Tensor, None, None]:
        """Yield uint8 images as they are, in the order of the data set; each valid as in `load`.

        On several ranks each gets those at `rank_range`.
        """
        positions = self.rank_range().split(STATISTICS_BATCH)
        if self.images.in_memory:
            yield from map(self.images.images, positions)
            return
        yield from self._decode(torch.arange(len(self.images)), list(positions), 0, None)

    def rank_range(self) -> Tensor:
        """Return the positions of the images that this rank embeds for statistics."""
        return torch.arange(len(self.images)).tensor_split(num_ranks())[rank_number()]

    def _rows(self, batch: Tensor) -> Tensor:
        parts = min(self.accumulate, len(batch))
        return torch.cat(rank_rows(len(batch), parts, rank_number(), num_ranks()))

    def _decode(
        self, order: Tensor, positions: list[Tensor], first: int, draws: tuple[int, int] | None
    ) -> Generator[Tensor, None, None]:
        """Yield the images at these positions of the order, from a step on."""
        steps = range(first, len(positions))
        workers = min(self.workers, len(steps))
        decoder = _Decoder(self.images, order, positions, draws, workers)
        loader = DataLoader(
            decoder,
            batch_size=None,
            sampler=steps,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=_ignore_signals,
            generator=torch.Generator(),  # its seed would be drawn from that of dropout otherwise
        )
        iterator: Any = iter(loader)
        try:
            for step, error in zip(steps, _received(iterator), strict=True):
                if error is not None:
                    raise error
                images = decoder.batch(step)
                yield images.pin_memory() if self.pin_memory else images
        finally:
            if workers:
                # not left to the garbage collector: a traceback may keep the iterator for long
                iterator._shutdown_workers()


def _received(iterator: Iterator[Exception | None]) -> Iterator[Exception | None]:
    try:
        yield from iterator
    except (OSError, EOFError) as error:  # those of images are values
        raise RuntimeError(
            f"a DataLoader worker ended before its batch was read: {error}"
        ) from error


class _Decoder(Dataset[Exception | None]):
    """Decodes the images of a step into a slot of memory that the workers share with this process.

    Item `step` is None, or the error of an image. Returned, an error comes to the caller as it is:
    DataLoader makes a RuntimeError with a traceback of those whose class takes other arguments
    than a message.
    """

    def __init__(
        self,
        images: LabeledImages,
        order: Tensor,
        positions: list[Tensor],
        draws: tuple[int, int] | None,
        workers: int,
    ) -> None:
        self.images, self.draws = images, draws
        # Arrays, as a tensor for each batch would be a file descriptor in a spawned worker.
        self.order, self.positions = order.numpy(), torch.cat(positions).numpy()
        lengths = [len(rows) for rows in positions]
        self.starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
        # DataLoader sends step n + PREFETCH * workers to a worker when it returns step n, and the
        # one after it not before it is asked for step n + 1: step n is then no longer in use.
        slots = PREFETCH * workers + 1
        shape = slots, max([1, *lengths]), images.channels, *images.image_size
        self.slots = torch.empty(shape, dtype=torch.uint8)
        if workers:
            _share(self.slots)

    def batch(self, step: int) -> Tensor:
        """Return the part of its slot that the images of a step fill."""
        return self.slots[step % len(self.slots), : self.starts[step + 1] - self.starts[step]]

    def __getitem__(self, step: int) -> Exception | None:
        try:
            positions = self.positions[self.starts[step] : self.starts[step + 1]]
            self._read(self.batch(step).numpy(), positions.tolist())
        except (OSError, ValueError) as error:
            return error
        return None

    def _read(self, pixels: Bytes, positions: list[int]) -> None:
        for row, position in enumerate(positions):
            image = self.images.image(self.order[position])
            if self.draws is not None:
                image = augment_sample(image, *self.draws, position, self.images.mirror)
            pixels[row] = image


def _share(slots: Tensor) -> None:
    """Move slots to shared memory, which containers may have little of."""
    try:
        slots.share_memory_()
    except RuntimeError as error:
        size = f"{slots.nbytes >> 10} KiB of shared memory"
        raise RuntimeError(
            f"workers: expected {size} for {len(slots)} batches of {slots.shape[1]} images, "
            f"got: {error}; lower workers, or the batch_size of training"
        ) from error


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM to the training process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
