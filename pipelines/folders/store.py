"""An object store as fsspec sees it, and its only import: whole files by name below one URL.

Every write is one PUT or one multipart upload, so a reader finds the old file, the new one or none, never half of one.
Listings are always asked for anew. Credentials are what fsspec's client finds in the environment; none is kept here.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import RunError, UserError
from pipelines.shards import TEMPORARY

AT_ONCE = 32  # requests of this process
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # protocol: what to install of speechmill[...]
OPTIONS: Mapping[str, Mapping[str, Any]] = {  # of clients, by protocol
    # Parts of 50 MB are held in memory while they are sent: a few of each worker at once.
    "s3": {"max_concurrency": 4, "config_kwargs": {"max_pool_connections": AT_ONCE}},
}
CREDENTIALS = {
    "s3": "s3fs takes credentials from AWS_ACCESS_KEY_ID and its like, a profile or the machine's role, and the server "
    "from AWS_ENDPOINT_URL",
    "gcs": "gcsfs takes credentials as Google's clients do: GOOGLE_APPLICATION_CREDENTIALS, or the machine's",
}


class Stat(NamedTuple):
    """What a listing says of a file: another tag is another content.

    time: when it was written, in seconds since 1970; 0 where that is unknown
    """

    size: int
    tag: str
    time: float


class Store:
    """The files below a URL.

    url: without a slash at its end
    """

    def __init__(self, url: str) -> None:
        """Open a URL; nothing is asked of the store yet.

        Raises UserError for a protocol that fsspec does not know, or whose client is not installed.
        """
        import fsspec

        self.url = url.rstrip("/")
        self._protocol = url.partition("://")[0]
        self._extra = EXTRAS.get(self._protocol, "")
        try:
            options = OPTIONS.get(self._extra, {})
            self._fs, root = fsspec.core.url_to_fs(
                self.url, use_listings_cache=False, skip_instance_cache=True, **options
            )
        except ImportError as error:
            remedy = f"pip install 'speechmill[{self._extra}]'" if self._extra else str(error)
            raise UserError(f"{url}: the client of {self._protocol}:// is not installed: {remedy}") from error
        except ValueError as error:
            raise UserError(f"{url}: {error}. A run folder is a path, file:///..., s3://... or gs://...") from error
        self._root = root.rstrip("/")
        self._errors = _errors(self._extra)

    def reach(self) -> None:
        """Ask the store something small. Raises UserError where it does not answer: a URL or credentials to mend."""
        try:
            self._fs.find(self._path("lock"))
        except self._errors as error:
            raise UserError(f"{self.url} cannot be listed: {_said(error)}. {self._remedy()}") from error

    def list(self, folder: str = "") -> dict[str, Stat]:
        """Return what lies below a folder, by name from the URL."""
        with self._telling(f"list {folder or 'it'}"):
            found = self._fs.find(self._path(folder), detail=True)
        cut = len(self._root) + 1
        return {
            str(name)[cut:]: Stat(int(about["size"] or 0), _tag(about), _time(about)) for name, about in found.items()
        }

    def size(self, name: str) -> int | None:
        """Return a file's size; None where there is none."""
        with self._telling(f"look for {name}"):
            try:
                return int(self._fs.info(self._path(name))["size"])
            except FileNotFoundError:
                return None

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where there is none."""
        with self._telling(f"read {name}"):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file."""
        with self._telling(f"write {name}"):
            self._fs.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file where there is none. Returns whether it was written; False where there is one already."""
        with self._telling(f"create {name}"):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except self._errors:  # which says that it is there differs from client to client: so look
                if self._fs.exists(self._path(name)):
                    return False
                raise
        return True

    def upload(self, path: Path, name: str) -> None:
        """Write a file of this machine."""
        with self._telling(f"write {name}"):
            self._fs.put_file(str(path), self._path(name))

    def download(self, name: str, path: Path) -> None:
        """Bring a file to a path of this machine, where it appears whole. Raises RunError where it is gone."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{path.name}")
        try:
            self.get(name, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def get(self, name: str, path: Path) -> None:
        """Write a file's content to a path of this machine. Raises RunError where it is gone."""
        with self._telling(f"read {name}"):
            self._fs.get_file(self._path(name), str(path))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there."""
        self.each(self._remove, names)

    def each(self, do: Callable[..., Any], *arguments: Iterable[Any]) -> None:
        """Do something for each of many files, several at once. Raises what the first that fails does."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store") as pool:
            for _ in pool.map(do, *arguments):
                pass

    def _remove(self, name: str) -> None:
        with self._telling(f"remove {name}"), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Turn what a client raises into a RunError that says what was tried, where, and what to do."""
        try:
            yield
        except self._errors as error:
            raise RunError(
                f"{self.url}: cannot {what}: {_said(error)}. What was finished is safe: run the same command again. "
                f"{self._remedy()}"
            ) from error

    def _remedy(self) -> str:
        return f"{CREDENTIALS.get(self._extra, 'Check the URL and the credentials')} (docs/run_folders.md)."


@lru_cache(maxsize=8)
def store_at(url: str) -> Store:
    """Return the store at a URL, one client in a process."""
    return Store(url)


def _errors(extra: str) -> tuple[type[Exception], ...]:
    """Return what a client raises where the store, the network or the credentials are at fault."""
    if extra == "s3":
        from botocore.exceptions import BotoCoreError, ClientError

        return (OSError, BotoCoreError, ClientError)
    if extra == "gcs":
        import aiohttp
        from gcsfs.retry import HttpError
        from google.auth.exceptions import GoogleAuthError

        return (OSError, aiohttp.ClientError, HttpError, GoogleAuthError)
    return (OSError,)


def _tag(about: Mapping[str, Any]) -> str:
    """Return what changes when a file does, as far as the client tells."""
    return str(next((about[key] for key in ("ETag", "etag", "mtime", "LastModified", "created") if about.get(key)), ""))


def _time(about: Mapping[str, Any]) -> float:
    """Return when a file was written, in seconds since 1970; 0 where the client does not tell."""
    said = next((about[key] for key in ("LastModified", "mtime", "updated") if about.get(key)), 0.0)
    if isinstance(said, str):
        said = datetime.fromisoformat(said)
    return said.timestamp() if isinstance(said, datetime) else float(said)


def _said(error: Exception) -> str:
    """Return what an error says, or its kind where it says nothing."""
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno and not error.args[1:] else str(error)
    return text.rstrip(".") or type(error).__name__
