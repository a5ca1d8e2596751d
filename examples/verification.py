"""Verify all pairs of a test set: AUC, EER and TAR@FAR with intervals clustered by identity."""

from __future__ import annotations

import numpy as np

from fairloss.evaluation import evaluate_pairs

IDENTITIES, IMAGES, EMBEDDING = 60, 5, 32

generator = np.random.default_rng(0)
identities = np.repeat(np.arange(IDENTITIES), IMAGES)
centers = generator.normal(size=(IDENTITIES, EMBEDDING))  # stands for a trained backbone
embeddings = centers[identities] + generator.normal(size=(len(identities), EMBEDDING))

report = evaluate_pairs(embeddings, identities)
print(f"{report['genuine']} genuine and {report['impostor']} impostor pairs")
rows = {"AUC": report["auc"], "EER": report["eer"]}
rows |= {f"TAR@FAR={far}": value for far, value in report["tar"].items()}
for name, value in rows.items():
    if isinstance(value, dict):  # else a text that says why it cannot be measured
        print(f"{name:14s} {value['value']:.4f}  [{value['low']:.4f}, {value['high']:.4f}]")
