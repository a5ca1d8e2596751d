"""Training of the members of a round by any map, with new attempts after failures."""

from collections.abc import Callable, Iterable
from functools import partial

from fairloss.io.run_folder import RunFolder
from fairloss.loss_search.member import Round, run_member
from fairloss.progress import Progress

Map = Callable[[Callable[[int], int], Iterable[int]], Iterable[int]]

# Three failures without progress in between are no accident.
ATTEMPTS = 3


def train_members(job: Round, map: Map, folder: RunFolder, progress: Progress | None) -> None:
    """Train every member that has no file yet; failures go to the log of `folder`.

    Raises:
        ValueError: at once, as wrong settings stay wrong.
        Exception: of the last failure, after `ATTEMPTS` in which no member was finished.
    """
    members, total = len(job.options), len(job.options) * job.config.epochs
    missing, failures = _missing(job), 0
    while True:
        done = job.number * members - len(missing)
        try:
            for more, _ in enumerate(map(partial(run_member, job), missing), start=1):
                if progress is not None:
                    progress("search", done + more, total)
            return
        except ValueError:
            raise
        except Exception as error:  # of any type: maps differ in that of a lost process
            previous, missing = missing, _missing(job)
            failures = failures + 1 if missing == previous else 1
            if failures == ATTEMPTS:
                raise
            folder.log("death", epoch=job.number, reason=f"{type(error).__name__}: {error}")


def _missing(job: Round) -> list[int]:
    return [member for member in range(len(job.options)) if not job.path(member).is_file()]
