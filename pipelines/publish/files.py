"""What is published of a run, and what the Hub has accepted of it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import RunError, UserError
from pipelines.folders.run_folder import RunFolder, open_run_folder
from pipelines.publish.places import published_card, published_recipe
from pipelines.recipe import Recipe

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

CARD, RECIPE, LOCKFILE = "README.md", "recipe.yaml", "mixture.json"
TEXTS = frozenset([".md", ".yaml", ".json", ".html"])  # small: they go with a commit


@dataclass(frozen=True)
class File:
    """A file of the repository, and where its bytes are."""

    name: str  # in the repository
    source: Path | bytes
    size: int
    digest: str  # blake2b, as records have it; "" of what is made here

    def open(self) -> Any:
        """Return what `CommitOperationAdd` takes."""
        return self.source if isinstance(self.source, bytes) else str(self.source)

    @property
    def is_text(self) -> bool:
        """Whether it is a text file: the card, the report, the recipe."""
        return Path(self.name).suffix in TEXTS

    @property
    def is_shard(self) -> bool:
        """Whether it is a file of rows."""
        return self.name.endswith(".parquet")

    @cached_property
    def content(self) -> bytes:
        """Its bytes; of small files alone."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def git_sha1(self) -> str:
        """Return git's name for the content."""
        return hashlib.sha1(b"blob %d\0" % self.size + self.content).hexdigest()

    def sha256(self) -> str:
        """Return the name of the content in LFS; reads the file."""
        if isinstance(self.source, bytes):
            return hashlib.sha256(self.source).hexdigest()
        with self.source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def is_there(self, there: RepoFile | None, sha256: str) -> bool:
        """Tell whether the Hub's file has our content: by sha256 if it is in LFS, else by git's sha1."""
        if there is None or there.size != self.size:
            return False
        return there.lfs.sha256 == sha256 if there.lfs else there.blob_id == self.git_sha1()


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a ledger, but those that were torn by a crash while they were written."""
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def versions(run_dir: Path) -> list[dict[str, Any]]:
    """Return every version of a run that is published, in any repository, as its ledger has it."""
    paths = sorted((run_dir / "publish").glob("*.jsonl"))
    return [entry for path in paths for entry in _entries(path) if "published" in entry]


class Ledger:
    """What the Hub has accepted of a run, a line of JSON each: written and synced before the next is sent.

    `{"accepted": path, "digest": blake2b, "sha256": ..., "bytes": ...}`, and `{"published": repo, "commit": ...,
    "tag": ..., "files": {path: blake2b}}` for each version.
    """

    def __init__(self, run_dir: Path, repo: str) -> None:
        self.path = run_dir / "publish" / f"{repo.replace('/', '--')}.jsonl"
        self.sha256: dict[str, str] = {}  # by blake2b
        self.published: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        for entry in _entries(self.path):
            if "accepted" in entry:
                self.sha256[entry["digest"]] = entry["sha256"]
            else:
                self.published = entry

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add a line, safely on disk."""
        self.path.parent.mkdir(exist_ok=True)
        with self._lock, self.path.open("a") as file:
            file.write("\n" * self._torn + json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
            self._torn = False


def unfinished(place: str) -> UserError:
    """Return the error for a run without its dataset."""
    return UserError(f"{place} is not finished: run the recipe to its end, then publish")


def manifest_files(folder: RunFolder) -> dict[str, Mapping[str, Any]]:
    """Return the dataset's files by the manifests: name in the run folder -> digest, bytes.

    Raises UserError where the run is not finished, RunError where a file is missing or of another size.
    """
    files: dict[str, Mapping[str, Any]] = {}
    for key in ("mix", "export", "export.audio", "export.card"):
        manifest = folder.path / key / "manifest.json"
        if not manifest.is_file():
            raise unfinished(folder.place)
        units = json.loads(manifest.read_bytes())["units"]
        files |= {name: about for unit in units.values() for name, about in unit["files"].items()}
    wanted = {name: about for name, about in files.items() if name.startswith("dataset/") or name == LOCKFILE}
    for name, about in wanted.items():
        if folder.size(name) != about["bytes"]:
            raise RunError(
                f"{folder.place}/{name} is missing, or of another size than was written: run the recipe again"
            )
    return wanted


def collect(recipe: Recipe, repo: str) -> list[File]:
    """Return what is published, in the order it is: recipe, lockfile, data, pictures and report, card.

    Of a run in a store the texts are brought; shards are not.
    """
    run_dir, folder = recipe.run_path, open_run_folder(recipe)
    files = manifest_files(folder)
    for name in files:
        if Path(name).suffix in TEXTS and not (run_dir / name).is_file():
            folder.bring(name)
    card = (run_dir / "dataset" / CARD).read_text(encoding="utf-8")
    made = {RECIPE: published_recipe(recipe).encode(), CARD: published_card(card, repo).encode()}
    data = [
        File(name.removeprefix("dataset/"), run_dir / name, about["bytes"], about["digest"])
        for name, about in sorted(files.items())
        if name not in (f"dataset/{CARD}", LOCKFILE)
    ]
    lock = files[LOCKFILE]
    return [
        File(RECIPE, made[RECIPE], len(made[RECIPE]), _blake2b(made[RECIPE])),
        File(LOCKFILE, run_dir / LOCKFILE, lock["bytes"], lock["digest"]),
        *data,
        File(CARD, made[CARD], len(made[CARD]), _blake2b(made[CARD])),
    ]


def _blake2b(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
