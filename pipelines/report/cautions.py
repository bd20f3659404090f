"""What a careful person would ask about before training: each with its number and where to look.

A threshold is where somebody who knows such sets looks twice, not where something is wrong.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.publish.licenses import refused
from pipelines.report.costs import Cost
from pipelines.report.seen import Seen
from pipelines.report.texts import Texts
from pipelines.report.tokens import Tokens

FEW = 20  # things of which no share says much
REJECTED = 0.5  # of a source by one rule: more, and the rule or the source is not what one thinks
LEFT = 0.05  # of a source's records: fewer, and it hardly takes part
OVER_SHARE = 1.25  # times the share that weights give a voice: drawing alone stays within some percent of it
STANDARD_DEVIATIONS = 4.0  # beyond what drawing explains: once in 30,000 voices by chance
REPEATS = 1.5  # times the median voice's share of repeated tokens: held sounds, silence, or a voice that drones
USED = 0.5  # of the codebook: fewer, and voices are few, or the tokenizer hears what it was not made for
LENGTH_GAP = 1.5  # between the mean seconds of two tasks' exchanges: a model learns the task from the length
RATE = 0.02  # between tokens a second and what the tokenizer promises
CEILING = 0.9  # of what refusals may be
CLUSTER = 100  # rows that one kept row stands for: templates, or a broken export
ERRORS = 0  # rows lost to what no step foresaw: each is a question to somebody
RETRIED = 0.1  # of the requests to a server


@dataclass(frozen=True)
class Caution:
    """One thing to look at."""

    what: str
    number: str  # as it is shown
    where: str  # the id of the section that tells more


def cautions(
    seen: Seen,
    texts: Texts | None,
    tokens: Tokens,
    voices: Sequence[Mapping[str, Any]],
    lengths: Mapping[str, Sequence[Mapping[str, Any]]],
    spent: Sequence[Cost],
) -> list[Caution]:
    """Return what to look at, the funnel first.

    Args:
        voices: as `page.voice_rows` makes them.
        lengths: mixture -> what `rows.seconds_by_task` says.
        spent: what the passes cost; empty where that is not told.
    """
    return [
        *_of_funnel(seen), *_of_sources(seen), *_of_texts(texts), *_of_mixtures(seen), *_of_lengths(lengths),
        *_of_voices(voices), *_of_tokens(seen, tokens), *_of_costs(spent),
    ]  # fmt: skip


def _of_funnel(seen: Seen) -> Iterator[Caution]:
    for source, rejected in seen.funnel.rejected.items():
        records = seen.funnel.sources[source]["records"]
        for rule, rows in rejected.items():
            if records >= FEW and rows > REJECTED * records:
                said = f"{rule} rejects most of {source}"
                yield Caution(said, f"{rows:,} of {records:,} records ({rows / records:.0%})", "funnel")
        left = seen.funnel.sources[source].get("filter")
        if left is not None and records >= FEW and left < LEFT * records:
            yield Caution(f"hardly anything is left of {source}", f"{left:,} of {records:,} records", "funnel")
    for step, counts in seen.funnel.steps.items():
        errors = sum(rows for reason, rows in counts["rejected"].items() if reason.endswith(".error"))
        if errors > ERRORS:
            yield Caution(f"rows were lost to what {step} did not foresee", f"{errors:,} rows", "funnel")


def _of_sources(seen: Seen) -> Iterator[Caution]:
    for source in seen.recipe.sources:
        if refused({source.name: source.license}, ()):  # what publishing asks about
            rows = seen.funnel.sources.get(source.name, {}).get("read", 0)
            yield Caution(f"the licence of {source.name} is {source.license!r}", f"{rows:,} rows", "provenance")


def _of_texts(texts: Texts | None) -> Iterator[Caution]:
    for rule, sizes in texts.clusters.items() if texts else ():
        if sizes[0] > CLUSTER:
            said = f"one row stands for very many by {rule}"
            yield Caution(said, f"{int(sizes[0]):,} rows of one kind", "distributions")


def _of_mixtures(seen: Seen) -> Iterator[Caution]:
    lock = seen.lock()
    if not lock:
        return
    refusals = lock["refusals"]
    if refusals["ceiling"] and refusals["share"] > CEILING * refusals["ceiling"]:
        number = f"{refusals['share']:.3%} of the rows, the ceiling is {refusals['ceiling']:.3%}"
        yield Caution("refusals are close to their ceiling", number, "mixtures")
    spoken = sum(shard.rows for shard in seen.mixable())
    if spoken >= FEW and (unused := lock["rows_no_part_can_use"]) > LEFT * spoken:
        number = f"{unused:,} of {spoken:,} rows"
        yield Caution("many rows were spoken that no part can use", number, "mixtures")


def _of_lengths(lengths: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Caution]:
    for mixture, tasks in lengths.items():
        known = [task for task in tasks if task["rows"] >= FEW and task["mean"]]
        if len(known) < 2:
            continue
        least, most = (choose(known, key=lambda task: float(task["mean"])) for choose in (min, max))
        if most["mean"] > LENGTH_GAP * least["mean"]:
            number = f"{most['mean']:.1f} s and {least['mean']:.1f} s an exchange"
            yield Caution(f"{mixture}: {most['task']} is longer than {least['task']}", number, "distributions")


def _of_voices(voices: Sequence[Mapping[str, Any]]) -> Iterator[Caution]:
    for voice in voices:
        share, due, of = voice["share"], voice["due"], voice["of"]
        if not due or of * due < FEW:
            continue
        spread = (due * (1 - due) / of) ** 0.5
        if share > OVER_SHARE * due and share > due + STANDARD_DEVIATIONS * spread:
            number = f"{share:.1%} of the utterances, its weight gives {due:.1%}"
            yield Caution(f"the voice {voice['voice']} is over its share", number, "voices")
    repeats = {v["voice"]: v["repeats"] for v in voices if v["repeats"] is not None and v["sampled"] >= FEW * FEW}
    if len(repeats) > 2:
        usual = statistics.median(repeats.values())
        for voice, share in repeats.items():
            if share > REPEATS * usual:
                number = f"{share:.1%} of its tokens, the median voice {usual:.1%}"
                yield Caution(f"the voice {voice} repeats tokens far above the others", number, "voices")


def _of_tokens(seen: Seen, tokens: Tokens) -> Iterator[Caution]:
    facts = next((record.facts for record in seen.records("quantize").values()), {})
    for (tokenizer, what), heard in tokens.heard.items():
        if what != "speech" or heard.tokens < FEW * len(heard.used):
            continue
        used = int((heard.used > 0).sum())
        if used < USED * len(heard.used):
            number = f"{used:,} of {len(heard.used):,}"
            yield Caution(f"{tokenizer} uses few of its codes", number, "distributions")
        rate = heard.tokens / heard.seconds
        promised = float(facts.get("tokens_per_second", rate))
        if abs(rate - promised) > RATE * promised:
            number = f"{rate:.2f} instead of {promised:g}"
            yield Caution(f"{tokenizer} writes another number of tokens a second", number, "distributions")


def _of_costs(spent: Sequence[Cost]) -> Iterator[Caution]:
    for cost in spent:
        requests, retries = cost.usage.get("requests", 0), cost.usage.get("retries", 0)
        if requests >= FEW and retries > RETRIED * requests:
            number = f"{retries:,.0f} retries of {requests:,.0f} requests"
            yield Caution(f"the server of {cost.key} had to be asked again often", number, "costs")
