"""Measured peaks of a GPU: products of large matrices in each precision, and a copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gpu.clock import Clock, Time


def peaks(clock: Clock, side: int, copied: int) -> dict[str, float]:
    """Measure operations per second of side x side products, and bytes per second of a copy.

    Operands are random: products of zeros draw less power, and so run faster.
    """
    rates = {}
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        a, b = (torch.randn(side, side, device=clock.device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)
        with tensor_float32(tf32):
            seconds = clock.compare({name: lambda a=a, b=b, out=out: torch.mm(a, b, out=out)})
        rates[name] = 2 * side**3 / _time(seconds[name])
    source = torch.ones(copied // 4, device=clock.device)
    target = torch.empty_like(source)
    copy = clock.compare({"copy": lambda: target.copy_(source)})["copy"]
    return rates | {"copy": 2 * copied / _time(copy)}


def _time(measured: Time) -> float:
    if measured.seconds is None:
        raise RuntimeError(measured.reason)
    return measured.seconds


@contextmanager
def tensor_float32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    yield
    torch.backends.cuda.matmul.allow_tf32 = before
