"""noise.sounds and noise.speech in whole runs: every kind, as long as drawn, the same whatever the shards."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
import yaml

from noise import NOISE_KINDS
from pipelines.errors import UserError
from pipelines.noise_options import Ladder, Noise
from pipelines.recipe import load_recipe, parse_recipe
from pipelines.row import Row
from pipelines.steps.noise_ladder import _rung, clips_of
from pipelines.steps.noise_sounds import Material, Sound, draw
from pipelines.steps.noise_speech import Pool
from pipelines.tasks import Writing, render
from quantize import load_tokenizer
from quantize.audio import decode_audio
from tests.conftest import ROOT, assert_done, content, recipe_of, speechmill, write_recipe
from tts.audio import encode_audio

sys.path.insert(0, str(ROOT / "tests/quantize"))
from seeded import write_openai, write_whispervq

ROWS, CHATS = 130, 6
MIX, BOTH = {"max_refusal_share": 1}, {"transcription": 50, "interrupted": 50}


def recipe(
    folder: Path, noise: dict[str, Any] | None = None, per_shard: int = 20, limit: int = 80, **changes: Any
) -> Path:
    """Write a recipe with every kind of noise, a ladder and interruptions."""
    everything = {
        "rows": ROWS,
        "kinds": dict.fromkeys(NOISE_KINDS, 1),
        "recordings": str(folder / "recordings"),
        "ladder": {"rows": 4, "rungs": 5, "snr_db": [20, -20]},
    }
    (folder / "recordings" / "street").mkdir(parents=True, exist_ok=True)
    hiss = np.random.Generator(np.random.PCG64(0)).normal(0, 0.1, 400_000)
    soundfile.write(folder / "recordings/short.wav", hiss[:8000], 16_000)
    soundfile.write(folder / "recordings/street/long.flac", hiss, 44_100)
    return write_recipe(
        folder,
        sources=[
            {
                "name": "examples",
                "path": "examples/instructions.jsonl",
                "turns": "all",
                "limit": limit,
                "license": "MIT",
            }
        ],
        read={"rows_per_shard": per_shard},
        noise=everything if noise is None else noise,
        **{
            "export": {},
            "chats": {"inaudible": CHATS},
            "mix": {**MIX, "mixtures": {"all": {"parts": BOTH}}},
            **changes,
        },
    )


def sounds(run: Path, name: str = "*") -> list[Row]:
    return [
        row
        for path in sorted((run / "noise.sounds").glob(f"{name}.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def rows_in(run: Path, step: str) -> list[Row]:
    return [row for path in sorted((run / step).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def tokens_of(row: Row) -> list[int]:
    return [token for utterance in row["spoken"] for token in utterance["tokens"]]


def spoken_lengths(run: Path) -> Counter[int]:
    table = pl.read_parquet(run / "noise.lengths/all.parquet")
    return Counter(dict(table.iter_rows()))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with every kind, by the plain loop. Read only."""
    folder = tmp_path_factory.mktemp("noise")
    assert_done(speechmill("noise", recipe(folder), "--workers", "0"))
    return folder


def test_every_row_is_there_says_its_kind_and_is_as_long_as_a_prompt(done: Path) -> None:
    run = done / "run"
    rows, lengths = sounds(run, "noise-*"), spoken_lengths(run)
    assert [row["index"] for row in rows] == list(range(ROWS))
    assert len(sounds(run, "interruptions-*")) == CHATS
    everything = sounds(run)
    assert len({row["id"] for row in everything}) == len(everything) == ROWS + CHATS + 20
    kinds = Counter(json.loads(row["inaudible"])["kind"] for row in rows)
    assert set(kinds) == set(NOISE_KINDS)
    for row in [*rows, *sounds(run, "interruptions-*")]:
        assert row["messages"] == [{"role": "user", "content": ""}]
        assert (row["answered"], row["exchanges"], row["source"], row["degraded"]) == (False, 1, "noise", None)
        assert len(tokens_of(row)) in lengths
        assert row["spoken"][0]["seconds"] == len(tokens_of(row)) / 25
        assert max(tokens_of(row)) < 512


def test_what_a_row_says_is_how_it_was_made(done: Path) -> None:
    """Each sound is made again, alone, and heard again: the same tokens; and what it is made of is named."""
    run = done / "run"
    paths = sorted((run / "noise.speech").glob("*.parquet"))
    pool = Pool(paths, 1)
    options = load_recipe(done / "recipe.yaml").noise
    files = tuple(sorted(("short.wav", "street/long.flac")))
    spoken = {row["id"]: row for path in paths for row in pq.read_table(path).to_pylist()}
    own = {row["id"] for path in (run / "quantize").glob("*.parquet") for row in pq.read_table(path).to_pylist()}
    assert set(spoken) <= own
    tokenizer = load_tokenizer("mel512")
    lengths = pl.read_parquet(run / "noise.lengths/all.parquet")
    args = {"stream": "noise", "kinds": dict.fromkeys(NOISE_KINDS, 1), "tokens_per_second": 25}
    seen = set()
    for row in sounds(run, "noise-*"):
        said = json.loads(row["inaudible"])
        kind, of = said.pop("kind"), said.get("of")
        named = [of] if isinstance(of, str) else of or []
        assert set(named) <= own
        assert row["license"] == ("MIT" if named else "unknown" if kind == "recordings" else "Apache-2.0")
        if NOISE_KINDS[kind] in ("nothing", "recordings", "speech") and kind not in seen:
            seen.add(kind)
            tokens = tokens_of(row)
            sound = draw(1, row["index"], args, lengths["tokens"].to_numpy(), lengths["prompts"].to_numpy(), pool)
            assert (sound.kind, sound.length) == (kind, len(tokens))
            pool.read(set(sound.of))
            material = Material(options, pool, files, done / "recordings")
            samples, same, _ = material.make(sound, 640 * len(tokens), 16_000)
            assert same == said
            heard = np.rint(samples).clip(-32768, 32767).astype(np.float32) / np.float32(32768)
            assert tokenizer.encode([heard])[0].tolist() == tokens
        if kind == "masked":
            assert -30.1 <= said["snr_db"] <= -14.9
    assert len(seen) == 11


@pytest.mark.long
def test_shards_and_workers_change_no_row(done: Path, tmp_path: Path) -> None:
    (tmp_path / "recordings").symlink_to(done / "recordings")
    assert_done(speechmill("noise", recipe(tmp_path, per_shard=33), "--workers", "2"))
    for name in ("noise-*", "interruptions-*", "ladder-*"):
        assert sounds(tmp_path / "run", name) == sounds(done / "run", name)


def test_a_ladder_is_the_same_sentence_ever_harder_to_hear(done: Path) -> None:
    run = done / "run"
    quantized = {
        row["id"]: row for path in (run / "quantize").glob("*.parquet") for row in pq.read_table(path).to_pylist()
    }
    rungs = sounds(run, "ladder-*")
    assert len(rungs) == 20
    agreement: list[list[float]] = []
    for start in range(0, 20, 5):
        ladder = [json.loads(row["degraded"]) for row in rungs[start : start + 5]]
        of = quantized[ladder[0]["of"]]
        assert (of["exchanges"], of["answered"]) == (1, True)
        assert [rung["snr_db"] for rung in ladder] == [20.0, 10.0, 0.0, -10.0, -20.0]
        assert {(rung["of"], rung["rungs"], rung["noise"]) for rung in ladder} == {(of["id"], 5, "pink")}
        for number, (row, said) in enumerate(zip(rungs[start : start + 5], ladder, strict=True)):
            assert row["id"] == f"{of['id']}/ladder-{number}"
            assert said["rung"] == number
            assert (row["source"], row["license"], row["spoken"][0]["voice"]) == (
                of["source"], of["license"], of["spoken"][0]["voice"],
            )  # fmt: skip
            assert all(utterance["audio"] is None for utterance in row["spoken"])
            assert len(tokens_of(row)) == len(tokens_of(of))
            if said["snr_db"] >= -6:
                assert (row["messages"], row["answered"], row["inaudible"]) == (of["messages"], True, None)
            else:
                system = [message for message in of["messages"] if message["role"] == "system"]
                assert (row["messages"], row["answered"]) == ([*system, {"role": "user", "content": ""}], False)
                assert json.loads(row["inaudible"]) == {"kind": "ladder", **said}
        clear = np.array(tokens_of(of))
        agreement.append([float((np.array(tokens_of(row)) == clear).mean()) for row in rungs[start : start + 5]])
    shares = np.mean(agreement, axis=0)
    assert shares[0] > 0.4 > 0.2 > shares[1] > 2 * max(shares[2:])  # by chance, some of 512 agree


def test_the_rungs_of_a_sentence_have_the_snr_that_they_say_and_one_noise() -> None:
    at = np.arange(24_000) / 16_000
    speech = np.rint(1500 * np.sin(2 * np.pi * 300 * at) * np.sin(np.pi * 3 * at) ** 2).astype(np.int16)
    utterance = {"audio": {"bytes": encode_audio(speech, 16_000, "flac")[0]}}
    tokenizer, noises = load_tokenizer("mel512"), []
    for of, snr_db in (("one", 10.0), ("one", -4.0), ("one", -20.0), ("other", -4.0)):
        row = {"degraded": json.dumps({"of": of, "snr_db": snr_db, "noise": "pink"}), "spoken": [utterance]}
        (clip,) = clips_of(row, tokenizer, seed=1)
        noises.append(clip.samples * 32_768.0 - speech)  # quiet enough that nothing had to be turned down
        measured = 10 * np.log10(np.square(speech.astype(float)).sum() / np.square(noises[-1]).sum())
        assert measured == pytest.approx(snr_db, abs=0.05)
    alike = [float(np.corrcoef(noises[1], other)[0, 1]) for other in noises]
    assert min(alike[0], alike[2]) > 0.999
    assert abs(alike[3]) < 0.5


def test_a_rung_that_nobody_hears_keeps_the_system_message_that_turns_are_counted_from() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a noble gas."},
        {"role": "assistant", "content": "Argon."},
    ]
    utterance = {"turn": 1, "tokens": [1, 2, 3], "seconds": 0.12, "voice": "v", "tts": "t", "tokenizer": "mel512"}
    empty = dict.fromkeys(("inaudible", "degraded", "generated", "cut"))
    row = {
        "id": "a",
        "source": "s",
        "license": "MIT",
        "length": 4,
        "messages": messages,
        "spoken": [utterance],
        **empty,
    }
    low = _rung(row, 1, Ladder(rows=1, rungs=2, snr_db=(20, -20)))
    answered = {**low, "messages": [*low["messages"], {"role": "assistant", "content": "Pardon?"}]}
    said = render(answered, "inaudible", 0, Writing(1))["conversations"]
    assert [message["role"] for message in said] == ["system", "user", "assistant"]
    assert said[0]["content"] == "Be brief."
    assert said[1]["content"].startswith("<|sound_start|>")
    assert "noble" not in str(low["messages"])


def test_a_ladder_of_bands_falls_by_equal_ratios() -> None:
    ladder = Ladder(rows=1, rungs=5, band_hz=(8000, 500))
    assert ladder.steps == ((8000.0, True), (4000.0, True), (2000.0, True), (1000.0, False), (500.0, False))


def test_lengths_of_many_rows_follow_the_prompts(tmp_path: Path) -> None:
    """Kolmogorov and Smirnov's D between 10,000 rows and the prompts' lengths."""
    assert_done(
        speechmill("noise", recipe(tmp_path, {"rows": 10_000}, per_shard=5000, limit=30, chats={}), "--workers", "0")
    )
    lengths = spoken_lengths(tmp_path / "run")
    rows = pl.concat(
        pl.read_parquet(path, columns=["spoken"])
        for path in sorted((tmp_path / "run/noise.sounds").glob("noise*.parquet"))
    )
    made = Counter(rows["spoken"].list.first().struct.field("tokens").list.len().to_list())
    assert made.total() == 10_000
    at = sorted(lengths | made)
    both = [np.cumsum([counts[length] for length in at]) / counts.total() for counts in (lengths, made)]
    assert np.abs(both[0] - both[1]).max() <= 0.03
    assert not list((tmp_path / "run/noise.speech").glob("*.parquet"))  # nothing is kept that nothing is made of


@pytest.mark.parametrize("policy", ["drop", "keep", "reject"])
def test_a_whispervq_hears_as_many_tokens_as_drawn_whatever_becomes_of_its_mask_code(
    policy: str, tmp_path: Path
) -> None:
    model = write_whispervq(tmp_path / "vq.model", "micro")
    louder = torch.load(model, weights_only=True)
    louder["state_dict"]["rq.layers.0._codebook.embed"][0, 512] *= 1.3  # so that it is nearest now and then
    torch.save(louder, model)
    whisper = write_openai(tmp_path / "whisper.pt", "micro")
    quantize = {"tokenizer": "whispervq", "model": str(model), "whisper": str(whisper), "mask_code": policy}
    kinds = dict.fromkeys(("independent", "pink", "clicks", "reversed", "babble"), 1)
    noise = {"rows": 40, "kinds": kinds}
    path = recipe(tmp_path, noise, limit=24, quantize=quantize, chats={})
    assert_done(speechmill("noise", path, "--workers", "0"))
    run = tmp_path / "run"
    rows, lengths = sounds(run), spoken_lengths(run)
    rejects = [
        reject
        for name in (run / "noise.sounds/rejects").glob("*.parquet")
        for reject in pq.read_table(name)["reject"].to_pylist()
    ]
    assert len(rows) + len(rejects) == 40
    masks = sum(tokens_of(row).count(512) for row in rows)
    assert all(reject.startswith("noise.sounds.mask_code:") for reject in rejects)
    assert {"drop": (masks, rejects == []), "keep": (masks > 0, rejects), "reject": (masks, rejects != [])}[policy] == {
        "drop": (0, True), "keep": (True, []), "reject": (0, True),
    }[policy]  # fmt: skip
    assert {row["spoken"][0]["tokenizer"].partition("@")[0] for row in rows} == {"whispervq"}
    for row in rows:
        assert len(tokens_of(row)) in lengths
    codes = {t for row in rows if json.loads(row["inaudible"])["kind"] == "independent" for t in tokens_of(row)}
    assert max(codes) < 512


def test_kept_speech_outlives_the_speech_and_is_asked_for_again_where_it_is_wanted_later(tmp_path: Path) -> None:
    of_ids, of_speech = {"rows": 20}, {"rows": 20, "kinds": {"masked": 1, "babble": 1}}
    quiet: dict[str, Any] = {
        "tts": {"keep_audio": False, "augment": {"gain_db": [-6, 0]}},
        "chats": {},
        "mix": {**MIX, "mixtures": {"all": {"parts": {"transcription": 100}}}},
    }
    path = recipe(tmp_path, of_ids, **quiet)
    run = tmp_path / "run"
    assert_done(speechmill("run", path, "--workers", "0"))
    gone = [run / folder / f"examples-0000{n}.parquet" for folder in ("tts", "tts.augment") for n in range(4)]
    assert not any(shard.exists() for shard in gone)
    assert not list((run / "noise.speech").glob("*.parquet"))
    tokens = {file.name: file.stat().st_mtime_ns for file in (run / "quantize").glob("*.parquet")}

    recipe(tmp_path, of_speech, **quiet)
    assert "was removed, and noise.speech needs it again" in speechmill("plan", path).stdout
    assert_done(speechmill("run", path, "--workers", "0"))
    assert not any(shard.exists() for shard in gone)
    assert {file.name: file.stat().st_mtime_ns for file in (run / "quantize").glob("*.parquet")} == tokens
    kept = {file: file.stat().st_mtime_ns for file in (run / "noise.speech").glob("*.parquet")}
    assert len(kept) == 4
    for file in kept:
        for row in pq.read_table(file).to_pylist():
            assert all(decode_audio(utterance["audio"]["bytes"])[0].any() for utterance in row["spoken"])
    assert_done(speechmill("verify", run))
    assert "Nothing to do" in speechmill("run", path, "--workers", "0").stdout

    # More of the same rows need no speech again, and quantize alone keeps what noise will want.
    assert_done(speechmill("run", path, "--workers", "0", "--set", "noise.rows=30"))
    assert {file: file.stat().st_mtime_ns for file in (run / "noise.speech").glob("*.parquet")} == kept
    next(iter(kept)).unlink()
    assert_done(speechmill("quantize", path, "--workers", "0"))
    assert all(file.exists() for file in kept)
    assert not any(shard.exists() for shard in gone)
    whole = content(run)
    assert_done(speechmill("run", path, "--workers", "0", "--set", "noise.rows=30"))
    assert content(run) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": {"kinds": {"pinc": 1}}}, "did you mean pink"),
        (
            {"noise": {"kinds": {"recordings": 1}}},
            "the kind recordings and the folder noise.recordings need each other",
        ),
        ({"noise": {"recordings": "here"}}, "the kind recordings and the folder noise.recordings need each other"),
        ({"noise": {"masked_snr_db": [-20, 5]}}, "louder speech is understood"),
        ({"noise": {"ladder": {"rows": 3}}}, "give exactly one of snr_db and band_hz"),
        ({"noise": {"ladder": {"rows": 3, "snr_db": [-20, 20]}}}, "does not fall within"),
        ({"noise": {"ladder": {"rows": 3, "snr_db": [20, -20], "rung": 3}}}, "did you mean rungs"),
    ],
)
def test_noise_that_cannot_be_made_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_recipe(json.loads(json.dumps(recipe_of(**changes))), "recipe.yaml")
    assert message in str(caught.value)


def test_kinds_of_speech_need_an_engine_that_speaks_where_some_are_made() -> None:
    parsed = parse_recipe(recipe_of(tts={"engine": "espeak"}, export={}, noise={"kinds": {"babble": 1}}), "recipe.yaml")
    assert parsed.noise_of_speech
    mute = parsed.model_copy(update={"tts": parsed.tts.model_copy(update={"engine": "whisperspeech_tokens"})})
    with pytest.raises(
        ValueError, match=r"noise.kinds: it is made of this run's speech, and tts.engine whisperspeech_"
    ):
        mute._speech_for_noise()
    none = mute.model_copy(update={"noise": parsed.noise.model_copy(update={"rows": 0})})
    assert none._speech_for_noise() is none
    with pytest.raises(ValueError, match=r"noise.kinds: "):
        none.model_copy(update={"chats": parsed.chats.model_copy(update={"inaudible": 1})})._speech_for_noise()


def test_a_recording_has_the_license_that_the_recipe_says_and_silence_has_no_level(tmp_path: Path) -> None:
    hiss = np.random.Generator(np.random.PCG64(0)).normal(0, 0.1, 16_000)
    for name, samples in (("hiss.wav", hiss), ("zero.wav", np.zeros(16_000))):
        soundfile.write(tmp_path / name, samples, 16_000)
    options = Noise(kinds={"recordings": 1}, recordings=".", recordings_license="CC0-1.0")
    for name, said in (("hiss.wav", {"file", "level_dbfs"}), ("zero.wav", {"file"})):
        material = Material(options, None, (name,), tmp_path)
        samples, about, license = material.make(Sound("recordings", 20, (), 7), 20 * 640, 16_000)
        assert (set(about), about["file"], license) == (said, name, "CC0-1.0")
        assert samples.any() == (name == "hiss.wav")


def test_nothing_of_evaluation_goes_into_noise_and_no_license_is_said_twice(tmp_path: Path) -> None:
    """Held-out voices, two readings of each prompt, sources of two licenses, ladders and interrupted chats."""
    voices = ["en", "en-us", {"id": "en+f1", "held_out": True}, {"id": "en-us+f3", "held_out": True}]
    chats = {"name": "own", "path": "tests/data/chats.jsonl", "license": "CC-BY-4.0", "turns": {"at_most": 2}}
    examples = {"name": "examples", "path": "examples/instructions.jsonl", "license": "MIT", "limit": 24}
    parts = {"transcription": 60, "degraded": 10, "inaudible": 10, "interrupted": 20}
    evaluated = {"parts": {"transcription": 90, "two_turn": 10}, "held_out": True}
    ladder = {"rows": 5, "rungs": 3, "band_hz": [8000, 500]}
    kinds = dict.fromkeys(("shuffled", "babble", "masked", "reversed", "recordings"), 1)
    hiss = np.random.Generator(np.random.PCG64(0)).normal(0, 0.1, 16_000)
    (tmp_path / "recordings").mkdir()
    soundfile.write(tmp_path / "recordings/hiss.wav", hiss, 16_000)
    path = write_recipe(
        tmp_path,
        sources=[chats, examples],
        noise={"rows": 40, "kinds": kinds, "recordings": str(tmp_path / "recordings"), "ladder": ladder},
        tts={"voices": voices, "per_prompt": 2, "held_out_share": 0.4},
        chats={"inaudible": 4},
        mix={**MIX, "mixtures": {"all": {"parts": parts}, "eval": evaluated}},
        export={},
    )
    assert_done(speechmill("run", path, "--workers", "0"))
    run = tmp_path / "run"
    assert_done(speechmill("verify", run))
    card = (run / "dataset/README.md").read_text()
    assert "| recordings of noise | files | unknown |" in card
    assert "license_name: cc-by-4.0-and-mit-and-unknown" in card
    voice_of = {row["id"]: row["spoken"][0]["voice"] for row in rows_in(run, "quantize")}
    held_out = {row_id for row_id, voice in voice_of.items() if voice in ("en+f1", "en-us+f3")}
    assert len(held_out) > 10
    made, interrupted = rows_in(run, "noise"), rows_in(run, "noise.chats")
    used = Counter[str]()
    for row in made:
        said = json.loads(row["inaudible"] or row["degraded"])
        of = said.get("of", [])
        of = [of] if isinstance(of, str) else of
        assert held_out.isdisjoint(of)
        used[said.get("kind", "degraded")] += 1
    assert used.keys() == {*kinds, "ladder", "degraded"}
    assert {row["id"].removesuffix("/inaudible") for row in interrupted}.isdisjoint(held_out)
    both = {"CC-BY-4.0", "MIT", "CC-BY-4.0 AND MIT"}
    assert both <= {row["license"] for row in made} <= {*both, "unknown"}
    names = [name for row in interrupted for name in row["license"].split(" AND ")]
    assert len(names) == sum(len(set(row["license"].split(" AND "))) for row in interrupted)
    ids = [row["id"] for step in ("quantize", "noise", "noise.chats") for row in rows_in(run, step)]
    assert len(set(ids)) == len(ids)

    # A mixture of interrupted chats by held-out voices gets some.
    evaluated["parts"] = {"transcription": 90, "interrupted": 10}
    mixtures = {"all": {"parts": {"transcription": 60, "inaudible": 40}}, "eval": evaluated}
    changed = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**changed, "mix": {**MIX, "mixtures": mixtures}}))
    assert_done(speechmill("noise", path, "--workers", "0"))
    assert {row["id"].removesuffix("/inaudible") for row in rows_in(run, "noise.chats")} <= held_out


def test_recordings_and_sentences_that_are_not_there_are_said(tmp_path: Path) -> None:
    path = recipe(tmp_path, {"rows": 5, "kinds": {"recordings": 1}, "recordings": str(tmp_path / "nowhere")})
    result = speechmill("noise", path, "--workers", "0")
    assert (result.returncode, "noise.recordings: no recordings" in result.stderr) == (2, True)
    ladder = {"rows": 900, "rungs": 2, "band_hz": [8000, 500]}
    path = recipe(tmp_path, {"rows": 5, "ladder": ladder}, limit=40, chats={})
    result = speechmill("noise", path, "--workers", "0")
    assert result.returncode == 2
    assert "900 sentences are wanted" in result.stderr.replace("\n", " ")
    assert_done(speechmill("noise", path, "--workers", "0", "--set", "limit=40"))  # a small run has what it has
    rungs = len(sounds(tmp_path / "run", "ladder-*"))
    assert 0 < rungs < 2 * 40
    assert len({row["id"] for row in sounds(tmp_path / "run")}) == rungs + 5
