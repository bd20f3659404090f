"""Sounds that were not kept are made once more: the tokenizer hears in them what stands in the rows."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.arguments import load_run
from pipelines.report.choose import choose
from pipelines.report.page import write_page
from pipelines.report.remade import remake
from pipelines.report.rows import read_rows_of
from pipelines.report.seen import Seen, look_at
from pipelines.report.sounds import read_samples
from pipelines.rowwise import read_rows
from quantize import load_tokenizer
from tests.conftest import assert_done, speechmill, write_recipe

KINDS = ("independent", "white", "masked", "babble", "reversed")


@pytest.fixture(scope="module")
def noisy(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A run with sounds of many kinds and ladders, mixtures not chosen yet."""
    folder = tmp_path_factory.mktemp("noisy")
    shutil.copytree(finished / "run", folder / "run")
    ladder = {"rows": 2, "rungs": 3, "snr_db": [10, -20]}
    noise = {"rows": 40, "kinds": dict.fromkeys(KINDS, 1), "ladder": ladder}
    mix = {"max_refusal_share": 1.0, "mixtures": {"m": {"parts": {"speech_instruction": 50, "interrupted": 50}}}}
    recipe = write_recipe(folder, noise=noise, chats={"inaudible": 3}, mix=mix)
    assert_done(speechmill("noise", recipe, "--workers", "0"))
    return look_at(load_run(folder / "run"))


def test_the_tokenizer_hears_what_stands_in_the_rows(noisy: Seen) -> None:
    tokenizer = load_tokenizer("mel512")
    counted: dict[str, int] = {}
    for path in sorted((noisy.folder / "noise").glob("[!i]*.parquet")):  # not those that go into chats
        for row in read_rows(path):
            kind = json.loads(row["inaudible"] or row["degraded"]).get("kind", "ladder")
            for utterance, sound in zip(row["spoken"], remake(noisy, row), strict=True):
                if sound is None:
                    assert kind == "independent"
                    continue
                samples, rate_hz = soundfile.read(io.BytesIO(sound), dtype="float32")
                assert rate_hz == tokenizer.sample_rate_hz
                (heard,) = tokenizer.encode([samples])
                same = np.mean(heard[: len(utterance["tokens"])] == utterance["tokens"])
                assert same > 0.98, (kind, same)  # 16-bit WAV may move a frame over a code's border
                counted[kind] = counted.get(kind, 0) + 1
    assert set(counted) == {*KINDS[1:], "ladder"}


def test_chats_that_are_interrupted_can_be_heard_whole(noisy: Seen) -> None:
    chats = [c for c in choose(noisy, read_rows_of(noisy)) if c.task == "interrupted"]
    assert chats
    for sample in read_samples(noisy, chats):
        spoken = [u for message in sample.messages for u in message.utterances]
        kind = json.loads(sample.about["inaudible"])["kind"]
        assert [u.sound is None for u in spoken] == [u.text is None and kind == "independent" for u in spoken]
        assert all(abs(u.sound.seconds - u.seconds) < 0.05 for u in spoken if u.sound)


def test_every_kind_and_rung_is_shown_and_heard(noisy: Seen) -> None:
    choices = choose(noisy, read_rows_of(noisy))
    assert {choice.kind for choice in choices if choice.kind} == {*KINDS, "ladder"}
    assert {choice.rung for choice in choices} == {None, 0, 1, 2}
    page = write_page(noisy).decode()
    articles = [article.partition("</article>")[0] for article in page.split("<article ")[1:]]
    silent = [article for article in articles if 'data-task="inaudible"' in article and "<audio" not in article]
    assert silent
    assert all("its sound tokens were drawn, and never were a sound" in article for article in silent)
    assert any(": masked" in article and "<audio" in article for article in articles)
    assert "rung 2 of a ladder" in page
