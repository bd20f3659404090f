"""What is wrong with what a language model wrote: verdicts on plain texts, "kind" or "kind:evidence", None for none.

Refusals have a file of their own, `answers.refusal_check`; what a server says is cut off is seen in `answers.llm`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from answers.numbers_said import lost_number
from filters.answers import boilerplate, repeated_share
from filters.language import detect_language
from filters.speakable import unspeakable

REPEATS_BELOW = 0.8  # of an answer may be its prompt again, as in the filter's rule `answer`
MOST_SPOKEN_WORDS = 120  # of an answer for the ear: a minute of speech, twice what the templates ask for
_FEWEST_WORDS = 5  # that tell a language

_ABOUT_ITSELF = re.compile(
    r"\A(?:(?:sure|certainly|of course|okay|ok|absolutely|great)\b[,!.]? ?)?here(?:['’]s| is| are) [^.?!\n]{0,40}?"
    r"\b(?:request|rewrit\w+|rephras\w+|version|revis\w+|improved|spoken|answer|reply|response|edited|translation of)\b"
    r"|\A(?:\*\*)?(?:the )?(?:(?:re)?written|spoken|rephrased|revised|new|edited|improved|final)? ?"
    r"(?:request|rewrite|rewritten|rephrased|version|answer|reply|response|output|note)s?(?:\*\*)?:"
    r"|\b(?:the|your) (?:original|written|given|previous|provided) (?:answer|request|response|text|prompt)\b"
    r"|\A-{5,}|\bspoken (?:request|version)\b|\bbetween the (?:lines|dashes)\b",
    re.I,
)
_THOUGHTS = re.compile(r"</?think(?:ing)?>", re.I)  # of models that think aloud
_REPLY = re.compile(
    r"\A(?:sure|certainly|of course|absolutely|yes|no|okay|ok)\b[,.!]"
    r"|\A(?:the answer is|I['’]m sorry|sorry|I can['’]t|I cannot|as an? (?:AI|language))\b"
    r"|\bhope this helps\b",
    re.I,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_NAME = re.compile(r"(?<=[\w,;'’)] )[A-Z][a-z]{2,}|\b[A-Z]{2,6}\b(?! ?:)")
_SHORTEST, _LONGEST = 0.4, 1.6  # words of a rewrite over those of the original,
_SLACK = 12  # and the words more that its signs may become
_SAME_WORDS = 0.5  # of the original's words of four letters or more stay
_CONTENT_LETTERS = 4
_FEWEST_CONTENT = 3  # of such words: fewer tell nothing
_LABEL = re.compile(r"(?m)^\W*\w+ ?\d*:")


def other_language(text: str, expected: Collection[str]) -> str | None:
    """Return the language of a text that is in none of those expected; None where it is, or where one cannot tell.

    >>> other_language("Das habe ich leider nicht verstanden, bitte noch einmal.", ("en",))
    'de'
    >>> other_language("Pardon?", ("en",))
    """
    if text.isascii() and len(text.split()) < _FEWEST_WORDS:
        return None
    ((language, _),) = detect_language([text])
    return None if language in (*expected, "und") else language


def unwritable(text: str) -> str | None:
    """Return whether a text holds what no text should: a NUL, or the sign for what could not be read."""
    return "unwritable" if "\0" in text or "\ufffd" in text else None


def answer_flaw(text: str, prompt: str, languages: Collection[str], how: str) -> str | None:
    """Return what is wrong with an answer to a prompt; None for a good one.

    Args:
        languages: in which it may be: the prompt's, that of the answer before it.
        how: "spoken", "mend" or "own", as in the recipe.
    """
    if not any(map(str.isalnum, text)):
        return "empty"
    if flaw := unwritable(text):
        return flaw
    if _THOUGHTS.search(text) and not _THOUGHTS.search(prompt):
        return "thoughts"
    if how != "own" and (found := _ABOUT_ITSELF.search(text)):
        return f"meta:{found[0].strip()}"
    if found_phrase := boilerplate(text):
        return f"boilerplate:{found_phrase}"
    if repeated_share(prompt, text) >= REPEATS_BELOW:
        return "repeats_prompt"
    if language := other_language(text, languages):
        return f"language:{language}"
    if how == "spoken":
        if said := unspeakable(text):
            return f"unspeakable:{said}"
        if (words := len(text.split())) > MOST_SPOKEN_WORDS:
            return f"long:{words} words"
    return None


def rewrite_flaw(text: str, original: str) -> str | None:
    """Return what is wrong with a prompt that was put in other words: above all, whether it still means the same.

    >>> rewrite_flaw("Name two birds and two trees of Peru.", "Name of Peru:\\n- 2 birds\\n- 2 trees")
    >>> rewrite_flaw("Name two birds and three trees of Peru.", "Name of Peru:\\n- 2 birds\\n- 4 trees")
    'number:4'
    >>> rewrite_flaw("Sure! The condor and the quinine tree.", "Name of Peru:\\n- 2 birds\\n- 4 trees")
    'answered:Sure!'
    """
    if not any(map(str.isalnum, text)):
        return "empty"
    if flaw := unwritable(text):
        return flaw
    if found := _ABOUT_ITSELF.search(text):
        return f"meta:{found[0].strip()}"
    if (found := _REPLY.search(text)) and not _REPLY.search(original):
        return f"answered:{found[0]}"
    if said := unspeakable(text):
        return f"unspeakable:{said}"
    if (number := lost_number(original, text)) is not None:
        return f"number:{number}"
    if name := _lost_name(original, text):
        return f"name:{name}"
    before, after = _words(original), _words(text)
    if not _SHORTEST * len(before) - _SLACK / 4 <= len(after) <= _LONGEST * len(before) + _SLACK:
        return f"length:{len(before)} words to {len(after)}"
    content = {word for word in _words(_LABEL.sub(" ", original)) if len(word) >= _CONTENT_LETTERS}
    stems = {word[:_CONTENT_LETTERS] for word in after}
    if len(content) >= _FEWEST_CONTENT and sum(
        word[:_CONTENT_LETTERS] in stems for word in content
    ) < _SAME_WORDS * len(content):
        return "other_words"
    return None


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _lost_name(original: str, rewrite: str) -> str | None:
    """Return the first name or abbreviation of the original that is gone; shouted texts tell none."""
    letters = [c for c in original if c.isalpha()]
    if 2 * sum(map(str.isupper, letters)) > len(letters):
        return None
    there = rewrite.lower().replace(".", "")
    return next((name for name in _NAME.findall(original) if name.lower() not in there), None)
