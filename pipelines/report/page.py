"""The report: what was measured, as one HTML file that needs nothing but a browser."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from pipelines.publish.places import published_recipe
from pipelines.report import charts
from pipelines.report.cautions import cautions
from pipelines.report.choose import LENGTHS, choose
from pipelines.report.costs import costs
from pipelines.report.rows import Rows, chosen_rows, read_rows_of, seconds_by_task
from pipelines.report.seen import Seen
from pipelines.report.sounds import read_samples
from pipelines.report.tables import MOST_VOICES, by_attribute, exactness, provenance, voice_rows
from pipelines.report.texts import Histogram, Texts, count_between, measure_texts
from pipelines.report.tokens import LONGEST_RUN, Tokens, measure_tokens
from pipelines.running.progress import describe_usage, format_seconds
from pipelines.telling.funnel import Funnel
from pipelines.telling.samples import Rejected, sample_rejects

SAMPLE_REJECTS = 4  # of each reason
HERE = Path(__file__).parent
# Controls and marks that would be invisible, or would turn the text around them: shown as what they are.
_HIDDEN = {
    *range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), 0xAD, 0x061C, 0x200B, 0x200E, 0x200F, 0x2028,
    0x2029, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB,
}  # fmt: skip
_SHOWN = {code: f'<span class="mark">U+{code:04X}</span>' for code in _HIDDEN}


def shown(text: str) -> Markup:
    """Return a text of the data as it is read, never as markup; in a direction of its own, hidden marks shown.

    >>> str(shown("<b>\\u202ex"))
    '<bdi>&lt;b&gt;<span class="mark">U+202E</span>x</bdi>'
    """
    return Markup(f"<bdi>{str(escape(text)).translate(_SHOWN)}</bdi>")


def write_page(seen: Seen, with_costs: bool = True) -> bytes:
    """Return the report of a run as HTML.

    Args:
        with_costs: for whoever made it; else to be published: no seconds, memory and retries, which differ from
            machine to machine, and no rejected text that private data was found in, or not looked for.
    """
    content = _measure(seen, with_costs)
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    filters: dict[str, Callable[..., str]] = {
        "n": lambda number: "–" if number is None else f"{number:,}",
        "percent": lambda share: "–" if share is None else f"{share:.1%}",
        "clock": lambda seconds: "–" if seconds is None else format_seconds(seconds),
        "usage": describe_usage,
        "shown": shown,
    }
    environment.filters |= filters
    page = environment.get_template("page.html.j2").render(
        **content, style=Markup(style), script=Markup(script), policy=_policy(style, script)
    )
    return page.encode()


def _policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy: nothing is loaded, and nothing runs but this style and this script."""
    digest = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in (("style", style), ("script", script))
    }
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{digest['style']}'; "
        f"script-src 'sha256-{digest['script']}'; base-uri 'none'; form-action 'none'"
    )


def _measure(seen: Seen, with_costs: bool) -> dict[str, Any]:
    """Return all that the template names."""
    rows, texts, tokens = read_rows_of(seen), measure_texts(seen), measure_tokens(seen)
    lengths = {name: seconds_by_task(chosen) for name, chosen in chosen_rows(seen, rows)}
    voices = voice_rows(seen, rows, tokens)
    spent = list(costs(seen)) if with_costs else []
    samples = read_samples(seen, choose(seen, rows))
    mixtures = dict(exactness(seen))
    return {
        "recipe": seen.recipe,
        "recipe_yaml": published_recipe(seen.recipe, models=False),
        "seen": seen,
        "funnel": seen.funnel,
        "pairs": sum(mixture["total"] for mixture in mixtures.values()),
        "speech": _speech(seen),
        "refusals": seen.lock().get("refusals"),
        "unused": seen.lock().get("rows_no_part_can_use", 0),
        "mixtures": mixtures,
        "lengths": lengths,
        "rejects": _rejects(seen, screened=not with_costs),
        "sample_rejects": SAMPLE_REJECTS,
        "samples": samples,
        "filters": _filters(samples),
        "kinds": _counts(rows, "kind"),
        "rungs": _counts(rows, "rung"),
        "cuts": _counts(rows, "cut"),
        "wrote": rows.wrote.to_dicts(),
        "texts": texts,
        "tokens": tokens,
        "charts": _charts(seen, rows, texts, tokens),
        "voices": voices,
        "most_voices": MOST_VOICES,
        "attributes": by_attribute(voices),
        "cautions": cautions(seen, texts, tokens, voices, lengths, spent),
        "costs": spent,
        "with_costs": with_costs,
        "provenance": provenance(seen),
    }


def _speech(seen: Seen) -> str:
    recorded = [source for source in seen.recipe.sources if source.audio]
    if not recorded:
        return "synthetic speech"
    return "recorded speech" if len(recorded) == len(seen.recipe.sources) else "synthetic and recorded speech"


def _counts(rows: Rows, column: str) -> dict[str, int]:
    """Return how many rows have each value of a column, in the order of values."""
    named = rows.table[column].drop_nulls()
    counted = named.cast(str).value_counts(name="rows").sort(column) if len(named) else named.to_frame().clear()
    return dict(counted.iter_rows())


def _rejects(seen: Seen, screened: bool) -> list[tuple[str, str, int, list[Rejected]]]:
    """Return (step, reason, rows, samples), the most frequent reasons of a step first.

    Args:
        screened: no text that private data was found in, or not looked for.
    """
    found = []
    for step, counts in seen.funnel.steps.items():
        samples = sample_rejects(seen.rejects(step), SAMPLE_REJECTS, screened) if counts["rejected"] else {}
        for reason, rows in sorted(counts["rejected"].items(), key=lambda pair: -pair[1]):
            found.append((step, reason, rows, samples.get(reason, [])))
    return found


def _filters(samples: list[Any]) -> dict[str, list[str]]:
    """Return what samples can be filtered by: name -> values."""
    tasks = {sample.choice.task for sample in samples}
    lengths = {sample.choice.length for sample in samples}
    return {
        "task": sorted(tasks),
        "voice": sorted({sample.voice for sample in samples if sample.voice}),
        "length": [length for length in LENGTHS if length in lengths],
        "source": sorted({sample.source for sample in samples}),
    }


def _charts(seen: Seen, rows: Rows, texts: Texts | None, tokens: Tokens) -> dict[str, Markup]:
    """Return the charts, by name; those alone that something is known for."""
    drawn: dict[str, tuple[charts.Draw, str, tuple[float, float]]] = {}
    small, wide, narrow = (3.7, 2.1), (8.0, 2.4), (3.7, 2.4)

    def add(name: str, draw: charts.Draw, described: str, inches: tuple[float, float] = small) -> None:
        drawn[name] = (draw, described, inches)

    for suffix, inches in (("", wide), (" narrow", narrow)):
        add(f"funnel{suffix}", charts.funnel_bars(seen.funnel), _funnel_in_words(seen.funnel), inches)
        if lock := seen.lock():
            add(f"mixtures{suffix}", charts.mixture_bars(lock), _mixtures_in_words(lock), inches)
    if texts:
        add("length", charts.histogram(texts.length, "BPE tokens of the longest prompt"), _in_words(texts.length))
        add("english", charts.histogram(texts.english, "probability of English"), _in_words(texts.english))
        for rule, sizes in texts.clusters.items():
            add(f"clusters {rule}", charts.bars(_sizes(sizes), "rows of one kind"), f"Sizes of clusters by {rule}")
    seconds = rows.utterances["seconds"].to_numpy()
    if len(seconds):
        spread = Histogram(_edges(seconds), {"utterances": count_between(seconds, _edges(seconds))})
        add("seconds", charts.histogram(spread, "seconds of an utterance"), _in_words(spread))
    for (tokenizer, what), heard in tokens.heard.items():
        label = f"{what} {tokenizer}"
        used = int((heard.used > 0).sum())
        words = f"{used} of {len(heard.used)} codes are used; perplexity {heard.perplexity:.0f}"
        add(f"used {label}", charts.ranked(heard.used.tolist(), "codes, most frequent first"), words)
        runs = {str(n) if n < LONGEST_RUN else f"{n}+": int(heard.runs[n]) for n in range(2, LONGEST_RUN + 1)}
        said = f"{heard.repeat_share:.1%} of the tokens repeat the one before"
        add(f"runs {label}", charts.bars(_few(runs), "how often a token stands in a row, from twice on"), said)
        if what == "speech":
            rates = np.array(heard.rates)
            spread = Histogram(_edges(rates, low=False), {"utterances": count_between(rates, _edges(rates, low=False))})
            add(f"rate {label}", charts.histogram(spread, "tokens in a second of speech"), _in_words(spread))
    return {name: Markup(charts.svg(*about)) for name, about in drawn.items()}  # made of numbers and of our words


def _few(runs: dict[str, int]) -> dict[str, int]:
    """Return runs up to the longest that there is."""
    last = max((number for number, count in enumerate(runs.values()) if count), default=0)
    return dict(list(runs.items())[: last + 1])


def _edges(values: np.ndarray[Any, Any], low: bool = True, bins: int = 30) -> np.ndarray[Any, Any]:
    """Return edges from 0 (or from the least value) to the 99.9th percentile, so that one outlier flattens nothing."""
    first = 0.0 if low else float(np.floor(values.min()))
    last = float(np.quantile(values, 0.999))
    return np.linspace(first, last if last > first else first + 1, bins + 1)


def _sizes(sizes: np.ndarray[Any, Any]) -> dict[str, int]:
    """Return how many clusters have 2, 3, 4, 5 to 9, 10 to 99, 100 rows or more."""
    borders = {"2": (2, 2), "3": (3, 3), "4": (4, 4), "5–9": (5, 9), "10–99": (10, 99), "100+": (100, 10**12)}
    return {name: int(((sizes >= low) & (sizes <= high)).sum()) for name, (low, high) in borders.items()}


def _in_words(histogram: Histogram) -> str:
    total = np.sum(list(histogram.counts.values()), axis=0)
    at = int(total.argmax())
    first, last = histogram.edges[at], histogram.edges[at + 1]
    return f"Histogram of {histogram.total:,} values; most lie from {first:.3g} to {last:.3g}"


def _funnel_in_words(funnel: Funnel) -> str:
    return "; ".join(
        f"{step} kept {counts['rows_kept']:,} of {counts['rows_in']:,}" for step, counts in funnel.steps.items()
    )


def _mixtures_in_words(lock: Mapping[str, Any]) -> str:
    parts = {
        name: (f"{p} {about['chosen']:,}" for p, about in m["parts"].items()) for name, m in lock["mixtures"].items()
    }
    return "; ".join(f"{name}: {', '.join(said)}" for name, said in parts.items())
