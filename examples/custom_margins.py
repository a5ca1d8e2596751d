"""Give the op margins of your own: one a class, one a group of classes, or one a sample."""

from __future__ import annotations

import torch

from fairloss_ext import margin_softmax_loss

CLASSES, EMBEDDING, BATCH = 10, 16, 32

torch.manual_seed(0)
embeddings = torch.randn(BATCH, EMBEDDING, requires_grad=True)
weight = torch.randn(CLASSES, EMBEDDING, requires_grad=True)
labels = torch.randint(CLASSES, (BATCH,))

# One margin a class, in radians, and learned: the loss is differentiable in the margins too.
margins = torch.linspace(0.2, 0.5, CLASSES).requires_grad_()
loss = margin_softmax_loss(embeddings, weight, labels, margins, kind="arc", scale=32.0)
loss.backward()
print(f"per class   {loss.item():.3f}  gradient of the margins {margins.grad.norm():.3f}")

# One margin a group: here the even and the odd classes.
groups = torch.arange(CLASSES) % 2
loss = margin_softmax_loss(
    embeddings, weight, labels, torch.tensor([0.25, 0.45]), groups, kind="cos", scale=32.0
)
print(f"per group   {loss.item():.3f}")

# One margin a sample, such as one that depends on image quality.
quality = embeddings.detach().norm(dim=1)
sample_margins = 0.1 + 0.4 * (quality - quality.min()) / (quality.max() - quality.min())
loss = margin_softmax_loss(
    embeddings, weight, labels, None, kind="arc", scale=32.0, sample_margins=sample_margins
)
print(f"per sample  {loss.item():.3f}")
