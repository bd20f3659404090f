"""ASCII digits as English words: cardinals, ordinals, decimals, years, or digit by digit."""

_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *_TEENS)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", " thousand", " million", " billion", " trillion")
LONGEST_READ_AS_NUMBER = 3 * len(_SCALES)  # digits; anything longer is an identifier, read digit by digit
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def digits(text: str) -> str:
    """ "407" -> "four zero seven"."""
    return " ".join(_ONES[int(digit)] for digit in text)


def cardinal(text: str) -> str:
    """ "1234" -> "one thousand two hundred thirty-four"; "007" and very long ones go by digits."""
    if len(text) > LONGEST_READ_AS_NUMBER or (text[0] == "0" and len(text) > 1):
        return digits(text)
    rest, words = int(text), []
    for scale in _SCALES:
        rest, below_thousand = divmod(rest, 1000)
        if below_thousand:
            words.append(_below_thousand(below_thousand) + scale)
    return " ".join(reversed(words)) or "zero"


def _below_thousand(n: int) -> str:
    if n >= 100:
        return f"{_ONES[n // 100]} hundred {_below_thousand(n % 100)}" if n % 100 else f"{_ONES[n // 100]} hundred"
    if n < 20:
        return _ONES[n]
    return f"{_TENS[n // 10]}-{_ONES[n % 10]}" if n % 10 else _TENS[n // 10]


def ordinal(text: str) -> str:
    """ "22" -> "twenty-second"."""
    words = cardinal(text)
    start = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[start:]
    return words[:start] + (_ORDINALS.get(last) or f"{last.removesuffix('y')}{'ie' if last[-1] == 'y' else ''}th")


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
