"""The Hugging Face Hub, as publishing and published recipes need it: every call until it is settled.

`huggingface_hub` does not retry a commit, a tag or a repository's creation, and it sends a file again whose upload
was done but not answered. Here its client tells by an exception that a call is not settled; one back-off of ours asks
again, and what may have been done already is looked up first.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_token,
    hf_hub_download,
    set_client_factory,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import logging
from huggingface_hub.utils._http import default_client_factory
from huggingface_hub.utils.tqdm import disable_progress_bars

from pipelines.errors import RunError, UserError

RECIPE = "recipe.yaml"
PLACE = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
LATER = frozenset([408, 412, 425, 429, 500, 502, 503, 504])  # 412: another commit came first; look, then ask again
ATTEMPTS = 12
PAUSES_S = (1.0, 60.0)  # doubled from the first to the last; a Retry-After goes before
LONGEST_WAIT_S = 3600  # quotas of commits are counted by the hour
TIMEOUT = httpx2.Timeout(30, read=300, write=300, pool=None)  # the client's own is none: it would wait for ever
VERSION = re.compile(r"v(\d+)")

Result = TypeVar("Result")


class Unsettled(Exception):
    """A call that failed for now, or whose answer was lost: it may have been done.

    Args:
        what: the call and what came back, for people; no query of a URL, which may hold a signature.
        wait_s: what the server says to wait.
    """

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class _Client(httpx2.Client):
    """The client's HTTP client, which leaves retries to us; parts of a large file are its own to send again."""

    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        if "partNumber" in request.url.params:
            return super().send(request, **kwargs)
        what = f"{request.method} {request.url.path}"
        try:
            response = super().send(request, **kwargs)
        except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as error:
            raise Unsettled(f"{what}: {type(error).__name__}") from error
        if response.status_code in LATER:
            response.close()
            raise Unsettled(f"{what}: {response.status_code}", wait_seconds(response.headers))
        return response


def wait_seconds(headers: httpx2.Headers) -> float | None:
    """Return what a server says to wait, by `RateLimit` or `Retry-After` (seconds or a date)."""
    if match := re.search(r";\s*r=0\s*;\s*t=(\d+)", headers.get("ratelimit", "")):
        return float(match[1])
    said = headers.get("retry-after", "")
    if said.strip().isdigit():
        return float(said)
    date = email.utils.parsedate_tz(said)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


@contextmanager
def our_client() -> Iterator[None]:
    """Let `huggingface_hub` call through the client above, quietly, for as long as the block runs."""
    verbosity, hooks = logging.get_verbosity(), default_client_factory().event_hooks
    set_client_factory(lambda: _Client(event_hooks=hooks, follow_redirects=True, timeout=TIMEOUT))
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        set_client_factory(default_client_factory)


@dataclass(frozen=True)
class Remote:
    """What a repository holds at a commit."""

    commit: str
    private: bool
    files: dict[str, RepoFile]


class Hub:
    """One dataset repository.

    Args:
        repo: owner/name.
        endpoint: of the Hub; default: the client's.
        pauses_s: the first and the longest pause between two attempts, in seconds.
        say: told what is waited for.
    """

    def __init__(
        self,
        repo: str,
        endpoint: str | None = None,
        pauses_s: tuple[float, float] = PAUSES_S,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.repo = repo
        self._api = HfApi(endpoint=endpoint)
        self._pauses_s = pauses_s
        self._say = say
        self._repo: dict[str, Any] = {"repo_id": repo, "repo_type": "dataset"}

    @property
    def url(self) -> str:
        """Where people look at it."""
        return f"{self._api.endpoint}/datasets/{self.repo}"

    def check_token(self) -> None:
        """Raise UserError where there is no token; whether it may publish is seen when the repository is made."""
        if get_token() is None:
            raise UserError("there is no token of the Hub: set HF_TOKEN, or log in with `hf auth login`")

    def create(self, private: bool) -> None:
        """Create the repository unless it is there. Raises UserError where the token may not."""
        self._settle(
            "creating the repository",
            lambda: self._api.create_repo(**self._repo, private=private or None, exist_ok=True),
        )

    def look(self) -> Remote:
        """Return what the branch main holds now."""

        def look() -> Remote:
            info = self._api.dataset_info(self.repo)
            tree = self._api.list_repo_tree(**self._repo, recursive=True, revision=info.sha)
            files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
            return Remote(str(info.sha), bool(info.private), files)

        return self._settle("looking at the repository", look)

    def send(self, file: CommitOperationAdd) -> None:
        """Upload the content of a file, unless the Hub has it; a regular file goes with its commit."""
        self._settle(
            f"sending {file.path_in_repo}",
            lambda: self._api.preupload_lfs_files(
                self.repo, [file], repo_type="dataset", num_threads=1, free_memory=False
            ),
        )

    def commit(
        self, choose: Callable[[Remote], Sequence[CommitOperationAdd | CommitOperationDelete]], about: str
    ) -> Sequence[CommitOperationAdd | CommitOperationDelete]:
        """Commit what is chosen of what differs from the repository; returns it, nothing where nothing was left to do.

        Args:
            choose: the operations, for what the repository holds. It is asked anew where it is not known whether a
                commit was done: one that was done but not answered has nothing left to do.
            about: the commit's message.
        """

        def commit() -> Sequence[CommitOperationAdd | CommitOperationDelete]:
            remote = self.look()
            operations = choose(remote)
            if not operations:
                return []
            done = self._api.create_commit(
                **self._repo, operations=operations, commit_message=about, parent_commit=remote.commit
            )
            if done.oid == remote.commit:  # the client left out what was there when it was sent, and no longer is
                raise Unsettled("somebody else has committed in between")
            return operations

        return self._settle("committing", commit)

    def tags(self) -> dict[str, str]:
        """Return the repository's tags and their commits."""
        refs = self._settle("reading the tags", lambda: self._api.list_repo_refs(**self._repo))
        return {tag.name: tag.target_commit for tag in refs.tags}

    def tag(self, name: str, commit: str, message: str) -> None:
        """Set a tag, unless it is set."""

        def tag() -> None:
            if self.tags().get(name) != commit:
                self._api.create_tag(**self._repo, tag=name, revision=commit, tag_message=message)

        self._settle(f"setting the tag {name}", tag)

    def _settle(self, what: str, call: Callable[[], Result]) -> Result:
        """Call until it is settled. Raises UserError for what the token may not, RunError for what stays unsettled."""
        pause, longest = self._pauses_s
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except (Unsettled, RuntimeError, HfHubHTTPError, ValueError, ConnectionError, TimeoutError) as error:
                wrapped = isinstance(error, RuntimeError) and error.__cause__ is not None  # of an upload, by the client
                cause = error.__cause__ if wrapped else error
                if isinstance(cause, RuntimeError | ConnectionError | TimeoutError):  # of Xet, which is not ours to see
                    cause = Unsettled(f"{type(cause).__name__}: {cause}")
                if not isinstance(cause, Unsettled):
                    raise self._explained(cause, what) from error
                unsettled = cause
            wait = unsettled.wait_s if unsettled.wait_s is not None else pause
            if attempt == ATTEMPTS or wait > LONGEST_WAIT_S:
                break
            if wait >= 1:
                self._say(f"{what}: {unsettled}; again in {wait:.0f} s")
            time.sleep(wait)
            pause = min(longest, pause * 2)
        raise RunError(
            f"{what} in {self.repo} failed {attempt} times, last: {unsettled}. "
            "What was accepted is kept: the same command goes on from there."
        )

    def _explained(self, error: BaseException | None, what: str) -> Exception:
        if not isinstance(error, HfHubHTTPError):  # what the client or the Hub finds wrong with a file
            return RunError(f"{what} in {self.repo}: {error}")
        status = error.response.status_code
        if status in (401, 403) or isinstance(error, RepositoryNotFoundError):
            return UserError(
                f"{what}: the Hub says {status} for {self.repo}. Is it your name or your organisation's, and may the "
                "token write there? It comes from HF_TOKEN, or from `hf auth login`."
            )
        return RunError(f"{what} in {self.repo}: the Hub says {status}: {error.server_message or 'no reason'}")


def next_version(tags: dict[str, str], commit: str) -> str:
    """Return the version of a commit: v1, v2 and so on, the newest that it already has or else the next.

    >>> next_version({"v1": "a", "v2": "b", "best": "b"}, "b"), next_version({"v1": "a", "v10": "b"}, "c")
    ('v2', 'v11')
    """
    numbers = {int(match[1]): target for name, target in tags.items() if (match := VERSION.fullmatch(name))}
    mine = [number for number, target in numbers.items() if target == commit]
    return f"v{max(mine)}" if mine else f"v{max(numbers, default=0) + 1}"


def fetch_recipe(place: str) -> Path:
    """Return the local copy of a published recipe, by hf://owner/name or hf://owner/name@revision.

    Raises UserError where there is none.
    """
    match = PLACE.fullmatch(place)
    if match is None:
        raise UserError(f"{place} is no published recipe: write hf://owner/name, or hf://owner/name@v1 for a version")
    repo, revision = match.groups()
    try:
        return Path(hf_hub_download(repo, RECIPE, repo_type="dataset", revision=revision))
    except GatedRepoError as error:
        raise UserError(f"hf://{repo}: its owner has to let you in; ask on {repo}'s page on the Hub") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"hf://{repo}: there is no such dataset, or the token (HF_TOKEN) may not read it") from error
    except RevisionNotFoundError as error:
        raise UserError(f"hf://{repo}: it has no version {revision}; its page lists them under `main`") from error
    except LocalEntryNotFoundError as error:
        raise UserError(f"hf://{repo}: the Hub cannot be reached, and no copy is here") from error
    except EntryNotFoundError as error:
        raise UserError(f"hf://{repo}: it holds no {RECIPE}: speechmill did not publish it") from error
    except HfHubHTTPError as error:
        raise UserError(f"hf://{repo}: the Hub says {error.response.status_code}") from error
