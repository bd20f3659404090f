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
    r"|headline|word|prompt|file|context|post|keywords|expression|line|stanza|verse|riddle|puzzle|quotation|clause"
    r"|comment|complaint|proverb|idiom|shape|argument|proof|statements|scene|joke|meme|cartoon|screenshot|video|clip)"
)
_MADE_OF = r"(?:[\w-]{1,20} ){0,2}"  # "the following short French text"
_SHOWN = (
    r"(?:given|provided|shown|listed|mentioned|described|presented|quoted|written|stated|included"
    r"|attached|pasted)"
)
# What is done to a text that is there, so that "summarize it" alone speaks of one; and to texts and other things.
_TEXT_ACTS = (
    r"(?:summari[sz]e|translate|paraphrase|rewrite|rephrase|reword|proofread|edit|correct|fix|debug|refactor|explain"
    r"|analy[sz]e|classify|shorten|simplify|condense|improve|revise|solve|convert)"
)
_ACTS = (
    rf"(?:{_TEXT_ACTS}|review|complete|continue|read|expand|check|finish|combine|merge|arrange|rearrange|reorder"
    r"|organi[sz]e|sort|rank|group|categori[sz]e|label|change|transform|turn|compare|describe|interpret|evaluate|examine"
    r"|critique|punctuate|study|caption|match|count|use)"
)
_TIMES = (
    r"(?:minute|hour|day|night|morning|evening|week|weekend|month|season|year|decade|centurie|century|time|step|stage"
    r"|chapter)"
)
# Patterns are searched for in lower case (`_search`), which is far quicker than re.I.
_TO_COME = (
    rf"(?:the|these|this) following {_MADE_OF}{_THINGS}|{_THINGS} (?:{_SHOWN} )?below|following {_THINGS}"
    rf"|below {_THINGS}|{_THINGS} that follows?(?=\W{{0,9}}$| and\b)|the [\w -]{{1,40}} below(?=\W{{0,9}}$)"
    rf"|(?<!of )the following(?! (?:of|that|he|she|they|we)\b)(?! (?:[\w-]{{1,20}} ){{0,2}}{_TIMES}s?\b)"
    r"|of the following(?!.{0,200}(?:,.{0,60},| or ))"
)
# Points forward: what it speaks of must follow, in the same message.
_AHEAD = re.compile(rf"\b(?:{_TO_COME})\b")
# Points back: what it speaks of must stand before it.
_BACK = re.compile(
    rf"\b(?:(?:the|these|this|that) (?:above|preceding|previous|aforementioned|foregoing)(?:[- ]mentioned)?"
    rf" {_MADE_OF}{_THINGS}|{_THINGS} (?:{_SHOWN} )?above|above {_THINGS}|{_SHOWN} above|as (?:seen |shown )?above"
    r"|(?<!in )the above(?=\W{0,9}$|[,.?!]| (?:is|are|was|were|would|does|do|in|into|to|for|as)\b)"
    r"|(?<=the )[\w-]{1,20} above(?=\W{0,9}$)|your (?:previous|earlier|above) (?:answer|response|reply|message))\b"
)
# Points to a thing that must be somewhere in the prompt.
_SOURCE = (
    r"(?:according to|based on|refer(?:ring)? to|look(?:ing)? at|described in|shown in|mentioned in|from reading)"
    r" (?:the|this)"
)
_GIVEN = (
    r"(?:the|this) (?:(?:given|provided|uploaded) (?!names?\b|situation|circumstances|conditions|services?\b)"
    rf"(?!{_TIMES}s?\b)[\w-]{{2,20}}|(?:attached|enclosed) {_MADE_OF}{_THINGS})"
)
_ATTACHED = r"attached (?:file|image|document|picture|photo|pdf|spreadsheet|resume|cv|report|letter|essay|here)"
_OF_THE = r"(?:of|in|for|from|by) (?:the|this) (?:passage|excerpt|given text)"
_PART = (
    r"(?:(?:paragraph|line|sentence|lines? \d{1,3}) (?:of|in) the (?:text|passage|article|poem)"
    r"|(?:does|do|did) lines? \d{1,3}(?: (?:to|and) \d{1,3})? (?:do|mean|say|return|print|suggest)"
    r"|(?:answers? (?:to|for)|answer|solve|explain) (?:question|problem|exercise) \d{1,2}(?=\W{0,9}$|[,.?!]))"
)
_MARKED = (
    r"the (?:(?:underlined|highlighted|bolded|boldfaced|italicized|bracketed|circled) [\w-]{2,20}"
    r"|(?:words?|phrases?|parts?|text) in (?:bold|italics|brackets|parentheses)"
    r"|(?:parts?|point|area|structure|organ|region|angle) (?:labell?ed|marked) ['\"]?[a-z1-9](?![\w-]))"
)
_IN_BOX = r"(?:words|terms|numbers|phrases) (?:from|in) the (?:box|boxes|word bank)"
_WITHIN = (
    r"(?:information|data|words|numbers|figures) (?:in|from) (?:the|this) (?:chart|table|graph|diagram|passage|picture)"
)
_GIVEN_THE = (
    r"(?:given|using) (?:the|this) (?:graph|chart|table|diagram|figure|picture|image|map|passage|excerpt|paragraph"
    r"|text|article|sentences?|story|dialogue|document|code),"
)
_SHOWN_THING = (
    r"(?:image|picture|photo|passage|graph|chart|diagram|table|map|paragraph|excerpt|article|essay|poem|text|sentence"
    r"|code|code snippet|snippet|function|e-?mail|conversation|dialogue|document|news story|tweet"
    r"|line|stanza|verse|riddle|puzzle|quote|quotation|phrase|word|clause|equation|expression|headline|review|comment"
    r"|complaint|proverb|idiom|shape|argument|proof|scene|joke|problem|question)(?! (?:of|on|about)\b)"
)
_IN_THIS = rf"(?:in|of|from|about|to|with|for|on|by|does|did|is) this (?:[\w-]{{1,20}} )?{_SHOWN_THING}"
_OUTPUT = r"output of (?:this|the) (?:program|code|script|function|snippet|query|loop)"
_IN_THE = r"in the (?:picture|image|photo)\?"
_DATA = r"(?:data|table|graph|chart|map|text|image|picture|information) (?:provided|shown|given)"
_THING_GIVEN = rf"{_THINGS} (?:provided|shown|given|listed)(?=\W{{0,9}}$|,)"
_ACT_ON_THIS = rf"(?:{_ACTS}|make) (?:me )?(?:this|these|the (?:given|provided|attached)) {_MADE_OF}{_THINGS}"
_NEAR = re.compile(
    rf"\b(?:{_SOURCE} (?:(?:given|provided|attached) )?(?:passage|text|paragraph|article|excerpt|table|image|picture"
    r"|photo|figure|graph|chart|diagram|document|conversation|dialogue|transcript)\b"
    r"(?! (?:of|by|about|on|from|titled|called)\b)"
    rf"|{_GIVEN}\b|{_ATTACHED}\b|{_OF_THE}\b(?! (?:of|from|to)\b)|{_PART}\b|{_MARKED}\b|{_IN_BOX}\b|{_WITHIN}\b"
    rf"|{_GIVEN_THE}|{_IN_THIS}\b|(?:is|are|was|were) [\w ]{{1,30}} {_IN_THE}|{_ACT_ON_THIS}\b"
    rf"|{_DATA}\b|{_THING_GIVEN}|what (?:is|would be|will be) the {_OUTPUT}\b)"
)
# The same, named as if it were known which: an order, or a question about it, that says no more of it.
_TEXTS = (
    r"(?:sentences?|passages?|texts?|paragraphs?|articles?|excerpts?|poems?|essays?|tweets?|story|stories|snippet"
    r"|dialogue|statements?|equations?|expressions?|images?|pictures?|photos?|photographs?|graphs?|charts?|diagrams?"
    r"|code|data|table|list|document|headline|quote|words?|questions?|conversation|lines?|stanza|numbers|phrases?|clause)"
)
_ORDERED = r"(?:^|(?<=[.?!,] )|(?<=please )|(?<=can you )|(?<=could you )|(?<=and )|(?<=then )|(?<=help me ))"
_NO_MORE = (
    r"(?=\W{0,9}$|[.,;?!]"
    r"| (?:into|to|for|so|as|by|using|with|without|and|then|grammatically|correctly|in (?!the\b)"
    r"|in the [\w ]{0,30}(?:tense|voice|form|person|style|tone|blanks?)\b))"
)
_ORDER = rf"{_ORDERED}{_ACTS} (?:me )?(?:the|both) (?:[\w-]{{1,20}} )?{_TEXTS}{_NO_MORE}"
_ALONE = (
    rf"^(?:please |can you |could you |help me )?{_TEXT_ACTS} (?:this|it|these)"
    r"(?: (?:for me|please|(?:in|into|to|as|more|less|so) (?:[\w-]{1,20} ){0,4}[\w-]{1,20})){0,2}(?=\W{0,9}$)"
)
_CHOICE = (
    rf"{_ORDERED}(?:choose|select|pick|mark|tick|circle|identify) the (?:correct|right|best|most \w{{1,20}}|odd|true)"
    r" (?:answer|option|word|choice|alternative|one|statement|sentence|response)s?"
    r"(?: out)?(?: (?:from|in) the (?:list|options|choices|box))?(?=\W{0,9}$)"
    rf"|{_ORDERED}(?:choose|select|pick) the (?:sentence|statement|option|answer|word|phrase) (?:that|which)\b"
    r"|^which (?:one )?of these\b(?!.{0,200}(?:,| or ))"
    r"|which (?:one )?of the (?:sentences|words|statements|options|answers|choices|alternatives|phrases|images)\b"
    r"(?!.{0,200}(?:,| or ))"
    r"|^which (?:option|statement|answer|sentence|alternative)s? (?:is|are) [\w ]{1,40}(?=\W{0,9}$)"
    rf"|{_ORDERED}fill in the (?:blank|gap|missing word)s?\b"
    rf"|{_ORDERED}answer (?:the|these|this|all)(?: the)? questions?(?: (?:based on|using|from) the [a-z]{{1,20}})?"
    r"(?=\W{0,9}$)"
)
_WHERE = r"(?:(?:first|second|third|last|final|entire|whole|original|two|three) )?"
_IN_TEXT = (
    rf"(?:of|in|from|by|for|to|between) the {_WHERE}(?:(?:sentence|text|paragraph|article|image|picture|photo|graph"
    r"|chart|diagram|poem|essay|tweet|passage)s?|story|snippet|dialogue|code)(?=\W{0,9}$|[.,?!]| and\b)"
    rf"|^(?:is|are|does|do|did) the {_WHERE}(?:sentence|sentences|paragraph|statement)\b(?! (?:of|for)\b)"
    rf"|^(?:what )?(?:does|do|did) the {_WHERE}(?:image|picture|photo|graph|chart|diagram|passage|poem|author|narrator)"
    r" (?:show|say|suggest|mean|imply|describe|depict|tell|represent|express|convey)\b"
    r"|^what (?:is|are|was) the (?:poem|passage|story|article|text|paragraph) about\b"
    r"|^(?:what|who|why|which|where|does|is|are)\b[^.]{0,80} the (?:first|second|third|fourth|last|final)"
    r" (?:paragraph|stanza|verse)\b(?! of\b)"
    r"|the [\w-]{2,20} (?:shown|pictured|depicted|provided|listed)(?=\W{0,9}$)"
    rf"|in the {_WHERE}(?:sentence|paragraph|poem|article|text)(?=,| (?:is|are|was|were)\b)"
    r"|^(?:based on|according to|from) the context(?=\W{0,9}$|,)"
)
_UNNAMED = re.compile(rf"(?:\b|^)(?:{_ORDER}|{_ALONE}|{_CHOICE}|{_IN_TEXT})")
# Where a program is asked for, "the text" is what it will be given; how one edits "the text" is asked of any.
_PROGRAM = re.compile(
    r"\b(?:functions?|programs?|scripts?|algorithm|macro|regex|apps?|api|query|python|java|javascript|css|html|sql|excel)\b"
)
_OF_ANY = re.compile(r"(?:how (?:do|does|can|to|should|would)|why|can i|should i)\b")
_GIVEN_INPUT = re.compile(r"(?!.*(?:code|snippet|function|program|script)).*\b(?:given|provided)\b", re.I | re.S)
# A picture, which no words of the prompt can be.
_PICTURE = r"(?:figure|diagram|image|picture|photo|photograph|graph|chart|map|video|audio|recording|screenshot)"
_LOOK = r"(?:in|at|to|study|watch|observe)"
_PERSON = r"(?:m[ae]n|wom[ae]n|boys?|girls?|person|people|guy|lady|child|children|kids?|dog|cat|animal|bird)"
_SEEN = re.compile(
    rf"\b(?:(?:shown|seen|depicted|illustrated|pictured) in the {_PICTURE}\b(?! of\b)|in the {_PICTURE},"
    rf"|(?:look at|refer to|study|watch|listen to|observe) the {_PICTURE}\b{_NO_MORE}"
    rf"|the {_PERSON} in the (?:picture|image|photo|photograph|video)"
    r"(?=(?: [\w']{1,20})?\W{0,9}$|[.,?!]| (?:is|are|was|were|do|does|did|doing|wearing|holding|looking|feel|say)\b)"
    r"|(?:^|(?<=[.!?] ))the (?:diagram|figure) (?:shows|depicts|illustrates)\b)"
)
# A pattern counts beside one of its cues (lower case) only; to look for these first is quick.
_AHEAD_CUES = ("follow", "below")
_BACK_CUES = ("above", "previous", "preceding", "aforementioned", "foregoing", "your earlier")
_NEAR_CUES = (
    "according to", "based on", "refer", "look at", "looking at", "described in", "shown in", "mentioned in",
    "given", "provided", "attached", "uploaded", "enclosed", "from reading", "passage", "excerpt", "paragraph of",
    "line of", "sentence of", "line ", "lines ", "underlined", "highlighted", "bolded", "boldfaced", "italicized",
    "in bold", "in italics", "in brackets", "in parentheses", "bracketed", "circled", "the box", "word bank",
    "information in", "information from", "data in", "data from", "words in", "words from", "numbers in",
    "numbers from", "figures in", "figures from", "shown", " this ", " these ",
    "in the picture", "in the image", "in the photo", "question ", "problem ", "exercise ", "output of",
    "labelled ", "labeled ", "marked ", "using the",
)  # fmt: skip
_UNNAMED_CUES = ("the ", "both ", " this", " these", " it", "which ")
_SEEN_CUES = (
    "the figure", "the diagram", "the image", "the picture", "the photo", "the graph", "the chart", "the map",
    "the video", "the audio", "the recording", "the screenshot",
)  # fmt: skip
_AFTER = re.compile(r"[:\n\"“‘]\s{0,20}\S|[.?!]['\")]?\s+\w+\W+\w+\W+\w|,\s+['\"“\d]|\s[-–—]\s\w")
_BEFORE = re.compile(
    r"\w+\W+\w+\W+\w+\W+\w.{0,400}[.?!:\n\"”]"
    r"|\w[^\w\n]{0,9}\n"  # a line
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
    text above" needs a sentence before it; "according to the passage" needs either, and so does "summarize the article"
    where nothing says which. A picture no words can give: "in the figure," needs nothing to be missing.

    >>> find_missing_context("Paraphrase the following sentence: The cat sat on the mat.")
    >>> find_missing_context("Plants need light to grow. What is the topic of the above sentence?")
    >>> find_missing_context("Write a poem where each line in this poem ends in a vowel.")
    >>> find_missing_context("Summarize the article of the UN charter on self-defence.")
    >>> find_missing_context("Rewrite the sentence in the passive voice.")
    'Rewrite the sentence'
    >>> find_missing_context("What is the main idea of the passage above?")
    'passage above'
    >>> find_missing_context("Given the following table, which row is largest?")
    'the following table'
    """
    return first_sign(CONTEXT_LOOKS, text)


def _find_ahead(text: str) -> str | None:
    ahead = _search(_AHEAD, _AHEAD_CUES, text, _last_opening(text))
    if ahead and not _AFTER.search(text, ahead.end()) and not _QUOTED.search(text):
        return text[slice(*ahead.span())]
    return None


def _find_back(text: str) -> str | None:
    back = _search(_BACK, _BACK_CUES, text)
    return text[slice(*back.span())] if back and not _BEFORE.search(text, 0, back.start()) else None


def _find_near(text: str) -> str | None:
    near = _search_last(_NEAR, _NEAR_CUES, text)
    if near is None or _is_there(text, near):
        return None
    words = text[slice(*near.span())]
    is_input = _GIVEN_INPUT.match(words) and _PROGRAM.search(text.lower())
    return None if is_input else words


def _find_unnamed(text: str) -> str | None:
    seen = _search(_SEEN, _SEEN_CUES, text)
    if seen and not _is_named_before(text, seen):
        return text[slice(*seen.span())]
    unnamed = _search_last(_UNNAMED, _UNNAMED_CUES, text)
    if unnamed is None or _is_there(text, unnamed):
        return None
    lowered = text.lower()
    if _OF_ANY.match(lowered) or _PROGRAM.search(lowered):
        return None
    return text[slice(*unnamed.span())]


def _is_there(text: str, match: re.Match[str]) -> bool:
    """Whether what the words of `match` speak of may be in `text`: after them, before them, or in quotation marks."""
    return bool(
        _AFTER.search(text, match.end())
        or _BEFORE.search(text, 0, match.start())
        or _QUOTED.search(text)
        or _is_named_before(text, match)
    )


def _is_named_before(text: str, match: re.Match[str]) -> bool:
    """Whether it is the prompt's own: "Write a poem ... in this poem"."""
    thing = match.group().split()[-1].rstrip(",.?")
    article = "" if thing.endswith("s") else r"an? (?:[\w-]{1,20} )?"
    return re.search(rf"\b{article}{re.escape(thing)}\b", text[: match.start()].lower()) is not None


def _last_opening(text: str) -> int:
    """Where what the last colon, quotation mark or line break of `text` opens begins: behind it nothing is opened."""
    end = len(text.rstrip()) - 1
    return max(text.rfind(mark, 0, end) for mark in ':\n"“‘') + 1


def _search_last(pattern: re.Pattern[str], cues: tuple[str, ...], text: str) -> re.Match[str] | None:
    """The first match behind the last opening, unless enough stands before that to be spoken of."""
    start = _last_opening(text)
    return None if start and _BEFORE.search(text, 0, start) else _search(pattern, cues, text, start)


def _search(pattern: re.Pattern[str], cues: tuple[str, ...], text: str, start: int = 0) -> re.Match[str] | None:
    """The first match of a pattern of lower case from `start` on; its places are those of `text`."""
    lowered = text.lower()
    if not any(lowered.find(cue, start) >= 0 for cue in cues):
        return None
    return pattern.search(lowered if text.isascii() else text.translate(_ODD_CASES).lower(), start)


DANGLING_LOOKS = (Look(find_dangling, (loosen(re.compile(_OPENING + r"\s*\Z")),)),)

# After what speaks of a thing that is not there stands no mark that could open it, but for one and space at the end.
_UNOPENED = r"[^:\n\"“‘]*(?:\Z|[:\n\"“‘](?:\s*\Z|\s{20}))"
_AHEAD_STEM = re.compile(rf"(?:follow|below){_UNOPENED}", re.I)
# What `_GIVEN`, `_IN_THIS` and `_ACT_ON_THIS` share, and the end of `_THING_GIVEN`: short cues are quick ones.
_WORD = r"(?:[\w-]{1,20} )?"  # "{0,2}" would become "{0,}", which is slow
_POINTED = (
    rf"th(?:is|ese|e (?:attached|enclosed)) {_WORD}{_WORD}{_THINGS}{_UNOPENED}"
    r"|th(?:e|is) (?:given|provided|uploaded) \w"
)
_GIVEN_END = r" (?:provided|shown|given|listed)(?:\W{0,9}\Z|,)"
_STEMS = (
    _SOURCE, _ATTACHED, _OF_THE, _PART, _IN_THE, _DATA, _MARKED, _IN_BOX, _WITHIN, _GIVEN_THE, _POINTED, _GIVEN_END,
    _OUTPUT,
)  # fmt: skip
_NEAR_STEM = re.compile("|".join(_STEMS), re.I)
# Of `_UNNAMED` and `_SEEN` the things, and what is not one.
_UNNAMED_STEM = re.compile(
    rf"(?:(?:the|both) (?:[\w-]{{1,20}} )?{_TEXTS}|{_ALONE}"
    r"|(?:choose|select|pick|mark|tick|circle|identify|fill in) the|^(?:what )?(?:does|do|did) the"
    r"|which (?:one )?of the"
    r"|the (?:first|second|third|fourth|last|final) (?:paragraph|stanza|verse)"
    r"|(?:shown|pictured|depicted|provided|listed)\W{0,9}$"
    rf"|answer (?:the|these|this|all)|^which (?:\w{{1,20}} )?(?:of these|is|are)|the context){_UNOPENED}"
    rf"|{_LOOK} the {_PICTURE}|the (?:diagram|figure) (?:shows|depicts|illustrates)",
    re.I,
)
CONTEXT_LOOKS = (
    Look(_find_ahead, (loosen(_AHEAD_STEM),)),
    Look(_find_back, (f"(?i){'|'.join(_BACK_CUES)}",)),
    Look(_find_near, (loosen(_NEAR_STEM),)),
    Look(_find_unnamed, (loosen(_UNNAMED_STEM),)),
)
# What is left to look for in a chat's later messages, for each of these looks; nothing for those that point back.
LATER_LOOKS: dict[Callable[[str], str | None], Callable[[str], str | None]] = {
    look: lambda text: None for look in (_find_back, _find_near, _find_unnamed)
}
