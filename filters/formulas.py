"""Evidence: LaTeX, and formulas that cannot be followed by ear."""

import re

from filters.screen import Look, loosen

_LATEX = re.compile(
    r"\\[a-zA-Z]{2,}|\\[()\[\]{}]|\$\$|\$[A-Za-z\\({][^$\n]{0,100}[\\^_={}][^$\n]{0,100}\$"
    r"|\$[A-Za-z]\$"
    r"|[\w)][_^]\{"
)
_POWER = re.compile(r"[\w)\]] ?\^ ?[\w({-]|\b[a-zA-Z)]\*\*\d")
_SUPERSCRIPT = re.compile(r"[⁰¹²³⁴-⁹ⁿ](?<![kcmd]m.)(?<!\bm.)(?<!\bft.)(?<!\bin.)")
_SYMBOLS = re.compile("[∀-∂∆-∑√-∠∧-∳∴∵≠-⊿⟨⟩ℝℕℤℚℂ]")
_FUNCTION = re.compile(
    r"\b(?:[fgh]|sin|cos|tan|log|ln|exp|sqrt|lim|max|min|[PE])\s?\([\w|+*/ ,^.-]{1,30}\)"
    r"|\b[a-z]'{1,2}\([a-z]\)"
)
_TERM = r"(?:\d[\d.,]{0,20}[a-z]{0,2}|[a-zA-Z]|[()])"
_OPERATOR = re.compile(
    rf"(?<!\w)[({{]{{0,3}}{_TERM} ?(?:[<>]=|[=+*×÷·±<>≤≥]| [-–−/] |/(?=[a-zA-Z(]))"
    rf"(?= ?[-({{]{{0,3}}{_TERM}(?![\w']))"
)
_HUG = re.compile(r"\) ?[*/+=×÷] ?[\d(a-z]|\d ?[*×+] ?\(|[\d)][a-z]?\([\da-z] ?[-+*/]")
# Factorials in a sum, absolute bars, quotients of letters.
_SIGNED = re.compile(
    r"\d!\s?[-+*/×÷=]\s?\d|\|-?\d{0,3}\w(?: ?[-+*/] ?\w{1,3})?\|"
    r"|\b\d{1,3}(?:[abc]{2}|[abc]?[xyz]{1,2})/\d{1,3}[abcxyz]{1,2}\b"
)
_ELEMENT = r"(?:Na|Cl|Ca|Cu|Fe|Mg|Mn|Al|Ag|Zn|Ba|Li|Si|Pb|Br|[HCNOSPKFI])"
_REACTION = re.compile(rf"(?<!\w)\d{{0,2}}(?:{_ELEMENT}\d?){{1,6}} ?\+ ?\d{{0,2}}(?:{_ELEMENT}\d?){{1,6}}(?!\w)")
_MOLECULE = re.compile(rf"{_ELEMENT}\d{_ELEMENT}|(?<!\w)\d{_ELEMENT}[A-Z\d]")
_MOST_OPERATORS = 3


def find_latex(text: str) -> str | None:
    """The first LaTeX command in `text`, else None. A dollar sign before a number is money.

    >>> find_latex("What is two plus two, and what is 15% of 80?")
    >>> find_latex("I have $5 and $10, and C:\\\\ is a drive.")
    >>> find_latex("Evaluate \\\\frac{1}{2} of $x^2$")
    '\\\\frac'
    >>> find_latex("Where is $f(x) = y$ zero?")
    '$f(x) = y$'
    """
    match = _LATEX.search(text)
    return match.group() if match else None


def find_formula(text: str) -> str | None:
    """The first formula in `text` that is hard to follow by ear, else None.

    Kept: percentages, fractions, units with a square or cube, and equations of at most three
    operators ("2x + 3 = 7"). Rejected: powers, mathematical symbols, functions of brackets,
    parentheses that touch an operator, absolute bars, factorials in a sum, chemical sums, and
    anything longer.

    >>> find_formula("What is 3 + 4, and what is 15% of 80?")
    >>> find_formula("If 2x + 3 = 7, what is x? I have $5 and $10, and 30 m² of floor.")
    >>> find_formula("Factor x^2 - 5x + 6")
    'x^2'
    >>> find_formula("When is f(x) zero?")
    'f(x)'
    >>> find_formula("Is 2NaOH + H2SO4 balanced?")
    '2NaOH + H2SO4'
    """
    if match := _POWER.search(text) or _SUPERSCRIPT.search(text) or _SYMBOLS.search(text):
        return match.group()
    if "(" in text and (match := _FUNCTION.search(text) or _HUG.search(text)):
        return match.group()
    if ("!" in text or "|" in text or "/" in text) and (match := _SIGNED.search(text)):
        return match.group()
    if "+" in text and (match := _REACTION.search(text)) and _MOLECULE.search(match.group()):
        return match.group()
    operators = _OPERATOR.findall(text)
    return " ".join(operators) if len(operators) > _MOST_OPERATORS else None


LATEX_LOOKS = (Look(find_latex, (loosen(_LATEX),)),)
FORMULA_LOOKS = (
    Look(
        find_formula,
        (
            loosen(_POWER, _SUPERSCRIPT, _SYMBOLS, _FUNCTION, _HUG, _SIGNED, _REACTION),
            loosen(_OPERATOR, times=_MOST_OPERATORS + 1),
        ),
    ),
)
