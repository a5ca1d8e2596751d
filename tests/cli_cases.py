"""Small inputs of the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fairloss.models import build_model
from fairloss.training import TrainConfig, as_yaml, load_config

# settings of `fairloss train` for a run of a second
SMALL = ["epochs=2", "image_size=[32,32]", "channels=1", "batch_size=16"]
SMALL += ["model.embedding_size=16", "optimizer.learning_rate=0.02"]


def write_checkpoint(folder: Path, seed: int, size: int = 16) -> Path:
    """Write the run folder of an untrained network and return its model.pt."""
    options = ["data=x", f"output={folder}", "image_size=[32,32]", "channels=1"]
    config = load_config(None, [*options, f"model.embedding_size={size}"], TrainConfig)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(as_yaml(config), encoding="utf-8")
    torch.manual_seed(seed)
    model = build_model("small_cnn", size, (32, 32), 1)
    torch.save(model.state_dict(), folder / "model.pt")
    return folder / "model.pt"


def write_agedb_list(images: Path, path: Path, folds: int = 10) -> Path:
    """Write a list of two genuine and two impostor pairs for each fold."""
    lines = []
    for fold in range(folds):
        a, b = (sorted((images / f"id{2 * fold + n}").iterdir()) for n in range(2))
        for n, (one, two) in enumerate([(a[0], a[1]), (b[0], b[1]), (a[0], b[1]), (a[2], b[3])]):
            first, second = (f"{p.parent.name}/{p.name}" for p in (one, two))
            lines.append(f"{first} {second} {1 if n < 2 else -1}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def clustered_embeddings(identities=20, images=4, noise=0.4, seed=0):
    """Return (identities * images, 16) float32 embeddings around a center for each identity."""
    generator = np.random.default_rng(seed)
    centers = np.repeat(generator.normal(size=(identities, 16)), images, axis=0)
    return (centers + noise * generator.normal(size=centers.shape)).astype(np.float32)
