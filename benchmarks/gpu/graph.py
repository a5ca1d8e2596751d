"""Test of every op in a CUDA graph: captured once, replayed on other inputs, compared with a call.

python -m gpu.graph cuda      without a GPU the calls are not captured
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fairloss_ext import class_statistics, distractor_ranks, margin_softmax_loss, sampled_classes
from gpu.comparisons import choices

BATCH, DIM, CLASSES = 70, 64, 1000
Step = Callable[..., Sequence[Tensor]]


def training_step(**options: object) -> Step:
    def step(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Sequence[Tensor]:
        leaves = [embeddings.detach().requires_grad_(), weight.detach().requires_grad_()]
        loss = margin_softmax_loss(*leaves, labels, 0.5, **options)  # type: ignore[arg-type]
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return step


def statistics(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Sequence[Tensor]:
    return class_statistics(embeddings, labels, len(weight))


def ranks(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Sequence[Tensor]:
    index = torch.arange(len(labels), device=labels.device)
    return distractor_ranks(embeddings, weight, index, embeddings[:, 0], tail=10)


def samples(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Sequence[Tensor]:
    return sampled_classes(labels, len(weight), 2 * len(labels), seed=0, step=1)


STEPS: dict[str, Step] = {
    "loss": training_step(),
    **{f"loss, {name}": training_step(**o) for name, o in choices(margin_softmax_loss).items()},
    "statistics": statistics,
    "ranks": ranks,
    "samples": samples,
}


def inputs(device: torch.device) -> list[Tensor]:
    rows = [torch.randn(n, DIM, device=device) for n in (BATCH, CLASSES)]
    return [*rows, torch.randint(CLASSES, (BATCH,), device=device)]


def capture(step: Step, example: list[Tensor]) -> Step:
    """Return the step as a graph that reads its inputs from the tensors of `example`."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # workspaces are allocated before the capture, on another stream
        for _ in range(3):
            step(*example)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step(*example)

    def replay(*values: Tensor) -> Sequence[Tensor]:
        for static, value in zip(example, values, strict=True):
            static.copy_(value)
        graph.replay()
        return results

    return replay


def main(name: str) -> None:
    device = torch.device(name)
    torch.manual_seed(0)
    for title, step in STEPS.items():
        replay = capture(step, inputs(device)) if device.type == "cuda" else step
        for _ in range(2):
            values = inputs(device)
            for ours, plain in zip(replay(*values), step(*values), strict=True):
                torch.testing.assert_close(
                    ours, plain, equal_nan=True, msg=lambda text, title=title: f"{title}: {text}"
                )
    print(f"{len(STEPS)} graphs replayed")


if __name__ == "__main__":
    main(*sys.argv[1:])
