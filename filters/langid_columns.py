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
    starts = np.cumsum(lengths) - lengths
    letters = np.frombuffer(b"".join(texts), np.uint8)
    n_alive = np.searchsorted(-lengths, -np.arange(lengths[0]))  # texts that still have a byte at each step
    states = np.empty(len(letters), np.uint32)  # of the first step, then of the second, ...
    state, met = np.zeros(len(texts), np.uint32), 0
    for step, alive in enumerate(n_alive):
        address = model.row_start[state[:alive]]
        address += letters[starts[:alive] + step]
        state = np.take(model.next_state, address, out=states[met : met + alive], mode="clip")
        met += alive
    text = np.concatenate([np.arange(alive) for alive in (*n_alive, 0)])
    ngrams = model.ngram[states]
    emits = np.flatnonzero(ngrams >= 0)
    return text[emits], ngrams[emits]


def _scores(model: NgramModel, texts: Sequence[bytes]) -> NDArray[np.float64]:
    """Log-posteriors, float64 (n_texts, n_languages); equal ones where no n-gram is known."""
    text, ngrams = _emitted(model, texts)
    n_ngrams = len(model.scores)
    keys, counts = np.unique(text * n_ngrams + ngrams, return_counts=True)
    text, ngrams = np.divmod(keys, n_ngrams)
    n_found = np.bincount(text, minlength=len(texts))
    ends = np.concatenate([[0], np.cumsum(n_found)])
    from scipy.sparse import csr_array  # a tenth of a second, which commands that read no text need not wait for

    weights = csr_array((np.log1p(counts.astype(np.float64)), ngrams, ends), shape=(len(texts), n_ngrams))
    sums: NDArray[np.float64] = weights @ model.scores  # row by row, in the order of a row's n-grams
    return sums + np.where(n_found[:, None] > 0, model.prior, 0.0)


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
    order = np.argsort([-len(text) for text in encoded], kind="stable")
    answer = np.empty((len(encoded), len(model.languages)))
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        answer[chosen] = _probabilities(model, [encoded[i] for i in chosen.tolist()])
    return answer
