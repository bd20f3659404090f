"""Runs what is to do: unit by unit, several passes at once, in a plain loop or on Ray, with the same bytes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass

from pipelines.errors import Quarantined, exit_code
from pipelines.folders.lock import Hold, lock_run
from pipelines.folders.record_index import write_index
from pipelines.folders.run_folder import RunFolder, open_run_folder
from pipelines.graph import Outputs, Pass, UnitPlan
from pipelines.parts import PartsAtWork
from pipelines.recipe import Recipe
from pipelines.running.events import Events
from pipelines.running.orders import Executor, Needs, Order, Tell
from pipelines.running.perform import InThisProcess, InThreads, writing
from pipelines.running.progress import Progress
from pipelines.running.schedule import PassAtWork, Schedule
from pipelines.shards import QUARANTINED, Counts, Record, digest_json, to_json
from pipelines.telling.funnel import by_source
from pipelines.worker_options import GIB


@contextmanager
def executor(workers: int | None, address: str | None, events: Events, name: str) -> Iterator[Executor]:
    """Start what performs orders: this process for no workers, else a pool on Ray.

    Args:
        workers: how many; None for one on each CPU.
        address: of a running Ray cluster; None for this machine alone.
        name: of the recipe, for Ray's metrics.
    """
    if workers == 0:
        yield InThisProcess(events.tell)
    else:
        from pipelines.running.ray_metrics import hear_for_ray  # imports Ray, where there is something to do
        from pipelines.running.ray_pool import ray_pool

        with ray_pool(workers, address, events.tell) as pool:
            events.listen(hear_for_ray(name), from_start=True)  # light passes were done before
            yield pool


class _Hands:
    """What performs orders: light ones in threads of this process, until the first that is worth a worker's start."""

    def __init__(
        self,
        execute: AbstractContextManager[Executor],
        stack: ExitStack,
        tell: Tell,
        to_come: Callable[[], tuple[Mapping[str, Needs], Mapping[str, Needs]]],
    ) -> None:
        self._tell = tell
        self._execute = execute
        self._to_come = to_come
        self._stack = stack
        self._workers: Executor | None = None
        self._threads: InThreads | None = None
        self._in_threads = self._in_workers = 0

    @property
    def busy(self) -> bool:
        """Whether an order is not done yet."""
        return self._in_threads + self._in_workers > 0

    def size(self, light: bool) -> int:
        """Return how many orders are performed at once, at most."""
        return self._of(light).size

    def submit(self, order: Order, light: bool) -> None:
        """Give out an order."""
        hands = self._of(light)
        hands.submit(order)
        if hands is self._threads:
            self._in_threads += 1
        else:
            self._in_workers += 1

    def wait(self, look: Callable[[], object]) -> tuple[Order, Record]:
        """Return an order that is done, with its record; `look` is called now and then meanwhile."""
        if self._threads is not None and self._in_threads:  # they take no time
            self._in_threads -= 1
            return self._threads.wait(look)
        assert self._workers is not None, "something is busy"
        self._in_workers -= 1
        return self._workers.wait(look)

    def _of(self, light: bool) -> Executor:
        if light and self._workers is None:
            if self._threads is None:
                self._threads = InThreads(self._tell)
                self._stack.callback(self._threads.close)
            return self._threads
        if self._workers is None:
            self._workers = self._stack.enter_context(self._execute)
            self._workers.check(*self._to_come())
        return self._workers


def run(
    recipe: Recipe,
    passes: Iterable[Pass],
    execute: AbstractContextManager[Executor],
    progress: Progress,
    tell: Tell,
    threads: bool = True,
) -> Outputs:
    """Bring the passes up to date; returns what they left.

    Args:
        tell: takes what happens.
        execute: entered when the first unit is to be done that is worth a worker's start, so that nothing to do costs
            nothing.
        threads: whether light passes are done in threads until then; else `execute` does all.
    """
    passes = list(passes)
    ranks = {a_pass.key: rank for rank, a_pass in enumerate(passes)}
    folder = open_run_folder(recipe)
    with writing(recipe.run_path), lock_run(recipe.run_path) as hold, ExitStack() as stack:
        hold.check()
        folder.write("recipe.json", to_json(recipe.model_dump(mode="json")))
        end = stack.enter_context(_told(progress, tell, recipe.name))
        hands = _Hands(execute, stack, tell, lambda: _to_come(recipe, schedule.passes))
        finisher = _Finisher(recipe, passes, folder, hold, progress, tell)
        schedule = Schedule(recipe, passes, finisher.finish)
        parts = PartsAtWork(folder)

        def give_out() -> None:
            for state, planned in schedule.ready():
                if state.a_pass.in_parts:
                    hold.check()
                    parts.begin(state.a_pass.key, planned)
                light = threads and state.a_pass.light
                rank = ranks[state.a_pass.key]
                hands.submit(_order(recipe, state.a_pass, planned, hold.token, rank, hands.size(light)), light)
            finisher.tell(schedule.passes)

        def look() -> None:
            if hold.lost:
                hold.check()
            for part in parts.look():
                schedule.part(*part)
                give_out()

        while True:
            give_out()
            if not hands.busy:
                break
            order, record = hands.wait(look)
            parts.end(order.key, order.unit.name)
            finisher.take(order, record)
            schedule.done(order.key, order.unit.name, record)
        end.code = exit_code(Quarantined()) if quarantined(schedule.outputs) else 0
    return schedule.outputs


def _order(recipe: Recipe, a_pass: Pass, planned: UnitPlan, token: str, rank: int, size: int) -> Order:
    """Return the order to do a unit: of the pass of a rank, where so many workers may be at work at once."""
    options, allowed = recipe.workers.of(a_pass.key), a_pass.most_workers(recipe)
    return Order(
        *(recipe, a_pass.key, planned.unit, planned.made_of, token),
        needs=_needs(recipe, a_pass),
        least=options.min,
        most=options.max,
        workers=min(limit for limit in (size, allowed, options.max) if limit is not None),
        asks=allowed is not None,
        priority=rank,
        digests=planned.digests,
    )


def _needs(recipe: Recipe, a_pass: Pass) -> Needs:
    """Return what each of a pass's workers needs of a node."""
    options = recipe.workers.of(a_pass.key)
    return Needs(options.cpus, a_pass.gpus(recipe), round(options.memory_gib * GIB))


def _to_come(recipe: Recipe, passes: Iterable[PassAtWork]) -> tuple[dict[str, Needs], dict[str, Needs]]:
    """Return what workers need, by pass: of those that have something to do, and of those that may have.

    Those for which nodes may be to come are left out. What was finished once and is behind what is at work may turn out
    to be up to date: its units are not known yet.
    """
    sure: dict[str, Needs] = {}
    perhaps: dict[str, Needs] = {}
    for state in passes:
        key = state.a_pass.key
        if state.finished or not state.a_pass.applies(recipe) or recipe.workers.of(key).max is not None:
            continue
        to_do = state.units > state.before or not (recipe.run_path / key / "manifest.json").exists()
        (sure if to_do else perhaps)[key] = _needs(recipe, state.a_pass)
    return sure, perhaps


@dataclass
class _End:
    code: int = 1


@contextmanager
def _told(progress: Progress, tell: Tell, name: str) -> Iterator[_End]:
    """Tell that a run starts, and with what exit code it ends."""
    end, why = _End(), None
    tell("run_started", recipe=name, pid=os.getpid(), node=socket.gethostname())
    try:
        yield end
    except BaseException as error:
        end.code, why = exit_code(error), str(error) or type(error).__name__
        raise
    finally:
        tell("run_ended", code=end.code, why=why)
        progress.end(end.code)


def quarantined(outputs: Outputs) -> list[str]:
    """Return the units whose rows were rejected because they killed their workers: "tts examples-00003"."""
    return [f"{key} {unit}" for key, records in outputs.all() for unit, r in records.items() if QUARANTINED in r.facts]


class _Finisher:
    """What is to be done besides when units and passes are done: tell, remove what is spent, write manifests."""

    def __init__(
        self, recipe: Recipe, passes: list[Pass], folder: RunFolder, hold: Hold, progress: Progress, tell: Tell
    ) -> None:
        self._recipe = recipe
        self._folder = folder
        self._hold = hold
        self._progress = progress
        self._tell = tell
        self._began: dict[str, float] = {}  # by pass that has something to do: when
        self._known: dict[str, tuple[int, int, int, bool]] = {}  # by pass: what was told of it
        self._spends: dict[str, list[str]] = {}  # by pass: those whose shards nothing needs once it has made its own
        for a_pass in passes:
            if spent_by := a_pass.spent_by(recipe):
                self._spends.setdefault(spent_by[-1], []).append(a_pass.key)

    def tell(self, passes: Iterable[PassAtWork]) -> None:
        """Tell what is known of the passes at work; of one that follows others, how much there will be as it looks."""
        foreseen: dict[str, int] = {}  # units of a pass
        grows: set[str] = set()  # passes whose sources are being read: nobody knows yet how much there will be
        for state in passes:
            key, to_do = state.a_pass.key, state.units - state.before
            units = state.units if state.whole else max(state.units, sum(foreseen[key] for key in state.follows))
            foreseen[key] = units
            growing = bool(grows.intersection(state.follows))
            if growing or state.parts:
                grows.add(key)
            rows = state.rows if units == state.units else state.rows * (units - state.before) // max(to_do, 1)
            rows = 0 if growing else rows
            known = (units, state.before, rows, state.whole)
            if not state.units or self._known.get(key) == known:
                continue
            self._known[key] = known
            self._progress.expect(key, units, state.before, rows)
            if to_do:
                self._began.setdefault(key, time.monotonic())
                if state.whole:
                    self._tell("pass_planned", step=key, shards=state.units, done=state.before, rows=state.rows)

    def take(self, order: Order, record: Record) -> None:
        """Take in that a unit is done."""
        self._folder.note(f"{order.key}/{order.unit.name}.json", record)
        self._progress.advance(order.key, order.unit, record)
        self._remove_spent(order.key, {order.unit.name: record})

    def finish(self, state: PassAtWork, records: dict[str, Record], outputs: Outputs) -> None:
        """Check and write a pass's manifest, and remove files that no unit owns."""
        a_pass, key = state.a_pass, state.a_pass.key
        self._remove_spent(key, records)
        manifest = f"{key}/manifest.json"
        self._hold.check()
        self._folder.write(manifest, to_json(_manifest(a_pass, records, outputs)))
        owned = [*outputs.files(key), *map(a_pass.record_name, records), manifest]
        self._folder.keep_only(key, owned, self._hold.check)
        if a_pass.last:
            self._folder.keep_only("dataset", outputs.files("dataset"), self._hold.check)
        write_index(self._recipe.run_path, key, records)
        self._progress.finish(key)
        if key in self._began:
            self._tell("pass_done", step=key, seconds=round(time.monotonic() - self._began[key], 3))

    def _remove_spent(self, key: str, records: Mapping[str, Record]) -> None:
        folders = self._spends.get(key, ())
        spent = [shard for shard, record in records.items() if QUARANTINED not in record.facts]  # they are tried again
        if names := [f"{folder}/{shard}.parquet" for shard in spent for folder in folders]:
            self._hold.check()
            self._folder.remove(names)


def _manifest(a_pass: Pass, records: dict[str, Record], outputs: Outputs) -> dict[str, object]:
    """Return a pass's manifest: nothing in it depends on time, workers or attempts."""
    per_source = by_source(outputs, records) if any("shards" in record.facts for record in records.values()) else {}
    per_source = {source: found for source, found in per_source.items() if found.rows_in}  # others: read, or not yet
    counts = Counts.total(record.counts for record in records.values())
    counts.check(a_pass.key)
    return {
        "pass": a_pass.key,
        "version": a_pass.version,
        "fingerprint": digest_json([record.fingerprint for record in records.values()]),
        **asdict(counts),
        "sources": {source: asdict(of_source) for source, of_source in per_source.items()},
        "units": {
            name: {"fingerprint": r.fingerprint, **asdict(r.counts), "files": r.files} for name, r in records.items()
        },
    }
