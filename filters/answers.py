"""Evidence about answers, for those who train speech out: boilerplate, and the prompt said again.

Both are properties of the text of an answer. Whether an answer can be said aloud is `speakable`'s.
"""

import re
from collections.abc import Iterator, Sequence

from filters.duplicates import normalise
from filters.private import find_where

_MADE = r"(?:developed|trained|created|designed|built|made|programmed)"
_MODEL = r"(?:AI|artificial intelligence|(?:large |AI |text-based )*language model|(?:AI|virtual|digital) assistant)"
_KIND = r"(?: (?:language|text-based|conversational|model|assistant|chatbot|bot|system|program|tool|entity)){0,3}"
_I_AM = r"\bI(?:['’]m| am)"
_I_CANNOT = (
    r"\bI (?:cannot|can['’]t|can not|am (?:unable|not able|not allowed|not programmed) to|do(?:n['’]t| not) have)\b"
    r"|\bI['’]m (?:unable|not able|not allowed|not programmed) to\b"
)
_PERSONAL = r"personal (?:opinions|feelings|emotions|experiences|beliefs|preferences)"

# Each is bounded, so that the time stays linear. A person may be an AI researcher, be sorry that she
# cannot attend, or end a letter with an offer: those are kept.
_SELF = re.compile(
    rf"\b[Aa]s an? {_MODEL}{_KIND}(?:,? (?:that was )?{_MADE} [^.!?\n]{{1,60}}?)?,? "
    rf"(?:I\b|my\b|it(?:['’]s| is) (?:not|im|in)|there (?:is|are)\b)|\bI, as an? {_MODEL}\b"
    rf"|{_I_AM}(?: just| only| simply| merely| actually| still)? an? {_MODEL}"
    rf"(?:{_KIND}(?=[.,;:!?\n]|$)| (?:language|assistant|chatbot|model|system|program|{_MADE}|and|so|that|without)\b)"
)
_NAMED = re.compile(
    rf"(?:{_I_AM}|\b[Mm]y name is|\b[Cc]all me|\b[Aa]s) (?:Chat ?GPT|GPT-?\d|Vicuna|Open ?Assistant)\b"
    r"|\bI(?:['’]m| am| was| have been) (?:an? [\w -]{1,40} )?"
    rf"{_MADE} by (?:[a-z ]{{1,24}} )?(?:OpenAI|Anthropic|LMSYS)\b"
    r"|\b(?:against|violat\w{1,3}|comply with|follow) OpenAI['’]s\b"
)
_REFUSED = re.compile(
    rf"\A\W{{0,3}}(?:{_I_AM} (?:\w+ )?sorry|Sorry|I apologi[sz]e|My apologies)\b[^.!?\n]{{0,60}}?[,.!]? (?:but )?"
    rf"(?:{_I_CANNOT})(?! (?:to )?(?:attend|come|make|be|join|accept|go|meet|keep|stay)\b)"
    rf"|(?:{_I_CANNOT}) (?:browse the (?:internet|web)|access real-time|provide (?:you with )?(?:{_PERSONAL}|real-time)"
    r"|(?:fulfill?|complete|comply with|(?:assist|help)(?: you)? with)"
    r" (?:this|that|your|such)(?: an?)? (?:request|task))"
)
_DATED = re.compile(
    r"\b[Mm]y (?:last |latest )?(?:knowledge|training)(?: data)? "
    r"(?:cut[- ]?off|update|is limited|only (?:goes|extends))\b"
    r"|\b(?:[Aa]s of|[Ss]ince|[Uu]ntil|[Uu]p to) my (?:last|latest|most recent) (?:\w+ )?(?:update|training|data)\b"
)
_LACKING = re.compile(
    rf"\bI do(?:n['’]t| not) (?:\w+ )?(?:have|possess) (?:any )?(?:{_PERSONAL}|(?:feelings|emotions)(?:,| or) "
    r"|real[- ]time\b|a physical (?:body|form)"
    r"|access to (?:real[- ]time|up-to-date|current (?:data|information|events)))"
)
_OFFERED = r"(?:ask|contact (?:me|us)|let me know|reach out(?! to (?!me\b|us\b)))"
_CLOSED = re.compile(
    r"(?:\b[Hh]ope (?:this|that|it|these)\b[^.!?\n]{0,30}\bhelp(?:s|ed|ful)\b"
    r"|\b[Ll]et me know if (?:you|there|I can|anything)\b"
    rf"|(?:\b[Ff]eel free|\bnot hesitate|n['’]t hesitate) to {_OFFERED}"
    r"|\banything else (?:I can|you(?:['’]d| would| need))\b)(?=[^\n]{0,150}\Z)"
)
_BOILERPLATE = (_SELF, _NAMED, _REFUSED, _DATED, _LACKING, _CLOSED)
_EVIDENCE_CHARS = 40

# One of these is in whatever a rule above finds.
_CUE = (
    r"\bAI\b|artificial intelligence|language model|(?:virtual|digital) assistant|GPT|Vicuna|Open ?Assistant"
    r"|OpenAI|Anthropic|LMSYS|[Ss]orry|apolog|browse the |real[- ]time|personal [ofepb]|feelings|emotions"
    r"|(?:with|fulfill?|complete) (?:this|that|your|such) |[Mm]y (?:last|latest|most recent|knowledge|training) "
    r"|a physical |access to |ope (?:this|that|it|these)|et me know if|eel free to|hesitate to|anything else "
)

_FEWEST_WORDS = 6
# Lower case, and a space for all that is neither a letter nor a digit; bytes of UTF-8 stay.
_WORD_BYTES = bytes(byte if byte > 127 or chr(byte).isalnum() else 32 for byte in bytes(range(256)).lower())
_NOT_LETTERS = bytes(byte for byte in range(256) if byte > 127 or not chr(byte).isalnum())
_NOT_A_WORD = re.compile(r"\W+")
_APOSTROPHES = b"'`"


def boilerplate(answer: str) -> str | None:
    """The first phrase in `answer` that an assistant says of itself or by habit, else None.

    It names itself an AI, refuses, dates its knowledge, denies having opinions, or closes with an
    offer of help. A text about AI is kept. The evidence is at most 40 characters, on one line.

    >>> boilerplate("As an AI researcher, I train a language model. ChatGPT is made by OpenAI.")
    >>> boilerplate("I'm sorry, but I can't attend. Let me know if you have news.\\n\\nBest wishes, Ann")
    >>> boilerplate("Hens lay eggs. I hope this helps!")
    'hope this helps'
    >>> boilerplate("As an AI language model, I cannot taste it.")
    'As an AI language model, I'
    >>> boilerplate("I'm sorry, but I cannot help with that.")
    "I'm sorry, but I cannot"
    """
    answer = answer.strip()
    match = next(filter(None, (pattern.search(answer) for pattern in _BOILERPLATE)), None)
    return " ".join(match[0].split())[:_EVIDENCE_CHARS] if match else None


def boilerplates(answers: Sequence[str]) -> list[str | None]:
    """`boilerplate` of each answer, in order; fast where there is no cue.

    >>> boilerplates(["Paris.", "I am ChatGPT."])
    [None, 'I am ChatGPT']
    """
    return find_where(answers, _CUE, boilerplate)


def repeated_share(prompt: str, answer: str) -> float:
    """How much of `answer` is the prompt again, 0 to 1: the share of its runs of 4 words that `prompt` has.

    Words differ neither by case nor by punctuation. An answer of fewer than 6 words may well be in
    the prompt ("Paris"): it counts, as 1, only where it is the whole prompt.

    >>> repeated_share("Is it Paris or Rome?", "Paris")
    0.0
    >>> repeated_share("Who wrote the play Hamlet?", "who wrote the play Hamlet")
    1.0
    >>> repeated_share("Who wrote the play Hamlet?", "The man who wrote the play Hamlet is Shakespeare.")
    0.3333333333333333
    >>> repeated_share("Name a colour of the rainbow, please.", "Name a colour of the rainbow, please.")
    1.0
    """
    words = _words(answer)
    if len(words) < _FEWEST_WORDS:
        said = normalise(answer)
        letters = prompt.encode("utf-8", "surrogatepass").translate(None, _NOT_LETTERS)
        return float(0 < len(said) >= len(letters) and said == normalise(prompt))  # no letter is ever lost
    again = sum(map(set(_runs_of_four(_words(prompt))).__contains__, _runs_of_four(words)))
    return again / (len(words) - 3)


def repeated_shares(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
    """`repeated_share` of each prompt and its answer, in order. Raises `ValueError` if there are more of one.

    >>> repeated_shares(["Hi", "Hi"], ["hi!", "Hello."])
    [1.0, 0.0]
    """
    return [repeated_share(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]


def _runs_of_four(words: list[bytes]) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    return zip(words, words[1:], words[2:], words[3:], strict=False)


def _words(text: str) -> list[bytes]:
    plain = text if text.isascii() else _NOT_A_WORD.sub(" ", text.replace("’", "").lower())
    return plain.encode("utf-8", "surrogatepass").translate(_WORD_BYTES, _APOSTROPHES).split()
