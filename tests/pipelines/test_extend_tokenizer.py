"""An extended tokenizer gives every sound token one id, and every other text the ids it had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.extend_tokenizer import extend, of_run, vocabulary
from quantize.run_lengths import duration_tokens, format_runs
from quantize.sound_string import find_sounds, format_sound
from tests.conftest import EXAMPLES, assert_done, speechmill

tokenizers = pytest.importorskip("tokenizers")

TEXTS = [m["content"] for line in EXAMPLES.read_text().splitlines()[:200] for m in json.loads(line).get("messages", [])]
ENTRY = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}


def train(normalizer: Any = None) -> Any:
    """Return a small byte-level BPE of the examples, with two special tokens of its own."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|begin|>", "<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def write(folder: Path, tokenizer: Any) -> Path:
    """Write a folder as transformers does, with a model's files in it."""
    (folder / "templates").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    decoder = {str(i): {"content": token, **ENTRY} for i, token in enumerate(["<|begin|>", "<|end|>"])}
    files: dict[str, Any] = {
        "tokenizer_config.json": {
            "added_tokens_decoder": decoder,
            "eos_token": "<|end|>",
            "model_max_length": 10**30,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        "special_tokens_map.json": {"bos_token": "<|begin|>", "eos_token": "<|end|>"},
        "added_tokens.json": {"<|begin|>": 0, "<|end|>": 1},
        "config.json": {"vocab_size": 704},
        "templates/chat.jinja": "{{ messages }}",
        "model.safetensors": "weights",
    }
    for name, value in files.items():
        (folder / name).write_text(value if isinstance(value, str) else json.dumps(value, indent=2) + "\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small real tokenizer. Read only."""
    return write(tmp_path_factory.mktemp("model") / "model", train())


@pytest.fixture(scope="module")
def extended(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, extended by all that there is. Read only."""
    out = tmp_path_factory.mktemp("extended") / "model"
    extend(folder, out, vocabulary(512, mask=True, durations=True))
    return out


def load(folder: Path) -> Any:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def config_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "tokenizer_config.json").read_bytes()))


def test_every_exported_sound_is_one_id_a_token(extended: Path, finished: Path) -> None:
    tokenizer = load(extended)
    plain: list[str] = []
    runs: list[str] = []
    for path in (finished / "run" / "dataset").glob("stage*/*.parquet"):
        for pair in pq.read_table(path).to_pylist():
            plain += [sound for message in pair["conversations"] for sound in find_sounds(message["content"])]
            runs += [format_runs(pair["tokens"])] if pair["tokens"] else []
    assert len(plain) > 100
    assert "<|duration_" in "".join(runs)
    for sound in [*plain, *runs]:
        encoded = tokenizer.encode(sound, add_special_tokens=False)
        assert "".join(encoded.tokens) == sound
        assert len(encoded.ids) == sound.count("<|")
        assert tokenizer.decode(encoded.ids, skip_special_tokens=False) == sound
        beside = tokenizer.encode(f"Type this:  {sound}ok", add_special_tokens=False)
        words = tokenizer.encode("Type this:  ", add_special_tokens=False).ids
        assert beside.ids == [*words, *encoded.ids, *tokenizer.encode("ok", add_special_tokens=False).ids]


def test_ordinary_text_keeps_its_ids(folder: Path, extended: Path) -> None:
    before, after = load(folder), load(extended)
    for text in [*TEXTS, "<|begin|>hi<|end|>", "<|sound_9|> <|sound_0513|> <|duration_50|> <| sound", "naïve 音 🎧"]:
        assert after.encode(text).ids == before.encode(text).ids
        assert after.encode(text).tokens == before.encode(text).tokens


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.text(max_size=40))
def test_any_text_keeps_its_ids(folder: Path, extended: Path, text: str) -> None:
    assert load(extended).encode(text).ids == load(folder).encode(text).ids


def test_ids_follow_those_that_were(folder: Path, tmp_path: Path) -> None:
    size = load(folder).get_vocab_size()
    made = extend(folder, tmp_path / "out", vocabulary(512, mask=True, durations=True))
    assert list(made.ids.values()) == list(range(size, size + 2 + 513 + 48))
    assert list(made.ids)[:3] == ["<|sound_start|>", "<|sound_end|>", "<|sound_0000|>"]
    assert list(made.ids)[-49:] == ["<|sound_0512|>", *duration_tokens()]
    assert (made.added, made.rows, made.left) == (563, size + 563, ("model.safetensors",))
    assert made.padded % 64 == 0
    assert 0 <= made.padded - made.rows < 64
    special = {t.content for t in load(tmp_path / "out").get_added_tokens_decoder().values() if t.special}
    assert special == {"<|begin|>", "<|end|>", "<|sound_start|>", "<|sound_end|>"}


def test_a_model_with_rows_to_spare_needs_no_resize(folder: Path, tmp_path: Path) -> None:
    """Qwen2.5 has 151,936 embeddings for 151,665 ids: a resize to the vocabulary would take rows away."""
    tokens = vocabulary(8, mask=False, durations=False)
    few = "\n".join(extend(folder, tmp_path / "out", tokens).said(tmp_path / "out"))
    assert "resize the model's embeddings: model.resize_token_embeddings(768)" in few
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"vocab_size": 1024}')
    many = "\n".join(extend(tmp_path / "model", tmp_path / "many", tokens).said(tmp_path / "many"))
    assert "the model has 1024 embeddings already (config.json): there is nothing to resize" in many


def test_ichigos_vocabularies() -> None:
    assert 128_256 + len(vocabulary(512, mask=True, durations=False)) == 128_771
    assert 128_256 + len(vocabulary(2561, mask=False, durations=True)) == 130_867


def test_the_other_files_agree_or_are_as_they_were(folder: Path, extended: Path) -> None:
    before, after = content(folder), content(extended)
    assert before.keys() - after.keys() == {"model.safetensors"}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"tokenizer.json", "tokenizer_config.json", "added_tokens.json"}
    decoder = config_of(extended)["added_tokens_decoder"]
    added = {str(i): token for i, token in load(extended).get_added_tokens_decoder().items()}
    assert list(decoder) == sorted(added, key=int)
    for number, entry in decoder.items():
        assert entry == {key: getattr(added[number], key) for key in ("content", *ENTRY)}
    rest = {key: value for key, value in config_of(extended).items() if key != "added_tokens_decoder"}
    assert rest.items() <= config_of(folder).items()
    ids = json.loads(after["added_tokens.json"])
    assert ids == {token.content: int(i) for i, token in added.items()}


def test_transformers_sees_the_same_ids(folder: Path, extended: Path) -> None:
    transformers = pytest.importorskip("transformers")
    before, after = (transformers.AutoTokenizer.from_pretrained(path) for path in (folder, extended))
    sound = format_runs([7] * 60 + [512, 3], 513)
    assert after(sound).input_ids == load(extended).encode(sound).ids
    assert after.decode(after(sound).input_ids) == sound
    assert len(after(sound).input_ids) == sound.count("<|")
    assert len(after) == len(before) + 563
    for text in TEXTS:
        assert after(text).input_ids == before(text).input_ids


def test_extended_again_it_is_unchanged(folder: Path, extended: Path, tmp_path: Path) -> None:
    tokens = vocabulary(512, mask=True, durations=True)
    again = extend(extended, tmp_path / "again", tokens)
    assert (again.added, content(tmp_path / "again")) == (0, content(extended))
    assert extend(extended, extended, tokens) == again  # in place
    times = {path: path.stat().st_mtime_ns for path in extended.rglob("*")}
    assert extend(folder, extended, tokens).ids == again.ids
    assert {path: path.stat().st_mtime_ns for path in extended.rglob("*")} == times


def test_what_has_them_all_stays_as_it_is_to_the_byte(extended: Path, tmp_path: Path) -> None:
    """Written by another program, or another version of the library."""
    source = tmp_path / "model"
    shutil.copytree(extended, source)
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        (source / name).write_text(json.dumps(json.loads((source / name).read_bytes())))
    extend(source, tmp_path / "out", vocabulary(512, mask=True, durations=True))
    assert content(tmp_path / "out") == content(source)


def test_more_can_be_added_later(folder: Path, tmp_path: Path) -> None:
    few = extend(folder, tmp_path / "few", vocabulary(512, mask=False, durations=False))
    more = extend(tmp_path / "few", tmp_path / "more", vocabulary(512, mask=True, durations=False))
    assert (more.added, more.ids["<|sound_0512|>"]) == (1, few.rows)
    assert few.ids.items() <= more.ids.items()


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path, extended: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(extended, out)
    before = content(out)
    with pytest.raises(UserError, match="is not empty, and holds something else than this result: name a new one"):
        extend(folder, out, vocabulary(512, mask=False, durations=False))
    with pytest.raises(UserError, match="is not empty"):
        extend(folder, folder, vocabulary(512, mask=False, durations=False))
    assert content(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "empty").mkdir()
    extend(folder, tmp_path / "empty", vocabulary(512, mask=True, durations=True))
    assert content(tmp_path / "empty") == content(extended)


@pytest.mark.parametrize("name", ["Lowercase", "NFD", "Prepend", "Replace"])
def test_a_normalizer_does_not_reach_the_tokens(name: str, tmp_path: Path) -> None:
    arguments = {"Prepend": ("▁",), "Replace": ("_", " ")}.get(name, ())
    source = write(tmp_path / "model", train(getattr(tokenizers.normalizers, name)(*arguments)))
    extend(source, tmp_path / "out", vocabulary(512, mask=False, durations=False))
    sound = format_sound([1, 511, 511])
    assert load(tmp_path / "out").encode(sound).tokens == [f"{token}|>" for token in sound.split("|>")[:-1]]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("tokenizer.json", None, "has no tokenizer.json: name a folder that transformers' save_pretrained wrote"),
        ("tokenizer.json", "{", "tokenizer.json is not valid JSON"),
        ("tokenizer.json", "[]", "tokenizer.json is no JSON object, but list"),
        ("tokenizer.json", "{}", "it has no `model`"),
        (
            "tokenizer_config.json",
            json.dumps({"added_tokens_decoder": {"700": {"content": "<|other|>"}}}),
            "gives id 700 to '<|other|>', which tokenizer.json does not know",
        ),
    ],
)
def test_a_folder_that_cannot_be_extended_is_an_error(
    file: str, text: str | None, message: str, folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    shutil.copytree(folder, source)
    (source / file).unlink() if text is None else (source / file).write_text(text)
    with pytest.raises(UserError) as error:
        extend(source, tmp_path / "out", vocabulary(512, mask=False, durations=False))
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_sound_tokens_of_another_kind_are_an_error(tmp_path: Path) -> None:
    tokenizer = train()
    tokenizer.add_special_tokens(["<|sound_0003|>"])
    source = write(tmp_path / "model", tokenizer)
    with pytest.raises(UserError, match=r"has <\|sound_0003\|> already, as a special token"):
        extend(source, tmp_path / "out", vocabulary(512, mask=False, durations=False))


def test_sound_tokens_that_are_not_found_in_text_are_an_error(tmp_path: Path) -> None:
    """Added before as transformers does by default, to be found in what the normalizer leaves."""
    tokenizer = train(tokenizers.normalizers.Prepend("▁"))
    tokenizer.add_tokens([tokenizers.AddedToken(f"<|sound_000{i}|>", normalized=True) for i in (3, 4)])
    source = write(tmp_path / "model", tokenizer)
    with pytest.raises(UserError, match="does not give each sound token one id"):
        extend(source, tmp_path / "out", vocabulary(512, mask=False, durations=False))


def test_places_that_cannot_be_written_are_errors(folder: Path, tmp_path: Path) -> None:
    tokens = vocabulary(8, mask=False, durations=False)
    with pytest.raises(UserError, match="lies inside"):
        extend(folder, folder / "out", tokens)
    with pytest.raises(UserError, match="there is no folder"):
        extend(folder, tmp_path / "no" / "out", tokens)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        extend(folder, tmp_path / "file", tokens)


@pytest.mark.parametrize(("codes", "mask"), [(10_001, False), (10_000, True), (0, False)])
def test_codes_that_four_digits_cannot_say_are_an_error(codes: int, mask: bool) -> None:
    with pytest.raises(UserError, match=f"{codes} codes.* cannot be written in four digits"):
        vocabulary(codes, mask, durations=False)


def copy_run(finished: Path, to: Path, n_codes: list[int | None], **export: Any) -> Path:
    """Copy a run's recipe, and its quantize records with the codes that each is to say."""
    recipe = json.loads((finished / "run" / "recipe.json").read_bytes())
    (to / "quantize").mkdir(parents=True)
    (to / "recipe.json").write_text(json.dumps({**recipe, "export": export}))
    records = sorted(p for p in (finished / "run" / "quantize").glob("*.json") if p.name != "manifest.json")
    for path, codes in zip(records, n_codes, strict=False):
        record = json.loads(path.read_bytes())
        record["facts"].pop("n_codes", None)
        record["facts"] |= {} if codes is None else {"n_codes": codes}
        (to / "quantize" / path.name).write_text(json.dumps(record))
    return to


def test_the_codes_of_a_run(finished: Path, tmp_path: Path) -> None:
    assert of_run(copy_run(finished, tmp_path / "a", [2048, 2048])) == (2048, False)
    assert of_run(copy_run(finished, tmp_path / "b", [512], run_lengths=True)) == (512, True)
    for name, n_codes, message in (
        ("c", [], "has quantized nothing yet"),
        ("d", [512, 2048], "are of tokenizers with"),
        ("e", [None, None], "do not say how many codes their tokenizer has: give --codes"),
    ):
        with pytest.raises(UserError, match=message):
            of_run(copy_run(finished, tmp_path / name, n_codes))


def test_the_command_says_the_new_size(folder: Path, finished: Path, tmp_path: Path) -> None:
    result = speechmill("extend-tokenizer", folder, "--out", tmp_path / "out", "--mask")
    assert_done(result)
    size = load(folder).get_vocab_size()
    rows = size + 515
    assert f"515 tokens added; <|sound_start|> is id {size}, <|sound_0512|> is id {rows - 1}" in result.stdout
    assert f"new vocabulary size: {rows}, or {-(-rows // 64) * 64} padded to a multiple of 64" in result.stdout
    assert "model.resize_token_embeddings(" in result.stdout
    assert "weights are not copied: model.safetensors" in result.stdout
    run = copy_run(finished, tmp_path / "run", [512], run_lengths=True)
    both = speechmill("extend-tokenizer", folder, "--out", tmp_path / "two", "--codes", "8", "--run", run)
    assert both.returncode == 2
    assert "leave out --codes and --mask" in both.stderr
    of_it = speechmill("extend-tokenizer", folder, "--out", tmp_path / "two", "--run", run)
    assert_done(of_it)
    assert "562 tokens added" in of_it.stdout
