"""distilabel's OpenAI model, with what it drops: the model's real name, the usage, why an answer ends.

Importing this takes over a second: distilabel imports `datasets` and pandas.
"""

from typing import Any

import openai
from openai.types.chat import ChatCompletion

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

    def _generations_from_openai_completion(self, completion: object) -> dict[str, Any]:
        """Take the text and all that is said about it; a server may have sent any JSON, or none."""
        choices = getattr(completion, "choices", None)
        if not isinstance(completion, ChatCompletion) or not choices:
            raise Unanswered(f"the answer has no choices{_told(completion)}")
        message = getattr(choices[0], "message", None)
        content = getattr(message, "content", None)
        if message is None or not isinstance(content, str | None):
            raise Unanswered("the answer has no message with a text")
        usage = getattr(completion, "usage", None)
        prompt_tokens, completion_tokens = (
            count if isinstance(count := getattr(usage, name, None), int) and count >= 0 else None
            for name in ("prompt_tokens", "completion_tokens")
        )
        finish, model = (
            value if isinstance(value, str) else instead
            for value, instead in (
                (getattr(choices[0], "finish_reason", None), ""),
                (getattr(completion, "model", None), self.model),
            )
        )
        reply = Reply(content or "", finish, model, prompt_tokens, completion_tokens)
        return {
            "generations": [reply.text],
            "statistics": {"input_tokens": [prompt_tokens or 0], "output_tokens": [completion_tokens or 0]},
            "reply": reply,
        }


def _told(completion: object) -> str:
    """Return what is told where the answer should be: an error with status 200, or a page."""
    if isinstance(completion, str):
        return f": {completion}"
    error = getattr(completion, "error", None)
    return f": {error.get('message', error) if isinstance(error, dict) else error}" if error else ""
