"""ASCII digits as English words: cardinals, ordinals, decimals, years, or digit by digit."""

from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import inflect

LONGEST_READ_AS_NUMBER = 15  # digits; anything longer is an identifier, read digit by digit

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(text: str) -> str:
    """ "407" -> "four zero seven"."""
    return " ".join(_DIGITS[int(digit)] for digit in text)


@lru_cache(maxsize=65_536)
def cardinal(text: str) -> str:
    """ "1234" -> "one thousand two hundred thirty-four"; "007" and very long ones go by digits."""
    if len(text) > LONGEST_READ_AS_NUMBER or (text[0] == "0" and len(text) > 1):
        return digits(text)
    words = _inflect().number_to_words(text, andword="")
    return str(words).replace(",", "")


@lru_cache(maxsize=4_096)
def ordinal(text: str) -> str:
    """ "22" -> "twenty-second"."""
    return str(_inflect().ordinal(cardinal(text)))


def number(text: str) -> str:
    """Digits with optional thousands commas and decimals: "1,234.50" -> "... point five zero"."""
    whole, point, decimals = text.replace(",", "").partition(".")
    if not point:
        return cardinal(whole)
    return f"{cardinal(whole) if whole else ''} point {digits(decimals)}".strip()


def year(text: str) -> str:
    """Four digits as a year: "1984" -> "nineteen eighty-four", "1905" -> "nineteen oh five"."""
    century, rest = text[:2], text[2:]
    if text[1:3] == "00" or text == "2000":
        return cardinal(text)
    if rest == "00":
        return f"{cardinal(century)} hundred"
    if rest[0] == "0":
        return f"{cardinal(century)} oh {cardinal(rest[1])}"
    return f"{cardinal(century)} {cardinal(rest)}"


def year_or_number(text: str) -> str:
    """A number, which is a year if it can be one: four digits from 1100 to 2099."""
    is_year = len(text) == 4 and text.isdigit() and 1100 <= int(text) <= 2099
    return year(text) if is_year else number(text)


def called(text: str) -> str:
    """The number in a name: "747" -> "seven forty-seven", "305" -> "three oh five", "1080" -> "ten eighty"."""
    if text[0] == "0" or not 3 <= len(text) <= 4:
        return cardinal(text)
    if len(text) == 4:
        return year(text)
    hundreds, rest = cardinal(text[0]), text[1:]
    if rest == "00":
        return f"{hundreds} hundred"
    return f"{hundreds} oh {cardinal(rest[1])}" if rest[0] == "0" else f"{hundreds} {cardinal(rest)}"


def plural(words: str) -> str:
    """ "ninety" -> "nineties", "six" -> "sixes", "five" -> "fives"."""
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return f"{words}es" if words.endswith("x") else f"{words}s"


def decade(text: str) -> str:
    """The tens of a decade: "90" -> "nineties", "00" -> "hundreds", "10" -> "tens"."""
    return "hundreds" if text == "00" else plural(cardinal(text))


def fraction(numerator: str, denominator: str) -> str:
    """ "3", "4" -> "three quarters"; "1", "2" -> "one half"."""
    names = {"2": ("half", "halves"), "4": ("quarter", "quarters")}
    one = ordinal(denominator).removeprefix("one ")  # one hundredth, not one one hundredth
    singular, several = names.get(denominator, (one, f"{one}s"))
    return f"{cardinal(numerator)} {singular if numerator == '1' else several}"


@cache
def _inflect() -> "inflect.engine":
    """Import on first use: it takes 1.5 s, which a text without digits need not pay."""
    import inflect

    return inflect.engine()
