"""How a run goes, for whoever sees its folder: from progress.json, the lock and the last events; it plans nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pipelines.errors import RunError, UserError
from pipelines.folders.lock import is_locked, lock_owner
from pipelines.folders.places import folder_of, url_of
from pipelines.folders.run_folder import RunFolder, folder_at, open_run_folder, open_url
from pipelines.recipe import load_recipe
from pipelines.running.events import FILE as EVENTS_FILE
from pipelines.running.events import TAIL_BYTES, parse
from pipelines.running.progress import FILE, describe, describe_run, describe_usage, format_seconds

REMARKABLE = ("worker_died", "shard_retried", "shard_quarantined", "straggler_reissued", "node_left", "node_joined")
SHOWN = 5  # of those
SILENT_SECONDS = 60  # a driver writes every few seconds
PATIENCE_SECONDS = 300.0  # for which a store may fail while a run is watched: the run itself may get over that too
ENDS = {0: "done", 3: "done but for shards in quarantine"}


def run_at(place: str, run_dir: str | None) -> RunFolder:
    """Return the run that a folder, a URL or a recipe names; nothing of it is brought here.

    A folder's own recipe is not read: it may name files that this machine has not.
    """
    if url := url_of(place):
        return open_url(url).reach()
    path = folder_of(place)
    found = folder_at(path.absolute()) if path.is_dir() else open_run_folder(load_recipe(path, (), run_dir))
    return found.reach()


def look(folder: RunFolder) -> dict[str, Any]:
    """Return what progress.json says of a run, and:

        state   "running", "ended", "gone" (its driver died), "in use" (by another command than a run)
        owner   who is, or was, at work, for people
        silent  seconds since the driver wrote
        events  the last ones that are worth a word
        why     it failed

    Raises UserError where no run has begun.
    """
    held = is_locked(folder.path)  # asked first: a run gives its lock back when it has written its last word
    content = _read(folder, FILE)
    if content is None:
        if held:
            owner = lock_owner(folder.path)
            return {"run": folder.place, "state": "in use", "owner": owner, "passes": {}, "events": []}
        raise UserError(f"{folder.place}: no run has begun there. `speechmill run` begins one.")
    told: dict[str, Any] = json.loads(content)
    if "code" not in told:
        raise UserError(f"{folder.place}: an earlier version of speechmill made it, which tells less. Run it again.")
    if told["code"] is None:
        state = "running" if held else "gone"
    else:
        state = "in use" if held else "ended"
    tail = parse(_read(folder, EVENTS_FILE, TAIL_BYTES) or b"")
    events = [event for event in tail if event["time"] >= told["started"]]
    ended = [event.get("why") for event in events if event["kind"] == "run_ended"]
    return {
        "run": folder.place,
        "state": state,
        "owner": lock_owner(folder.path) if state == "in use" else "process {pid} on {host}".format(**told["driver"]),
        "silent": round(max(time.time() - told["updated"], 0), 1),
        **told,
        "finished_before": {key: n for key, n in told["finished_before"].items() if key not in told["passes"]},
        "events": [event for event in events if event["kind"] in REMARKABLE][-SHOWN:],
        "why": ended[-1] if ended else None,
    }


def _read(folder: RunFolder, name: str, at_most: int | None = None) -> bytes | None:
    """Return a file as it is now, or some bytes of its end; None where there is none."""
    if folder.copy is not None:
        content = folder.copy.store.read(name)
        return content and content[-(at_most or len(content)) :]
    try:
        with (folder.path / name).open("rb") as file:
            if at_most is not None:
                file.seek(max(file.seek(0, 2) - at_most, 0))
            return file.read()
    except FileNotFoundError:
        return None


def lines(seen: Mapping[str, Any]) -> Iterator[str]:
    """Yield a run's status, line by line."""
    yield f"{seen['run']}: {headline(seen)}"
    for key, units in seen.get("finished_before", {}).items():
        yield f"{key:<18} done   {units:,} shards, before this run"
    for key, now in seen["passes"].items():
        if now["running"] and seen["state"] != "running":
            mark, now = "part", {**now, "seconds_left": None}
        else:
            mark = "now " if now["running"] else "done"
        yield f"{key:<18} {mark}   {describe(now)}"
        if used := describe_usage(now["usage"]):
            yield f"{'':<18}        used: {used}"
    if seen["state"] == "running" and (said := describe_run(seen)):
        yield f"{'in all':<18} now    {said}"
    for event in seen["events"]:
        yield describe_event(event)


def headline(seen: Mapping[str, Any]) -> str:
    """Return in one line whether a run is at work, and how it ended if not."""
    state, owner = seen["state"], seen["owner"]
    if state == "in use":
        return f"running, {owner}: it has said nothing yet, or is no run"
    silent = format_seconds(seen["silent"])
    if state == "running":
        return f"running, {owner}" + (f"; it has been silent for {silent}" if seen["silent"] > SILENT_SECONDS else "")
    if state == "gone":
        return (
            f"not running; stopped: its driver ({owner}) is gone, last seen {silent} ago. "
            "What was finished is kept: the same command goes on from there."
        )
    code = seen["code"]
    how = ENDS.get(code, f"stopped by signal {code - 128}" if code > 128 else f"failed, exit code {code}")
    why = f": {seen['why']}" if seen["why"] and code in (1, 2) else ""
    return f"not running; the last run ended {silent} ago: {how}{why}"


def short(seen: Mapping[str, Any]) -> str:
    """Return a run's status in one line, with the time of day."""
    at_work = [f"{key} {describe(now)}" for key, now in seen["passes"].items() if now["running"]]
    return f"{time.strftime('%H:%M:%S')} {'; '.join(at_work) if at_work else headline(seen)}"


def describe_event(event: Mapping[str, Any]) -> str:
    """Return an event in one line.

    >>> describe_event({"time": 0, "kind": "worker_died", "step": "tts", "shard": "a-1", "why": "killed"})[8:]
    ' worker died, step tts, shard a-1, why killed'
    """
    untold = ("time", "kind", "log")  # what a dead worker logged last is long
    fields = [f"{name.replace('_', ' ')} {value}" for name, value in event.items() if name not in untold]
    at = time.strftime("%H:%M:%S", time.localtime(event["time"]))
    return f"{at} {', '.join([event['kind'].replace('_', ' '), *fields])}"


def watch(see: Callable[[], dict[str, Any]], console: Console, seconds: float, as_json: bool) -> int:
    """Show a run's status again and again until the run ends; in place on a terminal, else a line a time.

    Returns the exit code of the run; 1 where its driver is gone. Raises RunError where its store has failed for long.
    """
    with Live(console=console, auto_refresh=False, transient=True) as live:
        looks = _looks(see, seconds)
        while (seen := next(looks))["state"] in ("running", "in use"):
            if as_json:
                console.print(json.dumps(seen, ensure_ascii=False), markup=False, soft_wrap=True)
            elif console.is_terminal:
                text = [Text(line, overflow="ellipsis", no_wrap=True) for line in lines(seen)]
                live.update(Group(*text), refresh=True)
            else:
                console.print(short(seen), markup=False)
            time.sleep(seconds)
    show(seen, console, as_json)
    return int(seen["code"]) if seen["state"] == "ended" else 1


def _looks(see: Callable[[], dict[str, Any]], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield looks that succeed. Raises RunError where all fail for PATIENCE_SECONDS; until then that is told."""
    failing: float | None = None  # since when
    while True:
        try:
            seen = see()
        except RunError as error:
            failing = time.monotonic() if failing is None else failing
            if time.monotonic() - failing > PATIENCE_SECONDS:
                raise
            print(f"{error} (trying again for up to {format_seconds(PATIENCE_SECONDS)})", file=sys.stderr)
            time.sleep(seconds)
        else:
            failing = None
            yield seen


def show(seen: Mapping[str, Any], console: Console, as_json: bool) -> None:
    """Show a run's status once."""
    for line in [json.dumps(seen, ensure_ascii=False)] if as_json else lines(seen):
        console.print(line, markup=False, soft_wrap=True)
