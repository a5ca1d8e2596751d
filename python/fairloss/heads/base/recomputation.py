"""Training passes that `torch.utils.checkpoint` repeats during the backward pass."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Embeddings that are computed again differ by rounding, in bfloat16 by less than this part.
RELATIVE_DIFFERENCE = 0.02


class _Pass(NamedTuple):
    """A training pass that may be repeated, and what it began with."""

    labels: Tensor  # (B,)
    rows: Tensor  # (B,) float64 sums of the embeddings
    sequence: int  # autograd's number of the first node of the pass
    buffers: dict[str, Tensor]
    random_state: Tensor | None


class Recomputation:
    """The last training passes of a module, and the state that they began with.

    A pass that changes buffers or draws from torch's generator must begin with the same when it is
    repeated, and must not change them a second time.

    Args:
        most: passes to remember: those before the backward pass of the first.
    """

    def __init__(self, most: int) -> None:
        self._passes: deque[_Pass] = deque(maxlen=most)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._passes.maxlen,)  # a copy begins without passes

    def run(
        self,
        module: nn.Module,
        names: Sequence[str],
        draws: bool,
        embeddings: Tensor,
        labels: Tensor,
    ) -> AbstractContextManager[None]:
        """Return the context of a training pass.

        Args:
            module: that has the buffers.
            names: of the buffers that the pass changes.
            draws: whether the pass draws from torch's generator.
            embeddings: (B, D) of the pass.
            labels: (B,) of the pass.

        Raises:
            RuntimeError: the pass repeats one that is not remembered.
        """
        in_backward = torch._C._current_graph_task_id() != -1
        if not in_backward and not _may_be_repeated():
            return nullcontext()
        # A projection that is not 0 for rows with mean 0, as LayerNorm gives them.
        direction = torch.arange(embeddings.shape[1], device=embeddings.device).double().cos()
        rows = (embeddings.detach() * direction).sum(dim=1).nan_to_num(0, 0, 0)
        if in_backward:
            return _repeated(module, self._find(rows, labels), embeddings.device)
        buffers = {name: module.get_buffer(name).clone() for name in names}
        random = _random_state(embeddings.device) if draws else None
        self._passes.append(_Pass(labels.clone(), rows, _next_sequence(), buffers, random))
        return nullcontext()

    def _find(self, rows: Tensor, labels: Tensor) -> _Pass:
        """Return the pass with these labels and the nearest embeddings."""
        passes = [one for one in self._passes if _same(one.labels, labels)]
        differences = [float((one.rows - rows).norm()) for one in passes]
        nearest = min(differences, default=torch.inf)
        if nearest > RELATIVE_DIFFERENCE * float(rows.norm()):
            raise RuntimeError(
                f"labels: expected those of one of the last {self._passes.maxlen} training passes, "
                "as torch.utils.checkpoint repeats a pass during the backward pass, got others, or "
                "other embeddings. A compiled pass cannot be repeated without torch.compile"
            )
        alike = [one for one, far in zip(passes, differences, strict=True) if far == nearest]
        node = torch._C._current_autograd_node()
        number = torch.inf if node is None else node._sequence_nr()
        return [one for one in alike if one.sequence <= number or one is alike[0]][-1]


@torch.library.custom_op("fairloss_heads::first_pass", mutates_args=())
def first_pass(labels: Tensor, loss: str) -> Tensor:
    """Return a copy of the (B,) labels of a compiled training pass, an op of its graph.

    A graph does not see whether it runs in a forward pass or is repeated in a backward pass.

    Raises:
        RuntimeError: naming the loss: `torch.utils.checkpoint` repeats the pass.
    """
    if torch._C._current_graph_task_id() != -1:
        raise RuntimeError(
            f"{loss}: expected a call outside of torch.utils.checkpoint, got a compiled loss that "
            "is repeated in the backward pass and would change its state twice. Compile the "
            "function that holds the checkpoint, without fullgraph, or keep the loss out of it"
        )
    return labels.clone()


@first_pass.register_fake
def _(labels: Tensor, loss: str) -> Tensor:
    return torch.empty_like(labels)


def _may_be_repeated() -> bool:
    """Return whether this is the first pass of a checkpoint: without graph, or one with hooks."""
    hooks: object = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks is not None or not torch.is_grad_enabled()


def _next_sequence() -> int:
    # A checkpoint without graph has one node, made before the pass.
    return torch._C._autograd._get_sequence_nr() - (not torch.is_grad_enabled())


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.device == other.device and torch.equal(one, other)


@contextmanager
def _repeated(module: nn.Module, begun: _Pass, device: torch.device) -> Iterator[None]:
    """Return to the beginning of a pass, and afterwards to the present."""
    current = {name: module.get_buffer(name) for name in begun.buffers}
    random = None if begun.random_state is None else _random_state(device)
    module._buffers.update({name: value.clone() for name, value in begun.buffers.items()})
    try:
        _set_random_state(device, begun.random_state)
        yield
    finally:
        module._buffers.update(current)
        _set_random_state(device, random)


def _random_state(device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.get_rng_state()
    state: Tensor = torch.get_device_module(device).get_rng_state(device)
    return state


def _set_random_state(device: torch.device, state: Tensor | None) -> None:
    if state is not None and device.type == "cpu":
        torch.set_rng_state(state)
    elif state is not None:
        torch.get_device_module(device).set_rng_state(state, device)
