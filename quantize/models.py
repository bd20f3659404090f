"""Where model files lie: local paths, or files of the Hugging Face Hub by id and revision."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

TENSORS = ("model.safetensors", "model-*.safetensors")
"""Whole or in parts; beside them some folders have the same weights again (`model.fp32-00001-of-00002.safetensors`)."""
WEIGHTS = ("config.json", *TENSORS)
"""What a folder of a Hugging Face model is read for."""


class ModelError(ValueError):
    """A model's files are not where they were said to be."""


def locate(where: str, *, download: bool) -> Path | None:
    """Return the local path of a model's file or folder.

    Args:
        where: a local path; or `owner/name:file`, `owner/name:file@revision`, and for a whole model `owner/name`
            or `owner/name@revision`, on the Hub.
        download: fetch from the Hub what its cache does not hold; else None is returned for it.
    Raises ModelError, naming the place and the remedy.
    """
    local = Path(where)
    if local.exists():
        return local.absolute()
    repo, file, revision = _parse(where)
    if repo is None:
        raise ModelError(f"there is no file {local.absolute()} (and {where!r} is no Hub id such as owner/name:file)")
    return _from_hub(repo, file, revision, download)


def _parse(where: str) -> tuple[str | None, str | None, str | None]:
    """Return (repository, file, revision) of a Hub id; (None, None, None) for what cannot be one."""
    rest, _, revision = where.partition("@")
    repo, _, file = rest.partition(":")
    parts = repo.split("/")
    if len(parts) != 2 or not all(parts) or repo.startswith((".", "/", "~")) or ".." in where:
        return None, None, None
    return repo, file or None, revision or None


def _from_hub(repo: str, file: str | None, revision: str | None, download: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        if file:
            return Path(hf_hub_download(repo, file, revision=revision, local_files_only=not download))
        patterns = list(WEIGHTS)
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=not download))
    except LocalEntryNotFoundError as error:
        if not download:
            return None
        raise ModelError(
            f"{repo}: not in the Hub's cache, and the Hub cannot be reached. Give a local path."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"{repo}{':' + file if file else ''}: {error}. Give a local path, or another id.") from error


def files_digest(files: Mapping[str, Path]) -> str:
    """Return the digest (blake2b, 128 bits, hex) of a tokenizer's model files: of one file, that of its bytes."""
    if len(files) == 1:
        return path_digest(next(iter(files.values())))
    digests = {role: path_digest(path) for role, path in sorted(files.items())}
    return hashlib.blake2b(repr(digests).encode(), digest_size=16).hexdigest()


def path_digest(path: Path) -> str:
    """Return the digest of a file's bytes, or of what is read of a model's folder."""
    if not path.is_dir():
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    names = sorted({file for pattern in WEIGHTS for file in path.glob(pattern)})
    digests = {file.name: path_digest(file) for file in names}
    return hashlib.blake2b(repr(digests).encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    """Return the digest of a file of that size and time: models are gigabytes, and are asked about often."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
