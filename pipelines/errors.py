"""The errors a user may meet, by whose fault they are; the CLI turns them into exit codes."""

from __future__ import annotations


class UserError(Exception):
    """The user's to mend: a recipe, a path, a file. Says the value, the place and the remedy (exit code 2)."""


class RunError(Exception):
    """The run could not go on: a full disk, a worker that dies each time. What was finished is kept (exit code 1)."""
