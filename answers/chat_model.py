"""distilabel's OpenAI model, with what it drops: the model's real name, the usage, why an answer ends.

Importing this takes over a second: distilabel imports `datasets` and pandas.
"""

from typing import Any

import openai

from answers.asking import Unanswered
from answers.distilabel_parts import AsyncLLM, OpenAILLM
from answers.reply import Reply


class ChatModel(OpenAILLM):  # type: ignore[misc]  # distilabel has no types
    """One server's model. `agenerate` gives a `reply` beside what it gives in distilabel.

    It raises Unanswered for what cannot be used, and the client's errors.
    """

    def load(self) -> None:
        """Make the one client that is used; it never asks again by itself."""
        AsyncLLM.load(self)
        assert self.api_key is not None
        self._aclient = openai.AsyncOpenAI(
            base_url=self.base_url, api_key=self.api_key.get_secret_value(), max_retries=0, timeout=self.timeout
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._aclient.close()

    async def _generate_chat_completion(
        self,
        input: list[dict[str, str]],
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        extra_body: dict[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """Ask for one answer. What is sent is what is said here, and nothing by default.

        `client.chat.completions.create` would walk through all messages for fields to be renamed, of which a chat has
        none, and through the answer: a third of the time of a request.
        """
        body = {
            **{"model": self.model, "messages": input, "max_tokens": max_new_tokens},
            **{"temperature": temperature, "top_p": top_p, **(extra_body or {})},
        }
        try:
            said = await self._aclient.post("/chat/completions", cast_to=object, body=body)
        except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, nested too deep, a number of 5,000 digits
            raise Unanswered(f"the answer is no JSON: {error}") from None
        return self._read(said)

    def _read(self, said: Any) -> dict[str, Any]:
        """Take the text and all that is said about it. Raises Unanswered: a server may send any JSON, or a page."""
        match said:
            case {"choices": [{"message": {"content": str() | None as content}, **choice}, *_]}:
                pass
            case {"error": {"message": str() as told}} | (str() as told):
                raise Unanswered(f"no answer, but: {told}")
            case _:
                raise Unanswered("the answer holds no message")
        tokens: tuple[int, int] | None = None
        match said:
            case {"usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}}:
                if _is_count(prompt_tokens) and _is_count(completion_tokens):
                    tokens = (prompt_tokens, completion_tokens)
        text, finish, model = (
            _writable(str(told or ""))
            for told in (content, choice.get("finish_reason"), said.get("model") or self.model)
        )
        reply = Reply(text, finish, model, tokens)
        statistics = {"input_tokens": [reply.prompt_tokens], "output_tokens": [reply.completion_tokens]}
        return {"generations": [reply.text], "statistics": statistics, "reply": reply}


def _is_count(said: Any) -> bool:
    """Tell whether a server counts with it: a number of tokens that a row and the ledger can hold."""
    return type(said) is int and 0 <= said < 2**31


def _writable(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
