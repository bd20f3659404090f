"""What the report is made of: the same bytes again, what is there of an unfinished run, cautions, charts."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.arguments import load_run
from pipelines.errors import UserError
from pipelines.report.cautions import Caution, cautions
from pipelines.report.charts import SERIES, funnel_bars, png, svg
from pipelines.report.choose import PER_KIND, PER_TASK, choose
from pipelines.report.costs import Cost
from pipelines.report.page import shown, write_page
from pipelines.report.rows import cluster_sizes, read_rows_of
from pipelines.report.seen import Seen, look_at
from pipelines.report.sounds import read_samples
from pipelines.report.tables import by_attribute, voice_rows
from pipelines.report.texts import COMPARING, Histogram, Texts, measure_texts
from pipelines.report.tokens import Heard, Tokens, Voice, count, measure_tokens
from pipelines.row import REJECTED_RECORD, REJECTED_ROW, ROW
from pipelines.telling.samples import sample_rejects
from tests.conftest import speechmill


@pytest.fixture(scope="module")
def seen(finished: Path) -> Seen:
    return look_at(load_run(finished / "run"))


def test_the_same_run_gives_the_same_bytes_and_the_published_one_tells_no_costs(finished: Path, seen: Seen) -> None:
    published = (finished / "run" / "dataset" / "report.html").read_bytes()
    assert write_page(seen, with_costs=False) == published
    assert b"read.bad_json" in published
    assert str(finished).encode() not in published
    assert b'id="costs"' not in published
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", published.decode())
    assert {address.partition(":")[0] for address in addresses if address[0] != "#"} == {"data"}


def test_what_was_not_looked_through_is_not_published(finished: Path, tmp_path: Path) -> None:
    said = {
        "read.bad_json": {"raw": "mail me at ada@example.org"},
        "filter.private:email:ada@example.org": {"private": "email:ada@example.org", "duplicate_key": "a"},
        "filter.length:90": {"private": "email:ada@example.org", "duplicate_key": "b"},
        "filter.length:200": {},
        "filter.length:70": {"duplicate_key": "c"},
    }
    for number, (reject, scores) in enumerate(said.items()):
        row = {"id": str(number), "source": "s", "reject": reject, **scores}
        schema = REJECTED_RECORD if "raw" in scores else REJECTED_ROW.remove(REJECTED_ROW.get_field_index("spoken"))
        messages = {} if "raw" in scores else {"messages": [{"role": "user", "content": reject}]}
        pq.write_table(pa.Table.from_pylist([{**row, **messages}], schema=schema), tmp_path / f"{number}.parquet")
    files = {path.name: path for path in tmp_path.glob("*.parquet")}
    everything = sample_rejects(files)
    assert {reason: len(rows) for reason, rows in everything.items()} == {
        "filter.length": 3, "filter.private:email": 1, "read.bad_json": 1,
    }  # fmt: skip
    screened = sample_rejects(files, screened=True)
    assert [row.text for rows in screened.values() for row in rows] == ["filter.length:70"]
    published = (finished / "run" / "dataset" / "report.html").read_text()
    assert "Texts of such rows are not published" in published


def test_the_card_shows_its_pictures_and_links_the_report(finished: Path) -> None:
    dataset = finished / "run" / "dataset"
    card = (dataset / "README.md").read_text()
    assert "[report.html](report.html)" in card
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card)
    assert pictures == ["mixtures.png", "funnel.png"]
    for name in pictures:
        assert (dataset / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_an_unfinished_run_tells_what_is_not_there_yet(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    for gone in ("mix", "export.card", "export", "export.layout"):
        shutil.rmtree(run / gone)
    for shard in ("examples-00001", "examples-00003"):
        (run / "quantize" / f"{shard}.json").unlink()
    page = write_page(look_at(load_run(run))).decode()
    records = list((run / "quantize").glob("*-?????.json"))
    kept = sum(json.loads(path.read_bytes())["counts"]["rows_kept"] for path in records)
    assert f'data-fact="funnel.quantize.rows_kept">{kept:,}<' in page
    assert f"quantize is not finished: {len(records)} of {len(records) + 2} units are done" in page
    assert "mix is not finished: 0 units are done (waits for quantize)" in page
    assert "<strong>The run is not finished:</strong>" in page
    assert "<audio " in page


def test_a_run_that_is_only_spoken_can_be_heard(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    for gone in ("quantize", "noise", "noise.lengths", "mix", "export", "export.card"):
        shutil.rmtree(run / gone)
    page = write_page(look_at(load_run(run))).decode()
    assert "<audio " in page
    assert "Not quantized yet: no sound tokens." in page
    assert 'class="strip"' not in page


def test_what_has_read_nothing_is_no_run_to_report(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(finished / "run" / "recipe.json", tmp_path / "run")
    with pytest.raises(UserError, match="has read nothing yet: run the recipe first"):
        look_at(load_run(tmp_path / "run"))
    result = speechmill("report", finished / "run", "--out", tmp_path)
    assert result.returncode == 2
    assert "is a folder: name the file" in result.stderr


def test_removed_speech_is_said_in_its_place(seen: Seen) -> None:
    tts = seen.recipe.tts.model_copy(update={"keep_audio": False})
    removed = replace(seen, recipe=seen.recipe.model_copy(update={"tts": tts}))
    object.__setattr__(removed, "spoken", lambda: [])
    samples = read_samples(removed, choose(removed, read_rows_of(removed))[:4])
    utterances = [u for sample in samples for message in sample.messages for u in message.utterances]
    assert utterances
    assert {u.sound for u in utterances} == {None}
    assert all("tts.keep_audio: false" in u.silent_for for u in utterances)


def test_a_page_holds_no_more_sound_than_it_should(seen: Seen) -> None:
    choices = choose(seen, read_rows_of(seen))
    samples = read_samples(seen, choices, most_bytes=60_000)
    assert 60_000 <= sum(sample.data_bytes for sample in samples) < 200_000
    assert len(samples) == len(choices)
    last = [u for message in samples[-1].messages for u in message.utterances]
    assert {u.silent_for for u in last} == {"left out: this page holds as much sound as it should"}


def test_samples_are_of_every_task_third_voice_and_kind(seen: Seen) -> None:
    rows = read_rows_of(seen)
    choices = choose(seen, rows)
    assert choices == choose(seen, rows)
    by_task: dict[tuple[str, str], list[Any]] = {}
    for choice in choices:
        by_task.setdefault((choice.mixture, choice.task), []).append(choice)
    wanted = {(name, part) for name, mixture in seen.recipe.mix.mixtures.items() for part in mixture.parts}
    assert wanted <= set(by_task)
    assert len(by_task["stage2", "transcription"]) >= PER_TASK
    assert all(sum(c.kind == kind for c in choices) <= PER_KIND for kind in {c.kind for c in choices if c.kind})
    spoken = {s.voice for s in read_samples(seen, choices, 0)} - {""}
    assert spoken == set(rows.utterances["voice"].cast(str).unique())


def test_voices_add_up_and_have_their_due(seen: Seen) -> None:
    rows = read_rows_of(seen)
    voices = voice_rows(seen, rows, measure_tokens(seen))
    assert sum(voice["utterances"] for voice in voices) == rows.utterances.height
    assert sum(voice["share"] for voice in voices) == pytest.approx(1)
    assert {voice["due"] for voice in voices} == {0.05}  # twenty voices of one weight
    assert sum(by_attribute(voices)["gender"].values()) == rows.utterances.height


def test_a_sample_of_tokens_is_the_same_and_no_larger_than_asked(seen: Seen) -> None:
    whole, part, again = measure_tokens(seen), measure_tokens(seen, 30), measure_tokens(seen, 30)
    assert (whole.rows, part.rows) == (whole.of_rows, again.rows)
    assert 30 <= part.rows < whole.rows
    for key, heard in part.heard.items():
        assert (heard.used == again.heard[key].used).all()
    speech = next(heard for (_, what), heard in whole.heard.items() if what == "speech")
    assert int((speech.runs * np.arange(len(speech.runs))).sum()) == speech.tokens
    assert sum(voice.tokens for voice in speech.voices.values()) == speech.tokens


def test_two_tokenizers_are_told_apart(seen: Seen) -> None:
    def spoken(tokenizer: str, tokens: list[int]) -> dict[str, Any]:
        return {"turn": 0, "text": "Hello.", "voice": "a", "seconds": 0.2, "tokenizer": tokenizer, "tokens": tokens}

    rows = [
        {"exchanges": 1, "spoken": [spoken("one@1/fp32", [1, 1, 2, 2, 2])]},
        {"exchanges": 1, "spoken": [spoken("two@2/fp32", [3, 4, 5, 6, 7])]},
        {"exchanges": 1, "inaudible": '{"kind": "white"}', "spoken": [spoken("two@2/fp32", [9] * 5)]},
    ]
    heard: dict[tuple[str, str], Heard] = {}
    count(pa.Table.from_pylist(rows, schema=ROW), 512, heard)
    assert {key: (h.tokens, h.repeat_share) for key, h in heard.items()} == {
        ("one@1/fp32", "speech"): (5, pytest.approx(0.6)),
        ("two@2/fp32", "speech"): (5, 0.0),
        ("two@2/fp32", "inaudible"): (5, pytest.approx(0.8)),
    }
    assert heard["two@2/fp32", "speech"].perplexity == pytest.approx(5)


def test_every_scored_row_is_in_the_distributions(seen: Seen) -> None:
    texts = measure_texts(seen)
    assert texts is not None
    counts = seen.funnel.steps["filter"]
    assert int(texts.length.counts["kept"].sum()) == counts["rows_kept"]
    assert texts.length.total == counts["rows_in"]
    rejects = pl.Series(["filter.duplicate:a", "filter.near_duplicate:a", "filter.duplicate:a", "filter.duplicate:b"])
    assert [cluster_sizes(rejects, rule).tolist() for rule in COMPARING] == [[3, 2], [2]]


def voice_of(name: str, **known: Any) -> dict[str, Any]:
    return {"voice": name, "share": 0.25, "due": 0.25, "of": 1000, "repeats": 0.1, "sampled": 5000, **known}


def asked(seen: Seen, **measured: Any) -> list[Caution]:
    known: dict[str, Any] = {"texts": None, "tokens": Tokens(0, 0, {}), "voices": [], "lengths": {}, "spent": []}
    return cautions(seen, **{**known, **measured})


def test_cautions_name_the_number_and_the_place(seen: Seen) -> None:
    before = asked(seen)
    ordinary = [voice_of("a"), voice_of("b"), voice_of("c"), voice_of("d")]
    assert asked(seen, voices=ordinary) == before
    odd = [*ordinary[:3], voice_of("d", share=0.4, repeats=0.3)]
    found = [caution for caution in asked(seen, voices=odd) if caution not in before]
    assert [(caution.number, caution.where) for caution in found] == [
        ("40.0% of the utterances, its weight gives 25.0%", "voices"),
        ("30.0% of its tokens, the median voice 10.0%", "voices"),
    ]
    few = [*ordinary[:3], voice_of("d", share=0.4, of=30)]  # chance alone may do that
    assert asked(seen, voices=few) == before
    tasks = [{"task": "speech_instruction", "rows": 100, "mean": 3.0}, {"task": "inaudible", "rows": 100, "mean": 6.0}]
    (gap,) = [caution for caution in asked(seen, lengths={"m": tasks}) if caution not in before]
    assert (gap.what, gap.number) == ("m: inaudible is longer than speech_instruction", "6.0 s and 3.0 s an exchange")
    used = np.zeros(512, np.int64)
    used[:100] = 200
    heard = Heard(used, np.zeros(17, np.int64), [], 1000.0, {"a": Voice()})
    (codes, rate) = [c for c in asked(seen, tokens=Tokens(1, 1, {("t", "speech"): heard})) if c not in before]
    assert (codes.number, rate.number) == ("100 of 512", "20.00 instead of 25")
    histogram = Histogram(np.array([0.0, 1.0]), {})
    clusters = Texts(histogram, histogram, {"near_duplicate": np.array([500, 2])})
    (cluster,) = [caution for caution in asked(seen, texts=clusters) if caution not in before]
    assert cluster.number == "500 rows of one kind"
    cost = Cost("answer", 1, 10, 1.0, None, None, None, 100, {"requests": 100.0, "retries": 40.0})
    (retried,) = [caution for caution in asked(seen, spent=[cost]) if caution not in before]
    assert retried.number == "40 retries of 100 requests"


def test_a_rule_that_rejects_most_of_a_source_is_a_caution(seen: Seen) -> None:
    funnel = seen.funnel
    rejected = {**funnel.rejected, "examples": {"filter.length": 100}}
    sources = {**funnel.sources, "examples": {**funnel.sources["examples"], "filter": 1}}
    changed = replace(seen)
    changed.__dict__["funnel"] = replace(funnel, rejected=rejected, sources=sources)
    found = [caution for caution in asked(changed) if caution not in asked(seen)]
    assert [(c.what, c.number) for c in found] == [
        ("filter.length rejects most of examples", "100 of 140 records (71%)"),
        ("hardly anything is left of examples", "1 of 140 records"),
    ]


def test_a_chart_takes_the_colours_of_the_page(seen: Seen) -> None:
    drawn = svg(funnel_bars(seen.funnel), 'kept "most"')
    assert 'aria-label="kept &quot;most&quot;"' in drawn
    assert "style=" not in drawn
    assert not re.search(r"#[0-9a-f]{6}|\bid=", drawn)
    assert 'class="fill-s0"' in drawn
    assert drawn == svg(funnel_bars(seen.funnel), 'kept "most"')
    picture = png(funnel_bars(seen.funnel), "A title")
    assert picture == png(funnel_bars(seen.funnel), "A title")
    css = (Path(__file__).parents[2] / "pipelines" / "report" / "page.css").read_text()
    assert all(f"--s{number}: {colour};" in css for number, colour in enumerate(SERIES))


@pytest.mark.parametrize("text", ["\x00", "\u202e", "\u2066", "\ufeff", "\x1b", "\x9b"])
def test_marks_that_hide_are_shown(text: str) -> None:
    assert str(shown(f"a{text}b")) == f'<bdi>a<span class="mark">U+{ord(text):04X}</span>b</bdi>'


def test_joiners_of_emoji_and_scripts_stay() -> None:
    for text in ("👩‍👩‍👧", "می‌خواهم", "क्‍ष", "🏳️‍🌈"):
        assert str(shown(text)) == f"<bdi>{text}</bdi>"
