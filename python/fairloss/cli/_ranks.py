"""Commands in the processes of `torchrun`."""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from fairloss.checks import expect
from fairloss.ranks import launched_ranks, torchrun_ranks

Command = Callable[..., Any]


def command_on_ranks(command: Command, embedding: Collection[Command]) -> Command:
    """Return a command that is refused in several processes, as each would write its output.

    Those of `embedding` divide their images among the ranks of the default group instead.
    """

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        if command in embedding:
            with torchrun_ranks():
                return command(*arguments, **options)
        ranks = launched_ranks()
        expected = "one process, as no part of this command is divided among several"
        expect(ranks == 1, "torchrun", expected, f"{ranks} (WORLD_SIZE)")
        return command(*arguments, **options)

    return run
