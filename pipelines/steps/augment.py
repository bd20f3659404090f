"""tts.augment: speech -> the same speech faster or slower, in rooms, over narrow bands, in noise; by option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError
from pipelines.graph import Job, Outcome, Outputs, Pass, Unit, shard_units
from pipelines.recipe import Recipe
from pipelines.row import Row
from pipelines.rowwise import Reject, run_rowwise
from pipelines.speech_options import Augment
from quantize import AudioError
from quantize.models import path_digest
from tts.audio import flac_bytes
from tts.augment import NOISES, Drawn, augment, draw

FOLDER = "tts.augment"
RECORDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus")


def noise_files(recipe: Recipe) -> dict[str, str]:
    """Return the digest of each recording of noise, by its name in the folder. Raises UserError where there is none."""
    options = recipe.tts.augment
    if options is None or options.noise_folder is None:
        return {}
    folder = recipe.root_path / options.noise_folder
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in RECORDINGS and path.is_file())
    if not files:
        raise UserError(f"tts.augment.noise_folder: no recordings ({' '.join(RECORDINGS)}) in {folder.absolute()}")
    return {str(path.relative_to(folder)): path_digest(path) for path in files}


def _run(job: Job) -> Outcome:
    options = job.recipe.tts.augment
    assert options is not None, "there are no units without it"
    noises = [*options.noise, *noise_files(job.recipe)]
    folder = job.recipe.root_path / options.noise_folder if options.noise_folder else None
    seed = job.recipe.seed

    def augment_row(row: Row) -> Row:
        spoken = []
        for utterance in row["spoken"]:
            drawn = draw(seed, row["id"], utterance["turn"], options.share, options.ranges, noises)
            spoken.append(utterance if drawn is None else _augmented(utterance, drawn, folder))
        return {**row, "spoken": spoken}

    return run_rowwise(job, FOLDER, augment_row)


def _augmented(utterance: dict[str, Any], drawn: Drawn, folder: Path | None) -> dict[str, Any]:
    """Return an utterance as it was drawn, with a note of what was done. Raises Reject for what is no audio."""
    from quantize.audio import decode_audio  # loads torch: in workers only

    try:
        samples, rate = decode_audio(utterance["audio"]["bytes"])
    except AudioError as error:
        raise Reject(f"bad_audio:{error}") from error
    changed = augment(np.round(samples * 32768).clip(-32768, 32767).astype(np.int16), rate, drawn, folder)
    return {
        **utterance,
        "audio": {"bytes": flac_bytes(changed, rate), "path": None},
        "sample_rate": rate,
        "seconds": len(changed) / rate,
        "augmentation": json.dumps(drawn.told()),
    }


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return shard_units("tts", "read.speech")(recipe, outputs) if recipe.tts.augment else []


def _options(recipe: Recipe) -> dict[str, Any]:
    options: Augment | None = recipe.tts.augment
    said = options.model_dump(mode="json", exclude={"noise_folder"}) if options else {}
    return {"seed": recipe.seed, **said, "noises": dict.fromkeys(NOISES, 0) | noise_files(recipe)}


def speech_shards(recipe: Recipe) -> tuple[str, ...]:
    """Return the passes whose shards hold the speech that is quantized."""
    return (FOLDER,) if recipe.tts.augment else ("tts", "read.speech")


PASS = Pass(
    key=FOLDER,
    needs=("tts", "read.speech"),
    version=1,
    options=_options,
    units=_units,
    run=_run,
    one_to_one=True,
)
