"""What a run will do: the passes' own units, from records of what is done and foreseen ones of what is to do.

The walk is that of a run. A unit whose inputs are all there is done, stale or to do as the run will find it; one with
an input that is yet to be made has a record that is made up of rates. So the shards, the files of the dataset and who
follows whom come from the passes, and are not said here a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.errors import UserError
from pipelines.estimate.counting import Rows
from pipelines.estimate.rates import BESIDE, rows_of, rows_out, source_of, takes
from pipelines.estimate_options import OTHERS, PassRates, Rates, rate
from pipelines.graph import Outputs, Pass, PassPlan, State, Unit, plan_unit
from pipelines.recipe import Recipe
from pipelines.shards import Counts, Record
from pipelines.steps import PASSES
from pipelines.steps.mix import quotas_of
from pipelines.steps.near_duplicates import count_parts
from pipelines.steps.noise_speech import KEPT_AT_LEAST, KEPT_OF
from pipelines.steps.speech import PART_BYTES

FORESEEN = "foreseen"  # the digest of a file that is yet to be made
YET_TO_BE_MADE = {"digest": FORESEEN, "bytes": 0}
READS = ("read", "read.speech")
CHATS = frozenset(("two_turn", "four_turn", ""))  # tasks of rows of several exchanges


class Foreseen(Outputs):
    """What passes left, or will leave."""

    def digest(self, name: str) -> str:
        """Return the digest of a finished file, or that of one that is yet to be made."""
        return self._of_all().get(name, FORESEEN)

    def are_there(self, names: Iterable[str]) -> bool:
        """Tell whether files are made and stay as they are."""
        digests = self._of_all()
        return all(digests.get(name, FORESEEN) != FORESEEN for name in names)


@dataclass(slots=True)
class Figures:
    """What a pass, or a run, takes and makes.

    rows_in, rows_kept: of all its units
    audio_seconds, tokens: of the rows that it passes on
    size:       bytes of its files that stay
    spent:      bytes of its files that are removed again (tts.keep_audio: false)
    seconds:    of workers; cpu_seconds, gpu_seconds: of whole CPUs and GPUs that they hold
    processor:  seconds for which processors are busy
    usage:      of servers: requests, tokens, characters
    money:      that servers ask for
    """

    rows_in: float = 0
    rows_kept: float = 0
    audio_seconds: float = 0
    tokens: float = 0
    size: float = 0
    spent: float = 0
    seconds: float = 0
    cpu_seconds: float = 0
    gpu_seconds: float = 0
    processor: float = 0
    usage: dict[str, float] = field(default_factory=dict)
    money: float = 0

    def add(self, other: Figures) -> None:
        """Add those of a part."""
        self.rows_in += other.rows_in
        self.rows_kept += other.rows_kept
        self.audio_seconds += other.audio_seconds
        self.tokens += other.tokens
        self.size += other.size
        self.spent += other.spent
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        self.gpu_seconds += other.gpu_seconds
        self.processor += other.processor
        self.money += other.money
        for name, amount in other.usage.items():
            self.usage[name] = self.usage.get(name, 0.0) + amount


@dataclass(slots=True)
class Piece:
    """A unit, done or foreseen, with the seconds of its worker."""

    name: str
    state: State
    seconds: float


@dataclass
class PassAhead:
    """A pass with its units, done and foreseen, and what they take."""

    a_pass: Pass
    pieces: list[Piece]
    whole: Figures = field(default_factory=Figures)
    now: Figures = field(default_factory=Figures)
    start_seconds: float = 0
    busy_start: float = 0
    measured: bool = True  # whether there are rates for it

    @property
    def key(self) -> str:
        """The pass's key."""
        return self.a_pass.key


class Walk:
    """Goes through the passes of a recipe, in order, as a run would.

    Args:
        plans: as `plan_run` returns them.
        rows: of each source, where it is not read yet or will be read again.
    """

    def __init__(self, recipe: Recipe, plans: Sequence[PassPlan], rates: Rates, rows: Mapping[str, Rows]) -> None:
        self.recipe = recipe
        self.rates = rates
        self.notes: list[str] = []
        self.pairs: dict[str, int] = {}  # of each mixture
        self._rows_to_mix = 0
        self._files: Counter[str] = Counter()  # of the dataset, by mixture
        self._rows = rows
        self._sources: dict[tuple[str, str], str] = {}  # of units, by pass and by name without its number
        self._outputs = Foreseen(looking=True)
        self._plans = {plan.key: plan for plan in plans}

    def run(self) -> list[PassAhead]:
        """Return every pass, with no units where the recipe has no use for it."""
        found = []
        for a_pass in PASSES:
            ahead, records = self._pass(a_pass)
            self._outputs.add(a_pass.key, records)
            found.append(ahead)
        return found

    def _pass(self, a_pass: Pass) -> tuple[PassAhead, dict[str, Record]]:
        key, recipe = a_pass.key, self.recipe
        of_pass = self.rates.passes.get(key)
        ahead = PassAhead(a_pass, [])
        if of_pass is not None:
            ahead.start_seconds, ahead.busy_start = of_pass.start_seconds, of_pass.busy_start
        if not a_pass.applies(recipe):
            return ahead, {}
        if key == "mix":
            self._mix()
        spent = bool(a_pass.spent_by(recipe))
        rates = of_pass or PassRates(shards=a_pass.one_to_one)
        expected: dict[tuple[Any, ...], Figures] = {}
        records: dict[str, Record] = {}
        for unit, state, record in self._units(a_pass):
            if state == "done" and record is not None:
                seconds = self._found(ahead.whole, key, unit, record, rates, spent)
            else:
                record, figures = self._expected(key, unit, rates, spent, expected)
                ahead.now.add(figures)
                seconds = figures.seconds
            records[unit.name] = record
            ahead.pieces.append(Piece(unit.name, state, seconds))
        ahead.whole.add(ahead.now)
        prices = price_of(recipe, key)
        for of in (ahead.whole, ahead.now):
            of.money = sum(prices.get(name, 0.0) * amount for name, amount in of.usage.items())
        ahead.measured = of_pass is not None or all(piece.state == "done" for piece in ahead.pieces)
        return ahead, records

    def _units(self, a_pass: Pass) -> Iterable[tuple[Unit, State, Record | None]]:
        """Yield a pass's units with their states, and the records of those that are done."""
        plan, outputs = self._plans[a_pass.key], self._outputs
        if plan.waits_for is None:
            yield from ((of.unit, of.state, of.record) for of in plan.units)
            return
        if a_pass.last:
            yield Unit("README"), "to do", None
            return
        options = a_pass.options(self.recipe)
        for unit in a_pass.units(self.recipe, outputs):
            if unit.inputs and outputs.are_there(unit.inputs):
                planned = plan_unit(self.recipe, a_pass, unit, outputs, options)
                yield unit, planned.state, planned.record
            else:
                yield unit, "to do", None

    def _found(self, total: Figures, key: str, unit: Unit, record: Record, rates: PassRates, spent: bool) -> float:
        """Add what a finished unit took to that of its pass; return its seconds."""
        out, cost = rows_out(record), record.cost
        seconds: float = cost.get("seconds", 0.0)
        total.rows_in += rows_of(key, unit, record)
        total.rows_kept += out
        if key == "quantize":
            total.audio_seconds += record.facts["seconds"]
            total.tokens += record.facts["tokens"]
        else:
            source = self._source_of(key, unit)
            total.audio_seconds += rate(rates.audio_seconds, source) * out
            total.tokens += rate(rates.tokens, source) * out
        for about in record.files.values():
            total.size += about["bytes"]
        for name in record.facts.get("shards", {}) if spent else ():
            total.size -= record.files[f"{key}/{name}.parquet"]["bytes"]
            total.spent += record.files[f"{key}/{name}.parquet"]["bytes"]
        total.seconds += seconds
        total.processor += cost.get("cpu_seconds", seconds)
        for name, amount in cost.get("usage", {}).items():
            total.usage[name] = total.usage.get(name, 0.0) + amount
        return seconds

    def _expected(
        self, key: str, unit: Unit, rates: PassRates, spent: bool, known: dict[tuple[Any, ...], Figures]
    ) -> tuple[Record, Figures]:
        """Return the record that a unit will have, as far as others go by it, and what it will take.

        Args:
            known: of the pass, what units take that are alike.
        """
        source = self._source_of(key, unit)
        rows = self._rows_of(key, unit, source, rates)
        out = self._rows_out(key, unit, rows, rate(rates.kept, source))
        shards = self._shards(key, unit, out, rates)
        alike = (source, rows, out, *shards.values())
        figures = known.get(alike)
        if figures is None:
            figures = known[alike] = self._figures(source, rows, out, list(shards.values()), rates, spent)
        facts: dict[str, Any] = self._facts(key, rows, rates)
        if shards:
            facts["shards"] = shards
        if key == "quantize":
            facts |= {"seconds": figures.audio_seconds, "tokens": figures.tokens}
        files = {f"{key}/{name}.parquet": YET_TO_BE_MADE for name in shards or (unit.name,)}
        counts = Counts(round(rows), out, {FORESEEN: round(rows) - out})
        return Record("", {}, counts, files, facts, {}), figures

    def _figures(
        self, source: str, rows: float, out: int, shards: Sequence[int], rates: PassRates, spent: bool
    ) -> Figures:
        """Return what a unit will take that reads so many rows of a source and makes shards of so many."""
        of_shards = sum(rates.shard_bytes.of(source, n) for n in shards or [0]) if rates.shards else 0.0
        return Figures(
            rows_in=rows,
            rows_kept=out,
            audio_seconds=rate(rates.audio_seconds, source) * out,
            tokens=rate(rates.tokens, source) * out,
            size=(0.0 if spent else of_shards) + rates.other_bytes.of(source, rows),
            spent=of_shards if spent else 0.0,
            seconds=rates.seconds.of(source, rows),
            processor=rates.busy.of(source, rows),
            usage={name: amount * rows for name, amount in rates.usage.items()},
        )

    def _source_of(self, key: str, unit: Unit) -> str:
        """Return whose rows a unit is of, as `source_of` does: asked once for all shards of a source."""
        if key in READS or key == "export":
            return source_of(self.recipe, key, unit)
        place = key, unit.name.rpartition("-")[0]
        if place not in self._sources:
            self._sources[place] = source_of(self.recipe, key, unit)
        return self._sources[place]

    def _rows_of(self, key: str, unit: Unit, source: str, rates: PassRates) -> float:
        """Return the rows, or pairs, that a unit's work grows with."""
        if key in READS:
            return self._records_of(unit.name, rates)
        if key == "export":
            if not self._files:
                layouts = self._outputs.facts("export.layout")
                self._files = Counter(file.split("/")[1] for facts in layouts for file in facts["files"])
            return self.pairs.get(source, 0) / max(self._files[source], 1)
        if key == "export.render":
            return sum(self.pairs.values()) * unit.rows / max(self._rows_to_mix, 1)
        return unit.rows

    def _records_of(self, name: str, rates: PassRates) -> float:
        """Return how many records of a source will be read: where `limit` ends it, fewer than there are."""
        rows = self._rows[name].rows
        source = next(source for source in self.recipe.sources if source.name == name)
        assert rows is not None, "the caller has asked for it"
        if source.limit is None:
            return rows
        passed = rate(rates.facts.get("passed", {OTHERS: 1.0}), name)
        return min(rows, source.limit / passed) if passed else rows

    def _rows_out(self, key: str, unit: Unit, rows: float, share: float) -> int:
        if key == "noise.speech":
            most = max(KEPT_AT_LEAST, rows // KEPT_OF)
            return int(min(rows, 2 * most if self.recipe.noise.ladder else most))
        return round(rows * share)

    def _shards(self, key: str, unit: Unit, out: int, rates: PassRates) -> dict[str, int]:
        """Return the shards of rows that a unit will make; none where its pass makes none."""
        if not rates.shards:
            return {}
        if key in READS:
            size = self.recipe.read.rows_per_shard
            if key == "read.speech" and (of_row := rate(rates.shard_bytes.row, unit.name)):
                size = max(1, min(size, int(PART_BYTES / of_row)))
            return {f"{unit.name}-{k:05d}": min(size, out - first) for k, first in enumerate(range(0, out, size))}
        if key == "noise" and unit.name == "all":
            made = self._outputs.shards("noise.sounds")
            return {shard.name: round(out * shard.rows / max(unit.rows, 1)) for shard in made}
        return {unit.name: out}

    def _facts(self, key: str, rows: float, rates: PassRates) -> dict[str, Any]:
        """Return what the units of later passes go by."""
        if key in READS:
            return {"said": "", "files": {}}
        if key == "score.benchmarks":
            return {"prompts": 1, "missing": {}, **rates.facts}
        if key == "score.families":
            members = round(rows * rates.facts.get("share", 0.0))
            return {"rows": members, "parts": count_parts(members)}
        if key == "export.layout":
            files = self._dataset()
            return {"files": files, "sections": [1] * len(files)}
        return {name: value for name, value in rates.facts.items() if name not in ("passed", "share")}

    def _dataset(self) -> list[str]:
        """Return the files of the mixtures, as `export.layout` names them."""
        names = []
        for name, mixture in self.recipe.mix.mixtures.items():
            size = self.pairs.get(name, 0) * rate(self.rates.pair_file_bytes, name)
            count = max(1, -(-int(size) // self.recipe.export.shard_bytes))
            names += [f"dataset/{name}/{mixture.split}-{k:05d}-of-{count:05d}.parquet" for k in range(count)]
        return names

    def _rows_by(self, key: str) -> Counter[str]:
        """Return the rows that a pass leaves of each source; those that are no rows by themselves are left out."""
        rows: Counter[str] = Counter()
        for shard in self._outputs.shards(key):
            source = self._source_of(key, Unit(shard.name))
            if key != "noise" or source != "interruptions":
                rows[source] += shard.rows
        return rows

    def _mix(self) -> None:
        """Find how many pairs each mixture will have, by the arithmetic of `mix` on the rows that are expected."""
        rows = Counter[str]()
        for key in ("quantize", "noise", "noise.chats"):
            rows.update(self._rows_by(key))
        self._rows_to_mix = rows.total()
        if self._plans["mix"].done:
            (mixed,) = (unit.record for unit in self._plans["mix"].units)
            self.pairs = {name: of["total"] for name, of in mixed.facts["mixtures"].items()} if mixed else {}
            return
        if not self.rates.classes:
            self.notes.append("mix: the rates know no tasks of rows, so pairs are not estimated: calibrate again")
            return
        withheld = self._rows_by("noise.chats").total()
        classes = {
            name: self._classes(rows, takes(mixture.held_out, mixture.most_tokens), withheld)
            for name, mixture in self.recipe.mix.mixtures.items()
        }
        try:
            self.pairs = {name: sum(quota.values()) for name, quota in quotas_of(self.recipe, classes).items()}
        except UserError as error:
            self.notes.append(f"by these rates the step mix would end with: {error}")

    def _classes(self, rows: Mapping[str, int], who: str, withheld: int) -> dict[frozenset[str], int]:
        """Return how many of the expected rows that a mixture takes serve which tasks."""
        counted: Counter[str] = Counter()
        measured = self.rates.classes
        texts = [source for source in measured if source not in BESIDE]
        for source, n in rows.items():
            named = [source] if source in measured else texts
            of = sum(self.rates.rows[name] for name in named)
            for name in named:
                if who not in measured[name]:
                    raise UserError(
                        f"the rates know of no mixture that takes rows so: {who}. Measure again: speechmill calibrate"
                    )
                for serves, count in measured[name][who].items():
                    counted[serves] += count * n / of if of else 0  # type: ignore[assignment]
        if chats := sum(counted[serves] for serves in counted.keys() & CHATS):
            for serves in counted.keys() & CHATS:
                counted[serves] *= max(0.0, 1 - withheld / chats)  # type: ignore[assignment]
        return {frozenset(serves.split()): round(count) for serves, count in counted.items()}


def price_of(recipe: Recipe, key: str) -> dict[str, float]:
    """Return what a pass's server asks for one of what it counts: tokens of prompts and answers, characters."""
    options = {"rewrite": recipe.rewrite, "answer": recipe.answer, "noise": recipe.noise.refusals}.get(key)
    if options is not None:
        of_prompts, of_answers = recipe.llms[options.llm].price_per_million_tokens
        return {"prompt_tokens": of_prompts / 1e6, "completion_tokens": of_answers / 1e6}
    if key == "tts" and recipe.tts.openai_speech is not None:
        return {"characters": recipe.tts.openai_speech.price_per_million_characters / 1e6}
    return {}
