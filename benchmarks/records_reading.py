"""Images a second of a CASIA-sized `train.rec`, against a plain Pillow reader of a folder.

    python benchmarks/records_reading.py --results benchmarks/results/records-reading.json

The file has about as many images and identities as CASIA-WebFace, of 112 x 112 pixels in JPEG of
about 5.2 kB; 256 pictures are repeated. The folder has 10,000 of these images. Sets are read in
random order by torch's DataLoader with the same workers, in turn, after a round that fills the page
cache: of the records, every 49th. CPU time is that of all processes, and hardly changes with load.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
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

IMAGES, IDENTITIES, PICTURES, SIDE = 494_500, 10_572, 256, 112
BATCH = 128
FIGURES = ("images_per_second", "cpu_microseconds")


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


def read(
    images: Dataset[Any],
    count: int,
    workers: int,
    seed: int,
    prepare: Callable[[Tensor], object] = id,
) -> tuple[float, float]:
    """Return images a second of a loader over `count` images, and CPU microseconds an image.

    `prepare` is called with every batch, in this process.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    order = order * (len(images) // count)  # the same images every time, from the whole file
    before = cpu_seconds()
    loader = iter(DataLoader(Subset(images, order.tolist()), BATCH, num_workers=workers))
    next(loader)  # workers have started
    start = time.perf_counter()
    for batch, _ in loader:
        prepare(batch)
    rate = (count - BATCH) / (time.perf_counter() - start)
    del loader  # ends the workers, whose time then counts
    return rate, (cpu_seconds() - before) / count * 1e6


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
    """Return a row of the results; the first round, which filled the page cache, is left out."""
    rates, times = zip(*rounds, strict=True)
    row: dict[str, Any] = {"set": name, "workers": workers, "rates": rates, "cpu": times}
    row["images_per_second"] = statistics.median(rates)
    return row | {"cpu_microseconds": statistics.median(times)}


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
    sets: dict[str, tuple[Dataset[Any], Callable[[Tensor], object]]] = {
        "records": (records, id),
        "Pillow folder": (PillowFolder(files), id),
        "folder": (FolderImages(files), id),
        "records, network input": (records, to_input),
        "Pillow folder, network input": (InputFolder(files), id),
    }
    rows = []
    for workers in options.workers:
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in sets}
        for number in range(options.rounds + 1):
            for name, (images, prepare) in sets.items():
                rounds[name].append(read(images, options.files, workers, number, prepare))
        rows += [summary(name, workers, values[1:]) for name, values in rounds.items()]
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
        "rows": rows,
    }


def main() -> None:
    """Print the rates, and write them with the size of each process."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--files", type=int, default=10_000)
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
