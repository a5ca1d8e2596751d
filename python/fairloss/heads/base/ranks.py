"""Statistics of one batch that all ranks of `torch.distributed` share."""

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from fairloss.checks import expect


def num_ranks() -> int:
    """Return the number of ranks, 1 without an initialized `torch.distributed`."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


@torch.no_grad()
def gather_ranks(values: Tensor) -> Tensor:
    """Concatenate the (n, ...) `values` of all ranks; n may differ. The result has no gradient."""
    ranks = num_ranks()
    if ranks == 1:
        return values.detach()
    count = torch.tensor(len(values), device=values.device)
    counts = [torch.empty_like(count) for _ in range(ranks)]
    distributed.all_gather(counts, count)
    lengths = torch.stack(counts).tolist()  # synchronizes once for all ranks
    padded = values.new_zeros(max(lengths), *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in range(ranks)]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def check_one_rank(name: str, expected: str, got: object) -> None:
    """Raise ValueError in a `DistributedDataParallel`, and where there are several ranks."""
    parallel = DistributedDataParallel._get_active_ddp_module() is not None
    expect(not parallel and num_ranks() == 1, name, expected, got)
