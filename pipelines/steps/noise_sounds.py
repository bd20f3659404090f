"""noise.sounds: what nobody can hear, as sound tokens: inaudible rows without answers yet, and ladders of sentences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noise import HEARD, NOISE_KINDS, made_of
from noise.lasting import NoiseError, recorded
from noise.random_ids import independent, shuffled, sticky
from noise.signal import Samples
from noise.sounds import FULL_SCALE, LEVEL_DBFS, SOUNDS, at_level, drawn
from noise.speech import babble, choose, fragment, masked, reversed_
from pipelines.errors import RunError, UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.noise_options import Noise
from pipelines.publish.licenses import all_of
from pipelines.recipe import Recipe
from pipelines.row import Row, row_id
from pipelines.rowwise import Done, Reject, write_rows
from pipelines.steps.augment import noise_files
from pipelines.steps.noise import LENGTHS, POOL
from pipelines.steps.noise_ladder import ladder_rows, ladder_units, sentences
from pipelines.steps.noise_speech import FOLDER as SPEECH
from pipelines.steps.noise_speech import Pool
from pipelines.steps.quantize import PASS as QUANTIZE
from pipelines.steps.quantize import Clip, stages, tokenizer_of
from quantize.tokenizer import Ids, label

Counts = NDArray[np.int64]

FOLDER = "noise.sounds"
ROUNDS = 6  # in which a sound that loses tokens (of the mask code, dropped) is made again, longer
MADE_BY = ("tokenizer", "tokens_per_second", "n_codes", "mask_code")  # as `quantize` noted them
OURS = "Apache-2.0"  # license of what is made out of nothing


@dataclass(frozen=True)
class Sound:
    """What is drawn for an inaudible row: the kind, the length, whose speech. The rest is drawn as it is made."""

    kind: str
    length: int  # tokens
    of: tuple[int, ...]  # positions in the pool
    seed: int

    @property
    def rng(self) -> np.random.Generator:
        """The generator of its making: the same, however often it is made."""
        return np.random.Generator(np.random.PCG64([self.seed, 1]))


@dataclass
class _Short(Exception):
    """A sound has fewer tokens than were drawn, since some were of the mask code and dropped."""

    missing: int


@dataclass(frozen=True)
class Material:
    """What sounds are made of."""

    options: Noise
    pool: Pool | None
    recordings: tuple[str, ...]  # names in the folder
    folder: Path | None

    def make(self, sound: Sound, n: int, rate_hz: int) -> tuple[Samples, dict[str, Any], str]:
        """Return float64 (n,) samples in steps of int16, how they were made, and the license of what they are made of.

        Raises UserError for a recording that cannot be read.
        """
        rng = sound.rng
        if sound.kind in SOUNDS:
            samples, said = SOUNDS[sound.kind](n, rate_hz, rng)
            return samples, said, OURS
        if sound.kind == "recordings":
            return self._recording(n, rate_hz, rng)
        assert self.pool is not None, "the units see to it"
        speech = [self.pool.samples(position, rate_hz) for position in sound.of]
        rows = [self.pool.of(position) for position in sound.of]
        if sound.kind == "babble":
            samples, said = babble(speech, n, rate_hz, rng)
        elif sound.kind == "masked":
            samples, said = masked(speech[0], n, rate_hz, rng, self.options.masked_snr_db)
        else:
            samples, said = {"fragment": fragment, "reversed": reversed_}[sound.kind](speech[0], n, rate_hz, rng)
        of = [row for row, _ in rows]
        return samples, {**said, "of": of if len(of) > 1 else of[0]}, all_of(license for _, license in rows)

    def _recording(self, n: int, rate_hz: int, rng: np.random.Generator) -> tuple[Samples, dict[str, Any], str]:
        assert self.folder is not None, "the options see to it"
        name = self.recordings[int(rng.integers(len(self.recordings)))]
        try:
            samples = recorded(self.folder / name, n, rate_hz, rng)
        except NoiseError as error:
            raise UserError(f"noise.recordings: {error}. Mend the file or take it out.") from error
        dbfs = drawn(LEVEL_DBFS, rng)
        said = {"level_dbfs": dbfs} if samples.any() else {}  # digital silence has none
        return at_level(samples, dbfs), {"file": name, **said}, self.options.recordings_license


def _run(job: Job) -> Outcome:
    from quantize.one_thread import one_thread  # loads torch: in workers only

    options = job.recipe.quantize
    try:
        with one_thread():  # whatever the number of workers, or none: sums are formed in one order
            if "ladder" in job.unit.args:
                chosen = sentences(job)
                rows_in = len(chosen) * job.unit.args["ladder"]["rungs"]
                return write_rows(job, FOLDER, ladder_rows(job, chosen, tokenizer_of(options)), rows_in)
            return write_rows(job, FOLDER, _noise_rows(job), job.unit.rows)
    except MemoryError as error:
        raise RunError(f"quantize: {error}. Set quantize.batch_size to less.") from error


def _noise_rows(job: Job) -> Iterator[Done]:
    """Yield the unit's inaudible rows, without answers. Raises UserError for nothing to make them of."""
    paths = {name: job.file(name) for name in job.unit.inputs}
    speech = [path for name, path in paths.items() if name.startswith(f"{SPEECH}/")]
    pool = Pool(speech, job.recipe.seed) if speech else None
    drawn_sounds = _drawn(job, pl.read_parquet(paths[LENGTHS]), pool)
    if pool:
        pool.read({position for sound in drawn_sounds.values() for position in sound.of})
    material = Material(job.recipe.noise, pool, tuple(job.unit.outside), _recordings(job.recipe))
    heard = {index: sound for index, sound in drawn_sounds.items() if NOISE_KINDS[sound.kind] in HEARD}
    done = dict(_heard(heard, material, job.recipe)) if heard else {}
    real = pl.read_parquet(paths[POOL]).rows() if POOL in paths else []
    ids = [np.array(tokens, np.uint16) for _, _, tokens in real]
    for index, sound in drawn_sounds.items():
        yield done[index] if index in heard else ({}, _ids_row(index, sound, real, ids, job.unit.args))


def _drawn(job: Job, lengths: pl.DataFrame, pool: Pool | None) -> dict[int, Sound]:
    """Return what is drawn for each of the unit's rows: all of it from (seed, stream, index)."""
    args = job.unit.args
    if not lengths.height:
        raise UserError(
            "noise: no prompt of this run was spoken, so there is no length to draw. Set noise.rows=0 and "
            "chats.inaudible=0."
        )
    if pool and not pool.seconds.size:
        raise UserError("noise.kinds: no utterance of this run can be used, and some kinds are made of them: drop them")
    tokens, prompts = lengths["tokens"].to_numpy(), lengths["prompts"].to_numpy()
    indices = range(args["start"], args["start"] + job.unit.rows)
    return {index: draw(job.recipe.seed, index, args, tokens, prompts, pool) for index in indices}


def draw(seed: int, index: int, args: Mapping[str, Any], tokens: Counts, prompts: Counts, pool: Pool | None) -> Sound:
    """Return what is drawn for a row from (seed, stream, index).

    Args:
        args: of its unit: the stream, the kinds with their weights, the tokens in a second.
        tokens: lengths of prompts, (n,); prompts: how many there are of each.
        pool: this run's speech, where a kind is made of it.
    """
    digest = hashlib.blake2b(f"{seed}/{args['stream']}/{index}".encode(), digest_size=16).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    length = int(rng.choice(tokens, p=prompts / prompts.sum()))
    weights = np.array(list(args["kinds"].values()))
    kind = list(args["kinds"])[int(rng.choice(weights.size, p=weights / weights.sum()))]
    of: list[int] = []
    if NOISE_KINDS[kind] == "speech":
        assert pool is not None, "the units see to it"
        of = choose(kind, pool.seconds, length / args["tokens_per_second"], rng)
    return Sound(kind, length, tuple(of), int.from_bytes(digest))


def _heard(sounds: Mapping[int, Sound], material: Material, recipe: Recipe) -> Iterator[tuple[int, Done]]:
    """Yield each sound's row by its index: what was made, as the tokenizer hears it, exactly as long as drawn."""
    from quantize.clips import pieces

    options, tokenizer = recipe.quantize, tokenizer_of(recipe.quantize)
    longer = dict.fromkeys(sounds, 0)  # tokens
    made: dict[int, tuple[dict[str, Any], str]] = {}

    def split(row: Row) -> list[Clip]:
        index, rate = row["index"], tokenizer.sample_rate_hz
        n = -(-(sounds[index].length + longer[index]) * rate // tokenizer.tokens_per_second)
        samples, said, license = material.make(sounds[index], n, rate)
        made[index] = {"kind": sounds[index].kind, **said}, license
        whole = np.rint(samples).clip(-FULL_SCALE, FULL_SCALE - 1) / FULL_SCALE
        return [Clip(0, piece) for piece in pieces(whole.astype(np.float32), rate, tokenizer)]

    def finish(row: Row, clips: list[Clip], ids: list[Ids]) -> Row:
        index, tokens, mask = row["index"], np.concatenate(ids), tokenizer.mask_code
        if mask is not None and options.mask_code != "keep":
            if options.mask_code == "reject" and (tokens == mask).any():
                raise Reject(f"mask_code:{(tokens == mask).sum()} of {tokens.size} tokens")
            tokens = tokens[tokens != mask]
        if tokens.size < sounds[index].length:
            raise _Short(sounds[index].length - tokens.size)
        return _row(index, *made[index], tokens[: sounds[index].length], label(tokenizer), tokenizer.tokens_per_second)

    todo = list(sounds)
    for last in (*[False] * (ROUNDS - 1), True):
        short = []
        for row, result in stages(tokenizer, split, finish).run({"index": index} for index in todo):
            if isinstance(result, _Short) and not last:
                short.append(row["index"])
                longer[row["index"]] += result.missing + result.missing // 2 + 1
            elif isinstance(result, _Short):
                yield row["index"], (row, Reject(f"mask_code:{result.missing} tokens are missing"))
            else:
                yield row["index"], (row, result)
        todo = short


def _ids_row(
    index: int, sound: Sound, real: Sequence[tuple[Any, ...]], ids: Sequence[Ids], args: Mapping[str, Any]
) -> Row:
    """Return a row of ids that nobody spoke.

    Args:
        real: utterances of this run (id, license, tokens), for those that are made of them; ids: their tokens.
        args: with what `quantize` noted of its tokenizer.
    """
    mask, license = args["mask_code"], OURS
    said: dict[str, Any] = {"kind": sound.kind}
    if sound.kind == "shuffled":
        tokens, of = shuffled(sound.length, ids, sound.rng)
        said, license = {**said, "of": [real[i][0] for i in of]}, all_of(real[i][1] for i in of)
    else:
        make = {"independent": independent, "sticky": sticky}[sound.kind]
        tokens, params = make(sound.length, args["n_codes"] - (mask is not None), sound.rng)
        said |= params
        if mask is not None:
            tokens[tokens >= mask] += 1  # every sound but the mask code, wherever that stands
    return _row(index, said, license, tokens, args["tokenizer"], args["tokens_per_second"])


def _row(index: int, said: Mapping[str, Any], license: str, tokens: Ids, by: str, tokens_per_second: int) -> Row:
    """Return an inaudible row without its answer."""
    messages, how = [{"role": "user", "content": ""}], json.dumps(said)
    seconds = tokens.size / tokens_per_second
    return {
        "id": row_id(f"noise {index} {how} {tokens.tobytes().hex()}", messages),
        "source": "noise",
        "license": license,
        "index": index,
        "messages": messages,
        "exchanges": 1,
        "answered": False,
        "inaudible": how,
        "spoken": [{"turn": 0, "tokens": tokens.tolist(), "seconds": seconds, "tokenizer": by}],
    }


def _recordings(recipe: Recipe) -> Path | None:
    folder = recipe.noise.recordings
    return recipe.root_path / folder if folder else None


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    options, listening = recipe.noise, QUANTIZE.options(recipe)
    made_by = next(iter(outputs.facts("quantize")), {})  # the same in every shard
    kinds: dict[str, Any] = {"kinds": dict(options.kinds), **{key: made_by.get(key) for key in MADE_BY}}
    speech = tuple(shard.path for shard in outputs.shards(SPEECH))
    inputs: tuple[str, ...] = (LENGTHS,)
    if made_of(options.kinds, "tokens"):
        inputs += (POOL,)
    if made_of(options.kinds, "speech"):
        inputs += speech
    if made_of(options.kinds, *HEARD):
        kinds |= {"quantize": listening}
    if "recordings" in options.kinds:
        kinds |= {"recordings_license": options.recordings_license}
    if "masked" in options.kinds:
        kinds |= {"masked_snr_db": list(options.masked_snr_db)}
    folder = _recordings(recipe)
    files = noise_files(folder, "noise.recordings") if folder else {}
    units = []
    for name, stream, rows in (
        ("noise", "noise", options.rows),
        ("interruptions", "noise.interruptions", recipe.chats.inaudible),
    ):
        size = recipe.read.rows_per_shard
        for number, start in enumerate(range(0, rows, size)):
            args = {"stream": stream, "start": start, **kinds}
            units.append(Unit(f"{name}-{number:05d}", inputs, min(size, rows - start), args, files))
    return [*units, *ladder_units(recipe, speech, listening)]


def _listens(recipe: Recipe) -> bool:
    return recipe.noise.ladder is not None or made_of(recipe.inaudible_kinds, *HEARD)


PASS = Pass(
    key=FOLDER,
    needs=("noise.speech", "noise.lengths", "quantize"),
    version=5,
    options=lambda recipe: {"seed": recipe.seed},
    units=_units,
    run=_run,
    gpus=lambda recipe: recipe.quantize.gpus if _listens(recipe) else 0,
)
