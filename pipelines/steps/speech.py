"""read.speech: recordings -> rows with speech, as `tts` would have made them; the sound stays as it was encoded."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipelines.graph import Job, Outcome, Outputs, Pass, Unit
from pipelines.options import Source
from pipelines.parts import read_in_parts, source_units
from pipelines.recipe import Recipe
from pipelines.recordings import Recording, read_recordings, text_of
from pipelines.row import row_id
from pipelines.shapes import BadRecord
from pipelines.shards import ROWS_PER_GROUP, RowWriter
from pipelines.steps.read import check_where
from quantize import AudioError

FOLDER = "read.speech"
PART_BYTES = 2**30  # of sound: a shard ends here, or at read.rows_per_shard
ENGINE = "recording"


def _units(recipe: Recipe, outputs: Outputs) -> list[Unit]:
    return source_units(recipe, outputs, FOLDER, speech=True)


def _run(job: Job) -> Outcome:
    return read_in_parts(job, FOLDER, ROWS_PER_GROUP, _Reader)


class _Reader:
    """Goes through a source's recordings, as `pipelines.parts.Reader` says."""

    def __init__(self, recipe: Recipe, source: Source, position: int, passed: int) -> None:
        self._recipe, self._source = recipe, source
        self.position, self.passed = position, passed
        self.said = "recordings"
        self._records = read_recordings(source, recipe.root_path, skip=position)
        self._next = next(self._records, None)

    def more(self) -> bool:
        """Tell whether there is another recording to read."""
        limit = self._source.limit
        return self._next is not None and (limit is None or self.passed < limit)

    def fill(self, writer: RowWriter) -> int:
        """Read one part's worth of rows into a writer; returns the number of recordings read."""
        kept = size = 0
        first = self.position
        while kept < self._recipe.read.rows_per_shard and size < PART_BYTES and self.more():
            assert self._next is not None, "more() was asked"
            record, self._next = self._next, next(self._records, None)
            try:
                row = self._row(record)
            except BadRecord as bad:
                raw = json.dumps(dict(record.columns), ensure_ascii=True, default=repr)
                rejected = {"source": self._source.name, "index": self.position, "place": record.place, "raw": raw}
                writer.reject(rejected, f"read.{bad}")
            else:
                writer.keep(row)
                kept, size = kept + 1, size + len(record.sound or b"")
            self.position += 1
        return self.position - first

    def _row(self, record: Recording) -> dict[str, Any]:
        """Return a recording's row. Raises BadRecord where it is left out, or nothing can be heard."""
        source = self._source
        assert source.audio is not None, "the units are of such sources"
        if record.bad is not None:
            raise BadRecord(record.bad)
        check_where(source, record.columns)
        self.passed += 1
        assert record.sound is not None, "else it is bad"
        rate, seconds = _header(record.sound)
        text = text_of(record.columns, source.audio)
        if text is None and source.audio.without_text == "reject":
            raise BadRecord("no_text")
        messages = [{"role": "user", "content": text}] if text else []
        digest = hashlib.blake2b(record.sound, digest_size=16).hexdigest()
        speaker = record.columns.get(source.audio.speaker) if source.audio.speaker else None
        return {
            "source": source.name,
            "index": self.position,
            "id": row_id(f"{source.name} {self.position} {digest}", messages),
            "license": source.license,
            "messages": messages,
            "exchanges": len(messages),
            "answered": False,
            "spoken": [
                {
                    "turn": 0,
                    "text": text,
                    "voice": None if speaker is None else str(speaker),
                    "tts": ENGINE,
                    "audio": {"bytes": record.sound, "path": None},
                    "sample_rate": rate,
                    "seconds": seconds,
                }
            ],
        }


def _header(sound: bytes) -> tuple[int, float]:
    """Return a recording's sample rate in Hz and its seconds. Raises BadRecord for what is no audio, or empty."""
    from quantize.audio import audio_header  # loads torch: in workers only

    try:
        return audio_header(sound)
    except AudioError as error:
        raise BadRecord(f"bad_audio:{error}") from error


PASS = Pass(
    key=FOLDER,
    needs=(),
    version=2,
    options=lambda recipe: recipe.read.model_dump(mode="json"),
    units=_units,
    run=_run,
    in_parts=True,
)
