"""Where a run lies: a folder, or a URL of an object store with a copy on each machine."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.errors import UserError


def url_of(place: str) -> str | None:
    """Return the URL of a place in an object store, without a slash at its end; None for a folder.

    A `Path` has lost one of the two slashes.

    >>> url_of("s3:/bucket/run/"), url_of("file:///data/run"), url_of("runs/s3")
    ('s3://bucket/run', None, None)
    """
    found = re.match(r"([a-z][a-z0-9+.-]*):/+(.*[^/])/*$", place)
    return f"{found[1]}://{found[2]}" if found and found[1] != "file" else None


def copy_path(url: str) -> Path:
    """Return where this machine keeps its copy of a run that lies in a store."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    return Path(caches).absolute() / "speechmill" / "runs" / digest


def folder_of(place: str) -> Path:
    """Return the path of a folder, which may be given as file:///...

    >>> folder_of("file:///data/my%20run"), folder_of("file:/data/run"), folder_of("runs/small")
    (PosixPath('/data/my run'), PosixPath('/data/run'), PosixPath('runs/small'))
    """
    if not place.startswith("file:/"):
        return Path(place)
    if host := urlsplit(place).netloc:
        raise UserError(f"{place}: it names the host {host!r}; a folder has three slashes, as in file:///data/run")
    return Path(unquote(urlsplit(place).path))
