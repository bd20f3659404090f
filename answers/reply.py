"""One answer of a language model, as it is stored."""

from dataclasses import asdict, dataclass

import orjson

_CUT_OFF = ("length", "content_filter")  # finish_reason of a text that lacks its end


@dataclass(frozen=True)
class Reply:
    """What a server said, and what it took.

    text:   "" where it said nothing
    finish: why the text ends where it does: "stop", "length", "content_filter", ...; "" where it is not said
    model:  as the server calls it
    tokens: of the prompt and of the answer, as the server counts them; None where it does not
    """

    text: str
    finish: str
    model: str
    tokens: tuple[int, int] | None

    @property
    def prompt_tokens(self) -> int:
        """Return the tokens of the prompt, 0 where the server does not say."""
        return self.tokens[0] if self.tokens else 0

    @property
    def completion_tokens(self) -> int:
        """Return the tokens of the answer, 0 where the server does not say."""
        return self.tokens[1] if self.tokens else 0

    def flaw(self) -> str | None:
        """Return what is wrong with any text that ends so: `cut_off:<finish_reason>`, `empty`, or None."""
        if self.finish in _CUT_OFF:
            return f"cut_off:{self.finish}"
        return None if self.text.strip() else "empty"

    def dump(self) -> bytes:
        """Return the JSON that is stored."""
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, data: bytes) -> "Reply":
        """Return the reply of a JSON that was stored."""
        said = orjson.loads(data)
        return cls(**{**said, "tokens": said["tokens"] and tuple(said["tokens"])})
