"""Requests to language models: Jinja2 files, each named, digested, checked for the variables it may use, rendered.

A file has a block `user`, and a block `system` before it if it wants one; each becomes a message. What a row says only
ever enters as a variable, so it cannot become a message of its own, and the sandbox lets a file neither read others nor
call anything that changes what it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from answers.asking import AskingError

Chat = list[dict[str, str]]
ROLES = ("system", "user")  # the blocks of a file, in the order of their messages
FOLDER = Path(__file__).parent / "templates"
GIVEN: Mapping[str, tuple[str, ...]] = {
    "refusal": ("situation", "persona", "manner", "length", "wish", "start"),
    "rewrite": ("text", "problem"),
    **dict.fromkeys(("spoken", "mend"), ("prompt", "answer", "before")),
}
"""Task -> the variables that its template may use."""
_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
del _ENVIRONMENT.filters["random"], _ENVIRONMENT.globals["lipsum"]  # what differs each time is paid for each time
_FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)  # of a file
_TRIED: tuple[list[dict[str, str]], ...] = ([], [{"prompt": "x", "answer": "x"}])  # values of `before`


class Request:
    """A request in a file.

    Attributes:
        name: what rows say of it, such as refusal-1@0123456789ab: the file's name and the beginning of its digest.
        digest: blake2b of the file's bytes, 32 hex digits.
        variables: what it is filled with.
    """

    def __init__(self, path: Path) -> None:
        """Read a file. Raises ValueError, with file and line, for one that is no template of messages."""
        try:
            content = path.read_bytes()
            source = content.decode()
            self.variables = frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)))
            self._template = _ENVIRONMENT.from_string(source)
        except OSError as error:
            raise ValueError(f"cannot read the template {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"the template {path} is not valid UTF-8: {error}") from error
        except TemplateSyntaxError as error:
            raise ValueError(f"{path}, line {error.lineno}: {error.message}") from error
        self._path = path
        self.digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        self.name = f"{path.stem}@{self.digest[:12]}"
        if "user" not in self._template.blocks:
            raise ValueError(f"{path}: there is no {{% block user %}} ... {{% endblock %}}, which is what is asked")
        if unknown := sorted(set(self._template.blocks) - set(ROLES)):
            raise ValueError(
                f"{path}: block {unknown[0]} is of no role; a template has the blocks {' and '.join(ROLES)}"
            )

    def check(self, variables: Collection[str]) -> None:
        """Raise ValueError where the file cannot be filled with these variables, of which it is given no others."""
        if unknown := sorted(self.variables - set(variables)):
            raise ValueError(f"{self._path}: {unknown[0]} is no variable of it; it is given {', '.join(variables)}")
        for before in _TRIED:
            try:
                self.render({**dict.fromkeys(variables, "x"), "before": before})
            except AskingError as error:
                raise ValueError(str(error)) from error

    def render(self, variables: Mapping[str, Any]) -> Chat:
        """Return the messages for one row. Raises AskingError where the file cannot be filled with these variables."""
        try:
            texts = {role: _render(self._template, role, variables) for role in ROLES if role in self._template.blocks}
        except _FAULTS as error:
            raise AskingError(f"{self._path}: {error}") from error
        if not texts["user"]:
            raise AskingError(f"{self._path}: nothing is asked: its block user is empty")
        return [{"role": role, "content": text} for role, text in texts.items() if text]


def _render(template: Template, block: str, variables: Mapping[str, Any]) -> str:
    return "".join(template.blocks[block](template.new_context(dict(variables)))).strip()


@cache
def find_request(name: str) -> Request:
    """Return the request of a bundled file (`refusal-1`), or of a file of one's own (a path that ends in .j2).

    Raises ValueError, with the bundled names, where there is none.
    """
    path = Path(name)
    if path.suffix != ".j2":
        path = FOLDER / f"{name}.j2"
        if Path(name).name != name or not path.is_file():
            bundled = ", ".join(sorted(file.stem for file in FOLDER.glob("*.j2")))
            raise ValueError(f"there is no template {name!r}; bundled: {bundled}. A file of your own ends in .j2")
    return Request(path)
