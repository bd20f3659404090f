"""Evidence: something the prompt speaks of is not there."""

import re

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
# Points forward: what it speaks of must follow.
_AHEAD = re.compile(
    rf"\b(?:the|these|this) following {_MADE_OF}{_THINGS}\b|\b{_THINGS} (?:{_SHOWN} )?below\b"
    rf"|\bfollowing {_THINGS}\b"
    rf"|\b{_THINGS} that follows?\b|\bbelow {_THINGS}\b|\b{_ACTS} (?:me )?(?:this|these"
    rf"|the (?:given|provided|attached)|the following) {_MADE_OF}{_THINGS}\b",
    re.I,
)
# Points back: what it speaks of must stand before it.
_BACK = re.compile(
    rf"\b(?:the|these|this|that) (?:above|preceding|previous|aforementioned"
    rf"|foregoing)(?:[- ]mentioned)? {_MADE_OF}{_THINGS}\b"
    rf"|\b{_THINGS} (?:{_SHOWN} )?above\b|\babove {_THINGS}\b|\b{_SHOWN} above\b|\bas (?:seen "
    rf"|shown )?above\b",
    re.I,
)
# Points to a thing that must be somewhere in the prompt.
_NEAR = re.compile(
    r"\b(?:according to|based on|refer(?:ring)? to|look(?:ing)? at|described in|shown in"
    r"|mentioned in|from reading) "
    r"(?:the|this) (?:(?:given|provided|attached) )?(?:passage|text|paragraph|article|excerpt"
    r"|table|image|picture|photo|figure"
    r"|graph|chart|diagram|document|conversation|dialogue|transcript)\b(?! (?:of|by|about|on"
    r"|from|titled|called)\b)"
    r"|\b(?:the|this) (?:given|provided|attached|uploaded|enclosed) (?:passage|text|paragraph"
    r"|article|excerpt|table|image"
    r"|picture|photo|figure|graph|chart|diagram|document|file|conversation|dialogue|sentence"
    r"|context|information|review|poem"
    r"|email|snippet|code|code snippet|list|data)\b|\battached (?:file|image|document|picture"
    r"|photo|pdf|spreadsheet)\b"
    r"|\b(?:of|in|for|from|by) (?:the|this) (?:passage|excerpt|given text)\b(?! of\b)"
    r"|\b(?:paragraph|line|sentence) of the (?:text|passage|article)\b"
    r"|\b(?:in|of|from) this (?:image|picture|photo|passage|graph|chart|diagram|table|map)\b"
    r"|\b(?:is|are|was|were) [\w ]{1,30} in the (?:picture|image|photo)\?"
    r"|\b(?:data|table|graph|chart|map|text|image|picture|information) (?:provided|shown|given)\b",
    re.I,
)
# Without one of its cues (lower case) a pattern cannot match: looking for them first is quick.
_AHEAD_CUES = ("follow", "below", " this ", " these ", "the given", "the provided", "the attached")
_BACK_CUES = ("above", "previous", "preceding", "aforementioned", "foregoing")
_NEAR_CUES = (
    "according to",
    "based on",
    "refer",
    "look at",
    "looking at",
    "described in",
    "shown in",
    "mentioned in",
    "given",
    "provided",
    "attached",
    "uploaded",
    "enclosed",
    "from reading",
    "passage",
    "paragraph of",
    "line of",
    "sentence of",
    "shown",
    " this ",
    "in the picture",
    "in the image",
    "in the photo",
)
_AFTER = re.compile(r"[:\n\"“‘]\s{0,20}\S|[.?!]['\")]?\s+\w+\W+\w+\W+\w|,\s+['\"“]|\s[-–—]\s\w")
_BEFORE = re.compile(r"\w+\W+\w+\W+\w+\W+\w.{0,400}[.?!:\n\"”]", re.S)
_QUOTED = re.compile(r"[\"“][^\"”\n]{6,}[\"”]|(?<!\w)['‘][^'’\n]{8,}['’](?!\w)")
_OPEN_END = re.compile(r"[:：]\s{0,20}[\"'“‘«?.]{0,2}$|(?<![\w.,!?)\]*\"'”’])[\"“‘«'(\[{]$")
_END_CHARS = 60


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
    >>> find_missing_context("What is the main idea of the passage above?")
    'passage above'
    >>> find_missing_context("Given the following table, which row is largest?")
    'the following table'
    """
    lowered = text.lower()
    ahead = _AHEAD.search(text) if any(cue in lowered for cue in _AHEAD_CUES) else None
    if ahead and not _AFTER.search(text, ahead.end()) and not _QUOTED.search(text):
        return ahead.group()
    back = _BACK.search(text) if any(cue in lowered for cue in _BACK_CUES) else None
    if back and not _BEFORE.search(text, 0, back.start()):
        return back.group()
    near = _NEAR.search(text) if any(cue in lowered for cue in _NEAR_CUES) else None
    if near and not _AFTER.search(text, near.end()) and not _BEFORE.search(text, 0, near.start()):
        return None if _QUOTED.search(text) else near.group()
    return None
