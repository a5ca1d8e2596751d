"""Identification of characters unseen in training among all others, for docs/gallery-scale.md.

    python benchmarks/million.py runs/data/million/test runs/million/test.npy --results NAME.json

The unseen characters are split at random into three parts: enrolled ones with one image in the
gallery, strangers with none, and the rest, all of whose images are distractors. A probe and its
mate always have different designs, as weights and regional faces of one design look nearly equal.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch

from fairloss.data import read_features
from fairloss.evaluation import cluster_mean, evaluate_megaface, search_gallery
from fairloss.evaluation.pairs import identity_index
from fairloss.io.atomic import write_text
from fairloss.typing import Bools, Floats, Ints

FPIRS = (0.001, 0.01, 0.1)
RANKS = (1, 5, 10, 100)
PROBES_AT_ONCE = 128  # of the open-set search: their scores take 0.4 GB


@dataclass(frozen=True)
class Roles:
    """Rows of the features by their role."""

    gallery: Ints  # one image of each enrolled character
    mated: Ints  # other images of these, of other designs
    strangers: Ints  # images of characters that are not enrolled
    distractors: Ints


def split_roles(character: Ints, design: Ints, given: argparse.Namespace) -> Roles:
    """Split the characters at random, with one image of each of their designs."""
    generator = np.random.default_rng(given.seed)
    order = generator.permutation(character.max() + 1)
    enrolled, strange, rest = np.split(order, np.cumsum((given.enrolled, given.strangers)))
    shuffled = generator.permutation(len(character))
    pair = character[shuffled] * (design.max() + 1) + design[shuffled]
    one_a_design = shuffled[np.unique(pair, return_index=True)[1]]

    def images(characters: Ints) -> list[Ints]:
        return [
            generator.permutation(one_a_design[character[one_a_design] == c])[: 1 + given.images]
            for c in characters
        ]

    enrolled_images = images(enrolled)
    return Roles(
        gallery=np.array([rows[0] for rows in enrolled_images]),
        mated=np.concatenate([rows[1:] for rows in enrolled_images]),
        strangers=np.concatenate([rows[1:] for rows in images(strange)]),
        distractors=np.flatnonzero(np.isin(character, rest)),
    )


def challenge(
    features: Floats, character: Ints, roles: Roles, given: argparse.Namespace
) -> list[dict[str, Any]]:
    """Run MegaFace's protocol at growing numbers of distractors."""
    probes = np.sort(np.concatenate((roles.gallery, roles.mated)))
    order = np.random.default_rng(given.seed).permutation(roles.distractors)
    counts = [10**n for n in range(1, 9) if 10**n < len(order)] + [len(order)]
    reports = []
    for count in counts:
        rows = features[np.sort(order[:count])]
        started = time.perf_counter()
        result = evaluate_megaface(features[probes], character[probes], rows)
        took = time.perf_counter() - started
        report = result.report(given.replicates, given.seed)
        recall = {str(rank): float((result.rank < rank).mean()) for rank in RANKS}
        reports.append(report | {"recall": recall, "search_s": took})
        print(f"{count} distractors: rank-1 {report['rank_1']['value']:.4f}", flush=True)
    return reports


def open_set(
    features: Floats,
    character: Ints,
    roles: Roles,
    distractors: Ints,
    given: argparse.Namespace,
) -> dict[str, Any]:
    """Compute TPIR at FPIR of mated probes and strangers, in a gallery with distractors."""
    rows = np.concatenate((roles.gallery, distractors))
    # a distractor is an identity of its own: any match with it is wrong
    identity = np.concatenate((character[roles.gallery], -1 - np.arange(len(distractors))))
    probes = np.concatenate((roles.mated, roles.strangers))
    search = search_gallery(
        features[rows], identity, features[probes], character[probes], PROBES_AT_ONCE
    )
    mated = character[roles.mated]

    def interval(hits: Bools) -> dict[str, Any]:
        return cluster_mean(hits, mated, given.replicates, given.seed).as_dict()

    rank = search.rank[search.mated]
    report: dict[str, Any] = {
        "gallery": len(rows),
        "enrolled": len(roles.gallery),
        "mated_probes": len(roles.mated),
        "stranger_probes": len(roles.strangers),
        "rank": {str(n): interval(rank < n) for n in RANKS},
        "tpir": {},
    }
    for fpir in FPIRS:
        point = search.tpir_at(fpir)
        if point is not None:
            hits = interval(search.hits(point[1]))
            report["tpir"][str(fpir)] = hits | {"threshold": point[1]}
    return report


def markdown(record: dict[str, Any]) -> str:
    def cell(rate: dict[str, Any]) -> str:
        return f"{rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})"

    lines = ["| distractors | rank-1 | rank-10 | TAR at FAR 1e-6 |", "| ---: | --- | --- | --- |"]
    for one in record["challenge"]:
        tar = one["tar"] if isinstance(one["tar"], str) else cell(one["tar"])
        rates = f"{cell(one['rank_1'])} | {one['recall']['10']:.3f} | {tar}"
        lines.append(f"| {one['distractors']:,} | {rates} |")
    rates = [*(f"rank-{n}" for n in RANKS), *(f"TPIR at FPIR {fpir}" for fpir in FPIRS)]
    lines += ["", "| gallery | " + " | ".join(rates) + " |", "| ---: |" + " --- |" * len(rates)]
    for one in record["open_set"]:
        values = [*one["rank"].values(), *one["tpir"].values()]
        lines.append(f"| {one['gallery']:,} | " + " | ".join(map(cell, values)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the set of glyphs that was embedded")
    parser.add_argument("features", type=Path, help="its .npy")
    parser.add_argument("--enrolled", type=int, default=1000, help="characters")
    parser.add_argument("--strangers", type=int, default=1000, help="characters")
    parser.add_argument("--images", type=int, default=5, help="most probes of a character")
    parser.add_argument("--replicates", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="a .json file")
    given = parser.parse_args()

    features = read_features(given.features)
    character = identity_index(features.identities)
    typefaces = json.loads((given.data.parent / "manifest.json").read_text(encoding="utf-8"))[
        "typefaces"
    ]
    design_of = {face["name"]: face["design"] for face in typefaces}
    design = identity_index([design_of[name.split("/", 1)[1]] for name in features.names])
    roles = split_roles(character, design, given)
    record = {
        "version": 1,
        "machine": machine.describe(torch.get_num_threads()),
        "characters": int(character.max()) + 1,
        "images": len(features),
        "challenge": challenge(features.embeddings, character, roles, given),
        "open_set": [
            open_set(features.embeddings, character, roles, distractors, given)
            for distractors in (roles.distractors[:0], roles.distractors)
        ],
    }
    print(markdown(record))
    if given.results:
        write_text(given.results, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
