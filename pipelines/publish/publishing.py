"""publish: a finished run's dataset -> a dataset repository on the Hub, checked before and compared afterwards.

What is sent: the files of `dataset/`, the recipe without its places, the lockfile of the mixtures; the card last.
What the Hub has already is not sent again, what is no longer in the dataset is removed. What was accepted stands in
`<run>/publish/`, line by line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import RunError, UserError
from pipelines.folders.lock import lock_run
from pipelines.folders.run_folder import open_run_folder
from pipelines.publish.files import CARD, LOCKFILE, RECIPE, File, Ledger, collect
from pipelines.publish.licenses import refused, unused
from pipelines.publish.made_by import quarantined_rows, recipe_that_made
from pipelines.recipe import Recipe

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from pipelines.publish.hub import Hub, Remote

    Operation = CommitOperationAdd | CommitOperationDelete

REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# What we publish beside recipe, lockfile and card, and so may remove.
OURS = re.compile(r"[^/]+/(?:train|test)-\d{5}-of-\d{5}\.parquet|report\.html|(?:funnel|mixtures)\.png")
BESIDE = frozenset([".gitattributes", CARD, "LICENSE"])  # may lie in a repository that we have not yet published to
# https://huggingface.co/docs/hub/repositories-recommendations: under 100 files a commit, 10,000 entries a folder.
COMMIT_FILES = 100
FOLDER_FILES = 10_000
THREADS = 4
SMALL_BYTES = 32 * 10**6
SHOWN = 10


def check_repo(repo: str) -> None:
    """Raise UserError unless a name is owner/name."""
    if not REPO.fullmatch(repo):
        raise UserError(f"--repo {repo}: write it as owner/name, with letters, digits, - _ and .")


def check_licenses(recipe: Recipe, allowed: Sequence[str]) -> None:
    """Raise UserError with every source, voice and noise whose licence must be allowed by name, and is not."""
    licenses = {f"source {source.name}": source.license for source in recipe.sources}
    if "recordings" in recipe.inaudible_kinds:
        licenses["noise.recordings"] = recipe.noise.recordings_license
    licenses |= {f"voice {voice.id}": voice.license for voice in recipe.tts.voices if voice.license}
    if strange := unused(licenses.values(), allowed):
        names = ", ".join(sorted(set(licenses.values())))
        raise UserError(f"--allow {strange[0]}: no source or voice has this licence. They have: {names}")
    if lines := refused(licenses, allowed):
        raise UserError(
            "\n".join(
                [
                    "these licences have to be read before anything made of them is published:",
                    *(f"  {line}" for line in lines),
                    "Allow each by its name if its terms let you, or take the source out.",
                ]
            )
        )


def check_whole(run_dir: Path, without_quarantined: bool) -> Iterator[str]:
    """Raise UserError where rows are missing because their shards are in quarantine; yield it where that is wanted."""
    if not (missing := quarantined_rows(run_dir)):
        return
    named = ", ".join([*missing][:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
    said = f"{sum(missing.values()):,} rows of {len(missing):,} shards in quarantine are missing ({named})"
    if not without_quarantined:
        raise UserError(
            f"nothing was published: {said}. Run the recipe again, which tries them again; or publish it without "
            "them, by --without-quarantined"
        )
    yield f"note: {said}"


def check_secrets(files: Iterable[File], data: bool = True) -> None:
    """Raise UserError where a column of the data, the card, the report, the recipe or the lockfile holds a secret.

    Args:
        data: whether the data is read too.
    """
    from pipelines.publish.secrets_scan import scan_parquet, scan_text

    shards = [(f.name, f.source) for f in files if data and f.is_shard and isinstance(f.source, Path)]
    found = [finding for name, path in shards for finding in scan_parquet(name, path)]
    found += [finding for file in files if file.is_text for finding in scan_text(file.name, file.content.decode())]
    if found:
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"nothing was published, {len(found)} secrets were found:\n"
            + "\n".join(f"  {finding.line()}" for finding in found[:SHOWN])
            + more
            + "\nRevoke a key that lay in a file. Take its record out of the source (where_not, or the file itself) "
            "and run the recipe again."
        )


def dry_run(asked: Recipe, repo: str, allowed: Sequence[str], without_quarantined: bool = False) -> Iterator[str]:
    """Yield what publishing would do, by the manifests and the ledger: reads no data and does not ask the Hub."""
    check_repo(repo)
    recipe = recipe_that_made(asked)
    check_licenses(recipe, allowed)
    missing = list(check_whole(recipe.run_path, without_quarantined))
    files = collect(recipe, repo)
    check_secrets(files, data=False)
    ledger = Ledger(recipe.run_path, repo)
    there = ledger.published.get("files", {})
    send = {file.name for file in files if there.get(file.name) != file.digest and file.digest not in ledger.sha256}
    width = max(len(file.name) for file in files)
    for file in files:
        state = "send" if file.name in send else "accepted" if there.get(file.name) != file.digest else "unchanged"
        yield f"{file.name:<{width}}  {file.size:>14,}  {state}"
    gone = [name for name in there if name not in {file.name for file in files}]
    yield from (f"{name:<{width}}  {'':>14}  remove" for name in gone)
    size = sum(file.size for file in files if file.name in send)
    yield f"{len(files):,} files, {sum(file.size for file in files):,} bytes; to send: {len(send):,}, {size:,} bytes"
    yield from [*missing, *_notes(files)]
    yield "checked: the run is finished, sizes, licences, no secret in card, report and recipe"
    yield "publishing also checks: every promise (verify), secrets in the data, what the Hub holds, digests afterwards"


def _notes(files: Sequence[File]) -> Iterator[str]:
    """Yield what is unlike the Hub's recommendations."""
    folders: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in files:
        if "/" in file.name:
            folder = file.name.partition("/")[0]
            folders[folder] += 1
            sizes[folder] += file.size
    for folder, count in folders.items():
        mean = sizes[folder] / count
        if count > 1 and mean < SMALL_BYTES:
            yield (
                f"note: {folder}: {count:,} files of {mean:,.0f} bytes on average are small for the Hub; "
                "export.shard_bytes (256 MB by default) makes fewer"
            )
        if count > FOLDER_FILES:
            yield f"note: {folder}: the Hub recommends under {FOLDER_FILES:,} files a folder: raise export.shard_bytes"


def publish(
    asked: Recipe,
    hub: Hub,
    private: bool,
    allowed: Sequence[str],
    tag: str | None,
    say: Callable[[str], None],
    without_quarantined: bool = False,
) -> str:
    """Check everything, send what the Hub lacks, compare what it then holds; returns the version's tag.

    Args:
        asked: the recipe that names the run. The run is held meanwhile, and what is published is read while it is.
        without_quarantined: whether the rows of shards in quarantine may be missing.
    Raises UserError where something may not be published, RunError where a promise is broken, the Hub stays away, or
    holds something else in the end.
    """
    with lock_run(asked.run_path):
        recipe = recipe_that_made(asked)
        check_licenses(recipe, allowed)
        for line in check_whole(recipe.run_path, without_quarantined):
            say(line)
        hub.check_token()
        open_run_folder(recipe).pull(rows=True)
        return _publish(recipe, hub, private, tag, say)


def _publish(recipe: Recipe, hub: Hub, private: bool, tag: str | None, say: Callable[[str], None]) -> str:
    files = collect(recipe, hub.repo)
    _check_promises(recipe.run_path, files, say)
    say(f"searching {len(files):,} files for secrets")
    check_secrets(files)
    return upload(files, Ledger(recipe.run_path, hub.repo), hub, private, tag, say)


def upload(
    files: Sequence[File], ledger: Ledger, hub: Hub, private: bool, tag: str | None, say: Callable[[str], None]
) -> str:
    """Send files that have been checked, compare what the Hub then holds, tag it; returns the tag.

    Raises UserError and RunError, as `publish` does.
    """
    from pipelines.publish.hub import next_version, our_client

    digests = {file.name: ledger.sha256.get(file.digest) or file.sha256() for file in files}
    with our_client():
        hub.create(private)
        _check_repository(hub, hub.look(), private, tag)
        _send(hub, ledger, files, digests, say)
        remote = hub.look()
        _compare(hub, remote, files, digests)
        version = tag or next_version(hub.tags(), remote.commit)
        hub.tag(version, remote.commit, f"{hub.repo} {version}, published by speechmill")
    entry = {"published": hub.repo, "commit": remote.commit, "tag": version}
    if {**ledger.published, **entry} != ledger.published:
        ledger.write({**entry, "files": {file.name: file.digest for file in files}})
    return version


def _check_promises(run_dir: Path, files: Iterable[File], say: Callable[[str], None]) -> None:
    """Verify the run, and that its records are of the files that are sent."""
    from pipelines.telling.verify import open_run, verify

    say("verifying the run")
    run = open_run(run_dir)
    broken = [(promise, line) for promise in verify(run) for line in promise.broken]
    if broken:
        promise, line = broken[0]
        raise RunError(
            f"nothing was published, {len(broken)} things break a promise; the first: {promise.name}: {line}. "
            "See: speechmill verify"
        )
    recorded = {
        n: about["digest"] for units in run.records.values() for r in units.values() for n, about in r.files.items()
    }
    for file in files:
        if isinstance(file.source, Path) and recorded.get(str(file.source.relative_to(run_dir))) != file.digest:
            raise RunError(f"{file.name}: its record is not the manifest's: run the recipe again, then publish")


def _check_repository(hub: Hub, remote: Remote, private: bool, tag: str | None) -> None:
    """Raise UserError where publishing would harm what is there, or show what was to be private."""
    if private and not remote.private:
        raise UserError(f"{hub.url} is public: make it private on its page first, or leave out --private")
    ours = {RECIPE, LOCKFILE} <= remote.files.keys()
    strange = sorted(name for name in remote.files if name not in BESIDE)
    if strange and not ours:
        raise UserError(
            f"{hub.url} holds files that speechmill did not publish ({', '.join(strange[:3])}): choose another --repo"
        )
    if tag is not None and (there := hub.tags().get(tag)) not in (None, remote.commit):
        raise UserError(f"--tag {tag}: this version is there, of commit {str(there)[:7]}; versions stay what they are")


def _send(
    hub: Hub, ledger: Ledger, files: Sequence[File], digests: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Upload contents, then commit them in batches, the card in the last."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    made: dict[str, CommitOperationAdd] = {}
    done: set[str] = set()  # what the Hub has acknowledged

    def operation(file: File) -> CommitOperationAdd:
        if file.name not in made:
            made[file.name] = CommitOperationAdd(file.name, file.open())
            made[file.name].upload_info.sha256 = bytes.fromhex(digests[file.name])
        return made[file.name]

    def differing(remote: Remote) -> list[File]:
        return [file for file in files if not file.is_there(remote.files.get(file.name), digests[file.name])]

    def choose(remote: Remote) -> list[Operation]:
        gone = [name for name in sorted(remote.files) if OURS.fullmatch(name) and name not in {*digests, *done}]
        differ = [file for file in differing(remote) if file.name not in done]
        first, card = [f for f in differ if f.name != CARD], [f for f in differ if f.name == CARD]
        operations: list[Operation] = [operation(file) for file in first]
        operations += [CommitOperationDelete(name, is_folder=False) for name in gone]
        return [*operations, *map(operation, card)][:COMMIT_FILES]

    def send(alike: list[File]) -> None:
        for file in alike:
            hub.send(operation(file))
        one = alike[0]
        ledger.write({"accepted": one.name, "digest": one.digest, "sha256": digests[one.name], "bytes": one.size})

    missing = differing(hub.look())
    say(f"sending {len(missing):,} of {len(files):,} files, {sum(file.size for file in missing):,} bytes")
    alike: dict[str, list[File]] = {}  # files of one content are sent as one
    for file in missing:
        if not file.is_text:
            alike.setdefault(digests[file.name], []).append(file)
    pool = ThreadPoolExecutor(THREADS)
    try:
        for sent in as_completed([pool.submit(send, some) for some in alike.values()]):
            sent.result()
    finally:
        pool.shutdown(cancel_futures=True)
    while operations := hub.commit(choose, f"speechmill publish: {len(missing)} files"):
        done |= {one.path_in_repo for one in operations}


def _compare(hub: Hub, remote: Remote, files: Sequence[File], digests: Mapping[str, str]) -> None:
    """Raise RunError unless the Hub holds our files with our digests, and no other shards."""
    wrong = [file.name for file in files if not file.is_there(remote.files.get(file.name), digests[file.name])]
    wrong += [name for name in remote.files if OURS.fullmatch(name) and name not in digests]
    if wrong:
        raise RunError(
            f"{hub.url} at {remote.commit[:7]} does not hold what was sent: {', '.join(wrong[:SHOWN])}"
            f"{f' and {len(wrong) - SHOWN} more' if len(wrong) > SHOWN else ''}. Publish again, alone."
        )
