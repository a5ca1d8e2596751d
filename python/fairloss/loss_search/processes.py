"""Maps over processes and over a Ray cluster that survive the loss of a process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from types import TracebackType
from typing import Any, TypeVar

import torch

A = TypeVar("A")
R = TypeVar("R")


def _start_process(threads: int) -> None:
    """Set torch's threads, and end this process with its parent, also where that is killed.

    Otherwise it would finish what it was given, and then wait for more for ever.
    """
    torch.set_num_threads(threads)
    parent = parent_process()
    assert parent is not None

    def end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=end, daemon=True).start()


class ProcessMap:
    """The builtin map in several processes, results in order; a context manager.

    Where a process dies, BrokenProcessPool is raised and the next call starts new ones;
    `multiprocessing.Pool` would wait for the lost result forever. Each process has an equal part of
    torch's threads.

    Args:
        workers: number of processes.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, function: Callable[[A], R], arguments: Iterable[A]) -> Iterator[R]:
        """Yield the results; BrokenProcessPool where a process dies."""
        if self._pool is None:
            threads = max(1, torch.get_num_threads() // self.workers)
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=get_context("spawn"),  # after a fork, torch's threads would hang
                initializer=_start_process,
                initargs=(threads,),
            )
        try:
            yield from self._pool.map(function, arguments)
        except BrokenProcessPool:
            self.close()
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the number of processes: a copy starts its own."""
        return ProcessMap, (self.workers,)

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> ProcessMap:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class RayMap:
    """The builtin map on a Ray cluster, results in order.

    Ray repeats a call whose process or machine is lost. All machines must have the folders that the
    function reads and writes at the same paths. An error of the function ends the other calls.

    Args:
        options: of `ray.remote`, such as num_cpus=2 and num_gpus=1 of a call, and max_retries=3.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __call__(self, function: Callable[[A], R], arguments: Iterable[A]) -> Iterator[R]:
        """Yield the results; on a local cluster, unless `ray.init` has connected to another."""
        try:
            import ray
        except ImportError as error:
            raise ImportError('RayMap needs ray: pip install "fairloss-ext[cluster]"') from error
        task = ray.remote(_call).options(**self.options)
        results = [task.remote(function, argument) for argument in arguments]
        try:
            yield from map(ray.get, results)
        finally:
            for result in results:
                ray.cancel(result)  # finished ones are not affected
            ray.wait(results, num_returns=len(results))  # for the locks of folders


def _call(function: Callable[[A], R], argument: A) -> R:
    return function(argument)  # a task of Ray must be a function, not a partial one
