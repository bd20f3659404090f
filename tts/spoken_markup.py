"""What is seen and not said: tags, entities, escapes, bullets, emphasis, lines; and addresses of the web."""

import html
import re
from re import Match

from tts.spoken_rules import Rule

# &lt; &#36; &#x27; and the #36; that news wires make of them.
_ENTITY = re.compile(r"&(?:#\d{1,6}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});|(?<![&\w#])#\d{2,3};")


def unescape(text: str) -> str:
    """Put characters for the entities of HTML."""
    return _ENTITY.sub(lambda match: html.unescape(f"&{match[0].lstrip('&')}"), text)


def _address(match: Match[str]) -> str:
    """https://www.example.com -> www dot example dot com."""
    host = match[1]
    return host if host.replace(".", "").isdigit() else host.replace(".", " dot ")


def _tag(match: Match[str]) -> str:
    """Drop a tag, but for one that is spoken of: the <br> tag."""
    return match[1] if match[2] else " "


_TAGS = "br|p|b|i|u|em|strong|hr|sup|sub"  # those of prose; <div> and the like are spoken of
_ENDS = (
    "com", "org", "net", "edu", "gov", "mil", "io", "co", "uk", "ai", "htm", "html", "pdf", "py", "txt", "csv", "json",
    "jpg", "jpeg", "png", "gif", "xml", "xls", "xlsx", "doc", "docx", "md", "js", "css", "java", "sh", "exe", "zip",
    "mp3", "mp4", "wav", "yml", "yaml", "php", "cpp", "bak", "log",
)  # fmt: skip

ADDRESS_RULES: tuple[Rule, ...] = (
    (
        (".",),
        re.compile(rf"(?<![\w.])((?:[\w-]+[.@])+(?:{'|'.join(_ENDS)}))\b(?![.(]?\w)"),
        _address,
    ),
)
MARKUP_RULES: tuple[Rule, ...] = (
    (("<sup>",), re.compile(r"<sup>(-?\d+)</sup>"), r"^\1"),
    (("<",), re.compile(rf"</?({_TAGS})\s?/?>(?=( (?:tag|element))?)"), _tag),
    (("$",), re.compile(r"\${1,2}(?=\S)([^$\n]{0,200}[\\^=+{<>][^$\n]{0,200})(?<=\S)\${1,2}(?!\d)"), r" \1 "),  # $x^2$
    (("|", "+-"), re.compile(r"(?m)^[ \t]*[|+][|+:= \t-]{3,}$|^[ \t]*\||\|[ \t]*$"), " "),  # the lines of a table
    (("math]",), re.compile(r"\[/?math\]"), " "),
    (
        ("\\",),
        re.compile(r"(?<=[^\s'\"(])\\(?:t(?![a-z])|n(?!eq?\b|u\b|abla|ot\b))|\\[nt](?=[A-Z\\])|\\(?=[$#%&_*\"'\s]|$)"),
        " ",
    ),
    (("\\",), re.compile(r"(?<!\S)([A-Za-z]+)\\(?=[a-z\d]+(?:[\s,.;:]|$))"), r"\1 "),  # the wires' broken lines
    (("*", "+", "#", ">"), re.compile(r"(?m)^[ \t]*(?:[*+>]|#{1,6})\s+"), " "),  # bullets, headings, quotations
    (
        ("===", "***", "~~~", "---", "___ _"),
        re.compile(r"={4,}|(?<![\w)\]] )===|(?<!\S)\*{3}(?!\S)|\*{4,}|~{3,}|-{4,}|(?<!\S)---(?!\S)"),
        " ",
    ),
    (("*",), re.compile(r"(?<![\w*])(\*{1,3})(?=\S)([^*\n]+)(?<=\S)\1(?![\w*])"), r"\2"),  # **bold**
    (("_",), re.compile(r"(?<!\w)(_{1,2})(?=[^\s_])([^_\n]+)(?<=\S)\1(?!\w)"), r"\2"),  # _italic_
    (("`",), re.compile(r"`+"), " "),
    (("://", "www."), re.compile(r"(?:\bhttps?://|\b(?=www\.))((?:[\w-]+\.)*[\w-]+)"), _address),
    (("__",), re.compile(r"_{2,}"), " blank "),
    (("##", "#.", "#,", "#\\", "#/"), re.compile(r"#(?:[.,/\\]{0,2}#)+"), "#"),  # digits that were masked
)
