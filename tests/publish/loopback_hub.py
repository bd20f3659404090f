"""A Hugging Face Hub on 127.0.0.1, as far as datasets are published to it and read from it; it misbehaves as told.

    with LoopbackHub(folder) as hub:                   # in threads of this process
        HfApi(endpoint=hub.url, token=hub.token)
    with LoopbackHub(folder, plan=lambda endpoint, n: "lost" if (endpoint, n) == ("commit", 0) else "good"): ...

`plan(endpoint, n)` names what is done with the n-th call (from 0) of an endpoint: see `ENDPOINTS` and `BEHAVIOURS`.
Contents are checked as they come: an LFS object must have its sha256, a commit may name only what was sent. What a test
counts: `calls`, `stored` (bodies that were taken, by object), `resent` (objects whose body came again after that).
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_" + "T0ken" * 7
Plan = Callable[[str, int], str]
BEHAVIOURS = {
    "good": "done and answered",
    "429": "not done: too many requests, with a Retry-After of `retry_after`",
    "500": "not done",
    "503": "not done",
    "412": "not done: another commit came first",
    "403": "not done: not allowed",
    "cut": "not done: the connection ends in the middle of the request",
    "lost": "done, and the connection ends without an answer",
    "500-after": "done, and answered with 500",
}
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
ENDPOINTS = {
    "create": ("POST", r"/api/repos/create"),
    "validate": ("POST", r"/api/validate-yaml"),
    "preupload": ("POST", rf"/api/datasets/{REPO}/preupload/(?P<revision>[^/]+)"),
    "batch": ("POST", rf"/datasets/{REPO}\.git/info/lfs/objects/batch"),
    "put": ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})"),
    "part": ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})/parts"),
    "complete": ("POST", r"/storage/(?P<oid>[0-9a-f]{64})/complete"),
    "verify": ("POST", r"/storage/(?P<oid>[0-9a-f]{64})/verify"),
    "commit": ("POST", rf"/api/datasets/{REPO}/commit/(?P<revision>[^/]+)"),
    "tag": ("POST", rf"/api/datasets/{REPO}/tag/(?P<revision>[^/]+)"),
    "refs": ("GET", rf"/api/datasets/{REPO}/refs"),
    "tree": ("GET", rf"/api/datasets/{REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?"),
    "paths": ("POST", rf"/api/datasets/{REPO}/paths-info/(?P<revision>[^/]+)"),
    "info": ("GET", rf"/api/datasets/{REPO}(?:/revision/(?P<revision>[^/]+))?"),
    "agents": ("GET", r"/api/agent-harnesses"),
    "resolve": ("GET", rf"/datasets/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    "head": ("HEAD", rf"/datasets/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
}
PUBLIC = (
    "put",
    "part",
    "complete",
    "info",
    "tree",
    "refs",
    "resolve",
    "head",
    "paths",
    "agents",
)  # need no token of ours
LICENSES = frozenset(
    [
        "apache-2.0",
        "mit",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "odc-by",
        "unknown",
        "other",
        "llama3",
    ]
)
GIT_ATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
COMMIT_FILES = 100  # more are refused, so that a test sees that commits are bounded
PIECE = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file of a commit: its content is an LFS object (sha256) or a git blob (sha1)."""

    oid: str
    size: int
    lfs: bool


@dataclass
class Repo:
    """A repository: its commits, oldest first, and its tags."""

    private: bool
    commits: list[tuple[str, dict[str, Entry]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, Entry]) -> str:
        names = {path: entry.oid for path, entry in sorted(files.items())}
        sha = hashlib.sha1(json.dumps([len(self.commits), names]).encode()).hexdigest()
        self.commits.append((sha, files))
        return sha

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, Entry]:
        return self.commits[-1][1]

    def find(self, revision: str | None) -> tuple[str, dict[str, Entry]]:
        """Return a commit by main, tag or sha; raises KeyError."""
        sha = self.head if revision in (None, "main") else self.tags.get(str(revision), str(revision))
        return sha, dict(self.commits)[sha]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class LoopbackHub:
    """The server and all that it holds; contents of LFS objects lie in a folder."""

    def __init__(
        self,
        folder: Path,
        plan: Plan = lambda endpoint, n: "good",
        page: int = 1000,
        multipart_above: int | None = None,
        retry_after: str = "0",
        slow_put_s: float = 0.0,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.token = TOKEN
        self.page = page  # entries of a tree in one answer
        self.multipart_above = multipart_above  # larger objects come in parts of so many bytes
        self.retry_after = retry_after
        self.slow_put_s = slow_put_s  # before each body is taken
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.lock = threading.RLock()
        self.calls: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()
        self.resent: list[str] = []
        self.unknown: list[str] = []
        self.leaks: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LoopbackHub:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def object(self, oid: str) -> Path:
        return self.folder / oid

    def content(self, repo: str, path: str, revision: str = "main") -> bytes:
        """Return a file's content, as it is read back."""
        entry = self.repos[repo].find(revision)[1][path]
        return self.object(entry.oid).read_bytes() if entry.lfs else self.blobs[entry.oid]

    def blob(self, content: bytes) -> Entry:
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.blobs[oid] = content
        return Entry(oid, len(content), False)

    # --- what each endpoint does: the match of its path, its body -> what is answered -------------------------------

    def create(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.repos:
            raise Refused(409, f"{self.url}/datasets/{repo}")
        self.repos[repo] = Repo(asked.get("visibility") == "private")
        self.repos[repo].commit({".gitattributes": self.blob(GIT_ATTRIBUTES)})
        return {"url": f"{self.url}/datasets/{repo}"}

    def validate(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        header = yaml.safe_load(json.loads(body)["content"].split("---")[1])
        if header["license"] not in LICENSES:
            raise Refused(400, f"license {header['license']} is none of the Hub's")
        if not re.fullmatch(r"[a-z0-9.-]+", header.get("license_name", "none")):
            raise Refused(400, f"license_name {header['license_name']} is no id")
        return {"errors": [], "warnings": []}

    def preupload(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        there = self.repos[match["repo"]].files
        files = json.loads(body)["files"]
        large = [f["path"].endswith((".parquet", ".png")) or f["size"] > 10_000_000 for f in files]
        modes = [(f["path"], "lfs" if lfs else "regular") for f, lfs in zip(files, large, strict=True)]
        return {
            "files": [
                {"path": path, "uploadMode": mode, "shouldIgnore": False,
                 "oid": there[path].oid if path in there else None}
                for path, mode in modes
            ]
        }  # fmt: skip

    def batch(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        return {"transfer": "basic", "objects": [self._ask_for(o) for o in json.loads(body)["objects"]]}

    def _ask_for(self, wanted: dict[str, Any]) -> dict[str, Any]:
        oid, size = wanted["oid"], wanted["size"]
        if self.object(oid).exists():
            return wanted
        place = f"{self.url}/storage/{oid}"
        upload: dict[str, Any] = {"href": f"{place}?signature=secret"}
        if self.multipart_above and size > self.multipart_above:
            parts = range(1, -(-size // self.multipart_above) + 1)
            urls = {f"{n:05d}": f"{place}/parts?partNumber={n}&signature=secret" for n in parts}
            upload = {"href": f"{place}/complete", "header": {"chunk_size": str(self.multipart_above), **urls}}
        return {**wanted, "actions": {"upload": upload, "verify": {"href": f"{place}/verify"}}}

    def put(self, match: dict[str, str], came: Path, query: dict[str, str]) -> Any:
        return self._store(match["oid"], came)

    def part(self, match: dict[str, str], came: Path, query: dict[str, str]) -> Any:
        came.replace(self.folder / f"{match['oid']}.{int(query['partNumber']):05d}")
        return {"etag": f"part-{query['partNumber']}"}

    def complete(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        whole = self.folder / f"{match['oid']}.whole"
        with whole.open("wb") as file:
            for part in json.loads(body)["parts"]:
                assert part["etag"] == f"part-{part['partNumber']}"
                file.write((self.folder / f"{match['oid']}.{part['partNumber']:05d}").read_bytes())
        return self._store(match["oid"], whole)

    def _store(self, oid: str, came: Path) -> Any:
        with came.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != oid:
            raise Refused(400, f"the body's sha256 is {found}, not {oid}")
        came.replace(self.object(oid))
        self.stored[oid] += 1
        return {}

    def verify(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        asked = json.loads(body)
        if self.object(asked["oid"]).stat().st_size != asked["size"]:
            raise Refused(400, "another size")
        return {}

    def commit(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        repo = self.repos[match["repo"]]
        (header, *operations) = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit") not in (None, repo.head):
            raise Refused(412, "a commit has happened since")
        if len(operations) > COMMIT_FILES:
            raise Refused(413, f"{len(operations)} operations")
        files = dict(repo.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = self.blob(b64decode(value["content"]))
            elif operation["key"] == "lfsFile":
                if not self.object(value["oid"]).exists():
                    raise Refused(400, f"{value['path']}: there is no object {value['oid']}")
                files[value["path"]] = Entry(value["oid"], value["size"], True)
            else:
                del files[value["path"]]
        sha = repo.commit(files)
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.url}/datasets/{match['repo']}/commit/{sha}"}

    def tag(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        repo, name = self.repos[match["repo"]], json.loads(body)["tag"]
        if name in repo.tags:
            raise Refused(409, f"there is a tag {name}")
        repo.tags[name] = repo.find(match["revision"])[0]
        return {}

    def refs(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        repo = self.repos[match["repo"]]
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": sha} for n, sha in repo.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
        return {"branches": [main], "converts": [], "tags": tags}

    def info(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        repo = self._repo(match)
        sha, files = self._find(repo, match["revision"])
        named = [{"rfilename": path} for path in files]
        return {"id": match["repo"], "sha": sha, "private": repo.private, "siblings": named, "tags": []}

    def tree(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        _, files = self._find(self._repo(match), match["revision"])
        under = f"{match['path']}/" if match["path"] else ""
        entries = self._entries({path: e for path, e in files.items() if path.startswith(under)})
        if under and not entries:
            raise Refused(404, "no such folder", "EntryNotFound")
        if query.get("recursive", "False").lower() != "true":
            entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(under)]
        entries = [entry for entry in entries if entry["path"].startswith(under)]
        first = int(query.get("cursor", 0))
        return _Page(
            entries[first : first + self.page], first + self.page if len(entries) > first + self.page else None
        )

    def paths(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        _, files = self._find(self._repo(match), match["revision"])
        wanted = parse_qs(body.decode())["paths"]
        return [entry for entry in self._entries(files) if entry["path"] in wanted]

    def _entries(self, files: dict[str, Entry]) -> list[dict[str, Any]]:
        folders = sorted({str(parent) for path in files for parent in Path(path).parents if str(parent) != "."})
        entries = [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in folders]
        for path, entry in sorted(files.items()):
            lfs = {"lfs": {"oid": entry.oid, "size": entry.size, "pointerSize": 134}} if entry.lfs else {}
            oid = hashlib.sha1(entry.oid.encode()).hexdigest() if entry.lfs else entry.oid
            entries.append({"type": "file", "path": path, "oid": oid, "size": entry.size, **lfs})
        return entries

    def resolve(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        sha, files = self._find(self._repo(match), match["revision"])
        if match["path"] not in files:
            raise Refused(404, "no such file", "EntryNotFound")
        return _Content(sha, files[match["path"]], self.content(match["repo"], match["path"], sha))

    head = resolve

    def agents(self, match: dict[str, str], body: bytes, query: dict[str, str]) -> Any:
        raise Refused(404, "unknown")

    def _repo(self, match: dict[str, str]) -> Repo:
        if match["repo"] not in self.repos:
            raise Refused(404, "no such repository", "RepoNotFound")
        return self.repos[match["repo"]]

    def _find(self, repo: Repo, revision: str | None) -> tuple[str, dict[str, Entry]]:
        try:
            return repo.find(revision)
        except KeyError:
            raise Refused(404, "no such revision", "RevisionNotFound") from None


@dataclass
class _Page:
    entries: list[dict[str, Any]]
    next: int | None


@dataclass
class _Content:
    commit: str
    entry: Entry
    content: bytes


class _Server(ThreadingHTTPServer):
    """A server whose clients may be killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection: finds the endpoint, does what the plan says."""

    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        found = None
        for name, (method, pattern) in ENDPOINTS.items():
            if method == self.command and (match := re.fullmatch(pattern, url.path)):
                found = name, {key: unquote(value) if value else value for key, value in match.groupdict().items()}
                break
        if found is None:
            self.hub.unknown.append(f"{self.command} {self.path}")
            self._drain()
            self._answer(404, {}, b"{}")
            return
        name, groups = found
        with self.hub.lock:
            behaviour = self.hub.plan(name, self.hub.calls[name])
            self.hub.calls[name] += 1
            self.hub.failures[name] += behaviour != "good"
        assert behaviour in BEHAVIOURS, behaviour
        self._do(name, groups, {key: values[0] for key, values in parse_qs(url.query).items()}, behaviour)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def _do(self, name: str, match: dict[str, str], query: dict[str, str], behaviour: str) -> None:
        hub = self.hub
        if name in ("put", "part"):
            if "Authorization" in self.headers:
                hub.leaks.append(self.path)
            if hub.object(match["oid"]).exists():
                hub.resent.append(match["oid"])
        if behaviour == "cut":
            next(self._pieces(), None)
            self.close_connection = True
            return
        body: Any = (
            self._drain_to(hub.folder / f"incoming-{threading.get_ident()}") if self.command == "PUT" else self._drain()
        )
        if behaviour in ("429", "500", "503", "412", "403"):
            headers = {"Retry-After": hub.retry_after} if behaviour == "429" else {}
            self._answer(int(behaviour), headers, b'{"error": "as planned"}')
            return
        if self.command == "PUT":
            time.sleep(hub.slow_put_s)
        try:
            if name not in PUBLIC and self.headers.get("Authorization") != f"Bearer {hub.token}":
                raise Refused(401, "no token, or a wrong one")
            with hub.lock:
                result = getattr(hub, name)(match, body, query)
        except Refused as refused:
            code = {"X-Error-Code": refused.code} if refused.code else {}
            body = {"error": str(refused), "url": str(refused), "errors": [{"message": str(refused)}]}
            self._answer(refused.status, code, json.dumps(body).encode())
            return
        if behaviour == "lost":
            self.close_connection = True
        elif behaviour == "500-after":
            self._answer(500, {}, b"{}")
        else:
            self._answer_with(result)

    def _answer_with(self, result: Any) -> None:
        if isinstance(result, _Content):
            headers = {"ETag": f'"{result.entry.oid}"', "X-Repo-Commit": result.commit, "Accept-Ranges": "bytes"}
            first, last = 0, len(result.content) - 1
            if ranged := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first, last = int(ranged[1]), min(int(ranged[2] or last), last)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(result.content)}"
            self._answer(206 if ranged else 200, headers, result.content[first : last + 1])
        elif isinstance(result, _Page):
            link = f"{self.hub.url}{self.path.split('&cursor')[0]}&cursor={result.next}"
            headers = {"Link": f'<{link}>; rel="next"'} if result.next else {}
            self._answer(200, headers, json.dumps(result.entries).encode())
        else:
            headers = {"ETag": result["etag"]} if isinstance(result, dict) and "etag" in result else {}
            self._answer(200, headers, json.dumps(result).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pieces(self) -> Iterator[bytes]:
        """Yield the request's body, whichever way it comes."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left and (piece := self.rfile.read(min(left, PIECE))):
            left -= len(piece)
            yield piece

    def _drain(self) -> bytes:
        return b"".join(self._pieces())

    def _drain_to(self, path: Path) -> Path:
        with path.open("wb") as file:
            for piece in self._pieces():
                file.write(piece)
        return path

    def log_message(self, format: str, *args: Any) -> None:
        pass
