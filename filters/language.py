"""Is this prompt English? py3langid, helped where it is weak: prompts of a few words, and names.

Every n-gram model is unsure of "Capital of Peru". So four plain counts join its vote in one
logistic sum: English function words, other languages' function words (both from
`function_words`), the share of words that are whole words of GPT-2's vocabulary (learnt from
English web text, so that few foreign words are), and the share of unknown words. The weights
were fitted by logistic regression on tests/filters/data/languages.jsonl and 2,500 English
queries of public sets (not in the repository), then rounded by hand; docs/filters.md has the
measurements, on unseen prompts too.

Texts in another script need no model: the script decides. A quotation inside a longer prompt is
not looked at, so that "Translate 'guten Morgen' into English" is English.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from filters.function_words import ENGLISH, FOREIGN
from filters.length import load_ranks

# The languages in Latin script that py3langid may answer; more only blur it on short prompts.
_CANDIDATES = """
    en de fr es it pt nl sv da no fi pl cs tr id vi ro hu
    af ca hr sk et lt lv sw tl sq eo la eu cy ga is
"""
CANDIDATES = tuple(_CANDIDATES.split())

_BIAS = 2.6
_PER_LIBRARY_LOGIT = 0.95
_PER_ENGLISH_WORD = 1.1
_PER_FOREIGN_WORD = -2.1
_KNOWN_SHARE = 2.8
_UNKNOWN_SHARE = -0.9
_SHORT_PROMPT = 2.7

_MOST_CHARS = 300  # three lines of a page settle the language, and bound the time of a huge text
_MOST_COUNTED = 4
_SHORT_WORDS = 3
_LOGIT_LIMIT = 8.0
_SHORTEST_UNKNOWN = 4

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_QUOTED = re.compile(r"[\"“][^\"”\n]*[\"”]|(?<!\w)['‘][^'’\n]*['’](?!\w)")
_SCRIPTS = {
    "zh": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"),
    "ja": re.compile("[\u3040-\u30ff]"),
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
    "uk": re.compile("[іїєґІЇЄҐ]"),
    "ru": re.compile("[\u0400-\u052f]"),
    "he": re.compile("[\u0590-\u05ff]"),
    "ar": re.compile("[\u0600-\u06ff\u0750-\u077f]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "el": re.compile("[\u0370-\u03ff\u1f00-\u1fff]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
}
_LATIN_LETTER = re.compile(r"[A-Za-zªº\u00c0-\u024f\u1e00-\u1eff]")
_LETTER = re.compile(r"[^\W\d_]")


@cache
def _identifier() -> LanguageIdentifier:
    """py3langid on `CANDIDATES`, loaded once per process (0.5 s, 270 MB)."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(CANDIDATES)
    return identifier


@cache
def _vocabulary() -> frozenset[str]:
    """The words of three letters or more that are one lower-case token of GPT-2."""
    words = (token[1:] for token in load_ranks() if len(token) > 3 and token[:1] == b" ")
    return frozenset(w.decode() for w in words if w.isalpha() and w.islower())


def _without_accents(word: str) -> str:
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).replace("’", "'")


def _word_evidence(words: Sequence[str]) -> tuple[float, bool]:
    """The words' part of the logistic sum, case and accents aside, and whether it is enough.

    Four English function words and no other language's leave the library no say.
    """
    vocabulary = _vocabulary()
    english = foreign = known = unknown = 0
    for position, word in enumerate(words):
        plain = _without_accents(word.lower())
        if plain in ENGLISH:
            english += 1
        elif plain in FOREIGN:
            foreign += 1
        elif plain in vocabulary or plain.removesuffix("'s").removesuffix("s") in vocabulary:
            known += 1
        elif len(plain) >= _SHORTEST_UNKNOWN and not (position and word[0].isupper()):
            unknown += 1  # a capital inside a prompt is a name and says nothing
    total = (
        _PER_ENGLISH_WORD * min(english, _MOST_COUNTED)
        + _PER_FOREIGN_WORD * min(foreign, _MOST_COUNTED)
        + (_KNOWN_SHARE * known + _UNKNOWN_SHARE * unknown) / len(words)
        + (_SHORT_PROMPT if len(words) <= _SHORT_WORDS else 0.0)
    )
    return total, english >= _MOST_COUNTED and not foreign


def _other_script(text: str) -> str | None:
    """The language of a text in another script than Latin ("und" if it is none we name), else None.

    One Chinese character can be a word, so Latin letters need the majority *and*, where another
    script stands beside them, an English function word: "What does 你好 mean?", not "NASA是什么".
    """
    n_letters = len(_LETTER.findall(text))
    n_latin = len(_LATIN_LETTER.findall(text))
    if n_latin == n_letters:
        return None
    latin_words = "".join(c if _LATIN_LETTER.match(c) or c in "'’" else " " for c in text).split()
    if 2 * n_latin >= n_letters and any(word.lower() in ENGLISH for word in latin_words):
        return None
    counts = {language: len(pattern.findall(text)) for language, pattern in _SCRIPTS.items()}
    if counts["ja"]:
        return "ja"  # kana stand among Chinese characters
    if counts["uk"]:
        return "uk"
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] else "und"


def _logistic(total: float) -> float:
    return 1 / (1 + math.exp(-total))


def _detect(text: str) -> tuple[str, float]:
    text = text[:_MOST_CHARS]
    unquoted = _QUOTED.sub(" ", text)
    words = _WORD.findall(unquoted)
    if len(words) < _SHORT_WORDS:
        unquoted, words = text, _WORD.findall(text)
    if not unquoted.isascii() and (language := _other_script(unquoted)):
        return language, 0.0
    if not words:
        return "und", 0.0
    evidence, enough = _word_evidence(words)
    if enough:
        return "en", _logistic(_BIAS + evidence)
    ranking = _identifier().rank(unquoted)
    library = next(share for language, share in ranking if language == "en")
    logit = math.log((library + 1e-6) / (1 - library + 1e-6))
    logit = max(-_LOGIT_LIMIT, min(_LOGIT_LIMIT, logit))
    english = _logistic(_BIAS + _PER_LIBRARY_LOGIT * logit + evidence)
    if english > 0.5:
        return "en", english
    return next(language for language, _ in ranking if language != "en"), english


def detect_language(texts: Sequence[str]) -> list[tuple[str, float]]:
    """For each text the best ISO 639-1 code and the probability, 0 to 1, that it is English.

    "und" where there are no letters or the script is none that is named here. The code is exact
    for scripts and English and a good guess otherwise: decide by the probability (> 0.8 keeps
    English). Only the first 300 characters are read. Deterministic.

    >>> [language for language, _ in detect_language(["Capital of Peru", "Wer bist du?", "你好"])]
    ['en', 'de', 'zh']
    >>> [p > 0.8 for _, p in detect_language(["Is Beyoncé here?", "Translate 'guten Tag' for me"])]
    [True, True]
    >>> [p > 0.8 for _, p in detect_language(["Cuentame un chiste", "kal mausam kaisa rahega"])]
    [False, False]
    """
    return [_detect(text) for text in texts]
