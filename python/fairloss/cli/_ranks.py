"""Commands in the processes of `torchrun`."""

import warnings
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from fairloss.ranks import check_one_process, rank_number, torchrun_ranks

Command = Callable[..., Any]


def command_on_ranks(command: Command, divided: Collection[Command]) -> Command:
    """Return a command that is refused in several processes, as each would write its output.

    Those of `divided` run on the ranks of the default group instead, of which the first warns. An
    error that one rank has, or all, is raised on one of them, and a RankError on the others.
    """

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        if command in divided:
            with torchrun_ranks(), warnings.catch_warnings():
                if rank_number() != 0:
                    warnings.simplefilter("ignore")
                return command(*arguments, **options)
        check_one_process()
        return command(*arguments, **options)

    return run
