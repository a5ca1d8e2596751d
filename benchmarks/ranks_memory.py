"""Memory of classes divided among ranks beside `fairloss plan`, and traffic, for docs/ranks.md.

    python benchmarks/ranks_memory.py benchmarks/results/ranks-memory.json

`CosFace` on random embeddings of 512 numbers, with momentum and weight decay, in processes of gloo
on one machine; each has its own peak of resident memory. What a process has before it makes the
head is taken off. Then the collectives of a step from 1 to 4 ranks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import machine
import torch
from torch import distributed, multiprocessing, nn

from fairloss.heads import CosFace
from fairloss.io.json import write_json
from fairloss.metrics import ClassStatistics
from fairloss.optim import build_optimizer
from fairloss.plan import PlanConfig, rank_memory, step_collectives
from fairloss_ext.memory import physical_memory

COLLECTIVES = ("all_gather", "all_reduce", "reduce_scatter", "broadcast")
SAMPLED = {"sample_rate": 0.1}
# Classes in thousands, ranks, other settings. Statistics compare all classes with each other.
CASES: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (100, 1, {}),
    (100, 2, {}),
    (100, 1, {"optimizer": "adamw"}),
    (100, 1, SAMPLED),
    (100, 2, SAMPLED),
    (1000, 2, SAMPLED),
    (1000, 2, {}),
    (100, 1, SAMPLED | {"sparse": False}),
    (100, 2, SAMPLED | {"sparse": False, "optimizer": "adamw"}),
    (20, 1, {"statistics": True}),
    (20, 2, {"statistics": True}),
)


def resident(name: str) -> int:
    """Return bytes of this process: VmRSS now, or VmHWM at most."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


@contextmanager
def recorded() -> Iterator[Counter[tuple[str, int]]]:
    """Count the collectives by their names and the bytes that a rank gives."""
    calls: Counter[tuple[str, int]] = Counter()

    def record(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(output: Any, *given: Any, **options: Any) -> Any:
            values = output if name in ("all_reduce", "broadcast") else given[0]
            tensors = values if isinstance(values, list) else [values]
            calls[name, sum(each.nbytes for each in tensors)] += 1
            return call(output, *given, **options)

        return run

    with ExitStack() as stack:
        for name in COLLECTIVES:
            call = record(name, getattr(distributed, name))
            stack.enter_context(mock.patch(f"torch.distributed.{name}", call))
        yield calls


def train(
    head: nn.Module, optimizer: torch.optim.Optimizer, config: PlanConfig, steps: int
) -> None:
    """Take steps on random batches."""
    for _ in range(steps):
        embeddings = torch.randn(config.batch_size, config.embedding_size, requires_grad=True)
        labels = torch.randint(int(config.classes), (config.batch_size,))
        optimizer.zero_grad()
        head(embeddings, labels).backward()
        optimizer.step()


def compute_statistics(config: PlanConfig) -> None:
    """Compute the statistics of random batches, as after an epoch."""
    group = distributed.group.WORLD if config.ranks > 1 else None
    statistics = ClassStatistics(
        int(config.classes), config.embedding_size, "cpu", process_group=group
    )
    for labels in torch.arange(int(config.classes)).split(config.batch_size):
        statistics.update(torch.randn(len(labels), config.embedding_size), labels)
    statistics.compute()


def work(rank: int, config: PlanConfig, folder: str) -> None:
    """Take steps, compute statistics if planned, and write the peak and the collectives."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=config.ranks
    )
    group = distributed.group.WORLD
    small = CosFace(100, config.embedding_size, process_group=group)
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    optimizer = build_optimizer(config.optimizer, small.parameters(), **options)
    train(small, optimizer, replace(config, classes=100), 1)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    head = CosFace(
        int(config.classes),
        config.embedding_size,
        sample_rate=config.sample_rate,
        sparse=config.sparse,
        process_group=group,
    )
    optimizer = build_optimizer(
        config.optimizer, head.parameters(), row_sparse=head.row_sparse, **options
    )
    train(head, optimizer, config, 2)
    with recorded() as calls:
        train(head, optimizer, config, 1)
    if config.statistics:
        compute_statistics(config)
    peak = resident("VmHWM")
    record = {"before": before, "peak": peak, "calls": sorted(calls.items())}
    torch.save(record, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def measure(config: PlanConfig) -> dict[str, Any]:
    """Return the peaks of the ranks beside the plan's, and the collectives of a step."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, (config, folder), nprocs=config.ranks)
        ranks = [torch.load(f"{folder}/{rank}.pt") for rank in range(config.ranks)]
    planned = rank_memory(config)
    head = max(each["peak"] - each["before"] for each in ranks)
    record = {
        "settings": asdict(config),
        "peak_gb": [each["peak"] / 1e9 for each in ranks],
        "head_gb": head / 1e9,
        "plan_gb": planned.peak / 1e9,
        "plan_over_measured": planned.peak / head,
        "plan": asdict(planned),
    }
    print(
        {name: record[name] for name in ("settings", "peak_gb", "head_gb", "plan_gb")}, flush=True
    )
    return record | {"collectives": compared(config, ranks[0]["calls"])}


def compared(config: PlanConfig, calls: list[tuple[tuple[str, int], int]]) -> list[dict[str, Any]]:
    """Return the counted collectives, which must be those of the plan."""
    planned = step_collectives(config)
    expected = Counter((each.name, each.bytes) for each in planned)
    assert sorted(expected.items()) == calls, (expected, calls)
    return [asdict(each) for each in planned]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a .json file")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of classes")
    given = parser.parse_args()
    record: dict[str, Any] = {"machine": machine.describe(1), "memory": [], "traffic": []}
    options = {"device": "cpu", "memory": physical_memory() / 1e9, "batch_size": 64}
    for thousands, ranks, others in CASES:
        classes = thousands * 1000 * given.scale
        config = PlanConfig(classes=classes, ranks=ranks, **others, **options)
        record["memory"].append(measure(config))
        write_json(given.results, record)
    for ranks in range(1, 5):
        counted = measure(PlanConfig(classes=1000, ranks=ranks, **options))
        record["traffic"].append({"ranks": ranks, "collectives": counted["collectives"]})
    write_json(given.results, record)


if __name__ == "__main__":
    main()
