"""tts.augment: speech -> the same speech faster or slower, in rooms, in noise, over narrow bands; by option."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from noise.lasting import NoiseError
from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units
from pipelines.recipe import Recipe
from pipelines.recordings import SOUNDS
from pipelines.row import Row
from pipelines.rowwise import Reject, run_rowwise
from quantize import AudioError
from quantize.models import path_digest
from tts.audio import AudioFormat, encode_audio
from tts.augment import Drawn, augment, draw

FOLDER = "tts.augment"


def check_noise(recipe: Recipe) -> None:
    """Raise UserError for a folder of noise without recordings: before hours of speaking, not after."""
    if folder := _noise_folder(recipe):
        noise_files(folder, "tts.augment.noise_folder")
    if recipe.noise.recordings:
        noise_files(recipe.root_path / recipe.noise.recordings, "noise.recordings")


def _noise_folder(recipe: Recipe) -> Path | None:
    options = recipe.tts.augment
    return recipe.root_path / options.noise_folder if options and options.noise_folder else None


@lru_cache(maxsize=2)
def noise_files(folder: Path, option: str) -> dict[str, str]:
    """Return the digest of each recording of noise, by its name in the folder: as they were when first asked.

    Raises UserError, naming the option, where there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS and path.is_file())
    if not files:
        raise UserError(f"{option}: no recordings ({' '.join(SOUNDS)}) in {folder.absolute()}")
    return {str(path.relative_to(folder)): path_digest(path) for path in files}


def _run(job: Job) -> Outcome:
    from quantize.one_thread import one_thread  # loads torch: in workers only

    options = job.recipe.tts.augment
    assert options is not None, "there are no units without it"
    noises = [*options.noise, *job.made_of["options"]["recordings"]]
    seed, folder, kept_as = job.recipe.seed, _noise_folder(job.recipe), job.recipe.tts.audio_format

    def augment_row(row: Row) -> Row:
        drawn = draw(seed, row["id"], options.share, options.ranges, noises)
        if drawn is None:
            return row
        spoken = [augmented(u, drawn, number, folder, kept_as) for number, u in enumerate(row["spoken"])]
        return {**row, "spoken": spoken}

    with one_thread():  # whatever the number of workers, or none: sums are formed in one order
        return run_rowwise(job, FOLDER, augment_row)


def augmented(
    utterance: dict[str, Any], drawn: Drawn, number: int, folder: Path | None, kept_as: AudioFormat
) -> dict[str, Any]:
    """Return an utterance with done to it what was drawn, and a note of that; one without audio as it is.

    Raises Reject for what is no audio.

    Args:
        number: of the utterance in its row.
        folder: of the recordings of noise.
    """
    from quantize.audio import decode_audio  # loads torch: in workers only

    sound = (utterance["audio"] or {}).get("bytes")  # its path is a name, and opens nothing
    if sound is None:
        return utterance
    try:
        samples, rate = decode_audio(sound)
    except AudioError as error:
        raise Reject(f"bad_audio:{error}") from error
    whole = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)
    try:
        changed, done = augment(whole, rate, drawn, number, folder)
    except NoiseError as error:
        raise UserError(f"tts.augment.noise_folder: {error}. Mend the file or take it out.") from error
    data, kept_rate = encode_audio(changed, rate, kept_as)
    return {
        **utterance,
        "audio": {"bytes": data, "path": None},
        "sample_rate": kept_rate,
        "seconds": len(changed) / rate,
        "augmentation": json.dumps(done),
    }


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return shard_units("tts", "read.speech")(recipe, outputs) if recipe.tts.augment else []


def _options(recipe: Recipe) -> dict[str, Any]:
    """Return what changes the sound: the options, and the recordings of noise by name and content."""
    options, folder = recipe.tts.augment, _noise_folder(recipe)
    said = options.model_dump(mode="json", exclude={"noise_folder"}) if options else {}
    recordings = noise_files(folder, "tts.augment.noise_folder") if folder else {}
    return {"seed": recipe.seed, **said, "audio_format": recipe.tts.audio_format, "recordings": recordings}


def speech_shards(recipe: Recipe) -> tuple[str, ...]:
    """Return the passes whose shards hold the speech that is quantized."""
    return (FOLDER,) if recipe.tts.augment else ("tts", "read.speech")


PASS = Pass(
    key=FOLDER,
    needs=("tts", "read.speech"),
    version=2,
    options=_options,
    units=_units,
    run=_run,
    one_to_one=True,
    follows=lambda recipe: ("tts", "read.speech"),
    applies=lambda recipe: recipe.tts.augment is not None,
    spent_by=lambda recipe: () if recipe.tts.keep_audio else ("quantize",),
)
