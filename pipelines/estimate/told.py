"""An estimate in words and tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from pipelines.estimate.estimate import Estimate
from pipelines.estimate.foresee import Figures
from pipelines.estimate_options import Cluster
from pipelines.running.progress import format_seconds

WIDTH = 160  # of the table: a narrower terminal breaks its lines
SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def show(found: Estimate, console: Console) -> None:
    """Print what the whole run takes and what is to do, per step and in all, and where the numbers come from."""
    priced = bool(any(found.prices.model_dump().values()) or found.whole.money)
    gpus = any(ahead.whole.gpu_seconds for ahead in found.passes)
    begun = any(piece.state == "done" for ahead in found.passes for piece in ahead.pieces)
    hours = ["CPUs", *(["GPUs"] if gpus else []), *(["money"] if priced else [])]
    whole = ["rows in", "kept", "speech", "tokens", "disk", *hours]
    now = [f"now: {name}" for name in ("rows", "disk", *hours)] if begun else []
    table = Table("step", *whole, *now, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    everything = [(ahead.key, ahead.whole, ahead.now) for ahead in found.passes if ahead.pieces]
    for name, of_all, of_now in (*everything, ("in all", found.whole, found.now)):
        made = (_number(of_all.rows_in), _number(of_all.rows_kept), _time(of_all.audio_seconds), _number(of_all.tokens))
        cells = [*made, *_costs(found, of_all, gpus, priced)]
        table.add_row(name, *cells, *([_number(of_now.rows_in), *_costs(found, of_now, gpus, priced)] if begun else []))
    console.print("")
    console.width = max(console.width, WIDTH)
    console.print(table, markup=False, soft_wrap=True)
    for line in lines(found):
        console.print(line, markup=False)


def _costs(found: Estimate, figures: Figures, gpus: bool, priced: bool) -> Iterator[str]:
    yield from (_size(figures.size), _time(figures.cpu_seconds))
    if gpus:
        yield _time(figures.gpu_seconds)
    if priced:
        yield f"{found.money(figures):,.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 0.5 else ""


def _size(value: float) -> str:
    """Return bytes as people say them.

    >>> _size(1_234_567), _size(512), _size(0)
    ('1.23 MB', '512 B', '')
    """
    scale, unit = next(((scale, unit) for scale, unit in SIZES if value >= scale), (1, "B"))
    return f"{value / scale:.3g} {unit}" if value else ""


def _time(seconds: float) -> str:
    """Return how long something takes; from 100 hours on in hours.

    >>> _time(12.34), _time(3 * 3600), _time(1.5e6), _time(0)
    ('12.3 s', '3:00:00', '417 h', '')
    """
    return f"{seconds / 3600:,.0f} h" if seconds >= 360_000 else format_seconds(seconds) if seconds else ""


def machines(cluster: Cluster) -> str:
    """Return a cluster in words.

    >>> machines(Cluster(cpus=16, gpus=1, nodes=4, memory_gib=60)), machines(Cluster(cpus=2))
    ('4 nodes of 16 CPUs, 1 GPUs, 60 GiB', '2 CPUs')
    """
    nodes = f"{cluster.nodes} nodes of " if cluster.nodes > 1 else ""
    gpus = f", {cluster.gpus} GPUs" if cluster.gpus else ""
    return f"{nodes}{cluster.cpus} CPUs{gpus}" + (f", {cluster.memory_gib:g} GiB" if cluster.memory_gib else "")


def lines(found: Estimate) -> Iterator[str]:
    """Yield how long it takes, what it costs, and where the numbers come from."""
    on = machines(found.cluster)
    now, whole = found.times_now, found.times_whole
    yield "CPUs: for how long workers hold them, one after another" + ("; GPUs too" if found.now.gpu_seconds else "")
    yield f"time on {on}: {format_seconds(now.seconds)} now, {format_seconds(whole.seconds)} for the whole run"
    if found.prices.cpu_hour or found.prices.gpu_hour:
        yield (
            f"if the cluster is held all that time: {found.held(now):,.2f} now, {found.held(whole):,.2f} for the whole "
            "run; money above is for the hours that workers hold"
        )
    if found.prices.gib_month:
        yield "disk is paid for a month"
    if found.now.spent:
        yield f"on disk for a while, and removed again: {_size(found.now.spent)}"
    if found.pairs:
        yield "pairs: " + ", ".join(f"{name} {pairs:,}" for name, pairs in found.pairs.items())
    usage = {name: amount for name, amount in found.now.usage.items() if amount and name != "cost"}
    if usage:
        asked = ", ".join(f"{name.replace('_', ' ')} {amount:,.0f}" for name, amount in usage.items())
        yield f"servers are asked: {asked}"
    yield "rows: " + ", ".join(f"{name} {rows.rows:,} ({rows.how})" for name, rows in found.rows.items())
    yield f"rates: measured {found.rates.measured}" if found.rates.measured else "rates: a table"
    yield from (f"note: {note}" for note in found.notes)
