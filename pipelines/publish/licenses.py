"""What the licences of sources ask of who publishes rows made of them: a table, not legal advice.

A licence that the table does not know, such as `unknown`, `research-only` or `llama3`, has terms of its own: whoever
publishes under it has read them, and says so by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Asks = Literal["nothing", "attribution", "share-alike", "non-commercial", "non-commercial, share-alike", "a look"]


@dataclass(frozen=True)
class License:
    """A licence: what it asks, and its name in the Hub's metadata."""

    asks: Asks
    hub: str


# By SPDX id, in lower case. ND licences are absent: what is spoken and tokenized is a derivative.
TABLE: Mapping[str, License] = {
    **{name: License("nothing", hub) for name, hub in (("cc0-1.0", "cc0-1.0"), ("pddl-1.0", "pddl"),
       ("unlicense", "unlicense"), ("0bsd", "other"))},
    **{name: License("attribution", hub) for name, hub in (("mit", "mit"), ("apache-2.0", "apache-2.0"),
       ("bsd-2-clause", "bsd-2-clause"), ("bsd-3-clause", "bsd-3-clause"), ("isc", "isc"), ("cc-by-2.0", "cc-by-2.0"),
       ("cc-by-2.5", "cc-by-2.5"), ("cc-by-3.0", "cc-by-3.0"), ("cc-by-4.0", "cc-by-4.0"), ("odc-by-1.0", "odc-by"),
       ("cdla-permissive-1.0", "cdla-permissive-1.0"), ("cdla-permissive-2.0", "cdla-permissive-2.0"))},
    **{name: License("share-alike", hub) for name, hub in (("cc-by-sa-3.0", "cc-by-sa-3.0"),
       ("cc-by-sa-4.0", "cc-by-sa-4.0"), ("odbl-1.0", "odbl"), ("cdla-sharing-1.0", "cdla-sharing-1.0"))},
    **{name: License("non-commercial", name) for name in ("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0")},
    **{name: License("non-commercial, share-alike", name) for name in ("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
       "cc-by-nc-sa-4.0")},
}  # fmt: skip
NAMED_BY_THE_HUB = frozenset(["unknown", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "gemma"])
NEEDS_A_NAME: Mapping[Asks, str] = {
    "non-commercial": "it forbids commercial use",
    "non-commercial, share-alike": "it forbids commercial use, and the whole must be under it",
    "a look": "its terms are its own, and this table does not know them",
}


def parts(license: str) -> list[list[str]]:
    """Return the alternatives of a licence expression, each a list of licences that apply together.

    >>> parts("CC-BY-4.0 AND CC-BY-NC-4.0"), parts("MIT OR Apache-2.0")
    ([['CC-BY-4.0', 'CC-BY-NC-4.0']], [['MIT'], ['Apache-2.0']])
    """
    return [
        [name.strip() for name in re.split(r"\s+and\s+", either, flags=re.IGNORECASE)]
        for either in re.split(r"\s+or\s+", license.strip(), flags=re.IGNORECASE)
    ]


def all_of(licenses: Iterable[str]) -> str:
    """Return the licence of what several works went into, as SPDX writes it.

    >>> all_of(["MIT AND CC-BY-4.0", "MIT", "Apache-2.0 OR MIT"])
    '(Apache-2.0 OR MIT) AND CC-BY-4.0 AND MIT'
    """
    different = sorted(set(licenses))
    if len(different) == 1:
        return different[0]
    apart = [parts(license) for license in different]
    names = {name for either in apart if len(either) == 1 for name in either[0]}
    choices = {f"({license})" for license, either in zip(different, apart, strict=True) if len(either) > 1}
    return " AND ".join(sorted(names | choices))


def known(name: str) -> License:
    """Return what the table says of one licence; one that it does not know asks for a look."""
    lower = name.lower()
    return TABLE.get(lower, License("a look", lower if lower in NAMED_BY_THE_HUB else "other"))


def refused(licenses: Mapping[str, str], allowed: Sequence[str]) -> list[str]:
    """Return one line for each thing that may not be published under its licence, unless it is allowed by name.

    Args:
        licenses: of each source or voice, by what it is called.
        allowed: names of licences, as the user has said them.
    """
    by_name = {name.lower() for name in allowed}
    lines = []
    for what, license in licenses.items():
        if license.lower() in by_name:
            continue
        refusals = [[name for name in both if _waits(name, by_name)] for both in parts(license)]
        if all(refusals):
            lines += [f"{what}: {name}: {NEEDS_A_NAME[known(name).asks]} (--allow {name})" for name in refusals[0]]
    return lines


def unused(licenses: Iterable[str], allowed: Sequence[str]) -> list[str]:
    """Return the names that were allowed and that no licence has."""
    names = {name.lower() for license in licenses for both in parts(license) for name in [*both, license]}
    return [name for name in allowed if name.lower() not in names]


def whole(licenses: Iterable[str]) -> dict[str, str]:
    """Return the Hub's metadata on the licence of a set made of several sources.

    One licence is the whole's. Of several, the one that asks most is, if what the others ask goes into it: attribution
    goes into everything; two licences that ask for more than that do not mix, nor does anything with terms that the
    table does not know: then the whole is `other`, with all names in an id such as the Hub asks for.

    >>> whole(["MIT", "CC-BY-SA-4.0"]), whole(["CC-BY-SA-4.0", "CC-BY-NC-4.0"])
    ({'license': 'cc-by-sa-4.0'}, {'license': 'other', 'license_name': 'cc-by-nc-4.0-and-cc-by-sa-4.0'})
    """
    names = sorted({name for license in licenses for name in _easiest(license)}, key=str.lower)
    asking = [name for name in names if known(name).asks not in ("nothing", "attribution")]
    leading = asking or [name for name in names if known(name).asks == "attribution"] or names
    ids = {known(name).hub for name in leading}
    mixes = len(names) == 1 or all(known(name).asks != "a look" for name in names)
    if mixes and len(ids) == 1 and ids != {"other"}:
        return {"license": ids.pop()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", " and ".join(names).lower())}


def _waits(name: str, allowed: set[str]) -> bool:
    return known(name).asks in NEEDS_A_NAME and name.lower() not in allowed


def _easiest(license: str) -> list[str]:
    """Return the alternative of an expression that asks least."""
    order: list[Asks] = [
        "nothing", "attribution", "share-alike", "non-commercial", "non-commercial, share-alike", "a look",
    ]  # fmt: skip
    return min(parts(license), key=lambda both: max(order.index(known(name).asks) for name in both))
