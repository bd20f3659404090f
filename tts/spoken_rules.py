"""How a rewrite of `tts.spoken_form` is written down, and the pieces that many of them share."""

import re
from collections.abc import Callable, Iterable
from re import Match

# A rule: literals of which a text must hold one for the pattern to match at all (a quick look that spares
# a search), the pattern, what takes its place. A pattern that starts with a character set is searched for
# several times faster than one that starts with a lookbehind, so many start with a digit and look back from there.
Rule = tuple[tuple[str, ...], re.Pattern[str], Callable[[Match[str]], str] | str]
ALWAYS = ("",)

# 1,234 or 1234, with or without decimals.
N = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
# The same, not inside a word or behind a point.
FREE_N = r"\d(?<![\w.]\d)(?:\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d*(?:\.\d+)?)"
NOT_IN_NUMBER = r"(?!\d|[.,]\d)"


def rewrite(rules: tuple[Rule, ...], text: str) -> str:
    """Apply the rules in their order, each to what the ones before it left."""
    for literals, pattern, replacement in rules:
        for literal in literals:
            if literal in text:
                text = pattern.sub(replacement, text)
                break
    return text


def either(keys: Iterable[str]) -> str:
    """A pattern for one of `keys`, the longest first."""
    return "|".join(re.escape(key) for key in sorted(keys, key=len, reverse=True))


def with_digit(form: str) -> tuple[str, ...]:
    """The quick looks for a form that holds a digit: "-{}" -> "-0", "-1", ..."""
    return tuple(form.format(digit) for digit in "0123456789")


_ARTICLE = re.compile(r"(?:^|\W)[Aa]n?\s(?:[\d.,]+\s?(?:[-–]|to|by)\s?)?$")


def follows_article(match: Match[str]) -> bool:
    """Whether "a" or "an" stands before it, which makes it an adjective: a 5 km run, a $5-$10 fee."""
    return _ARTICLE.search(match.string, max(0, match.start() - 16), match.start()) is not None


_DETERMINER = re.compile(
    r"(?:\b(?:[Tt]he|[Tt]h[eo]se|one|two|three|four|five|six|seven|eight|nine|ten|\d+|[Ee]ach)|[a-z]['’]s) $"
)
_THING = re.compile(
    r"[ -](?!(?:s?he|it|they|we|you|i|that|which|who|to|from|in|on|at|for|of|off|and|or|is|was|were|will|can|with|by"
    r"|per|each|an?|more|less|as|if|but|so|after|before|into|out|would|could|had|has|have|left|back|goes|went|than|then"
    r"|when|now|total|extra|apiece|every|his|her|their|my|your|our|worth|away|apart)\b)[a-z]"
)


def counts_a_thing(match: Match[str]) -> bool:
    """Whether it stands between a determiner and a noun: two $20 bills, the 5 km walk; not the $5 she has."""
    determined = _DETERMINER.search(match.string, max(0, match.start() - 8), match.start())
    return determined is not None and _THING.match(match.string, match.end()) is not None
