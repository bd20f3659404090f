"""Is this prompt English? py3langid's n-grams, helped where they are weak: prompts of a few words, and names.

Every n-gram model is unsure of "Capital of Peru". So counts of words join its vote in one logistic sum: small English
words, small words of other languages (both from `function_words`), whole words of GPT-2's vocabulary (learnt from
English web text, so that few foreign words are), and words that are none of these. A capital inside a prompt makes a
word a name, which says nothing. The weights are those of a logistic regression; docs/filters.md says on what it was
fitted, and has the measurements on unseen prompts.

Texts in another script need no model: the script decides. A quotation inside a longer prompt is not looked at, nor
a phrase to be translated into a language that is named, so that "Translate 'guten Morgen' into English" is English.
What is not surely English then is looked at once more without its foreign names, if all else in it may be English.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from operator import itemgetter

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.foreign_names import NAMES
from filters.function_words import ENGLISH, FOREIGN, NEIGHBOURS, WEAK_ENGLISH, WEAK_FOREIGN
from filters.langid_columns import language_probabilities, load_model
from filters.length import load_ranks
from filters.screen import arrow_column

# The languages in Latin script that py3langid may answer; more only blur it on short prompts.
_CANDIDATES = """
    en de fr es it pt nl sv da no fi pl cs tr id vi ro hu af ca hr sk et lt lv sw tl sq eo eu cy
    ga gd is fy ht fuv lg nso om sn so xh
"""
CANDIDATES = tuple(_CANDIDATES.split())

_BIAS = 6.1
_PER_LIBRARY_LOGIT = 0.9
_LOGIT_LIMIT = 8.0
# Per word, at most four of a kind, and in longer prompts per word in twelve.
_PER_WORD = {"english": 1.05, "weak_english": 0.6, "foreign": -2.5, "weak_foreign": -1.7, "unknown": -1.2}
_MOST_COUNTED = 4
_IN_WORDS = 12
_PER_SHARE = {"known": 2.9, "tiny": -5.0, "name_in_vocabulary": 1.5}
_KINDS_COUNTED = (*_PER_WORD, *_PER_SHARE)
_ONE_OF = {kind: 1 << 8 * place for place, kind in enumerate(_KINDS_COUNTED)} | {"name": 0}  # which says nothing
_NEIGHBOUR_IS = 3  # foreign words; of three letters or more, so that eight bits hold how many 300 characters are
_ONE_OF["neighbour"] = _NEIGHBOUR_IS * _ONE_OF["foreign"]
_PER_LENGTH = -4.3  # times the number of words, twelve at most, in twelve: long prompts should have small words
_ENGLISH_KINDS = ("english", "weak_english", "known")
_SECOND_LOOK = 0.9  # texts of a smaller probability are looked at again, without their names
_LEFT = {"english": 2, "known": 2, "weak_english": 1, "name_in_vocabulary": 0, "name": 0, "tiny": 0, "unknown": -1}
# What is left beside names says so much for English at least; more where they are guessed, not listed.
_LEFT_BY_LISTED, _LEFT_BY_GUESS = 2, 3
_JOINING = "a al alla da dal de degli dei del della di do dos e el la le las los"
_PARTICLES = frozenset(_JOINING.split())
_IN_NAMES = frozenset(f"{_JOINING} af av bin de den der des du ibn le op ten ter und van von y zu".split())
_CERTAIN = 0.999  # four English words for each other word of no English list

_MOST_CHARS = 300  # three lines of a page settle the language, and bound the time of a huge text
_SHORT_WORDS = 3
_TINY = 3  # letters: too few to be missed in a vocabulary
_MOST_CACHED = 300_000

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_BEGINS = re.compile("[A-Z][a-z]")  # a sentence, with no name where it has no other capital
_QUOTED = re.compile(r"[\"“][^\"”\n]*[\"”]|(?<!\w)['‘][^'’\n]*['’](?!\w)")
_NAMED_LANGUAGE = """
    arabic chinese czech danish dutch english farsi finnish french german greek hebrew hindi hungarian indonesian irish
    italian japanese korean latin malay mandarin norwegian persian polish portuguese romanian russian spanish swahili
    swedish tagalog thai turkish ukrainian urdu vietnamese welsh
"""
_PHRASE_CUES = ("translat", "what does", " say", "pronounc", "spell", "meaning of", "origin of", "plural of")
_PHRASE = re.compile(
    r"\b(?:translate|what does|how (?:do|would|can|to)(?: you| i| we)? (?:say|pronounce|spell))"
    rf"\s((?:\S+\s){{1,6}})(?:means?|(?:in|into|to|from)(?: \w+)? (?:{'|'.join(_NAMED_LANGUAGE.split())}))\b"
    r"|\b(?:meaning|origin|plural|spelling|pronunciation|translation) of((?:\s\S+){1,4})$",
    re.IGNORECASE,
)
# In any other text (RE2's syntax) there are small letters, and neither quotations nor phrases.
_NOT_PLAIN = rf"(?is)[^\x00-\x7f]|\A(?-i:[^a-z]*)\z|\"|'.*'|{'|'.join(_PHRASE_CUES)}"
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
_BEYOND_LATIN = re.compile("[\u0250-\u1dff\u1f00-\u1fff\u2c00-\U0010ffff]")


@cache
def _vocabulary() -> tuple[frozenset[str], frozenset[str]]:
    """The words of three letters or more that are one token of GPT-2: lower-case ones, and those with a capital."""
    tokens = [token[1:].decode() for token in load_ranks() if token[:1] == b" " and token.isascii() and len(token) > 3]
    words = [token for token in tokens if token.isalpha()]
    return frozenset(w for w in words if w.islower()), frozenset(w.lower() for w in words if w.istitle())


def _without_accents(word: str) -> str:
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _kind(word: str) -> str:
    """The kind of evidence in a lower-case word: a key of `_PER_WORD` or `_PER_SHARE`."""
    word = word.replace("’", "'")
    plain = _without_accents(word)
    if word in WEAK_ENGLISH:
        return "weak_english"
    if word in ENGLISH:
        return "english"
    if word in NEIGHBOURS:
        return "neighbour"
    if word in FOREIGN or plain in FOREIGN:
        return "foreign"
    if word in WEAK_FOREIGN or plain in WEAK_FOREIGN:
        return "weak_foreign"
    stem = word.removesuffix("'s")
    vocabulary, names = _vocabulary()
    if not vocabulary.isdisjoint((word, stem, stem.removesuffix("s"))):
        return "known"
    if len(plain) == 1:
        return "name"
    if word in names:
        return "name_in_vocabulary"
    return "tiny" if len(plain) <= _TINY else "unknown"


class _Kinds(dict[str, str]):
    """Lower-case word -> kind, remembered; all is forgotten when there are too many."""

    def __missing__(self, word: str) -> str:
        if len(self) >= _MOST_CACHED:
            self.clear()
        kind = self[word] = _kind(word)
        return kind


class _Parts(dict[str, bytes]):
    """Text between two spaces -> `_Words` of it, as bytes; remembered likewise."""

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _MOST_CACHED:
            self.clear()
        kinds = others = 0
        for word in _WORD.findall(text):
            kinds += _ONE_OF[_KINDS[word.lower()]]
            others += 1 + (word[0].isupper() << 16)
        found: bytes = (kinds | others << 64).to_bytes(16, "little")
        self[text] = found
        return found


_KINDS = _Kinds()
_PARTS = _Parts()


@dataclass(frozen=True)
class _Words:
    """What the words of some texts are.

    Attributes:
        kinds: int64 (n_texts, 8), how many are of each of `_KINDS_COUNTED`.
        n_words, n_capitals: int64 (n_texts,), how many they are, and how many begin with a capital.
    """

    kinds: NDArray[np.int64]
    n_words: NDArray[np.int64]
    n_capitals: NDArray[np.int64]

    def of(self, kind: str) -> NDArray[np.int64]:
        """Return how many words of a kind each text has."""
        count: NDArray[np.int64] = self.kinds[:, _KINDS_COUNTED.index(kind)]
        return count

    @property
    def surely_english(self) -> NDArray[np.bool_]:
        """Whether a text has four English words, and four more for each foreign one: the library is not asked."""
        foreign = self.of("foreign") + self.of("weak_foreign")
        return np.asarray(self.of("english") >= _MOST_COUNTED * (1 + foreign))


def _words_of(texts: Sequence[str]) -> _Words:
    """Look at the words of texts that were cut: what stands between spaces is looked up once a column."""
    parts = pc.ascii_split_whitespace(arrow_column(texts))
    coded = parts.flatten().dictionary_encode()
    known = np.frombuffer(b"".join(map(_PARTS.__getitem__, coded.dictionary.to_pylist())), "<u8").reshape(-1, 2)
    starts = parts.offsets.to_numpy()[:-1]
    # Eight counts of eight bits each are added up as one number; 300 characters have 150 words at most.
    sums = np.add.reduceat(known[coded.indices.to_numpy()], starts) if len(starts) else np.zeros((0, 2), np.uint64)
    packed, counts = np.ascontiguousarray(sums[:, 0]), sums[:, 1].astype(np.int64)
    kinds = packed.view(np.uint8).reshape(len(texts), 8).astype(np.int64)
    return _Words(kinds, counts & 0xFFFF, counts >> 16)


def _count_names(words: Sequence[str], kinds: Sequence[str], capital: Sequence[bool]) -> Counter[str]:
    """Return how many words there are of each kind, with names as a kind of their own."""
    ahead = [False] * len(words)  # a capital follows, after particles perhaps
    for position in range(len(words) - 2, -1, -1):
        is_particle = kinds[position + 1] == "weak_foreign" and words[position + 1].lower() in _IN_NAMES
        ahead[position] = capital[position + 1] or (is_particle and ahead[position + 1])
    counts: Counter[str] = Counter()
    after_name = False
    for position, kind in enumerate(kinds):
        is_name = False
        if kind not in _ENGLISH_KINDS:
            if capital[position]:
                is_name = position > 0 or ahead[position] or words[position].isupper()
            elif kind == "weak_foreign" and words[position].lower() in _IN_NAMES:
                is_name = after_name and ahead[position]  # "Rio de Janeiro", and not "in Wien mit Pool"
        after_name = is_name or capital[position]
        counts["name" if is_name else kind] += 1
    return counts


def _evidence(kinds: NDArray[np.int64], n_words: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the words' part of the logistic sum: float64 (n_texts,), of counts as in `_Words`."""
    scale = np.minimum(1.0, _IN_WORDS / n_words)
    evidence = _PER_LENGTH * np.minimum(n_words, _IN_WORDS) / _IN_WORDS
    for place, (kind, weight) in enumerate((_PER_WORD | _PER_SHARE).items()):
        count = kinds[:, place]
        evidence += weight * (np.minimum(_MOST_COUNTED, scale * count) if kind in _PER_WORD else count / n_words)
    return evidence


def _kinds_beside_names(text: str) -> list[int]:
    """Return how many words of each of `_KINDS_COUNTED` a text has, names left out."""
    words = _WORD.findall(text)
    kinds = [_KINDS[word.lower()] for word in words]
    capital = [word[0].isupper() for word in words]
    counts = Counter(kinds)
    if any(capital[1:]) or words[0].isupper():  # else there are no names
        counts = _count_names(words, kinds, capital)
    counts["foreign"] += _NEIGHBOUR_IS * counts["neighbour"]
    return [counts[kind] for kind in _KINDS_COUNTED]


def _other_script(text: str) -> str | None:
    """The language of a text in another script than Latin ("und" if it is none we name), else None.

    One Chinese character can be a word, so Latin letters need the majority *and*, where another
    script stands beside them, an English function word: "What does 你好 mean?", not "NASA是什么".
    """
    if not _BEYOND_LATIN.search(text):
        return None
    n_letters = len(_LETTER.findall(text))
    n_latin = len(_LATIN_LETTER.findall(text))
    if n_latin == n_letters:
        return None
    latin_words = "".join(c if _LATIN_LETTER.match(c) or c in "'’" else " " for c in text).split()
    if 2 * n_latin >= n_letters and any(_KINDS[word.lower()] in _ENGLISH_KINDS[:2] for word in latin_words):
        return None
    counts = {language: len(pattern.findall(text)) for language, pattern in _SCRIPTS.items()}
    if counts["ja"]:
        return "ja"  # kana stand among Chinese characters
    if counts["uk"]:
        return "uk"
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] else "und"


def _without_phrases(text: str) -> str:
    """`text` without its quotations, and without a phrase to be translated or explained."""
    n_single = text.count("'") + text.count("‘") + text.count("’")
    if n_single > 1 or '"' in text or "“" in text:
        text = _QUOTED.sub(" ", text)
    lowered = text.lower()
    if any(cue in lowered for cue in _PHRASE_CUES) and (phrase := _PHRASE.search(text)):
        start, end = phrase.span(phrase.lastindex or 0)
        text = f"{text[:start]} {text[end:]}"
    return text


def _listed_names(words: Sequence[str]) -> list[bool]:
    """Return which words, in small letters and without accents, belong to a name of `foreign_names`."""
    listed = [False] * len(words)
    position = 0
    while position < len(words):
        names = NAMES.get(words[position], ())
        length = next((len(name) for name in names if name == tuple(words[position : position + len(name)])), 0)
        listed[position : position + length] = [True] * length
        position += length or 1
    return listed


def _titles(words: Sequence[str], kinds: Sequence[str], listed: Sequence[bool]) -> list[bool]:
    """Return which words are two foreign ones with particles between them, and these: "lago di garda"."""
    foreign = [is_listed or kind == "unknown" for kind, is_listed in zip(kinds, listed, strict=True)]
    inside = [False] * len(words)
    for place in range(len(words)):
        end = place + 1
        while end < len(words) and words[end] in _PARTICLES:
            end += 1
        if place + 1 < end < len(words) and foreign[place] and foreign[end]:
            inside[place : end + 1] = [True] * (end + 1 - place)
    return inside


def _without_names(text: str) -> str | None:
    """Return `text` without its foreign names, or None if it has none or anything else in it may be foreign.

    Names are those of `foreign_names`, words with a capital that no English list has, and what is joined by particles.
    Of "resep nasi goreng" and "receta de tiramisu" they are not taken: half of what gives these away would be gone.
    """
    found = _WORD.findall(text)
    words = [word.lower().replace("’", "'") for word in found]
    kinds = [_KINDS[word] for word in words]
    listed = _listed_names([_without_accents(word).removesuffix("'s") for word in words])
    titles = _titles(words, kinds, listed)
    capital = [word[0].isupper() for word in found]
    left: list[str] = []
    says, guessed, unknown_left = 0, False, False
    for place, kind in enumerate(kinds):
        if listed[place]:
            continue
        is_capital = kind not in _ENGLISH_KINDS and capital[place] and (place > 0 or capital[1:2] == [True])
        if is_capital or titles[place]:
            guessed = True
        elif kind in _LEFT:
            says += _LEFT[kind]
            left.append(found[place])
            unknown_left |= kind == "unknown"
        else:
            return None
    if guessed and (unknown_left or says < _LEFT_BY_GUESS):
        return None
    return " ".join(left) if says >= _LEFT_BY_LISTED and len(left) < len(words) else None


def _to_look_at(text: str) -> str:
    """Return `text` in small letters if it has none, without phrases if that leaves something to decide by."""
    text = text.lower()[:_MOST_CHARS] if text.isupper() else text
    unquoted = _without_phrases(text)
    if unquoted == text:
        return text
    words = [found.group() for found in islice(_WORD.finditer(unquoted), _SHORT_WORDS)]
    enough = len(words) == _SHORT_WORDS or any(_KINDS[word.lower()] in _ENGLISH_KINDS for word in words)
    return unquoted if enough else text


def _with_library(texts: Sequence[str], evidence: NDArray[np.float64]) -> list[tuple[str, float]]:
    model = load_model(CANDIDATES)
    shares = language_probabilities(model, texts)
    column = model.languages.index("en")
    library = shares[:, column]
    logits = np.log((library + 1e-6) / (1 - library + 1e-6)).clip(-_LOGIT_LIMIT, _LOGIT_LIMIT)
    english = 1 / (1 + np.exp(-(_BIAS + _PER_LIBRARY_LOGIT * logits + evidence)))
    shares[:, column] = -1.0
    others = shares.argmax(axis=1)
    return [
        ("en" if p > 0.5 else model.languages[other], p)
        for p, other in zip(english.tolist(), others.tolist(), strict=True)
    ]


def _beside_names(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Verdicts by the logistic sum on texts that were taken out of longer ones."""
    if not texts:
        return []
    counts = np.array([_kinds_beside_names(text) for text in texts])
    return _with_library(texts, _evidence(counts, np.array([len(_WORD.findall(text)) for text in texts])))


def detect_language(texts: Sequence[str]) -> list[tuple[str, float]]:
    """For each text the best ISO 639-1 code and the probability, 0 to 1, that it is English.

    "und" where there are no letters or the script is none that is named here. The code is exact
    for scripts and English and a good guess otherwise: decide by the probability (> 0.8 keeps
    English). Only the first 300 characters are read. Deterministic: a text's verdict does not
    depend on the other texts.

    >>> [language for language, _ in detect_language(["Capital of Peru", "Wer bist du?", "你好"])]
    ['en', 'de', 'zh']
    >>> [p > 0.8 for _, p in detect_language(["Is Beyoncé here?", "Translate 'guten Tag' for me"])]
    [True, True]
    >>> [p > 0.8 for _, p in detect_language(["Cuentame un chiste", "kal mausam kaisa rahega"])]
    [False, False]
    """
    if not texts:
        return []
    read = [text[:_MOST_CHARS] for text in texts]
    for row in pc.indices_nonzero(pc.match_substring_regex(arrow_column(read), _NOT_PLAIN)).to_pylist():
        read[row] = _to_look_at(read[row])
    words = _words_of(read)
    verdicts: list[tuple[str, float] | None] = [
        ("und", 0.0) if not n_words else ("en", _CERTAIN) if sure else None
        for n_words, sure in zip(words.n_words.tolist(), words.surely_english.tolist(), strict=True)
    ]
    for row, text in enumerate(read):
        if not text.isascii() and (language := _other_script(text)):
            verdicts[row] = (language, 0.0)
    unsure = [row for row, verdict in enumerate(verdicts) if verdict is None]
    named = np.flatnonzero(words.n_capitals > 0).tolist()
    for row in named:
        if verdicts[row] is None and (words.n_capitals[row] > 1 or not _BEGINS.match(read[row])):
            words.kinds[row] = _kinds_beside_names(read[row])
    evidence = _evidence(words.kinds[unsure], words.n_words[unsure])
    found = _with_library([read[row] for row in unsure], evidence) if unsure else []
    for row, verdict in zip(unsure, found, strict=True):
        verdicts[row] = verdict
    doubtful = [row for row, (_, p) in zip(unsure, found, strict=True) if p < _SECOND_LOOK]
    nameless = {row: left for row in doubtful if (left := _without_names(read[row]))}
    for row, again in zip(nameless, _beside_names(list(nameless.values())), strict=True):
        verdicts[row] = max(verdicts[row] or again, again, key=itemgetter(1))
    return [verdict for verdict in verdicts if verdict]
