"""Evidence: something the prompt speaks of is not there."""

import re
from collections.abc import Callable

from filters.screen import Look, first_sign, loosen

_THINGS = (
    r"(?:passage|text|paragraph|article|sentence|table|image|picture|photo|figure|map|graph|chart"
    r"|diagram|excerpt"
    r"|snippet|code|code snippet|conversation|dialogue|dialog|email|e-mail|letter|review|poem"
    r"|document|statement"
    r"|essay|transcript|information|data|dataset|description|options|choices|question|equation"
    r"|problem|list"
    r"|phrase|words|sentences|paragraphs|questions|statements|numbers|items|instructions|story"
    r"|quote|abstract"
    r"|scenario|case|facts|function|program|script|recipe|report|message|tweet|lyrics|input"
    r"|headline|word|prompt)"
)
_MADE_OF = r"(?:[\w-]{1,20} ){0,2}"  # "the following short French text"
_SHOWN = (
    r"(?:given|provided|shown|listed|mentioned|described|presented|quoted|written|stated|included"
    r"|attached|pasted)"
)
_ACTS = (
    r"(?:summari[sz]e|translate|paraphrase|rewrite|rephrase|proofread|edit|correct|fix|debug"
    r"|explain|analy[sz]e"
    r"|classify|review|complete|shorten|simplify|reword|improve|continue|read|solve|expand|check"
    r"|finish|refactor)"
)
# The next four are searched for in lower case (`_search`), which is far quicker than re.I.
_TO_COME = (
    rf"(?:the|these|this) following {_MADE_OF}{_THINGS}|{_THINGS} (?:(?:{_SHOWN} )?below|that follows?)"
    rf"|following {_THINGS}|below {_THINGS}"
)
# Points forward: what it speaks of must follow, in the same message.
_AHEAD = re.compile(
    rf"\b(?:{_TO_COME}"
    rf"|{_ACTS} (?:me )?(?:this|these|the (?:given|provided|attached)|the following) {_MADE_OF}{_THINGS})\b"
)
# As much of that as earlier messages of a chat cannot hold: "translate this sentence" may mean one of theirs.
_STILL_AHEAD = re.compile(rf"\b(?:{_TO_COME})\b")
# Points back: what it speaks of must stand before it.
_BACK = re.compile(
    rf"\b(?:(?:the|these|this|that) (?:above|preceding|previous|aforementioned|foregoing)(?:[- ]mentioned)?"
    rf" {_MADE_OF}{_THINGS}|{_THINGS} (?:{_SHOWN} )?above|above {_THINGS}|{_SHOWN} above|as (?:seen |shown )?above)\b"
)
# Points to a thing that must be somewhere in the prompt.
_SOURCE = (
    r"(?:according to|based on|refer(?:ring)? to|look(?:ing)? at|described in|shown in|mentioned in|from reading)"
    r" (?:the|this)"
)
_GIVEN = r"(?:the|this) (?:given|provided|attached|uploaded|enclosed)"
_ATTACHED = r"attached (?:file|image|document|picture|photo|pdf|spreadsheet)"
_OF_THE = r"(?:of|in|for|from|by) (?:the|this) (?:passage|excerpt|given text)"
_PART = r"(?:paragraph|line|sentence|lines? \d{1,3}) (?:of|in) the (?:text|passage|article|poem)"
_MARKED = r"(?:underlined|highlighted|boldfaced|italicized|bracketed|circled) (?:words?|phrase|parts?|sentence|text)"
_IN_BOX = r"(?:words|terms|numbers|phrases) (?:from|in) the (?:box|boxes|word bank)"
_WITHIN = (
    r"(?:information|data|words|numbers|figures) (?:in|from) (?:the|this) (?:chart|table|graph|diagram|passage|picture)"
)
_GIVEN_THE = r"given (?:the|this) (?:graph|chart|table|diagram|figure|picture|image|map|passage|excerpt),"
_SHOWN_THING = (
    r"(?:image|picture|photo|passage|graph|chart|diagram|table|map|paragraph|excerpt|article|essay|poem|text|sentence"
    r"|code|code snippet|snippet|e-?mail|conversation|dialogue|document)(?! of\b)"
)
_IN_THIS = rf"(?:in|of|from|about|to|with|does|did|is) this {_SHOWN_THING}"
_IN_THE = r"in the (?:picture|image|photo)\?"
_DATA = r"(?:data|table|graph|chart|map|text|image|picture|information) (?:provided|shown|given)"
_NEAR = re.compile(
    rf"\b(?:{_SOURCE} (?:(?:given|provided|attached) )?(?:passage|text|paragraph|article|excerpt|table|image|picture"
    r"|photo|figure|graph|chart|diagram|document|conversation|dialogue|transcript)\b"
    r"(?! (?:of|by|about|on|from|titled|called)\b)"
    rf"|{_GIVEN} (?:passage|text|paragraph|article|excerpt|table|image|picture|photo|figure|graph|chart|diagram"
    r"|document|file|conversation|dialogue|sentence|context|information|review|poem|email|snippet|code|code snippet"
    r"|list|data)\b"
    rf"|{_ATTACHED}\b|{_OF_THE}\b(?! (?:of|from|to)\b)|{_PART}\b|{_MARKED}\b|{_IN_BOX}\b|{_WITHIN}\b|{_GIVEN_THE}"
    rf"|{_IN_THIS}\b|(?:is|are|was|were) [\w ]{{1,30}} {_IN_THE}"
    rf"|{_DATA}\b)"
)
# A pattern counts beside one of its cues (lower case) only; to look for these first is quick.
_AHEAD_CUES = ("follow", "below", " this ", " these ", "the given", "the provided", "the attached")
_BACK_CUES = ("above", "previous", "preceding", "aforementioned", "foregoing")
_NEAR_CUES = (
    "according to", "based on", "refer", "look at", "looking at", "described in", "shown in", "mentioned in",
    "given", "provided", "attached", "uploaded", "enclosed", "from reading", "passage", "paragraph of", "line of",
    "sentence of", "line ", "lines ", "underlined", "highlighted", "boldfaced", "italicized", "bracketed",
    "circled", "the box", "word bank", "information in", "information from", "data in", "data from", "words in",
    "words from", "numbers in", "numbers from", "figures in", "figures from", "shown", " this ", "in the picture",
    "in the image", "in the photo",
)  # fmt: skip
_AFTER = re.compile(r"[:\n\"“‘]\s{0,20}\S|[.?!]['\")]?\s+\w+\W+\w+\W+\w|,\s+['\"“\d]|\s[-–—]\s\w")
_BEFORE = re.compile(
    r"\w+\W+\w+\W+\w+\W+\w.{0,400}[.?!:\n\"”]"
    r"|\w\W+\w.{0,400} (?:What|Which|Who|Why|How|Is|Are|Was|Does|Did) ",  # a text without a full stop, and a question
    re.S,
)
_QUOTED = re.compile(r"[\"“][^\"”\n]{6,}[\"”]|(?<!\w)['‘][^'’\n]{8,}['’](?!\w)")
_OPENING = r"(?:[:：]\s{0,20}[\"'“‘«?.]{0,2}|(?<![\w.,!?)\]*\"'”’])[\"“‘«'(\[{])"
_OPEN_END = re.compile(_OPENING + "$")
_END_CHARS = 60
# What re.I takes for an i or an s, and `lower` does not (of one it makes two characters).
_ODD_CASES = str.maketrans("İıſ", "iis")


def find_dangling(text: str) -> str | None:
    """The colon, open quote or open bracket that `text` ends in, else None.

    >>> find_dangling('Who said "I think, therefore I am"?')
    >>> find_dangling("What time is it in Rome :)")
    >>> find_dangling("Translate this into French:")
    ':'
    >>> find_dangling('Finish this sentence: "')
    ': "'
    """
    end = text[-_END_CHARS:].rstrip()
    if end.endswith('"') and not end.endswith(': "') and text.count('"') % 2 == 0:
        return None  # a closing quote, whatever stands before it
    match = _OPEN_END.search(end)
    return match.group() if match else None


def find_missing_context(text: str) -> str | None:
    """The words in `text` that speak of something the prompt does not hold, else None.

    "The following text" needs a colon, a quotation, a new line or a new sentence after it; "the
    text above" needs a sentence before it; "according to the passage" needs either.

    >>> find_missing_context("Paraphrase the following sentence: The cat sat on the mat.")
    >>> find_missing_context("Plants need light to grow. What is the topic of the above sentence?")
    >>> find_missing_context("Write a poem where each line in this poem ends in a vowel.")
    >>> find_missing_context("What is the main idea of the passage above?")
    'passage above'
    >>> find_missing_context("Given the following table, which row is largest?")
    'the following table'
    """
    return first_sign(CONTEXT_LOOKS, text)


def _find_ahead(text: str, pattern: re.Pattern[str] = _AHEAD) -> str | None:
    ahead = _search(pattern, _AHEAD_CUES, text)
    if ahead and not _AFTER.search(text, ahead.end()) and not _QUOTED.search(text):
        return text[slice(*ahead.span())]
    return None


def find_missing_ahead(text: str) -> str | None:
    """The words in a chat's later message that speak of something to come which does not, else None.

    What stands before it in the chat is there, and so is all that it may point back to.

    >>> find_missing_ahead("Why is the second one in the list above so expensive? Explain this code.")
    >>> find_missing_ahead("Now summarize the following article")
    'the following article'
    """
    return _find_ahead(text, _STILL_AHEAD)


def _find_back(text: str) -> str | None:
    back = _search(_BACK, _BACK_CUES, text)
    return text[slice(*back.span())] if back and not _BEFORE.search(text, 0, back.start()) else None


def _find_near(text: str) -> str | None:
    near = _search(_NEAR, _NEAR_CUES, text)
    if near is None or _AFTER.search(text, near.end()) or _BEFORE.search(text, 0, near.start()) or _QUOTED.search(text):
        return None
    words = text[slice(*near.span())]
    a_thing = f" a {words.split()[-1].lower()} "  # "Write a poem ... in this poem"
    return None if a_thing in text[: near.start()].lower() else words


def _search(pattern: re.Pattern[str], cues: tuple[str, ...], text: str) -> re.Match[str] | None:
    """The first match of a pattern of lower case; its places are those of `text`."""
    lowered = text.lower()
    if not any(cue in lowered for cue in cues):
        return None
    return pattern.search(lowered if text.isascii() else text.translate(_ODD_CASES).lower())


DANGLING_LOOKS = (Look(find_dangling, (loosen(re.compile(_OPENING + r"\s*\Z")),)),)

_STEMS = (
    _SOURCE, _GIVEN, _ATTACHED, _OF_THE, _PART, _IN_THIS, _IN_THE, _DATA, _MARKED, _IN_BOX, _WITHIN, _GIVEN_THE,
)  # fmt: skip
_NEAR_STEM = re.compile("|".join(_STEMS), re.I)
# What speaks of a thing that does not follow is the end of the prompt, but for one mark and space.
_AHEAD_STEM = re.compile(
    rf"(?:follow|below|{_ACTS} (?:me )?(?:this|these|the (?:given|provided|attached)) )"
    r"[^:\n\"“‘]*(?:\Z|[:\n\"“‘](?:\s*\Z|\s{20}))",
    re.I,
)
CONTEXT_LOOKS = (
    Look(_find_ahead, (loosen(_AHEAD_STEM),)),
    Look(_find_back, (f"(?i){'|'.join(_BACK_CUES)}",)),
    Look(_find_near, (loosen(_NEAR_STEM),)),
)
# What is left to look for in a chat's later messages, for each of these looks; nothing for those that point back.
LATER_LOOKS: dict[Callable[[str], str | None], Callable[[str], str | None]] = {
    _find_ahead: find_missing_ahead,
    _find_back: lambda text: None,
    _find_near: lambda text: None,
}
