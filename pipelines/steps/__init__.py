"""The passes of a run, in order. A new one is a file here and a line below."""

from __future__ import annotations

from pipelines.graph import Pass
from pipelines.steps import (
    answer,
    augment,
    benchmarks,
    export,
    filter,
    mix,
    near_duplicates,
    noise,
    noise_chats,
    noise_sounds,
    noise_speech,
    quantize,
    read,
    rewrite,
    score,
    shorten,
    speech,
    tts,
)

PASSES: tuple[Pass, ...] = (
    read.PASS,
    speech.PASS,
    score.PASS,
    rewrite.PASS,
    shorten.PASS,
    benchmarks.INDEX_PASS,
    benchmarks.OVERLAP_PASS,
    near_duplicates.SIGNATURES,
    near_duplicates.BUCKETS,
    near_duplicates.FAMILIES,
    near_duplicates.MEMBERS,
    filter.DUPLICATES,
    near_duplicates.PASS,
    filter.PASS,
    benchmarks.REPORT_PASS,
    answer.PASS,
    tts.PASS,
    augment.PASS,
    noise_speech.PASS,
    quantize.PASS,
    noise.LENGTHS_PASS,
    noise_sounds.PASS,
    noise.PASS,
    noise_chats.PASS,
    mix.PASS,
    export.LAYOUT_PASS,
    export.RENDER_PASS,
    export.PASS,
    export.AUDIO_PASS,
    export.CARD_PASS,
)
BY_KEY = {a_pass.key: a_pass for a_pass in PASSES}
STEPS = tuple(dict.fromkeys(a_pass.step for a_pass in PASSES))


def passes_for(step: str | None) -> list[Pass]:
    """Return the passes that a step needs, its own included, in order; all of them for None."""
    if step is None:
        return list(PASSES)
    wanted: set[str] = set()
    for a_pass in reversed(PASSES):
        if a_pass.step == step or a_pass.key in wanted:
            wanted |= {a_pass.key, *a_pass.needs, *a_pass.beside}
    return [a_pass for a_pass in PASSES if a_pass.key in wanted]
