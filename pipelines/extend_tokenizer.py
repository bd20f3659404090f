"""`speechmill extend-tokenizer`: a language model's Hugging Face tokenizer with the sound tokens in it.

As Ichigo's: `<|sound_start|>` and `<|sound_end|>` are special tokens, each sound token a plain added one; v0.5 adds
durations. Its v0.3 has 512 codes and a mask: 128,256 ids of Llama 3.1 + 2 + 513 = 128,771.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import AddedToken, Tokenizer

from pipelines.arguments import load_run
from pipelines.errors import UserError
from pipelines.shards import digest_file, read_record
from quantize.run_lengths import duration_tokens
from quantize.sound_string import END, MOST_CODES, START, sound_tokens

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
IDS = "added_tokens.json"  # of older transformers: {token: id}
MULTIPLE = 64  # rows that GPUs multiply by without a rest
# A model's weights have as many embeddings as the old tokenizer has ids: they do not belong beside the new one.
WEIGHTS = frozenset([".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".onnx_data"])


@dataclass(frozen=True)
class Extended:
    """What became of a tokenizer."""

    added: int  # tokens that it did not have
    ids: Mapping[str, int]  # of every token asked for
    rows: int  # embeddings that a model needs: the largest id, and one
    model_rows: int | None  # embeddings of the model in the folder, as its config.json says
    left: tuple[str, ...]  # files that were not copied: weights

    @property
    def padded(self) -> int:
        """The rows, rounded up to a multiple of 64."""
        return -(-self.rows // MULTIPLE) * MULTIPLE

    def said(self, out: Path) -> Iterator[str]:
        """Yield what to tell about it, a line each."""
        first, last = next(iter(self.ids)), list(self.ids)[-1]
        yield f"{out}: {self.added} tokens added; {first} is id {self.ids[first]}, {last} is id {self.ids[last]}"
        yield f"new vocabulary size: {self.rows}, or {self.padded} padded to a multiple of {MULTIPLE}"
        if self.model_rows is not None and self.model_rows >= self.rows:
            yield f"the model has {self.model_rows} embeddings already (config.json): there is nothing to resize"
        else:
            yield f"resize the model's embeddings: model.resize_token_embeddings({self.padded})"
        if self.left:
            yield f"weights are not copied: {', '.join(self.left)}"


def vocabulary(codes: int, mask: bool, durations: bool) -> dict[str, bool]:
    """Return the tokens in the order of their ids, and whether each is special. Raises UserError for too many codes."""
    if not 0 < codes <= MOST_CODES - mask:
        raise UserError(f"{codes} codes{' and a mask' * mask} cannot be written in four digits: give 1 to {MOST_CODES}")
    sounds = sound_tokens(range(codes + mask), MOST_CODES)
    return {START: True, END: True} | dict.fromkeys([*sounds, *(duration_tokens() if durations else ())], False)


def of_run(where: Path) -> tuple[int, bool]:
    """Return how many codes a run's sound tokenizer has, and whether its strings have durations.

    Raises UserError where its records do not say so.
    """
    recipe = load_run(where)
    folder = recipe.run_path / "quantize"
    records = [read_record(path) for path in sorted(folder.glob("*.json")) if path.name != "manifest.json"]
    found = {record.facts.get("n_codes") for record in records if record}
    if not found:
        raise UserError(f"{recipe.run_path} has quantized nothing yet: run its recipe first, or give --codes")
    n_codes, *others = found
    if others:
        raise UserError(f"{folder}: its records are of tokenizers with {found} codes: run the recipe again to its end")
    if n_codes is None:
        raise UserError(f"{folder}: its records do not say how many codes their tokenizer has: give --codes")
    return int(n_codes), recipe.export.run_lengths


def extend(folder: Path, out: Path, tokens: Mapping[str, bool]) -> Extended:
    """Write the folder `out`: that of a tokenizer with these tokens added (token: is it special?), the rest as it was.

    Nothing changes where `out` holds the result already. Raises UserError where it holds something else, and for
    a tokenizer that cannot be extended.
    """
    if out.resolve() != folder.resolve() and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"--out {out} lies inside {folder}, whose files are copied: name a folder elsewhere")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder")
    parent = out.absolute().parent
    if not parent.is_dir():
        raise UserError(f"there is no folder {parent} to write {out.name} in")
    if "model" not in _read_json(folder / TOKENIZER):
        raise UserError(f"{folder / TOKENIZER} is no tokenizer of Hugging Face: it has no `model`")
    with TemporaryDirectory(prefix=".tmp-", dir=parent) as staging:
        made = Path(staging) / "made"
        left = _copy(folder, made)
        extended = _extend(made, tokens, left)
        if _digests(out):
            if _digests(out) != _digests(made):
                raise UserError(f"--out {out} is not empty, and holds something else than this result: name a new one")
        else:
            shutil.rmtree(out, ignore_errors=True)
            made.rename(out)
    return extended


def _extend(folder: Path, tokens: Mapping[str, bool], left: tuple[str, ...]) -> Extended:
    """Extend the tokenizer in a folder, in place."""
    path = folder / TOKENIZER
    tokenizer = Tokenizer.from_file(str(path))
    had = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    # A token that is sought in the raw text is found whatever the tokenizer's normalizer makes of that.
    new = [AddedToken(token, normalized=False, special=tokens[token]) for token in tokens if token not in had]
    tokenizer.add_special_tokens([token for token in new if token.special])
    tokenizer.add_tokens([token for token in new if not token.special])
    entries = {number: _entry(token) for number, token in tokenizer.get_added_tokens_decoder().items()}
    ids = {entry["content"]: number for number, entry in entries.items() if entry["content"] in tokens}
    for token, special in tokens.items():
        if entries[ids[token]]["special"] != special:
            kinds = ("a special token", "not a special token")
            raise UserError(
                f"{TOKENIZER} has {token} already, as {kinds[special]}: start from the model's own tokenizer"
            )
    if new:  # what has them all stays as it is, to the byte
        tokenizer.save(str(path))
    _complete(folder / CONFIG, {number: entries[number] for number in ids.values()})
    if (folder / IDS).is_file():
        _write_json(folder / IDS, {**_read_json(folder / IDS), **ids})
    _check(tokenizer, ids)
    config = _read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    rows = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return Extended(len(new), ids, rows, config.get("vocab_size"), left)


def _entry(token: AddedToken) -> dict[str, Any]:
    """Return a token as `added_tokens_decoder` says it."""
    return {
        "content": token.content,
        "lstrip": token.lstrip,
        "normalized": token.normalized,
        "rstrip": token.rstrip,
        "single_word": token.single_word,
        "special": token.special,
    }


def _complete(path: Path, entries: Mapping[int, Mapping[str, Any]]) -> None:
    """Add tokens to the `added_tokens_decoder` of a tokenizer_config.json that has one: transformers obeys it."""
    config = _read_json(path) if path.is_file() else {}
    known = config.get("added_tokens_decoder")
    if known is None:
        return
    for number, entry in entries.items():
        there = known.setdefault(str(number), entry)
        if there["content"] != entry["content"]:
            raise UserError(
                f"{CONFIG} gives id {number} to {there['content']!r}, which {TOKENIZER} does not know: "
                "load and save the tokenizer with transformers first"
            )
    config["added_tokens_decoder"] = dict(sorted(known.items(), key=lambda item: int(item[0])))
    _write_json(path, config)


def _check(tokenizer: Tokenizer, ids: Mapping[str, int]) -> None:
    """Raise UserError unless every token is one id, whatever stands beside it."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = tokenizer.encode("".join(ids), add_special_tokens=False).ids
    if found != list(ids.values()):
        raise UserError(
            f"{TOKENIZER} does not give each sound token one id (it had some of them before, with other settings): "
            "start from the model's own tokenizer"
        )


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their path in it, without hidden ones (caches of the Hub)."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {str(name): path for name, path in paths.items() if not any(part.startswith(".") for part in name.parts)}


def _digests(folder: Path) -> dict[str, str]:
    return {name: digest_file(path) for name, path in _files(folder).items()}


def _copy(folder: Path, to: Path) -> tuple[str, ...]:
    """Copy all files but weights; return those that were left."""
    files = _files(folder)
    left = tuple(n for n, path in files.items() if path.suffix in WEIGHTS or n.endswith(".index.json"))
    for name, path in files.items():
        if name not in left:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to / name)
    return left


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object. Raises UserError where the file is none."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{path.parent} has no {path.name}: name a folder that transformers' save_pretrained wrote"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is no JSON object, but {type(value).__name__}")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object as transformers does; a file that says the same stays as it is, to the byte."""
    if path.is_file() and _read_json(path) == value:
        return
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
