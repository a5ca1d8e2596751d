"""Verification of the networks of the demo, the verdict, and a gallery."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.data import FaceImages
from fairloss.demo.config import DemoConfig
from fairloss.demo.phases import embed_run
from fairloss.evaluation import (
    Pairs,
    RocCorners,
    all_pairs,
    compare_seeds,
    evaluate_pairs,
    identity_contributions,
    log_odds_auc,
    pair_scores,
)
from fairloss.gallery import Gallery, record_embedder
from fairloss.io.atomic import write_atomic
from fairloss.io.json import write_json
from fairloss.typing import Float32s, Float64s

# Log-odds that differ by less count as equal. A factor of 1.25 is the limit of bioequivalence; it
# leaves an AUC of 0.96 between 0.95 and 0.968.
BOUND = float(np.log(1.25))
QUERIES, NEIGHBORS = 6, 5


def evaluate_arms(
    config: DemoConfig, arms: Mapping[str, Sequence[Path]], faces: FaceImages
) -> None:
    """Write evaluation.json about the networks of both arms on the unseen identities."""
    identities = faces.labels.numpy()
    pairs = all_pairs(identities)
    reports: dict[str, list[Any]] = {arm: [] for arm in arms}
    curves: dict[str, list[Any]] = {arm: [] for arm in arms}
    scores: dict[str, list[Float32s]] = {arm: [] for arm in arms}
    options = {"replicates": config.replicates, "seed": config.seed}
    for arm, runs in arms.items():
        for run in runs:
            embeddings = embed_run(run, faces)
            reports[arm].append(evaluate_pairs(embeddings, identities, **options))
            scores[arm].append(pair_scores(embeddings, pairs))
            curve = RocCorners(scores[arm][-1], pairs.genuine).roc(np.ones(len(pairs)))
            assert curve is not None
            curves[arm].append({"far": curve.far.tolist(), "tar": curve.tar.tolist()})
    write_json(
        Path(config.output) / "evaluation.json",
        {
            "seeds": config.arm_seeds(),
            "arms": reports,
            "across_seeds": compare_arms(scores, pairs, faces),
            "roc": curves,
        },
    )


def compare_arms(
    scores: Mapping[str, Sequence[Float32s]], pairs: Pairs, faces: FaceImages
) -> dict[str, Any] | str:
    """Compare the log-odds of the AUC over seeds and identities; or say why that is impossible."""
    several = int((faces.counts > 1).sum())
    if faces.num_classes < 3 or several < 2:
        return (
            f"not measurable with {faces.num_classes} identities, {several} with several images: "
            "without any one of them, two must be left, one with several images"
        )
    fixed, fair = (_contributions(scores[arm], pairs, faces) for arm in ("fixed", "fair"))
    if not np.ptp(fair - fixed):
        return "not measurable: both arms score alike with every seed"
    return compare_seeds(fixed, fair, BOUND).as_dict()


def _contributions(scores: Sequence[Float32s], pairs: Pairs, faces: FaceImages) -> Float64s:
    identities = faces.labels.numpy()
    return np.stack([identity_contributions(s, pairs, identities, log_odds_auc) for s in scores])


def search_gallery(run: Path, faces: FaceImages, output: Path) -> None:
    """Search the first image of `QUERIES` identities in a gallery of all other images."""
    embeddings = embed_run(run, faces)
    probes = np.unique(faces.labels.numpy(), return_index=True)[1][:QUERIES]
    others = np.setdiff1d(np.arange(len(faces)), probes)
    gallery = Gallery(embeddings.shape[1])
    gallery.add([faces.names[i] for i in others], embeddings[others])
    gallery.save(output / "gallery")
    record_embedder(output / "gallery", run / "model.pt", flip=faces.mirror)
    nearest = gallery.search(embeddings[probes], NEIGHBORS)
    queries = [
        {
            "probe": faces.names[probe],
            "matches": [{"name": match.name, "score": match.score} for match in matches],
        }
        for probe, matches in zip(probes, nearest, strict=True)
    ]
    position = {name: number for number, name in enumerate(faces.names)}
    rows = [[position[match.name] for match in matches] for matches in nearest]
    pictures = {
        "probes": faces.images(probes).numpy(),
        "matches": np.stack([faces.images(row).numpy() for row in rows]),
    }

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **pictures)

    write_atomic(output / "queries.npz", write)
    write_json(output / "queries.json", {"queries": queries})
