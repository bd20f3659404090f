"""py3langid's verdicts on a whole column of texts at once, in NumPy.

The library walks each text through an automaton byte by byte in Python. Here all texts take one
step together: state, byte -> next state, some states emit an n-gram. Then every text adds up the
scores of its n-grams, ln(1 + count) times the n-gram's log-probability in each language, and its
softmax at temperature sqrt(bytes) gives the probabilities, as in `LanguageIdentifier.rank`
(py3langid 0.4, langid.py). Sums are float64 here and float32 there, so that the two agree to
about 1e-5.

A text's additions happen in the order of its own n-grams and element by element, so its numbers are
the same to the last bit whatever else is in the column.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from py3langid.langid import MODEL_FILE, LanguageIdentifier

_BATCH = 2_048  # texts that step together: enough to hide NumPy's overhead, and 30 MB at most


@dataclass(frozen=True)
class NgramModel:
    """The library's automaton, and its n-gram scores in the languages that may be answered."""

    languages: tuple[str, ...]
    next_state: NDArray[np.uint32]  # (n_rows * 256,): row of the state * 256 + byte -> state
    row_start: NDArray[np.int64]  # (n_states,): where the state's row begins in `next_state`
    ngram: NDArray[np.int64]  # (n_states,): the n-gram that a state emits, or -1
    scores: NDArray[np.float64]  # (n_ngrams, n_languages): log-probabilities
    prior: NDArray[np.float64]  # (n_languages,)


@cache
def load_model(languages: tuple[str, ...]) -> NgramModel:
    """The library's bundled model on `languages`, loaded once per process (0.5 s).

    Raises `ValueError` on a language that it does not know. Two columns of one language (Serbian and
    Uzbek have one per script) would have to be merged, so they are refused too.
    """
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    library.set_languages(languages)
    if len(library.nb_classes) != len(languages):
        raise ValueError(f"{languages}: a language is named twice or has two scripts")
    return NgramModel(
        languages=tuple(library.nb_classes),
        next_state=np.asarray(library.tk_nextmove),
        row_start=np.asarray(library.tk_row, np.int64) << 8,
        ngram=np.asarray(library.tk_output, np.int64),
        scores=np.ascontiguousarray(library.nb_ptc, np.float64),
        prior=library.nb_pc.astype(np.float64),
    )


def _encode(text: str) -> bytes:
    """The bytes that the library reads: capitals only in mixed case, accents composed."""
    if text.isupper():
        text = text.lower()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.encode("utf-8", errors="surrogatepass")


def _emitted(model: NgramModel, texts: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(text, n-gram) of every n-gram met, as two int64 arrays. `texts` go from long to short."""
    lengths = np.array([len(text) for text in texts], np.int64)
    longest = int(lengths[0])
    padded = b"".join(text.ljust(longest, b"\0") for text in texts)
    columns = np.ascontiguousarray(np.frombuffer(padded, np.uint8).reshape(len(texts), longest).T)
    n_alive = np.searchsorted(-lengths, -np.arange(longest))  # texts that still have a byte at each step
    states = np.zeros(columns.shape, np.uint32)
    state = np.zeros(len(texts), np.uint32)
    for step, alive in enumerate(n_alive):
        address = model.row_start[state[:alive]]
        address += columns[step, :alive]
        state = np.take(model.next_state, address, out=states[step, :alive], mode="clip")
    ngrams = model.ngram[states]
    ngrams[np.arange(longest)[:, None] >= lengths] = -1  # the root state of a text that has ended
    steps, positions = np.nonzero(ngrams >= 0)
    return positions, ngrams[steps, positions]


def _scores(model: NgramModel, texts: Sequence[bytes]) -> NDArray[np.float64]:
    """Log-posteriors, float64 (n_texts, n_languages); equal ones where no n-gram is known."""
    positions, ngrams = _emitted(model, texts)
    n_ngrams = len(model.scores)
    keys, counts = np.unique(positions * n_ngrams + ngrams, return_counts=True)
    positions, ngrams = np.divmod(keys, n_ngrams)
    weights = np.log1p(counts.astype(np.float64))
    n_found = np.bincount(positions, minlength=len(texts))
    total = np.where(n_found[:, None] > 0, model.prior, 0.0)
    by_count = np.argsort(-n_found, kind="stable")  # texts with many n-grams first
    first = (np.cumsum(n_found) - n_found)[by_count]
    n_alive = np.searchsorted(-n_found[by_count], -np.arange(n_found.max(initial=0)))
    sums = np.zeros((len(texts), len(model.languages)))
    for rank, alive in enumerate(n_alive):
        chosen = first[:alive] + rank
        terms = np.take(model.scores, ngrams[chosen], axis=0, mode="clip")
        terms *= weights[chosen, None]
        sums[:alive] += terms
    total[by_count] += sums
    return total


def _probabilities(model: NgramModel, texts: Sequence[bytes]) -> NDArray[np.float64]:
    scores = _scores(model, texts)
    scores *= 1.0 / np.sqrt([[max(len(text), 1)] for text in texts])
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    shares: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
    return shares


def language_probabilities(model: NgramModel, texts: Sequence[str]) -> NDArray[np.float64]:
    """float64 (n_texts, n_languages), rows add up to 1, columns as in `model.languages`.

    >>> model = load_model(("de", "en", "fr"))
    >>> language_probabilities(model, ["Wer sind diese Leute?", "Who are those people?", ""]).round(1).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.3, 0.3]]
    """
    encoded = [_encode(text) for text in texts]
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
    answer = np.empty((len(encoded), len(model.languages)))
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        answer[chosen] = _probabilities(model, [encoded[i] for i in chosen])
    return answer
