"""The members of a round: trained by any map, those that die again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from fairloss.io.run_folder import RunFolder
from fairloss.loss_search.member import Round, run_member
from fairloss.progress import Progress

Map = Callable[[Callable[[int], int], Iterable[int]], Iterable[int]]

# A member that dies twice again at the same place does not die of bad luck.
ATTEMPTS = 3


def train_members(job: Round, map: Map, folder: RunFolder, progress: Progress | None) -> None:
    """Every member that has left no file yet.

    Deaths go to the log of `folder`. Raises the last one's error when a member died `ATTEMPTS`
    times and none was finished in between, and a ValueError at once: what does not fit will not
    fit the next time.
    """
    members, total = len(job.options), len(job.options) * job.config.epochs
    missing, deaths = _missing(job), 0
    while True:
        done = job.number * members - len(missing)
        try:
            for more, _ in enumerate(map(partial(run_member, job), missing), start=1):
                if progress is not None:
                    progress("search", done + more, total)
            return
        except ValueError:
            raise
        except Exception as death:  # of any kind: a map has its own for a lost process
            left = _missing(job)
            missing, deaths = left, deaths + 1 if left == missing else 1
            if deaths == ATTEMPTS:
                raise
            folder.log("death", epoch=job.number, reason=f"{type(death).__name__}: {death}")


def _missing(job: Round) -> list[int]:
    return [member for member in range(len(job.options)) if not job.path(member).is_file()]
