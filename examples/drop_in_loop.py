"""Train with ArcFace in a plain PyTorch loop: the head is a loss with class weights of its own."""

from __future__ import annotations

import torch
from torch import nn

from fairloss.heads import ArcFace

CLASSES, FEATURES, EMBEDDING = 20, 32, 16

torch.manual_seed(0)
class_means = torch.randn(CLASSES, FEATURES)  # stands for a data set of images
backbone = nn.Sequential(nn.Linear(FEATURES, 64), nn.PReLU(), nn.Linear(64, EMBEDDING))
head = ArcFace(CLASSES, EMBEDDING, margin=0.3, scale=32.0)
optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1, momentum=0.9)

for step in range(100):
    labels = torch.randint(CLASSES, (64,))
    inputs = class_means[labels] + 0.5 * torch.randn(64, FEATURES)
    loss = head(backbone(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 25 == 0:
        print(f"step {step:3d}  loss {loss.item():.3f}")

labels = torch.arange(CLASSES).repeat(20)
inputs = class_means[labels] + 0.5 * torch.randn(len(labels), FEATURES)
predicted = head.logits(backbone(inputs)).argmax(dim=1)  # logits without margin
print(f"accuracy {(predicted == labels).float().mean().item():.3f}")
