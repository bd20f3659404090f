"""Our spoken forms beside those of libraries, on the pairs of tests/tts/spoken_pairs.py and on real prompts.

    python benchmarks/spoken_form.py                         # ours
    python benchmarks/spoken_form.py --by inflect num2words  # those that are installed beside numpy and soundfile
    python benchmarks/spoken_form.py --prompts FILE.jsonl    # of messages, or keys "prompt" or "question"

A pair counts as right where the words are the same: case, hyphens, punctuation, spaces and "and" are not compared,
so that no library loses by a matter of taste. num2words and inflect know numbers and no text; the glue that
a user would write around them (numbers, decimals, ordinals) is here. `digits` counts prompts with a digit left.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tts")]

from spoken_pairs import HELD_OUT, PAIRS  # noqa: E402

Say = Callable[[str], str]
_NUMBER = re.compile(r"(\d[\d,]*(?:\.\d+)?)(st|nd|rd|th)?")


def ours() -> Say:
    from tts.spoken_form import spoken_form

    return spoken_form


def num2words() -> Say:
    from num2words import num2words as words

    def one(match: re.Match[str]) -> str:
        number = match[1].replace(",", "")
        value = float(number) if "." in number else int(number)
        return str(words(value, ordinal=bool(match[2]) and isinstance(value, int)))

    return lambda text: _NUMBER.sub(one, text)


def inflect() -> Say:
    import inflect as library

    engine = library.engine()

    def one(match: re.Match[str]) -> str:
        return str(engine.number_to_words(match[1].replace(",", "") + (match[2] or "")))

    return lambda text: _NUMBER.sub(one, text)


def wetext() -> Say:
    from tn.english.normalizer import Normalizer

    normalizer = Normalizer()
    return lambda text: str(normalizer.normalize(text)) if text.strip() else text


def nemo() -> Say:
    from nemo_text_processing.text_normalization.normalize import Normalizer

    normalizer = Normalizer(input_case="cased", lang="en")
    return lambda text: str(normalizer.normalize(text))


BY: dict[str, Callable[[], Say]] = {
    "ours": ours, "num2words": num2words, "inflect": inflect, "wetext": wetext, "nemo": nemo,
}  # fmt: skip


def plain(text: str) -> str:
    """What is compared: letters and digits, without "and"."""
    return re.sub(r"\W|_", "", re.sub(r"\band\b", "", text.lower()))


def right(say: Say, pairs: list[tuple[str, str]]) -> int:
    return sum(plain(say(text)) == plain(spoken) for text, spoken in pairs)


def asked(record: dict[str, Any]) -> str:
    """Return the prompt of a record, whatever it is called."""
    for key in ("prompt", "question"):
        if key in record:
            return str(record[key])
    return str(record["messages"][0]["content"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by", nargs="+", choices=list(BY), default=["ours"])
    parser.add_argument("--prompts", type=Path, default=ROOT / "examples" / "instructions.jsonl")
    parser.add_argument("--most", type=int, default=2_000, help="prompts of each kind, with and without digits")
    args = parser.parse_args()

    records = [json.loads(line) for line in args.prompts.read_text(encoding="utf-8").splitlines()]
    prompts = [asked(record) for record in records]
    with_digits = [prompt for prompt in prompts if re.search(r"\d", prompt)][: args.most]
    without = [prompt for prompt in prompts if not re.search(r"\d", prompt)][: args.most]
    for name in args.by:
        start = time.perf_counter()
        say = BY[name]()
        say("Pay $5 by 5:30 pm.")
        print(f"\n{name}: ready in {time.perf_counter() - start:.2f} s")
        for group, pairs in {**PAIRS, "all": [p for g in PAIRS.values() for p in g], "held out": HELD_OUT}.items():
            n_right = right(say, pairs)
            print(f"  {group:24} {n_right:4} of {len(pairs):4}  {n_right / len(pairs):4.0%}")
        for kind, texts in {"with digits": with_digits, "without": without}.items():
            start = time.process_time()
            said = [say(text) for text in texts]
            seconds = time.process_time() - start
            left = sum(any(map(str.isdigit, text)) for text in said)
            rate = len(texts) / seconds if seconds else 0
            print(f"  prompts {kind:12} {len(texts):6}, {rate:10,.0f} a second, {left} with a digit left")


if __name__ == "__main__":
    main()
