"""MegaFace's identification at full size, compared with faiss and with plain matrix products.

    python benchmarks/megaface_scale.py planted --results benchmarks/results/megaface.json

3,530 probes and a million distractors of 512 dimensions, read from a memory map, with known results
(2 GB, written to the folder if it does not exist). Every candidate computes rank-1 and TAR at FAR
1e-6, which must equal the known results. Candidates run in turn, each in its own process, so that
its memory can be measured: the peak of anonymous pages, which exclude the memory map.
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
from torch import Tensor

from fairloss.data import Features, planted_megaface, read_features, write_planted
from fairloss.data.synthetic_megaface import Planted
from fairloss.embeddings import unit_embeddings
from fairloss.evaluation import evaluate_megaface
from fairloss.evaluation.megaface import FAR, trials
from fairloss.evaluation.pairs import identity_index
from fairloss.io.atomic import write_text

NEAREST = 1000  # what a search keeps of every probe: more than its planted distractors
CHUNK = 2**13  # distractors of one matrix product: 110 MiB of scores
SAMPLE_EVERY = 0.02  # seconds between two samples of a candidate's memory

Answer = tuple[float, float]  # rank-1, TAR at FAR 1e-6


def command(folder: Path) -> Answer:
    """Run `fairloss evaluate megaface`: lists, ranks, ROC, intervals and all files."""
    from fairloss.cli.app import app

    count = len(read_features(folder / "megaface.npy"))
    with tempfile.TemporaryDirectory() as output:
        arguments = ["evaluate", "megaface", "--lists", f"{folder}/templatelists"]
        arguments += [f"--{name}={folder}/{name}.npy" for name in ("facescrub", "megaface")]
        app([*arguments, "--size", f"{count}", "--output", output], standalone_mode=False)
        report = json.loads(
            Path(output, f"report_fairloss_{count}_1.json").read_text(encoding="utf-8")
        )
    return report["rank_1"]["value"], report["tar"]["value"]


def ours(folder: Path) -> Answer:
    """Run `evaluate_megaface`: ranks of all trials and the ROC."""
    probes, distractors = features(folder)
    result = evaluate_megaface(probes.embeddings, probes.identities, distractors.embeddings)
    return float((result.rank == 0).mean()), result.tar_at()


def faiss(folder: Path) -> Answer:
    """Search IndexFlatIP of all distractors."""
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
    """Search in plain torch: the product with every chunk, and the top k of it and the previous."""
    probes, distractors = features(folder)
    unit, mates = probes_and_mates(probes)
    nearest = unit.new_empty(len(unit), 0)
    for rows in chunks(distractors):
        pool = torch.cat((nearest, unit @ rows.T), dim=1)
        nearest = pool.topk(min(NEAREST, pool.shape[1])).values
    return answer(nearest, mates, len(distractors))


CANDIDATES = {"command": command, "ours": ours, "faiss": faiss, "matmul": matmul}


def features(folder: Path) -> tuple[Features, Features]:
    return read_features(folder / "facescrub.npy"), read_features(folder / "megaface.npy")


def chunks(distractors: Features) -> Iterator[Tensor]:
    for start in range(0, len(distractors), CHUNK):
        rows = unit_embeddings(distractors.embeddings[start : start + CHUNK])
        yield torch.from_numpy(rows)


def probes_and_mates(probes: Features) -> tuple[Tensor, Tensor]:
    """Return (P, D) unit probes, and (P, K) scores of their mates, padded with infinity."""
    unit = unit_embeddings(probes.embeddings)
    mate, probe = trials(identity_index(probes.identities))
    order = np.argsort(probe, kind="stable")
    count = np.bincount(probe)
    column = np.arange(len(probe)) - np.repeat(np.cumsum(count) - count, count)
    scores = np.full((len(unit), count.max()), np.inf, dtype=np.float32)
    scores[probe[order], column] = np.einsum("td,td->t", unit[probe[order]], unit[mate[order]])
    return torch.from_numpy(unit), torch.from_numpy(scores)


def answer(nearest: Tensor, mates: Tensor, distractors: int) -> Answer:
    """Compute the answer from (P, k) descending scores of distractors and (P, K) of mates."""
    real = mates.isfinite()
    closer = nearest[:, :1] > mates
    allowed = int(FAR * len(nearest) * distractors + 1e-6)
    threshold = nearest.flatten().topk(allowed + 1).values[-1]
    accepted = mates > threshold
    return 1 - closer[real].double().mean().item(), accepted[real].double().mean().item()


def run(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """Run a candidate in its own process, and sample its memory."""
    environment = os.environ | {"OMP_NUM_THREADS": f"{threads}"}
    started, peak = time.perf_counter(), 0.0
    arguments = [sys.executable, __file__, str(folder), "--candidate", name]
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    ) as child:
        while child.poll() is None:
            peak = max(peak, anonymous(child.pid))
            time.sleep(SAMPLE_EVERY)
        lines = child.stdout.read().splitlines()
    assert not child.returncode, name
    whole = time.perf_counter() - started
    return json.loads(lines[-1]) | {"process_s": whole, "anonymous_mib": peak}


def anonymous(process: int) -> float:
    """Return the MiB of a process's memory that no file backs."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    sizes = [int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))]
    return sum(sizes) / 1024


def work(name: str, folder: Path) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    rank_1, tar = CANDIDATES[name](folder)
    times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    print(json.dumps(times | {"rank_1": rank_1, "tar": tar}))


def check(result: dict[str, Any], plan: Planted) -> None:
    for name, planted in (("rank_1", plan.recall()), ("tar", plan.tar(FAR))):
        assert abs(result[name] - planted) < 1e-12, (
            f"{name}: expected {planted}, got {result[name]}"
        )


def row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    median = {key: statistics.median(one[key] for one in runs) for key in runs[0]}
    return {"contender": name, "runs": runs} | median


def markdown(rows: list[dict[str, Any]]) -> str:
    ours = next((row for row in rows if row["contender"] == "ours"), rows[0])
    lines = [
        "| candidate | time | over ours | CPU time | anonymous memory |",
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
    parser.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, help="a .json file")
    for name, size in (("people", 80), ("probes", 3530), ("dimension", 512)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--distractors", type=int, default=10**6, help="a power of ten")
    given = parser.parse_args()
    if given.candidate:
        work(given.candidate, given.folder)
        return
    plan = planted_megaface(given.people, given.probes, given.distractors, given.dimension)
    if not given.folder.exists():
        write_planted(given.folder, plan)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CANDIDATES}
    for _ in range(given.rounds):
        for name, results in runs.items():
            results.append(run(name, given.folder, given.threads))
            check(results[-1], plan)
    rows = [row(name, results) for name, results in runs.items()]
    print(markdown(rows))
    if given.results:
        sizes = {name: getattr(given, name) for name in ("probes", "distractors", "dimension")}
        record = {"version": 1, "machine": machine.describe(given.threads), "sizes": sizes}
        write_text(given.results, json.dumps(record | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
