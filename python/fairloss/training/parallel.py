"""A backbone on several ranks, and what they agree on in each step."""

from collections.abc import Callable

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fairloss.data.batches import derived_seed
from fairloss.ranks import num_ranks, rank_number


def parallel(model: nn.Module, image_shape: tuple[int, int, int]) -> nn.Module:
    """Return the model in `DistributedDataParallel`; with one rank the model itself.

    Args:
        model: on its device.
        image_shape: (channels, H, W).
    """
    if num_ranks() == 1:
        return model
    wrapped = DistributedDataParallel(model)
    # DDP lays out its buckets anew after the first backward pass, and with them changes the order
    # of the sums over ranks: a resumed run would begin with other bits. So that pass is made here.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    images = torch.zeros(2, *image_shape, device=next(model.parameters()).device)
    wrapped(images).sum().backward()
    wrapped.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return wrapped


def seed_step(seed: int, step: int) -> None:
    """Seed dropout by the step, so that nothing else is needed to resume; one rank keeps its state.

    Each rank draws other numbers.
    """
    if num_ranks() > 1:
        torch.manual_seed(derived_seed("step", seed, step, rank_number()))


def no_signal() -> int:
    """Return 0: no signal ends the run."""
    return 0


class StepFlags:
    """The flags of a step, which all ranks share by one small all-reduce.

    Attributes:
        received: returns the number of the signal that this process has received, or 0.
        signal: the number that any rank had at the last step.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.signal = device, 0
        self.received: Callable[[], int] = no_signal

    def share(self, finite: bool) -> bool:
        """Return whether the numbers of all ranks are finite; every rank calls it once a step."""
        if num_ranks() == 1:
            return finite
        flags = torch.tensor([not finite, self.received()], dtype=torch.int32, device=self.device)
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        invalid, self.signal = flags.tolist()
        return not invalid
