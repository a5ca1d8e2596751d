"""Train Fair Loss on a long-tailed set: one margin a class, moved by a policy after each epoch.

The policy here raises every margin that it can, for illustration. `fairloss collect` and
`fairloss fit-policy` learn one from a run on your own data.
"""

from __future__ import annotations

import torch
from torch import nn

from fairloss.agent import Policy
from fairloss.data import pareto_counts
from fairloss.heads import FairLoss
from fairloss_ext import class_statistics

CLASSES, FEATURES, EMBEDDING, EPOCHS = 20, 32, 16, 4

torch.manual_seed(0)
counts = pareto_counts(CLASSES, largest=60, smallest=2)  # images of each class
labels = torch.arange(CLASSES).repeat_interleave(counts)
inputs = torch.randn(CLASSES, FEATURES)[labels] + 0.5 * torch.randn(len(labels), FEATURES)

backbone = nn.Sequential(nn.Linear(FEATURES, 64), nn.PReLU(), nn.Linear(64, EMBEDDING))
head = FairLoss(
    CLASSES, EMBEDDING, policy=Policy.constant("raise"), initial_margin=0.15, scale=32.0
)
optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1, momentum=0.9)

for epoch in range(EPOCHS):
    for batch in torch.randperm(len(labels)).split(32):
        optimizer.zero_grad()
        head(backbone(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():  # statistics of the whole set, without augmentation
        statistics = class_statistics(backbone(inputs), labels, CLASSES)
    head.end_of_epoch(statistics)
    angle = statistics.intra_angle.nanmean().item()
    print(f"epoch {epoch}  margins {head.margins.unique().tolist()}  intra-class angle {angle:.3f}")
