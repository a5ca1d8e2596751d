"""Losses of the heads in float64, written from the papers' formulas with their defaults.

Each takes raw embeddings x (B, D), class weights w (C, D) and labels y (B,) >= 0, and gives (B,).
"""

from __future__ import annotations

import math

import torch
from oracles import cosines, phi
from torch import Tensor


def entropy(logits: Tensor, y: Tensor) -> Tensor:
    highest = logits.max(dim=1).values.detach()
    total = torch.exp(logits - highest[:, None]).sum(dim=1)
    return torch.log(total) + highest - target_of(logits, y)


def target_of(matrix: Tensor, y: Tensor) -> Tensor:
    return matrix[torch.arange(len(y)), y]


def replace(matrix: Tensor, y: Tensor, target: Tensor) -> Tensor:
    return matrix.index_put((torch.arange(len(y)), y), target)


def norm(rows: Tensor) -> Tensor:
    return rows.square().sum(dim=1).sqrt()


def margin_softmax(
    x: Tensor, w: Tensor, y: Tensor, kind: str, margin: Tensor | float, s: Tensor | float
) -> Tensor:
    cosine = cosines(x, w)
    margin = torch.as_tensor(margin, dtype=torch.float64)
    return entropy(s * replace(cosine, y, phi(target_of(cosine, y), kind, margin, "linear")), y)


def combined(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    cosine = cosines(x, w)
    theta = torch.acos(target_of(cosine, y))
    beyond = target_of(cosine, y) - 0.3 * math.sin(0.3)
    target = torch.where(theta + 0.3 > math.pi, beyond, torch.cos(theta + 0.3)) - 0.2
    return entropy(64 * replace(cosine, y, target), y)


def sphereface_r(x: Tensor, w: Tensor, y: Tensor, *, exact: bool) -> Tensor:
    cosine = cosines(x, w)
    target = phi(target_of(cosine, y), "sphere", torch.tensor(1.7, dtype=torch.float64), "linear")
    if not exact:
        target = target_of(cosine, y) + (target - target_of(cosine, y)).detach()
    return entropy(30 * replace(cosine, y, target), y)


def adacos(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    cosine, classes = cosines(x, w), len(w)
    with torch.no_grad():
        s = math.sqrt(2) * math.log(classes - 1)
        negative = replace(torch.exp(s * cosine), y, torch.zeros(len(y), dtype=torch.float64))
        angle = sorted(torch.acos(target_of(cosine, y)).tolist())[(len(y) - 1) // 2]
        s = math.log(negative.sum() / len(y)) / math.cos(min(math.pi / 4, angle))
    return entropy(s * cosine, y)


def adaptive_face(x: Tensor, w: Tensor, y: Tensor, margins: Tensor) -> Tensor:
    return margin_softmax(x, w, y, "cos", margins[y], 32) + 70 * (1 - margins.mean())


def ldam(x: Tensor, w: Tensor, y: Tensor, counts: list[int], beta: float | None) -> Tensor:
    smallest = min(counts)
    margin = torch.tensor([0.5 * (smallest / n) ** 0.25 for n in counts], dtype=torch.float64)
    losses = margin_softmax(x, w, y, "cos", margin[y], 30)
    if beta is None:
        return losses
    weight = [1 / sum(beta**k for k in range(n)) for n in counts]  # a geometric series
    total = sum(weight)
    return losses * torch.tensor([v * len(counts) / total for v in weight])[y]


def adaface(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    cosine = cosines(x, w)
    with torch.no_grad():
        length = norm(x).clamp(0.001, 100)
        mean = 0.01 * length.mean() + 0.99 * 20
        deviation = 0.01 * length.std() + 0.99 * 100
        z = (0.333 * (length - mean) / (deviation + 1e-3)).clamp(-1, 1)
    angle = torch.acos(target_of(cosine, y)) - 0.4 * z
    assert (angle > 1e-3).all()
    assert (angle < math.pi - 1e-3).all()
    return entropy(64 * replace(cosine, y, torch.cos(angle) - (0.4 * z + 0.4)), y)


def magface(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    a = norm(x).clamp(10, 110)
    margin = (0.8 - 0.45) / (110 - 10) * (a - 10) + 0.45
    cosine = cosines(x, w)
    target = target_of(cosine, y)
    target = torch.where(target > 0, torch.cos(torch.acos(target) + margin), target)
    return entropy(64 * replace(cosine, y, target), y) + 35 * (a / 110**2 + 1 / a)


def elastic_plus(x: Tensor, w: Tensor, y: Tensor, drawn: Tensor) -> Tensor:
    """The largest of the drawn margins for the lowest target cosine, and so on."""
    target = target_of(cosines(x, w), y).tolist()
    margin = torch.empty(len(y), dtype=torch.float64)
    hardest_first = sorted(range(len(y)), key=lambda i: target[i])
    for i, value in zip(hardest_first, sorted(drawn.tolist(), reverse=True), strict=True):
        margin[i] = value
    return margin_softmax(x, w, y, "arc", margin, 64)


def target_probability(logits: Tensor, y: Tensor) -> Tensor:
    exponentials = torch.exp(logits)  # at most e^64
    return target_of(exponentials, y) / exponentials.sum(dim=1)


def search_softmax(x: Tensor, w: Tensor, y: Tensor, a: list[float], s: float = 64) -> Tensor:
    p = target_probability(s * cosines(x, w), y)
    a_of_bin = torch.tensor([a[min(int(value * len(a)), len(a) - 1)] for value in p]).double()
    return -torch.log(p / (a_of_bin * p + 1 - a_of_bin))


def broken_line(rows: list[list[float]], x: Tensor, low: float, high: float) -> Tensor:
    values = torch.empty_like(x)
    width = (high - low) / len(rows)
    for k, (slope, offset) in enumerate(rows):
        inside = (x >= low + k * width) & (x <= low + (k + 1) * width)
        values = torch.where(inside, slope * x + offset, values)
    return values


def am_lfs(
    x: Tensor, w: Tensor, y: Tensor, t: list[list[float]], tau: list[list[float]], s: float
) -> Tensor:
    cosine = cosines(x, w)
    logits = s * replace(cosine, y, broken_line(t, target_of(cosine, y), -1, 1))
    return -torch.log(broken_line(tau, target_probability(logits, y), 0, 1))


def mv_softmax(x: Tensor, w: Tensor, y: Tensor, kind: str, *, adaptive: bool) -> Tensor:
    cosine = cosines(x, w)
    target = phi(target_of(cosine, y), kind, torch.tensor(0.35, dtype=torch.float64), "linear")
    raised = 1.2 * cosine + 0.2 if adaptive else cosine + 0.2
    negatives = torch.where(cosine > target[:, None], raised, cosine)
    return entropy(32 * replace(negatives, y, target), y)


def curricular_face(x: Tensor, w: Tensor, y: Tensor, t: float) -> Tensor:
    cosine = cosines(x, w)
    target = phi(target_of(cosine, y), "arc", torch.tensor(0.5, dtype=torch.float64), "linear")
    t = 0.99 * t + 0.01 * target_of(cosine, y).mean().item()
    negatives = torch.where(cosine > target[:, None], cosine * (t + cosine), cosine)
    return entropy(64 * replace(negatives, y, target), y)


def softmax(x: Tensor, w: Tensor, y: Tensor, bias: Tensor) -> Tensor:
    return entropy(x @ w.T + bias, y)


def l2_softmax(x: Tensor, w: Tensor, y: Tensor, bias: Tensor, s: Tensor | float) -> Tensor:
    return entropy(s * x / norm(x)[:, None] @ w.T + bias, y)


def psi(theta: Tensor, m: int) -> Tensor:
    value = torch.empty_like(theta)
    for k in range(m):
        inside = (theta >= k * math.pi / m) & (theta <= (k + 1) * math.pi / m)
        value = torch.where(inside, (-1) ** k * torch.cos(m * theta) - 2 * k, value)
    return value


def l_softmax(x: Tensor, w: Tensor, y: Tensor, *, ease: float, m: int, unit_rows: bool) -> Tensor:
    cosine = target_of(cosines(x, w), y)
    if unit_rows:
        w = w / norm(w)[:, None]
    length = norm(x) * norm(w)[y]
    target = length * (ease * cosine + psi(torch.acos(cosine), m)) / (1 + ease)
    return entropy(replace(x @ w.T, y, target), y)


def soft_margin(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    logits = x @ w.T
    return entropy(replace(logits, y, target_of(logits, y) - 0.5), y)


def virtual_softmax(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    virtual = norm(w)[y] * norm(x)
    return entropy(torch.cat([x @ w.T, virtual[:, None]], dim=1), y)


def sphereface2(x: Tensor, w: Tensor, y: Tensor, b: Tensor, *, exact: bool) -> Tensor:
    cosine = cosines(x, w)
    g = 2 * ((cosine + 1) / 2) ** 3 - 1
    if not exact:
        g = cosine + (g - cosine).detach()
    target = 0.7 * torch.log(1 + torch.exp(-(40 * (target_of(g, y) - 0.4) + b)))
    others = 0.3 * torch.log(1 + torch.exp(40 * (g + 0.4) + b))
    classes = len(w)
    mean = (target + others.sum(1) - target_of(others, y)) / classes
    return 50 * classes / 40 * mean


def uniface(x: Tensor, w: Tensor, y: Tensor, b: Tensor) -> Tensor:
    cosine = cosines(x, w)
    target = torch.log(1 + torch.exp(-(64 * (target_of(cosine, y) - 0.4) - b)))
    others = torch.log(1 + torch.exp(64 * cosine - b))
    return target + others.sum(1) - target_of(others, y)


def npt_loss(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    cosine = cosines(x, w)
    losses = []
    for row, label in zip(cosine, y.tolist(), strict=True):
        hardest = max(row[j] for j in range(len(row)) if j != label)
        losses.append(2 * (hardest - row[label] + 0.5).clamp(min=0))
    return torch.stack(losses)


def triplet(x: Tensor, y: Tensor) -> Tensor:
    """Semi-hard negatives by three loops; labels of -1 are left out."""
    rows = x / norm(x)[:, None]
    losses = []
    for a in range(len(y)):
        negatives = [n for n in range(len(y)) if -1 < y[n] != y[a] > -1]
        far = {n: (rows[a] - rows[n]).square().sum() for n in negatives}
        hinges = []
        for p in range(len(y)):
            if p == a or y[p] != y[a] or y[a] < 0 or not far:
                continue
            near = (rows[a] - rows[p]).square().sum()
            harder = [d for d in far.values() if d > near]
            negative = min(harder) if harder else max(far.values())
            hinges.append((near - negative + 0.2).clamp(min=0))
        losses.append(torch.stack(hinges).mean() if hinges else torch.zeros((), dtype=x.dtype))
    return torch.stack(losses)
