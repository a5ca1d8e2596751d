"""Images a second of a CASIA-sized `train.rec`, against a plain Pillow reader of a folder.

    python benchmarks/records_reading.py --results benchmarks/results/records-reading.json

The file has about as many images and identities as CASIA-WebFace, of 112 x 112 pixels in JPEG of
about 5.2 kB; 256 pictures are repeated. The folder has 20,000 of these images. Sets are read in
random order, in batches of 128 uint8 images, by the same number of worker processes, in turn, after
a round that fills the page cache: of the records, every 24th.

The comparison asked for is of "training loader", which is that of `fairloss.training` on the
records without augmentation, with "Pillow folder": torch's DataLoader over a dataset that reads a
file and decodes it by Pillow. The records are to be read at twice the rate at least. Compared are
the medians of images a second; those of CPU time, which is that of all processes with the start of
the workers and hardly changes with load; and the memory that reading takes: the largest
proportional set size (PSS) of all processes, over that before the workers were started. Memory is
measured in two rounds before all others: where a batch is dropped at once, as in those that are
timed, and where each is in use for 50 ms, as in training.

The other rows are beside it: the loader with augmentation, DataLoader over the records and over
`FolderImages` image by image, and network input instead of bytes, which is made in the workers or
by `to_input` of each batch.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from fairloss.data import FolderImages, RecordImages, to_input, write_records
from fairloss.io.json import write_json
from fairloss.training.loader import Loader

IMAGES, IDENTITIES, PICTURES, SIDE = 494_500, 10_572, 256, 112
BATCH = 128
FIGURES = ("images_per_second", "cpu_microseconds")
IN_USE = {"memory_mib": 0.0, "memory_in_use_mib": 0.05}  # seconds of a batch
ASKED = ("training loader", "Pillow folder")
Reader = Callable[[Tensor, int], Iterator[object]]  # (order of the images, workers) -> batches


class PillowFolder(Dataset[tuple[Tensor, int]]):
    """Files of folder/identity/image, decoded by Pillow."""

    def __init__(self, root: Path) -> None:
        identities = sorted(root.iterdir())
        self.files = [
            (file, label)
            for label, path in enumerate(identities)
            for file in sorted(path.iterdir())
        ]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, label = self.files[index]
        with Image.open(file) as image:
            pixels = np.array(image.convert("RGB"))
        return torch.from_numpy(pixels).permute(2, 0, 1), label


def pictures() -> list[bytes]:
    """Return JPEGs of smooth random patterns with noise."""
    generator = np.random.default_rng(0)
    encoded = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(float)
        noise = generator.normal(0, 4, (SIDE, SIDE, 1))
        image = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=92)
        encoded.append(file.getvalue())
    return encoded


def items(images: int, identities: int) -> Iterator[tuple[int, bytes]]:
    """Yield labels in order, of nearly equal counts, and images."""
    encoded = pictures()
    for index in range(images):
        yield index * identities // images, encoded[index % PICTURES]


class InputFolder(PillowFolder):
    """The same images as network input, as torchvision's ToTensor and Normalize make it."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels, label = super().__getitem__(index)
        return pixels.contiguous().float().div_(255).sub_(0.5).div_(0.5), label


def write_folder(root: Path, images: int, identities: int) -> None:
    """Write folder/identity/image.jpg."""
    for index, (label, image) in enumerate(items(images, identities)):
        path = root / f"{label:06d}" / f"{index}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image)


def read_items(
    images: Dataset[Any], order: Tensor, workers: int, prepare: Callable[[Tensor], object] = id
) -> Iterator[object]:
    """Yield batches of single images; `prepare` is called with each of them in this process."""
    subset = Subset(images, order.tolist())
    for batch, _ in DataLoader(subset, BATCH, num_workers=workers):
        yield prepare(batch)


def read_batches(
    images: RecordImages,
    order: Tensor,
    workers: int,
    prepare: Callable[[Tensor], object] = id,
    augment: bool = False,
) -> Iterator[object]:
    """Yield batches of the loader of training."""
    loader = Loader(images, BATCH, seed=0, augment=augment, workers=workers)
    for batch in loader.load(1, list(order.split(BATCH))):
        yield prepare(batch)


def time_reading(reader: Reader, order: Tensor, workers: int) -> tuple[float, float]:
    """Return images a second and CPU microseconds an image."""
    before = cpu_seconds()
    batches = reader(order, workers)
    next(batches)  # workers have started
    start = time.perf_counter()
    for _ in batches:
        pass
    rate = (len(order) - BATCH) / (time.perf_counter() - start)
    return rate, (cpu_seconds() - before) / len(order) * 1e6


def measure_memory(reader: Reader, order: Tensor, workers: int, in_use: float) -> float:
    """Return the most memory of all processes in MiB, over that before the workers were started."""
    before = most = proportional()
    for _ in reader(order, workers):
        most = max(most, proportional())
        time.sleep(in_use)
    return most - before


def proportional() -> float:
    """Return the memory of this process and its workers in MiB; shared pages count once."""
    total = 0
    for pid in ("self", *(worker.pid for worker in active_children())):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += int(text.partition("Pss:")[2].split()[0])
    return total / 2**10


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it has ended."""
    usages = [resource.getrusage(who) for who in (0, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / 2**20


def opened(path: Path) -> tuple[RecordImages, dict[str, float]]:
    """Open the file; return its costs too."""
    before, start = resident(), time.perf_counter()
    images = RecordImages(path)
    seconds = time.perf_counter() - start
    return images, {"open_seconds": seconds, "open_mib": resident() - before}


def summary(name: str, workers: int, rounds: list[tuple[float, float]]) -> dict[str, Any]:
    """Return a row of the results."""
    rates, times = zip(*rounds, strict=True)
    row: dict[str, Any] = {"set": name, "workers": workers, "rates": rates, "cpu": times}
    row["images_per_second"] = statistics.median(rates)
    return row | {"cpu_microseconds": statistics.median(times)}


def compare(
    rows: list[dict[str, Any]], workers: int, memory: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Return how many times as fast as the other the first of `ASKED` is, and as frugal."""
    ours, other = (
        next(row for row in rows if (row["set"], row["workers"]) == (name, workers))
        for name in ASKED
    )
    by_round = [rate / base for rate, base in zip(ours["rates"], other["rates"], strict=True)]
    return {
        "of": ASKED,
        "workers": workers,
        "images_per_second": ours["images_per_second"] / other["images_per_second"],
        "by_round": [min(by_round), max(by_round)],
        "cpu_microseconds": other["cpu_microseconds"] / ours["cpu_microseconds"],
        **{key: memory[ASKED[1]][key] / memory[ASKED[0]][key] for key in IN_USE},
        "memory": memory,
    }


def time_readers(
    readers: dict[str, Reader], orders: list[Tensor], workers: int
) -> list[dict[str, Any]]:
    """Return a row for each reader. They read in turn; the first order fills the page cache."""
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for order in orders:
        for name, reader in readers.items():
            rounds[name].append(time_reading(reader, order, workers))
    return [summary(name, workers, values[1:]) for name, values in rounds.items()]


def measure_memories(
    readers: dict[str, Reader], order: Tensor, workers: int
) -> dict[str, dict[str, float]]:
    """Return the memory of those of `ASKED`, after a round that is not measured."""
    for name in ASKED:
        deque(readers[name](order, workers), maxlen=0)
    return {
        name: {
            key: measure_memory(readers[name], order, workers, seconds)
            for key, seconds in IN_USE.items()
        }
        for name in ASKED
    }


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write both sets, and read them in turn."""
    scale = options.images / IMAGES
    start = time.perf_counter()
    identities = max(2, int(IDENTITIES * scale))
    write_records(folder / "train.rec", items(options.images, identities))
    write_seconds = time.perf_counter() - start
    write_folder(
        folder / "faces", options.files, max(2, identities * options.files // options.images)
    )
    records, costs = opened(folder / "train.rec")
    files = folder / "faces"
    sparse = records.subset(range(0, len(records), len(records) // options.files))
    readers: dict[str, Reader] = {
        ASKED[0]: partial(read_batches, sparse),
        ASKED[1]: partial(read_items, PillowFolder(files)),
        "training loader, augmented": partial(read_batches, sparse, augment=True),
        "records": partial(read_items, sparse),
        "folder": partial(read_items, FolderImages(files)),
        "training loader, network input": partial(read_batches, sparse, prepare=to_input),
        "records, network input": partial(read_items, sparse, prepare=to_input),
        "Pillow folder, network input": partial(read_items, InputFolder(files)),
    }
    orders = [
        torch.randperm(options.files, generator=torch.Generator().manual_seed(number))
        for number in range(options.rounds + 1)
    ]
    memories = [measure_memories(readers, orders[0], workers) for workers in options.workers]
    rows = [row for workers in options.workers for row in time_readers(readers, orders, workers)]
    comparisons = [
        compare(rows, workers, memory)
        for workers, memory in zip(options.workers, memories, strict=True)
    ]
    (folder / "train.idx").unlink()
    _, scanned = opened(folder / "train.rec")
    peaks = [resource.getrusage(who).ru_maxrss / 2**10 for who in (0, resource.RUSAGE_CHILDREN)]
    return {
        "machine": describe(1),
        "images": options.images,
        "identities": identities,
        "decoder": records.decoder,
        "record_bytes": (folder / "train.rec").stat().st_size,
        "write_seconds": write_seconds,
        **costs,
        "scan_seconds": scanned["open_seconds"],
        "peak_mib": peaks[0],
        "peak_worker_mib": peaks[1],
        "comparisons": comparisons,
        "rows": rows,
    }


def main() -> None:
    """Print the rates, and write them with the size of each process."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "faces").mkdir()
        result = measure(Path(folder), options)
    if options.results is not None:
        write_json(options.results, result)
    for row in result["rows"]:
        print(f"{row['set']:30}", *(row[key] for key in ("workers", *FIGURES)))
    print({key: value for key, value in result.items() if key != "rows"})


if __name__ == "__main__":
    main()
