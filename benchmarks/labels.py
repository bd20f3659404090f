"""How often do the filters agree with labels that were written without looking at the rules?

    python benchmarks/labels.py                                    # tests/data/labels.jsonl
    python benchmarks/labels.py --labels FILE [FILE ...] --list    # and every disagreement

A labels file has one JSON object a line: `text`, `reason` (null if the text can be spoken, else a
kind), optionally `kinds` (the kinds that are right too) and `unclear` (true where two careful
people would disagree: left out). Private data is looked for first, as the pipeline does.
"""

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from filters.speakable import RULES, unspeakable  # noqa: E402

Find = Callable[[str], str | None]


@dataclass(frozen=True)
class Judged:
    """A labelled text and what the filters say of it: None or "kind:evidence"."""

    text: str
    reason: str | None
    kinds: frozenset[str]
    verdict: str | None

    @property
    def right_reason(self) -> bool:
        """Rejected, and for a kind that the label names."""
        return self.verdict is not None and self.verdict.split(":")[0] in self.kinds


def find_private() -> Find | None:
    """Return `filters.private.find_private`, or None in a checkout without that file."""
    if importlib.util.find_spec("filters.private") is None:
        return None
    find: Find = importlib.import_module("filters.private").find_private
    return find


def verdict(text: str, private: Find | None) -> str | None:
    """Return None if both filters keep `text`, else "kind:evidence" of the first that does not."""
    evidence = private(text) if private else None
    return unspeakable(text) if evidence is None else f"private:{evidence}"


def judge(path: Path, private: Find | None) -> tuple[list[Judged], int]:
    """Return the judged rows of `path` and how many unclear ones were left out."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    clear = [row for row in rows if not row.get("unclear")]
    judged = [
        Judged(
            row["text"], row["reason"], frozenset(row.get("kinds", ())) | {row["reason"]}, verdict(row["text"], private)
        )
        for row in clear
    ]
    return judged, len(rows) - len(clear)


def share(part: int, whole: int) -> str:
    return f"{part / whole:6.1%} ({part} of {whole})" if whole else "none"


def report(rows: list[Judged], unclear: int) -> Iterable[str]:
    """Yield the figures of one file, line by line."""
    speakable = [row for row in rows if row.reason is None]
    kept = [row for row in rows if row.verdict is None]
    right = sum(row.verdict is None for row in speakable)
    yield f"rows {len(rows)}, of which {len(speakable)} labelled speakable; unclear, left out: {unclear}"
    yield f"speakable: precision {share(right, len(kept))}, recall {share(right, len(speakable))}"
    yield f"{'kind':<16}{'labelled':>9}{'rejected':>9}{'right reason':>13}"
    for kind in ("private", *RULES):
        labelled = [row for row in rows if row.reason == kind]
        rejected = sum(row.verdict is not None for row in labelled)
        yield f"{kind:<16}{len(labelled):>9}{rejected:>9}{sum(row.right_reason for row in labelled):>13}"


def disagreements(rows: list[Judged]) -> Iterable[str]:
    """Yield a line for each row whose verdict or reason is not the label's: label, verdict, text."""
    for row in rows:
        if row.verdict is not None if row.reason is None else not row.right_reason:
            yield f"{row.reason or '-':<16} {row.verdict or '-':<42} {json.dumps(row.text, ensure_ascii=False)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, nargs="+", default=[ROOT / "tests" / "data" / "labels.jsonl"])
    parser.add_argument("--list", action="store_true", help="list every row that the filters judge otherwise")
    arguments = parser.parse_args()
    private = find_private()
    if private is None:
        print("filters/private.py is not there: private rows are judged by the speakable rules alone")
    for path in arguments.labels:
        rows, unclear = judge(path, private)
        print(f"\n{path}", *report(rows, unclear), *(disagreements(rows) if arguments.list else ()), sep="\n")


if __name__ == "__main__":
    main()
