"""The sound tokens of single recordings, and how far two tokenizers agree on them: `speechmill tokens`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from pipelines.errors import UserError
from pipelines.quantize_options import Quantize
from quantize import AudioError, load_tokenizer
from quantize.tokenizer import Ids, Tokenizer, label


def load(spec: str) -> Tokenizer:
    """Return the tokenizer of "name" or "name:option=value,...", options of `quantize`. Raises UserError."""
    name, _, rest = spec.partition(":")
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    try:
        wanted = Quantize.model_validate({"tokenizer": name, **{k: yaml.safe_load(v) for k, v in options.items()}})
        return load_tokenizer(wanted.tokenizer, wanted.files, wanted.compute)
    except ValidationError as error:
        raise UserError("\n".join(_explain(spec, e["loc"], e["msg"]) for e in error.errors())) from error
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"tokenizer {spec}: {error}") from error


def _explain(spec: str, place: tuple[int | str, ...], message: str) -> str:
    key = ".".join(map(str, place))
    return f"tokenizer {spec}: {key + ': ' if key else ''}{message.removeprefix('Value error, ')}"


def listed(files: Sequence[Path], tokenizer: Tokenizer) -> Iterator[str]:
    """Yield for each recording a line that says what it is, and one of its ids."""
    for file in files:
        ids, seconds = _encode(file, tokenizer)
        masks = int((ids == tokenizer.mask_code).sum()) if tokenizer.mask_code is not None else 0
        emitted = f", {masks} of them the mask code {tokenizer.mask_code}" if masks else ""
        yield f"# {file}: {seconds:.2f} s, {len(ids)} tokens{emitted}, by {label(tokenizer)}"
        yield " ".join(map(str, ids.tolist()))


def compared(files: Sequence[Path], one: Tokenizer, other: Tokenizer) -> Iterator[str]:
    """Yield a line for each recording, and one for all: the share of positions with the same id."""
    yield f"# A {label(one)}"
    yield f"# B {label(other)}"
    yield f"{'agree':>8} {'differ':>8} {'tokens':>8}  file"
    same_of_all = of_all = 0
    for file in files:
        (a, _), (b, _) = _encode(file, one), _encode(file, other)
        if abs(len(a) - len(b)) > 1:
            raise UserError(f"{file}: {len(a)} tokens and {len(b)}: tokenizers of different rates cannot be compared")
        n = min(len(a), len(b))
        same = int((a[:n] == b[:n]).sum())
        yield _line(same, n, str(file))
        same_of_all, of_all = same_of_all + same, of_all + n
    if len(files) > 1:
        yield _line(same_of_all, of_all, "all")


def _line(same: int, total: int, name: str) -> str:
    share = f"{same / total:.2%}" if total else "-"
    return f"{share:>8} {total - same:>8} {total:>8}  {name}"


def _encode(file: Path, tokenizer: Tokenizer) -> tuple[Ids, float]:
    """Return a recording's ids and its seconds. Raises UserError for a file that is no audio."""
    from quantize.audio import decode_audio
    from quantize.clips import encode_recordings

    try:
        samples, rate = decode_audio(file)
        return encode_recordings([(samples, rate)], tokenizer)[0], len(samples) / rate
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except AudioError as error:
        raise UserError(str(error)) from error
