"""Looks for secrets in what is about to be published: keys of common services, private keys, passwords in URLs.

A short list, by the form that each service gives its keys: what has no form of its own (a bare password, a session
token, a key of a service that is not here) is not found. `docs/publish.md` says what is caught and what is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# What RE2 and Python's re read alike. Order counts where two fit: the first names the secret.
PATTERNS: Mapping[str, str] = {
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{34,40}\b",
    "Anthropic key": r"\bsk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_-]{20,}",
    "OpenAI key": r"\bsk-(?:proj-|svcacct-|admin-)[A-Za-z0-9_-]{20,}|\bsk-[A-Za-z0-9]{32,}\b",
    "GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{50,}",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "AWS access key": r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "Slack token": r"\bxox[abposr]-[A-Za-z0-9-]{10,}",
    "Slack webhook": r"\bhooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{20,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "PyPI token": r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
    "private key": r"-----BEGIN (?:[A-Z0-9]+ ){0,2}PRIVATE KEY(?: BLOCK)?-----",
    "password in a URL": r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,64}:[^\s/@\"'<>]{3,128}@[A-Za-z0-9\[]",
}
ANY = "|".join(f"(?:{pattern})" for pattern in PATTERNS.values())
_ANY = re.compile(ANY, re.ASCII)
_EACH = {name: re.compile(pattern, re.ASCII) for name, pattern in PATTERNS.items()}
# What documentation writes in their place: AWS's own examples, and passwords that nobody has.
_EXAMPLE_KEY = re.compile(r"EXAMPLE|(.)\1{7}|x{6}|0123456789|1234567890", re.IGNORECASE)
_EXAMPLE_PASSWORD = re.compile(
    r":(?:(?:my|your|the|db|user|some|secret|super)?[-_]?(?:pass(?:word|wd)?|pwd|pw|passphrase|secret|token|key)\d{0,3}"
    r"|changeme|example|test|admin|root|guest|postgres|mysql|[x*.]+|\W?[\w.-]*[$%{(\[<*].*)@",
    re.IGNORECASE,
)
_MEDIA = re.compile(r"base64,[A-Za-z0-9+/=]+")  # pictures and sound in a page: by chance anything stands in them
SHOWN = 4  # characters of a secret that are shown


@dataclass(frozen=True)
class Finding:
    """A secret and where it stands; its text is not kept."""

    file: str
    row: int | None  # from 0; None in a text file
    column: str  # or the line of a text file
    what: str
    redacted: str

    def line(self) -> str:
        """Return it as one line: file, row, column, what."""
        place = self.column if self.row is None else f"row {self.row}, column {self.column}"
        return f"{self.file}, {place}: {self.what}, {self.redacted}"


def secrets(text: str) -> list[tuple[str, str]]:
    """Return what is secret in a text, each with its first characters and its length.

    >>> secrets("git clone https://bob:hunter2@example.com/x.git")
    [('password in a URL', 'http... (21 characters)')]
    """
    found, taken = [], set()
    for name, pattern in _EACH.items():
        for match in pattern.finditer(text):
            example = _EXAMPLE_PASSWORD if name == "password in a URL" else _EXAMPLE_KEY
            if not example.search(match[0]) and match.start() not in taken:
                taken.add(match.start())  # a key of one service is not also the next one's
                found.append((name, f"{match[0][:SHOWN]}... ({len(match[0])} characters)"))
    return found


def scan_text(file: str, text: str) -> Iterator[Finding]:
    """Yield the secrets of a text file, with their lines."""
    for number, line in enumerate(_MEDIA.sub("", text).splitlines(), 1):
        for what, redacted in secrets(line) if _ANY.search(line) else ():
            yield Finding(file, None, f"line {number}", what, redacted)


def scan_parquet(file: str, path: Path) -> Iterator[Finding]:
    """Yield the secrets in the columns of text of a Parquet file, nested ones too; reads a row group at a time."""
    with pq.ParquetFile(path) as parquet:
        columns = [field.name for field in parquet.schema_arrow if _has_text(field.type)]
        first = 0
        for group in range(parquet.num_row_groups):
            for batch in parquet.iter_batches(row_groups=[group], columns=columns):
                for column in columns:
                    rows = pa.array(range(len(batch)), pa.int64())
                    yield from _scan_array(file, column, batch[column], rows, first)
                first += len(batch)


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _has_text(kind.value_type)
    if pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return any(_has_text(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _scan_array(file: str, column: str, values: pa.Array, rows: pa.Array, first: int) -> Iterator[Finding]:
    """Yield the secrets of an array whose items stand in these rows; nested arrays are taken apart."""
    kind = values.type
    if pa.types.is_struct(kind):
        for position, child in enumerate(values.flatten()):
            if _has_text(child.type):
                yield from _scan_array(file, f"{column}.{kind.field(position).name}", child, rows, first)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _scan_array(file, column, values.flatten(), rows.take(pc.list_parent_indices(values)), first)
    else:
        texts = values.dictionary_decode() if pa.types.is_dictionary(kind) else values
        hits = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(texts, ANY), False))
        for index in hits.to_pylist():
            for what, redacted in secrets(texts[index].as_py()):
                yield Finding(file, first + rows[index].as_py(), column, what, redacted)
