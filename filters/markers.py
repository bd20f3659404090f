"""Chat-template markers: the strings that a chat format puts around a message.

Sources: ChatML (OpenAI), Llama 2 and Llama 3 (Meta), Gemma (Google), Zephyr and Phi, Vicuna
(FastChat `conversation.py`), Alpaca and OpenAssistant (`### Instruction:`, `### Human:`).
"""

import re
from collections.abc import Sequence

_ROLE = r"(?:system|user|assistant|human|model|tool|developer)"

# Strings that no one writes for another reason: removed wherever they stand, with the role that
# belongs to them. A space takes their place, so that removing one never makes another.
_ANYWHERE = re.compile(
    rf"<\|start_header_id\|>(?:{_ROLE}<\|end_header_id\|>)?|<\|im_start\|>(?:{_ROLE}\b)?"
    rf"|<start_of_turn>(?:{_ROLE}\b)?"
    r"|<\|(?:im_end|im_sep|endoftext|eot_id|eom_id|begin_of_text|end_of_text|end_header_id"
    r"|endofprompt|end|system|user|assistant)\|>"
    r"|<end_of_turn>|\[/?INST\]|<</?SYS>>|<(?:bos|eos|pad|unk)>"
)
# Strings that can also be a person's own text: removed at the very start or the very end only.
_START = re.compile(r"(?:\s*(?:</?s>|(?:USER|Human): |### (?:Human|User|Instruction):))*\s*")
_STARTS = ("USER:", "Human:", "###")  # without the "<", one of these opens whatever `_START` removes
_ENDS = ("<s>", "</s>", "ASSISTANT:", "### Assistant:", "### Response:")


def _end_of_message(text: str, start: int) -> int:
    """The index in `text` after which only markers and whitespace follow (one linear pass)."""
    end = len(text)
    while True:
        while end > start and text[end - 1].isspace():
            end -= 1
        marker = next((m for m in _ENDS if text.endswith(m, start, end)), None)
        if marker is None:
            return end
        end -= len(marker)


def strip_markers(text: str) -> str:
    """`text` without chat-template markers and without whitespace around it. Idempotent.

    `<|...|>`, `[INST]`, `<<SYS>>` and `<start_of_turn>` go wherever they stand. `<s>` (also an HTML
    tag), `USER:`, `### Human:` and their counterparts go only at the start or the end; inside, they
    mean that several turns were pasted together, which `speakable` then rejects as a scaffold.

    >>> strip_markers("<|im_start|>user\\nWhat is rain?<|im_end|>")
    'What is rain?'
    >>> strip_markers("<s>[INST] Name a bird. [/INST]")
    'Name a bird.'
    >>> strip_markers("USER: Hello there ASSISTANT:")
    'Hello there'
    >>> strip_markers("What does the user see: a list?")
    'What does the user see: a list?'
    >>> strip_markers("Is a < b or b > a?")
    'Is a < b or b > a?'
    """
    stripped = text.strip()
    angled = "<" in stripped or "[" in stripped
    if not angled and not stripped.startswith(_STARTS) and not stripped.endswith(_ENDS):
        return stripped
    if angled:
        text = _ANYWHERE.sub(" ", text)
    opening = _START.match(text)
    start = opening.end() if opening else 0
    return text[start : _end_of_message(text, start)]


def strip_all(texts: Sequence[str]) -> list[str]:
    """`strip_markers` of each text, in order.

    >>> strip_all(["<s>Name a bird.</s>", " Is a > b? "])
    ['Name a bird.', 'Is a > b?']
    """
    return list(map(strip_markers, texts))
