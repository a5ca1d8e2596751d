"""MegaFace's identification at full size, beside faiss and beside plain matrix products.

    python benchmarks/megaface_scale.py planted --results benchmarks/results/megaface.json

3,530 probes, a million distractors of 512 dimensions, read from a memory map, whose answer is
planted (2 GB, written to the folder if it is not there). Every contender answers the same question,
rank-1 and TAR at FAR 1e-6, and must find the planted answer. Each runs in a process of its own, in
turn, so that its memory is its own: the peak of its anonymous pages, of which the map has none.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from record import write_whole
from torch import Tensor

from fairloss.data import Features, planted_megaface, read_features, write_planted
from fairloss.data.synthetic_megaface import Planted
from fairloss.evaluation import evaluate_megaface, unit_embeddings
from fairloss.evaluation.megaface import FAR, trials
from fairloss.evaluation.pairs import identity_index

NEAREST = 1000  # what a search keeps of every probe: more than any probe has plants
CHUNK = 2**13  # distractors of one matrix product: 110 MiB of scores
SAMPLE_EVERY = 0.02  # seconds between two looks at a contender's memory

Answer = tuple[float, float]  # rank-1, TAR at FAR 1e-6


def command(folder: Path) -> Answer:
    """`fairloss evaluate megaface`: lists, ranks, ROC, intervals and all files."""
    from fairloss.cli.app import app

    count = len(read_features(folder / "megaface.npy"))
    with tempfile.TemporaryDirectory() as output:
        arguments = ["evaluate", "megaface", "--lists", f"{folder}/templatelists"]
        arguments += [f"--{name}={folder}/{name}.npy" for name in ("facescrub", "megaface")]
        app([*arguments, "--size", f"{count}", "--output", output], standalone_mode=False)
        report = json.loads(Path(output, f"report_fairloss_{count}_1.json").read_text())
    return report["rank_1"]["value"], report["tar"]["value"]


def ours(folder: Path) -> Answer:
    """`evaluate_megaface`: ranks of all trials and the ROC."""
    probes, distractors = features(folder)
    found = evaluate_megaface(probes.embeddings, probes.identities, distractors.embeddings)
    return float((found.rank == 0).mean()), found.tar_at()


def faiss(folder: Path) -> Answer:
    """IndexFlatIP of all distractors."""
    import faiss

    probes, distractors = features(folder)
    unit, mates = probes_and_mates(probes)
    index = faiss.IndexFlatIP(unit.shape[1])
    for rows in chunks(distractors):
        index.add(rows.numpy())
    faiss.omp_set_num_threads(torch.get_num_threads())
    nearest = index.search(unit.numpy(), min(NEAREST, len(distractors)))[0]
    return answer(torch.from_numpy(nearest), mates, len(distractors))


def matmul(folder: Path) -> Answer:
    """Plain torch: the product with every chunk, and a top-k of it and the best so far."""
    probes, distractors = features(folder)
    unit, mates = probes_and_mates(probes)
    nearest = unit.new_empty(len(unit), 0)
    for rows in chunks(distractors):
        pool = torch.cat((nearest, unit @ rows.T), dim=1)
        nearest = pool.topk(min(NEAREST, pool.shape[1])).values
    return answer(nearest, mates, len(distractors))


CONTENDERS = {"command": command, "ours": ours, "faiss": faiss, "matmul": matmul}


def features(folder: Path) -> tuple[Features, Features]:
    return read_features(folder / "facescrub.npy"), read_features(folder / "megaface.npy")


def chunks(distractors: Features) -> Iterator[Tensor]:
    for start in range(0, len(distractors), CHUNK):
        rows = unit_embeddings(distractors.embeddings[start : start + CHUNK])
        yield torch.from_numpy(rows)


def probes_and_mates(probes: Features) -> tuple[Tensor, Tensor]:
    """(P, D) unit probes; (P, K) scores of each one's mates, infinite where it has fewer."""
    unit, people = unit_embeddings(probes.embeddings), identity_index(probes.identities)
    mate, probe = trials(people)
    order = np.argsort(probe, kind="stable")
    count = np.bincount(probe)
    column = np.arange(len(probe)) - np.repeat(np.cumsum(count) - count, count)
    scores = np.full((len(unit), count.max()), np.inf, dtype=np.float32)
    scores[probe[order], column] = np.einsum("td,td->t", unit[probe[order]], unit[mate[order]])
    return torch.from_numpy(unit), torch.from_numpy(scores)


def answer(nearest: Tensor, mates: Tensor, distractors: int) -> Answer:
    """From the highest scores of every probe, (P, k), falling, and the scores of its mates."""
    real = mates.isfinite()
    closer = nearest[:, :1] > mates
    allowed = int(FAR * len(nearest) * distractors + 1e-6)
    threshold = nearest.flatten().topk(allowed + 1).values[-1]
    accepted = mates > threshold
    return 1 - closer[real].double().mean().item(), accepted[real].double().mean().item()


def run(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """One contender in a process of its own, its memory looked at meanwhile."""
    environment = os.environ | {"OMP_NUM_THREADS": f"{threads}"}
    started, peak = time.perf_counter(), 0.0
    arguments = [sys.executable, __file__, str(folder), "--contender", name]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            peak = max(peak, anonymous(child.pid))
            time.sleep(SAMPLE_EVERY)
        lines = child.stdout.read().splitlines()
    assert not child.returncode, name
    whole = time.perf_counter() - started
    return json.loads(lines[-1]) | {"process_s": whole, "anonymous_mib": peak}


def anonymous(process: int) -> float:
    """MiB of a process's memory that no file backs."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    sizes = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))]
    return sum(sizes) / 1024


def work(name: str, folder: Path) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    rank_1, tar = CONTENDERS[name](folder)
    times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    print(json.dumps(times | {"rank_1": rank_1, "tar": tar}))


def check(found: dict[str, Any], plan: Planted) -> None:
    for name, planted in (("rank_1", plan.recall()), ("tar", plan.tar(FAR))):
        assert abs(found[name] - planted) < 1e-12, f"{name}: {found[name]}, planted {planted}"


def row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    median = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
    return {"contender": name, "runs": runs} | median


def markdown(rows: list[dict[str, Any]]) -> str:
    ours = next((row for row in rows if row["contender"] == "ours"), rows[0])
    lines = [
        "| contender | time | over ours | processor time | anonymous memory |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for one in rows:
        lines.append(
            f"| `{one['contender']}` | {one['wall_s']:.1f} s | "
            f"{one['wall_s'] / ours['wall_s']:.2f} | {one['cpu_s']:.1f} s | "
            f"{one['anonymous_mib']:.0f} MiB |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, help="a .json file")
    for name, size in (("people", 80), ("probes", 3530), ("dimension", 512)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--distractors", type=int, default=10**6, help="a power of ten")
    given = parser.parse_args()
    if given.contender:
        work(given.contender, given.folder)
        return
    plan = planted_megaface(given.people, given.probes, given.distractors, given.dimension)
    if not given.folder.exists():
        write_planted(given.folder, plan)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(given.rounds):
        for name, found in runs.items():
            found.append(run(name, given.folder, given.threads))
            check(found[-1], plan)
    rows = [row(name, found) for name, found in runs.items()]
    print(markdown(rows))
    if given.results:
        sizes = {name: getattr(given, name) for name in ("probes", "distractors", "dimension")}
        record = {"version": 1, "machine": machine.describe(given.threads), "sizes": sizes}
        write_whole(given.results, json.dumps(record | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
