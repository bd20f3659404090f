"""`speechmill plan`: the states of all units, and what they will take."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError
from rich.table import Table

from pipelines.errors import UserError
from pipelines.estimate.counting import parse_rows
from pipelines.estimate.estimate import as_json, estimate, rates_of_recipe
from pipelines.estimate.told import show
from pipelines.estimate_options import Cluster, Prices
from pipelines.graph import PassPlan, plan_run
from pipelines.options import Options
from pipelines.recipe import Recipe
from pipelines.running.progress import make_console
from pipelines.steps import PASSES
from pipelines.telling.paper import HEADER, compare

Model = TypeVar("Model", bound=Options)
NO_RATES = (
    "No rates, so nothing is estimated: `speechmill calibrate` measures them, `--rates` names those of another run."
)


def tell_plan(
    recipe: Recipe, rates: str | None, rows: Sequence[str], cluster: str | None, price: str | None, as_text: bool
) -> None:
    """Print the plan of a recipe; with rates also what it takes."""
    with _no_collection():
        _tell(recipe, rates, rows, cluster, price, as_text)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage: many records are many objects without cycles, and half of the time went there."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _leave(*made: object) -> None:
    """Leave objects to the end of the process: to free very many one by one is a tenth of a plan's time."""
    left = [*made]
    left.append(left)  # nobody else frees a cycle, and the collector nothing that is frozen
    gc.freeze()


def _tell(
    recipe: Recipe, rates: str | None, rows: Sequence[str], cluster: str | None, price: str | None, as_text: bool
) -> None:
    wanted = parse_options("cluster", cluster, Cluster, recipe.plan.cluster)
    prices = parse_options("price", price, Prices, recipe.plan.prices)
    given = parse_rows(list(rows), {source.name: source for source in recipe.sources})
    by = rates_of_recipe(recipe, rates)
    plans, _ = plan_run(recipe, PASSES)
    found = estimate(recipe, plans, by, wanted, prices, given) if by else None
    _leave(plans, found)
    console = make_console()
    if as_text:
        told = {"run": recipe.run_place, "states": [_state(plan) for plan in plans]}
        print(json.dumps({**told, "estimate": as_json(found) if found else None}, indent=1, ensure_ascii=False))
        return
    console.print(f"run folder: {recipe.run_place}", markup=False)
    table = Table("step", "shards", "done", "stale", "to do", "rows", "why", box=None, pad_edge=False)
    for plan in plans:
        table.add_row(*_row(plan))
    console.print(table, markup=False)
    if compared := compare(recipe, plans):
        counts = Table(*HEADER, box=None, pad_edge=False)
        for row in compared:
            counts.add_row(*row.cells())
        console.print("")
        console.print(counts, markup=False)
    if found is None:
        console.print(f"\n{NO_RATES}", markup=False)
    else:
        show(found, console)


def _why(plan: PassPlan) -> list[str]:
    whys = list(dict.fromkeys(u.why for u in plan.units if u.why))
    return [*whys, f"waits for {plan.waits_for}"] if plan.waits_for and not plan.count("stale") else whys


def _row(plan: PassPlan) -> tuple[str, ...]:
    known = plan.waits_for is None or plan.units
    rows = sum(u.unit.rows for u in plan.units)
    return (
        plan.key,
        str(len(plan.units)) if known else "?",
        str(plan.count("done")),
        str(plan.count("stale")),
        str(plan.count("to do")) if known else "?",
        f"{rows:,}" if rows else "?" if not plan.done else "",
        "; ".join(_why(plan)[:3]),
    )


def _state(plan: PassPlan) -> dict[str, Any]:
    return {
        "step": plan.key,
        "shards": len(plan.units),
        "done": plan.count("done"),
        "stale": plan.count("stale"),
        "to_do": plan.count("to do"),
        "rows": sum(u.unit.rows for u in plan.units),
        "waits_for": plan.waits_for,
        "why": _why(plan),
    }


def parse_options(option: str, said: str | None, model: type[Model], default: Model | None) -> Model | None:
    """Return the options that "name=value,..." says, beside those of the recipe. Raises UserError for others.

    >>> parse_options("cluster", "cpus=64,gpus=8", Cluster, None)
    Cluster(cpus=64, gpus=8, nodes=1, memory_gib=0.0)
    """
    if said is None:
        return default
    pairs: Mapping[str, str] = dict(item.partition("=")[::2] for item in said.split(","))
    try:
        return model.model_validate({**(default.model_dump() if default else {}), **pairs})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        names = ", ".join(f"{name}=..." for name in model.model_fields)
        raise UserError(f"--{option} {said}: {wrong}. It takes {names}") from error
