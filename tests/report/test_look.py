"""`speechmill look`: rows in the terminal, and one of them through a player."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from rich.console import Console

from pipelines.arguments import load_run
from pipelines.errors import RunError, UserError
from pipelines.report.seen import Seen, look_at
from pipelines.telling.look import Found, Wanted, check, find, play, show
from tests.conftest import speechmill


@pytest.fixture(scope="module")
def seen(finished: Path) -> Seen:
    return look_at(load_run(finished / "run"))


def test_a_rule_shows_its_rejects_with_scores(finished: Path) -> None:
    result = speechmill("look", finished / "run", "--rule", "speakable:url", "-n", "2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("filter.speakable:url:") == 2
    assert result.stdout.count("predicted_seconds") == 2


def test_rows_are_those_that_are_asked_for(seen: Seen) -> None:
    lock = seen.lock()["mixtures"]
    rows = find(seen, Wanted(task="transcription"), 10_000)
    assert len(rows) == lock["stage2"]["parts"]["transcription"]["chosen"]
    assert all("transcription in stage2" in found.what for found in rows)
    assert rows == find(seen, Wanted(task="transcription"), 10_000)
    voice = rows[0].row["spoken"][0]["voice"]
    of_voice = find(seen, Wanted(task="transcription", voice=voice), 10_000)
    assert of_voice == [found for found in rows if found.row["spoken"][0]["voice"] == voice]
    found = find(seen, Wanted(grep=r"\bHOW\b"), 10_000)
    assert found
    assert all("how" in " ".join(m["content"] for m in f.row["messages"]).lower() for f in found)
    rejects = find(seen, Wanted(rule="speakable", source="examples"), 10_000)
    of_rule = [n for reason, n in seen.funnel.steps["filter"]["rejected"].items() if "speakable" in reason]
    assert len(rejects) == sum(of_rule)
    assert len(find(seen, Wanted(), 3)) == 3
    (broken,) = find(seen, Wanted(rule="bad_json"), 1)
    assert broken.row["place"].startswith("examples/broken.jsonl:")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(task="transcribe"), "--task transcribe: there is none; did you mean transcription?"),
        (Wanted(source="exampels"), "--source exampels: there is none; did you mean examples?"),
        (Wanted(voice="en-us+f9"), "--voice en-us+f9: there is none; did you mean"),
        (Wanted(rule="speakable:poem"), "--rule speakable:poem: no row was rejected for that"),
        (Wanted(grep="(apple"), "--grep (apple: no regular expression"),
        (Wanted(rule="length", task="sound"), "give one of them"),
    ],
)
def test_what_is_not_there_is_said(wanted: Wanted, said: str, seen: Seen) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        check(seen, wanted)


def test_no_row_is_an_error(finished: Path) -> None:
    result = speechmill("look", finished / "run", "--grep", "no text says this at all")
    assert (result.returncode, result.stdout) == (2, "")
    assert "no row is like that" in result.stderr


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what makes a stand-in the only player there is: it keeps what it is given, then does as told."""
    copy = shutil.which("cp")
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(then: str) -> None:
        keep = f'{copy} "$last" "{tmp_path}/heard-${{last##*/}}"'
        (tmp_path / "aplay").write_text(f"#!/bin/sh\nfor last; do :; done\n{keep}\n{then}\n")
        (tmp_path / "aplay").chmod(0o755)

    return install


def test_the_first_row_is_played(seen: Seen, tmp_path: Path, player: Callable[[str], None]) -> None:
    player("exit 0")
    (found,) = find(seen, Wanted(task="two_turn"), 1)
    play(seen, found)
    spoken = found.row["spoken"]
    heard = [soundfile.info(tmp_path / f"heard-{number}.wav").duration for number in range(len(spoken))]
    assert heard == pytest.approx([utterance["seconds"] for utterance in spoken], abs=0.001)


def test_a_player_that_fails_is_said(seen: Seen, player: Callable[[str], None]) -> None:
    player("echo no card >&2; exit 3")
    with pytest.raises(RunError, match="aplay could not play: no card"):
        play(seen, find(seen, Wanted(task="transcription"), 1)[0])


@pytest.mark.usefixtures("player")
def test_without_a_player_the_message_names_them(seen: Seen) -> None:
    with pytest.raises(UserError, match="ffplay, afplay, paplay, aplay"):
        play(seen, find(seen, Wanted(task="transcription"), 1)[0])


def test_a_row_without_audio_cannot_be_played(seen: Seen, player: Callable[[str], None]) -> None:
    player("exit 0")
    with pytest.raises(UserError, match="this row has no audio"):
        play(seen, find(seen, Wanted(task="inaudible"), 1)[0])


def test_what_is_said_steers_no_terminal(seen: Seen) -> None:
    (found,) = find(seen, Wanted(task="transcription"), 1)
    said = "\x1b[31mred\x1b[0m [bold]not bold[/bold] \u202eback"
    hostile = {**found.row, "messages": [{"role": "user", "content": said}], "spoken": []}
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    show(console, Found(hostile, found.path, found.what))
    assert "user: <U+001B>[31mred<U+001B>[0m [bold]not bold[/bold] <U+202E>back" in console.file.getvalue()
