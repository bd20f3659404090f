"""Evidence: program code. Talking about code is fine; reading it out is not."""

import re

from filters.screen import Look, first_sign, look_for, loosen

_FENCE = re.compile(r"```|~~~|(?<!`)`(?!`)[^`\n]*[^\w`\n ][^`\n]*`(?!`)")
# Shapes that only code has, with bounded repeats. Those of a group start alike, which is quick.
_STATEMENT = re.compile(
    r"\b(?:(?:from [\w.]{1,60} )?import [\w.*{]{1,60}\s*(?:as \w+|;|\n|from\b|$)"
    r"|def \w{1,60}\s?\(|class \w{1,60}\s?[:({]|public (?:static|class|void|int)\b"
    r"|function\s?\w{0,60}\([^)\n]{0,80}\)\s*\{"
    r"|(?:var|let|const|int|float|double|char|string|String|bool|auto|final) \w{1,40}(?:\[\])? ?=[^=]"
    r"|(?:print|printf|println|echo|puts|input|len|range)\(['\"\w]|console\.log\b|System\.out\b"
    r"|(?:SELECT|select) [\w*., ()]{1,80} (?:FROM|from) \w{1,60}"
    r"(?: (?:WHERE|where|JOIN|join|GROUP|group by|ORDER|order by|LIMIT)\b|;)"
    r"|SELECT [\w*.,]{1,80} FROM\b|(?:INSERT INTO|CREATE TABLE|DELETE FROM|UPDATE \w{1,40} SET)\b"
    r"|return [\w.]{1,40};|if __name__)"
)
_BLOCK = re.compile(
    r"\b(?:(?:for|while|if) ?\([\w =<>!;+.&|-]{1,80}\)\s*[{\n]"
    r"|(?:for|while|if|elif|else|try|with) ?[\w =<>!.,()'\"]{0,60}:\s*\n[ \t]+\S"
    r"|for \w{1,30} in \w{1,30}(?:\([^)\n]{0,40}\)|\.\w{1,30})?:)"
)
_SIGNED = re.compile(
    r"#include\b|<\?php|=>|[=!]==?[^=\n]{1,3}[\w'\"]|&&|\|\||\$\{|\$\(|\[\]\s*=|\+="
    r"|(?:[{}]|[)\]\d'\"];)[ \t]*\n[ \t]*[\w}]"
    r"|\w(?:->\w|::\w|\.\w{1,40}\([^)\s]|\([^)\n]{0,80}\)\s?(?:;|\{|:\n)|\+\+[;)])"
    r"|\b\w{1,40}\[(?:\d{1,3}|[a-z]|['\"]\w{1,30}['\"]|-1|:[^\]]{0,8})\]"
)
_SHAPE = re.compile("|".join(shape.pattern for shape in (_STATEMENT, _BLOCK, _SIGNED)))
# A shape counts beside one of these only: "def f (x)", "select" and "if __name__" alone do not.
_SIGN = re.compile(r"[\[{=;|>&+<\n]")
_CALL = re.compile(r"[\w$]\(")
_STARTS = (
    "import ",
    "SELECT ",
    "INSERT ",
    "CREATE ",
    "DELETE ",
    "UPDATE ",
    "public ",
    "::",
    "#inc",
    "console.",
    "System.",
)
_COMMAND = re.compile(
    r"(?m)^\s?\$ \w|\b(?:(?:git|npm|pip3?|docker|curl|kubectl|apt(?:-get)?|brew|sudo|ls|grep|chmod"
    r"|python3?|bash|tar|ssh|rm|gcc)"
    r" (?:[\w./-]{1,40} ){0,3}--?[a-zA-Z]|sudo (?:apt|rm|su|systemctl)\b|pip install \w)"
)
_LITERAL = re.compile(
    r"\[\s?\[|\[\s*(?:-?\d[\d.]{0,20}|'[^'\n]{0,40}'|\"[^\"\n]{0,40}\")\s*(?:,|\])\s*(?:[-\d'\"]|$)"
    r"|\{\s*(?:['\"\d]|[\w-]{1,30}\s?:\s?[^{}\n]{1,80}[;}])|\([^()\n]{0,60}['\"]\s*,\s*['\"]"
)
_SIGNATURE_LINE = re.compile(r"(?m)^[ \t]{0,20}[\w.]{2,60}\([\w, *='\"]{1,120}\);?[ \t]{0,20}$")
_ASSIGNMENT_LINE = re.compile(r"(?m)^[ \t]{0,20}[A-Za-z_]\w{0,40} ?= ?\S.{0,200}(?:\n|\Z)")
_CONSTANT = re.compile(r"\b[A-Z]{2,30}_[A-Z][A-Z_]{1,30}\b")
_SNAKE = re.compile(r"(?<![\w.])[a-zA-Z]\w{0,40}_\w{1,40}\b")
_BLANK = re.compile(r"_{2,}|<\|\w{1,30}\|>|\[[A-Z][A-Za-z _]{0,30}\]|\{{1,2}[a-z_]{1,30}\}{1,2}")
_CODE_SIGN = re.compile(r"[{}\[\]<>;=\\|&^~$_]")
_MIN_SIGNS = 5
_SIGN_SHARE = 0.08


def find_code(text: str) -> str | None:
    """The first sign of program code in `text`, else None.

    In order: fences, a shape that only code has, a shell command with a flag, a list or map
    literal, a signature or assignment on a line of its own, two names_with_underscores, and at
    least 5 code signs that make up 8 % of the characters.

    >>> find_code("What is a for loop, and when do I import a class?")
    >>> find_code("Write a C++ program that sorts a list; return true if it is empty.")
    >>> find_code("Fix this: print('hello')")
    "print('"
    >>> find_code("Sum the list [1, 2, 3]")
    '[1, 2'
    """
    return first_sign(CODE_LOOKS, text)


def _find_fence(text: str) -> str | None:
    match = _FENCE.search(text) if "`" in text else None
    return match.group() if match else None


def _find_shape(text: str) -> str | None:
    if (
        _SIGN.search(text)
        or ("(" in text and _CALL.search(text))
        or (":" in text and ("for " in text or "class " in text))
        or any(start in text for start in _STARTS)
    ) and (match := _SHAPE.search(text)):
        return match.group()
    return None


def _find_line(text: str) -> str | None:
    match = (_SIGNATURE_LINE.search(text) or _ASSIGNMENT_LINE.search(text)) if "\n" in text else None
    return match.group() if match else None


def _find_names_or_signs(text: str) -> str | None:
    text = _BLANK.sub("", text)  # a form to fill in has signs of its own
    if "_" in text:
        if match := _CONSTANT.search(text):
            return match.group()
        if len(names := _SNAKE.findall(text)) > 1:
            return f"{names[0]} {names[1]}"
    signs = _CODE_SIGN.findall(text)
    if len(signs) >= _MIN_SIGNS and len(signs) >= _SIGN_SHARE * len(text):
        return "".join(signs)
    return None


CODE_LOOKS = (
    Look(_find_fence, ("`",)),
    Look(_find_shape, (loosen(_STATEMENT), loosen(_BLOCK), loosen(_SIGNED))),
    look_for(_COMMAND),
    look_for(_LITERAL),
    Look(_find_line, (loosen(_SIGNATURE_LINE, _ASSIGNMENT_LINE),)),
    # One "_" alone joins a name; where a blank is cut out beside it, the blank ends in a bracket.
    Look(_find_names_or_signs, (f"[^_]_[^_]|{loosen(_CODE_SIGN, times=_MIN_SIGNS)}",)),
)
