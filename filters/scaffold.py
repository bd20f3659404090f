"""Evidence: scaffolding. Labels, role tags and gaps left for someone to fill in."""

import re

from filters.screen import Look, loosen

_NAMES = (
    r"(?:q|a|question|answer|input|output|inputs|outputs|context|passage|paragraph|text|sentence"
    r"|title|headline"
    r"|review|product review|instructions?|response|premise|hypothesis|article|summary|document"
    r"|background"
    r"|examples?|problem|solution|task|prompt|fact|facts|keywords?|dialogue|tl;dr|story"
    r"|suggestion|hint"
    r"|user|assistant|system|human|ai|bot|chatbot|customer|agent|student|teacher|me|you|[a-z])"
)
_LABEL_LINE = re.compile(
    rf"(?mi)^[ \t]{{0,20}}(?:#+ ?)?\*{{0,2}}{_NAMES}(?: ?#?(?:\d{{1,2}}|[a-c]))?\*{{0,2}} ?:(?!\))"
    r"|^[ \t]{0,20}(?:(?:Question|Exercise|Problem|Task|Q) ?#?\d{1,2} ?[.:)]|Q\.(?= ))"
)
_INLINE_LABEL = re.compile(
    r"[.?!:\"')\]] {1,3}(?:Question|Answer|Context|Passage|Input|Output|Premise|Hypothesis"
    r"|Sentence \d"
    r"|Q|A|Q\d|Text|Article|Current code|Title|Review) ?:"
)
_FORM_LINE = re.compile(r"(?m)^[ \t]{0,20}[A-Za-z][\w'./ ()-]{0,40}:[ \t]{1,8}\S")
_NUMBERED_LABEL = re.compile(r"\b([A-Za-z]{2,20}) ?([12]) ?: ")
_FILL_IN = re.compile(
    r"_{2,}|\[[A-Z][A-Z0-9 _/'-]{1,40}\]|\[(?!sic\b)[A-Za-z][A-Za-z0-9 ,_/'’-]{1,60}\]"
    r"|\{{1,2}[A-Za-z][\w .-]{0,40}\}{1,2}"
    r"|<(?:insert |your |the )?[A-Za-z][A-Za-z_ -]{1,30}>|\[ ?(?:\.\.\.|…)? ?\]|\((?:insert"
    r"|blank|fill in)\b[^)\n]{0,40}\)"
    r"|\b(?:X{3,}|x{3,})\b|\b(?:INSERT|YOUR)_[A-Z]|(?<=\w )(?:\.{5,}|…{2,})(?=[\s,;?!])|<\|[a-z_]{1,20}\|>"
)
_LONE_BLANK = re.compile(r"(?:^|\s)_(?=[\s.,;?!]|$)(?! (?:key|sign|symbol|character|mean)\b)")
_LINE_OF_EXAM = re.compile(r"(?m)^[ \t]{0,20}(?:FINAL EXAM|EXAM|QUIZ)\b")


def find_scaffold(text: str) -> str | None:
    """The first label, role tag or fill-in gap in `text`, else None.

    A label stands at the start of a line ("Q:", "Input:"), or after a sentence ("... Question: ").
    Two lines of the form "name: value" are a form or a script, whatever the names.

    >>> find_scaffold("I have one question: why is the sky blue?")
    >>> find_scaffold("Paraphrase the following sentence: The cat sat.")
    >>> find_scaffold("Q: Who was Plato?\\nA:")
    'Q:'
    >>> find_scaffold("Write an ode to [NAME]")
    '[NAME]'
    >>> find_scaffold("The sky is ...... today")
    '......'
    """
    if match := _LABEL_LINE.search(text) or _INLINE_LABEL.search(text):
        return match.group().strip()
    if len(forms := _FORM_LINE.findall(text)) > 1:
        return str(forms[0]).strip()
    seen: dict[str, str] = {}
    for name, number in _NUMBERED_LABEL.findall(text):
        if seen.setdefault(name, number) != number:
            return f"{name} 1: {name} 2:"
    if gap := _FILL_IN.search(text):
        return gap.group()
    if text.count("_") == 1 and (gap := _LONE_BLANK.search(text)):  # a pair of them are a newspaper's dashes
        return gap.group().strip()
    exam = _LINE_OF_EXAM.search(text)
    return exam.group().strip() if exam else None


SCAFFOLD_LOOKS = (
    Look(
        find_scaffold,
        (
            f"{loosen(_LABEL_LINE, _INLINE_LABEL, _FILL_IN, _LONE_BLANK, _LINE_OF_EXAM)}"
            f"|{loosen(_FORM_LINE, times=2)}|{loosen(_NUMBERED_LABEL, times=2)}",
        ),
    ),
)
