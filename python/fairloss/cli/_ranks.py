"""Commands in the processes of `torchrun`."""

import warnings
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from fairloss.checks import expect
from fairloss.ranks import launched_ranks, rank_number, torchrun_ranks

Command = Callable[..., Any]


def command_on_ranks(command: Command, divided: Collection[Command]) -> Command:
    """Return a command that is refused in several processes, as each would write its output.

    Those of `divided` run on the ranks of the default group instead, of which the first warns.
    """

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        if command in divided:
            with torchrun_ranks(), warnings.catch_warnings():
                if rank_number() != 0:
                    warnings.simplefilter("ignore")
                return command(*arguments, **options)
        ranks = launched_ranks()
        expected = "one process, as no part of this command is divided among several"
        expect(ranks == 1, "torchrun", expected, f"{ranks} (WORLD_SIZE)")
        return command(*arguments, **options)

    return run
