"""events.jsonl: whole lines whatever happened to the driver, bounded, and true to what the run did."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from pipelines.folders.run_folder import RunFolder
from pipelines.running import events
from pipelines.running.events import FILE, Events
from tests.conftest import write_recipe
from tests.pipelines.in_process import mill
from tests.running.events_of import read_events


def told(folder: Path) -> list[tuple[str, int]]:
    """Return the kinds and numbers of a folder's events."""
    return [(event["kind"], event.get("n", -1)) for event in read_events(folder)]


def test_each_event_is_a_line_that_can_be_followed(tmp_path: Path) -> None:
    heard: list[tuple[str, dict]] = []
    teller = Events(RunFolder(tmp_path))
    teller.tell("before", n=0)
    teller.listen(lambda kind, fields: heard.append((kind, dict(fields))))
    teller.tell("shard_given", step="tts", shard="ä-1", worker=None, why="x" * 1000)
    lines = (tmp_path / FILE).read_bytes().splitlines()  # not closed yet: a reader sees it at once
    assert [json.loads(line)["kind"] for line in lines] == ["before", "shard_given"]
    assert list(json.loads(lines[1])) == ["time", "kind", "step", "shard", "why"]  # what is not known is left out
    assert heard == [("shard_given", {"step": "tts", "shard": "ä-1", "why": "x" * events.WHY_CHARACTERS})]
    teller.close()


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_the_torn_last_line_of_a_killed_driver_costs_no_other(cut: int, tmp_path: Path) -> None:
    teller = Events(RunFolder(tmp_path))
    for n in range(3):
        teller.tell("shard_done", n=n)
    teller.close()
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[:-cut])
    again = Events(RunFolder(tmp_path))
    again.tell("run_started", n=3)
    again.close()
    kept = 3 if cut == 1 else 2  # of the last one, only its line's end was torn off
    assert told(tmp_path) == [*[("shard_done", n) for n in range(kept)], ("run_started", 3)]


def test_events_are_bounded_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PART_BYTES", 1000)
    monkeypatch.setattr(events, "PARTS", 3)
    for begin in range(0, 200, 50):  # four runs, one after another
        teller = Events(RunFolder(tmp_path))
        for n in range(begin, begin + 50):
            teller.tell("shard_done", n=n, step="tts", shard=f"examples-{n:05d}")
        teller.close()
    parts = events.parts_of(tmp_path)
    assert len(parts) == 3
    assert all(path.stat().st_size <= 1000 for path in [*parts, tmp_path / FILE])
    numbers = [n for _, n in told(tmp_path)]
    assert numbers == list(range(200 - len(numbers), 200))  # in order, none lost between the files
    assert len(numbers) > 30


def test_who_listens_late_hears_of_this_run_what_was_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PART_BYTES", 300)
    clock = iter(range(1000))
    monkeypatch.setattr(events.time, "time", lambda: float(next(clock)))
    heard: list[int] = []
    for begin in (0, 20):
        teller = Events(RunFolder(tmp_path))
        for n in range(begin, begin + 20):
            teller.tell("shard_done", n=n)
        if begin:
            teller.listen(lambda kind, fields: heard.append(fields["n"]), from_start=True)
        teller.tell("shard_done", n=begin + 20)
        teller.close()
    assert len(events.parts_of(tmp_path)) > 4
    assert heard == list(range(20, 41))


def test_a_full_disk_ends_no_run_and_listeners_hear_on(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to("/dev/full")
    heard: list[str] = []
    teller = Events(RunFolder(tmp_path))
    teller.listen(lambda kind, fields: heard.append(kind))
    teller.tell("one")
    teller.tell("two")
    teller.close()
    assert heard == ["one", "two"]


def test_what_a_run_tells_is_what_its_records_say_and_a_resumed_one_goes_on(tmp_path: Path) -> None:
    recipe, run = write_recipe(tmp_path), tmp_path / "run"
    mill("filter", recipe, "--workers", "0")
    first = check(run, list(read_events(run)))
    assert first["filter"] == 8
    assert first["read"] == 2
    before = len(list(read_events(run)))
    (run / "filter" / "examples-00003.json").unlink()
    mill("filter", recipe, "--workers", "0")
    second = check(run, list(read_events(run))[before:])
    assert second == {"filter": 1}
    progress = json.loads((run / "progress.json").read_bytes())
    assert progress["code"] == 0
    assert {key: (p["units"], p["units_before"], p["units_done"]) for key, p in progress["passes"].items()} == {
        "filter": (8, 7, 8)
    }
    assert progress["finished_before"]["score"] == 8


def check(run: Path, of_run: list[dict]) -> Counter[str]:
    """Assert that one run's events agree with one another and with the records; returns shards done by step."""
    assert [of_run[0]["kind"], of_run[-1]["kind"]] == ["run_started", "run_ended"]
    assert of_run[-1]["code"] == 0
    assert [e["time"] for e in of_run] == sorted(e["time"] for e in of_run)
    given: set[tuple[str, str]] = set()
    done: Counter[str] = Counter()
    for event in of_run:
        if event["kind"] == "shard_given":
            given.add((event["step"], event["shard"]))
        elif event["kind"] == "shard_done":
            assert (event["step"], event["shard"]) in given
            counts = json.loads((run / event["step"] / f"{event['shard']}.json").read_bytes())["counts"]
            assert [event["rows_in"], event["rows_kept"]] == [counts["rows_in"], counts["rows_kept"]]
            assert event["rejected"] == counts["rejected"]
            done[event["step"]] += 1
    assert len(given) == sum(done.values())
    assert {e["step"] for e in of_run if e["kind"] == "pass_done"} == set(done)
    return done
