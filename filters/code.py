"""Evidence: program code. Talking about code is fine; reading it out is not."""

import re

_FENCE = re.compile(r"```|~~~|(?<!`)`(?!`)[^`\n]*[^\w`\n ][^`\n]*`(?!`)")
# Shapes that only code has. Each starts with a literal or a word boundary and has bounded repeats.
_SHAPE = re.compile(
    r"\bdef \w{1,60}\s?\(|\bclass \w{1,60}\s?[:({]"
    r"|\b(?:from [\w.]{1,60} )?import [\w.*{]{1,60}\s*(?:as \w+|;|\n|from\b|$)"
    r"|#include\b|<\?php|\bpublic (?:static|class|void|int)\b"
    r"|\bfunction\s?\w{0,60}\([^)\n]{0,80}\)\s*\{"
    r"|\b(?:var|let|const|int|float|double|char|string|String|bool|auto"
    r"|final) \w{1,40}(?:\[\])? ?=[^=]"
    r"|\b(?:print|printf|println|echo|puts|input|len|range)\(['\"\w]|\bconsole\.log\b"
    r"|\bSystem\.out\b"
    r"|\b(?:SELECT|select) [\w*., ()]{1,80} (?:FROM|from) \w{1,60}(?: (?:WHERE|where|JOIN|join"
    r"|GROUP|group by|ORDER|order by"
    r"|LIMIT)\b|;)|\bSELECT [\w*.,]{1,80} FROM\b"
    r"|\b(?:INSERT INTO|CREATE TABLE|DELETE FROM|UPDATE \w{1,40} SET)\b"
    r"|=>|\w->\w|[=!]==?[^=\n]{1,3}[\w'\"]|&&|\|\||\w::\w|\$\{|\$\(|\b\w{1,40}\[(?:\d{1,3}|[a-z]"
    r"|['\"]\w{1,30}['\"]|-1|:[^\]]{0,8})\]"
    r"|\w\.\w{1,40}\([^)\s]|\w\([^)\n]{0,80}\)\s?(?:;|\{|:\n)|\breturn [\w.]{1,40};"
    r"|(?:[{}]|[)\]\d'\"];)[ \t]*\n[ \t]*[\w}]|\[\]\s*=|\+=|\w\+\+[;)]"
    r"|\bif __name__|\b(?:for|while|if) ?\([\w =<>!;+.&|-]{1,80}\)\s*[{\n]|\b(?:for|while|if"
    r"|elif|else|try|with) ?[\w =<>!.,()'\"]{0,60}:\s*\n[ \t]+\S"
    r"|\bfor \w{1,30} in \w{1,30}(?:\([^)\n]{0,40}\)|\.\w{1,30})?:"
)
# Without one of these no shape above can match: quick looks save most prompts the slow one.
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
    r"(?m)^\s?\$ \w|\b(?:git|npm|pip3?|docker|curl|kubectl|apt(?:-get)?|brew|sudo|ls|grep|chmod"
    r"|python3?|bash|tar|ssh|rm|gcc)"
    r" (?:[\w./-]{1,40} ){0,3}--?[a-zA-Z]|\bsudo (?:apt|rm|su|systemctl)\b|\bpip install \w"
)
_LITERAL = re.compile(
    r"\[\s?\[|\[\s*(?:-?\d[\d.]{0,20}|'[^'\n]{0,40}'|\"[^\"\n]{0,40}\")\s*(?:,|\])\s*(?:[-\d'\"]|$)"
    r"|\{\s*['\"\d]|\([^()\n]{0,60}['\"]\s*,\s*['\"]"
)
_SIGNATURE_LINE = re.compile(r"(?m)^[ \t]{0,20}[\w.]{2,60}\([\w, *='\"]{1,120}\);?[ \t]{0,20}$")
_CONSTANT = re.compile(r"\b[A-Z]{2,30}_[A-Z][A-Z_]{1,30}\b")
_SNAKE = re.compile(r"(?<![\w.])[a-zA-Z]\w{0,40}_\w{1,40}\b")
_ASSIGNMENT_LINE = re.compile(r"(?m)^[ \t]{0,20}[A-Za-z_]\w{0,40} ?= ?\S.{0,200}(?:\n|\Z)")
_BLANK = re.compile(r"_{2,}|\[[A-Z][A-Za-z _]{0,30}\]|\{{1,2}[a-z_]{1,30}\}{1,2}")
_CODE_SIGNS = re.compile(r"[{}\[\]<>;=\\|&^~$_]")
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
    if "`" in text and (match := _FENCE.search(text)):
        return match.group()
    if (
        _SIGN.search(text)
        or ("(" in text and _CALL.search(text))
        or (":" in text and ("for " in text or "class " in text))
        or any(start in text for start in _STARTS)
    ) and (match := _SHAPE.search(text)):
        return match.group()
    shell_like = " -" in text or "$ " in text or "pip " in text or "sudo " in text
    if shell_like and (match := _COMMAND.search(text)):
        return match.group()
    if ("[" in text or "{" in text or "(" in text) and (match := _LITERAL.search(text)):
        return match.group()
    if "\n" in text:
        if "(" in text and (match := _SIGNATURE_LINE.search(text)):
            return match.group()
        if "=" in text and (match := _ASSIGNMENT_LINE.search(text)):
            return match.group()
    text = _BLANK.sub("", text)  # a form to fill in has signs of its own
    if "_" in text:
        if match := _CONSTANT.search(text):
            return match.group()
        if len(names := _SNAKE.findall(text)) > 1:
            return f"{names[0]} {names[1]}"
    signs = _CODE_SIGNS.findall(text)
    if len(signs) >= _MIN_SIGNS and len(signs) >= _SIGN_SHARE * len(text):
        return "".join(signs)
    return None
