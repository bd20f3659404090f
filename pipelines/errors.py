"""The errors a user may meet, by whose fault they are; the CLI turns them into exit codes."""

from __future__ import annotations


class UserError(Exception):
    """The user's to mend: a recipe, a path, a file. Says the value, the place and the remedy (exit code 2)."""


class RunError(Exception):
    """The run could not go on: a full disk, a worker that dies each time. What was finished is kept (exit code 1)."""


class Quarantined(Exception):
    """The run went to its end, but shards that killed their worker each time are among the rejects (exit code 3)."""


EXIT_CODES: dict[type[BaseException], int] = {RunError: 1, UserError: 2, Quarantined: 3, KeyboardInterrupt: 130}


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that an exception ends."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
