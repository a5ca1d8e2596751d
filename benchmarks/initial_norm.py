"""First epochs of training with two initial norms of the class weights, for docs/losses.md.

    fairloss data orl faces
    python benchmarks/initial_norm.py faces benchmarks/results/initial-norm.json

CosFace on 30 identities of the ORL faces, the others held out, by the settings of
docs/loss-search.md. A seed gives both norms the same directions of the class weights, batches and
augmentation.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from fairloss.data import FaceImages, read_images, split_identities
from fairloss.evaluation import all_pairs, pair_scores, verification
from fairloss.io.json import write_json
from fairloss.io.run_folder import RunFolder
from fairloss.models import embed
from fairloss.training import HeadConfig, OptimizerConfig, TrainConfig
from fairloss.training.build import build_trainer

SIZE, HELD_OUT, SEEDS, EPOCHS = (56, 48), 10, 5, 8
NORMS = (None, 1.0)


def first_epochs(data: str, faces: FaceImages, seed: int, norm: float | None) -> list[Any]:
    """Train and return a row for each epoch."""
    training, held_out = split_identities(faces, HELD_OUT, seed)
    head = HeadConfig(name="CosFace", options={"initial_norm": norm})
    optimizer = OptimizerConfig(learning_rate=0.05)
    config = TrainConfig(data, "", seed=seed, batch_size=32, head=head, optimizer=optimizer)
    config.image_size, config.channels = list(SIZE), 1
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(config, training, RunFolder(folder))
    pairs, rows = all_pairs(held_out.labels.numpy()), []
    for epoch in range(1, EPOCHS + 1):
        before = trainer.head.weight.detach().clone()
        result = trainer.run_epoch(epoch)
        weight = trainer.head.weight.detach()
        logits = trainer.head.logits(embed(trainer.model, training, flip=False))
        scores = pair_scores(embed(trainer.model, held_out).numpy(), pairs)
        angle = torch.rad2deg(cosine_similarity(before, weight).clamp(-1, 1).acos())
        rows.append(
            {
                "initial_norm": norm,
                "seed": seed,
                "epoch": epoch,
                "loss": result.loss,
                "accuracy": float((logits.argmax(dim=1) == training.labels).float().mean()),
                "held_out_auc": verification(scores, pairs.genuine).auc,
                "norm": float(weight.norm(dim=1).mean()),
                "rotation": float(angle.mean()),  # degrees in this epoch
            }
        )
    return rows


def main(data: str, output: str) -> None:
    """Write all rows, and print means and standard deviations over the seeds."""
    faces = read_images(data, SIZE, 1)
    runs = [first_epochs(data, faces, seed, norm) for norm in NORMS for seed in range(1, SEEDS + 1)]
    rows = [row for run in runs for row in run]
    write_json(Path(output), {"rows": rows})
    keys = ("loss", "accuracy", "held_out_auc", "norm", "rotation")
    print("initial_norm epoch", *keys)
    for norm in NORMS:
        for epoch in range(1, EPOCHS + 1):
            same = [r for r in rows if (r["initial_norm"], r["epoch"]) == (norm, epoch)]
            values = torch.tensor([[row[key] for key in keys] for row in same])
            pairs = zip(values.mean(dim=0).tolist(), values.std(dim=0).tolist(), strict=True)
            print(norm, epoch, *(f"{mean:.3f}+-{std:.3f}" for mean, std in pairs))


if __name__ == "__main__":
    main(*sys.argv[1:])
