"""Any server with OpenAI's `/v1/audio/speech`: vLLM-Omni, Kokoro servers, the OpenAI API.

Nothing is asked twice: an answer is stored under what was asked as soon as it is found good, before
it is used. Requests run at once up to a bound, each until it is answered (`answers.asking`); what comes
back is checked (`tts.answer_audio`). The same stored answers give the same samples, whatever the
concurrency and the server's weather; a server that draws anew each time is asked once and believed.
The request's fields are those of https://developers.openai.com/api/reference (create speech).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from answers.asking import Asker, AskingError, Refused, Unanswered, failure_of, redacted
from answers.concurrently import LoopThread, for_each
from answers.store import AnswerStore, answer_key
from tts.answer_audio import BadAudio, decode_answer, plausible_seconds, to_int16
from tts.audio import is_silent
from tts.engine import EngineError, Request, SpeechError, Spoken, Voice
from tts.openai_speech_options import OpenAISpeechOptions

if TYPE_CHECKING:
    import openai

__all__ = ["EngineError", "OpenAISpeech", "OpenAISpeechOptions"]

WITNESS = "This is a test of the voice."
BATCH = 512  # texts, and 8 rounds: a batch waits for its last answer, while the server has nothing else to do

Resample = Callable[[NDArray[np.float32], int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class _Question:
    """One text to be asked for: the body's fields of ours, the others, and the key of both."""

    text: str
    speed: float
    body: dict[str, Any]
    extra: dict[str, Any]
    key: bytes


class OpenAISpeech:
    """The engine over a server. One thread may use it at a time; its requests run in a thread of its own."""

    name = "openai_speech"

    def __init__(
        self,
        options: OpenAISpeechOptions,
        voices: Mapping[str, Voice],
        folder: Path,
        resample: Resample,
    ) -> None:
        """Take the options, the server's voices, the folder of stored answers, and a resampler (samples, from, to Hz).

        Raises EngineError if the variable named by `api_key_env` holds no key, OSError for the folder.
        """
        self.options = options
        self.voices = voices
        self.version = f"openai_speech {options.model}"
        self.sample_rate_hz = options.sample_rate_hz
        self.batch_size = max(BATCH, 8 * options.concurrency)
        self._resample = resample
        try:
            self._key = options.read_key()
        except AskingError as error:
            raise EngineError(str(error)) from None
        self._store = AnswerStore(folder)
        self._asker = Asker(options.attempts, options.patience_s, options.pauses_s)
        names = ("requests", "from_store", "characters", "stored_characters", "audio_seconds", "asking_seconds")
        self._usage = dict.fromkeys(names, 0.0)
        self._thread = LoopThread(self.name)
        self._client: openai.AsyncOpenAI | None = None

    @property
    def usage(self) -> Mapping[str, float]:
        """Return the sums since this engine was made.

        requests, retries: sent, and how many of them were repeats; from_store: texts that needed none
        characters:        of the requests that were answered, which is what is paid for; cost: at the price given
        stored_characters: of the texts from the store, paid for by whoever asked: another run, or a killed worker
        audio_seconds:     of good speech, new or stored
        asking_seconds:    in `speak_all`, which make rates of the others
        """
        cost = self._usage["characters"] / 1e6 * self.options.price_per_million_characters
        return {**self._usage, "retries": float(self._asker.retries), "cost": cost}

    def speak_all(self, requests: Sequence[Request]) -> list[Spoken | SpeechError]:
        """Return for each request, in order, the text spoken or why it could not be; every answer is stored by then.

        Equal questions are asked once. `Spoken.attempts` is always 1: a row must not depend on how the
        server felt; `usage` tells the retries. Raises ValueError for a delivery with an unknown voice or a rate
        beyond `speed`; EngineError if the server, the key or the options are at fault; OSError for a full disk.
        """
        started = time.monotonic()
        asked = [self._question(request) for request in requests]
        self._store.look()
        questions = {question.key: question for question in asked if isinstance(question, _Question)}
        try:
            answers = self._thread.run(self._answer_all(list(questions.values()))) if questions else {}
        except AskingError as error:
            raise EngineError(str(error)) from None
        finally:
            self._store.sync()
            self._usage["asking_seconds"] += time.monotonic() - started
        return [answers[one.key] if isinstance(one, _Question) else one for one in asked]

    def close(self) -> None:
        """End the thread and close the connections and the store. The engine cannot speak afterwards."""
        if self._client is not None:
            self._thread.run(self._client.close())
            self._client = None
        self._thread.close()
        self._store.close()

    def _question(self, request: Request) -> _Question | SpeechError:
        if not request.text.strip():
            return SpeechError("the text is blank: there is nothing to speak")
        try:
            request.text.encode()
        except UnicodeEncodeError as error:
            return SpeechError(f"the text holds a lone surrogate at character {error.start}: it is not valid Unicode")
        delivery = request.delivery
        if delivery.voice not in self.voices:
            raise ValueError(f"unknown voice {delivery.voice!r}; the engine has {', '.join(self.voices)}")
        options = self.options
        body: dict[str, Any] = {
            "model": options.model,
            "input": request.text,
            "voice": delivery.voice,
            "response_format": options.response_format,
        }
        speed = 1.0
        if options.speed is not None:
            low, high = options.speed
            body["speed"] = speed = round(delivery.rate_wpm / options.natural_wpm, 2)
            if not low <= speed <= high:
                raise ValueError(
                    f"rate_wpm {delivery.rate_wpm} is speed {speed:g}, outside {low:g}..{high:g} "
                    f"({low * options.natural_wpm:.0f} to {high * options.natural_wpm:.0f} words a minute)"
                )
        extra = dict(options.extra)
        if options.seed_field is not None:
            extra[options.seed_field] = request.seed % 2**31
        return _Question(request.text, speed, body, extra, answer_key("speech", {**extra, **body}))

    async def _answer_all(self, questions: list[_Question]) -> dict[bytes, Spoken | SpeechError]:
        """Answer all, at most `concurrency` at a time."""
        if self._client is None:
            import openai

            self._client = openai.AsyncOpenAI(
                base_url=self.options.base_url,
                api_key=self._key or "none",
                max_retries=0,
                timeout=self.options.timeout_s,
            )
        self._asker.begin()
        answers: dict[bytes, Spoken | SpeechError] = {}

        async def answer(question: _Question) -> None:
            answers[question.key] = await self._answer(question)

        await for_each(questions, self.options.concurrency, answer)
        return answers

    async def _answer(self, question: _Question) -> Spoken | SpeechError:
        """Return the stored answer, or ask for one and store it."""
        stored = self._store.get(question.key)
        if stored is not None:
            try:
                samples = self._samples(stored, question)
            except BadAudio:
                pass  # stored under other bounds than today's: ask again
            else:
                self._usage["from_store"] += 1
                self._usage["stored_characters"] += len(question.text)
                self._usage["audio_seconds"] += len(samples) / self.sample_rate_hz
                return Spoken(samples)
        witness = replace(question, text=WITNESS, body={**question.body, "input": WITNESS})
        try:
            data, samples = await self._asker.ask(
                question.key,
                f"the voice {question.body['voice']}",
                lambda: self._send(question),
                lambda: self._send(witness),
            )
        except (Refused, Unanswered) as failure:
            return SpeechError(str(failure))
        self._store.put(question.key, data)
        self._usage["audio_seconds"] += len(samples) / self.sample_rate_hz
        return Spoken(samples)

    async def _send(self, question: _Question) -> tuple[bytes, NDArray[np.int16]]:
        """Ask once. Raises Unanswered, Refused or AskingError."""
        import openai

        assert self._client is not None
        self._usage["requests"] += 1
        try:
            async with asyncio.timeout(self.options.timeout_s):
                answer = await self._client.audio.speech.create(**question.body, extra_body=question.extra)
        except TimeoutError:
            raise Unanswered(f"timeout: no whole answer in {self.options.timeout_s:g} s") from None
        except openai.APIError as error:
            raise failure_of(error, self._redact) from None  # its request holds the key
        self._usage["characters"] += len(question.text)
        try:
            return answer.content, self._samples(answer.content, question)
        except BadAudio as error:
            raise Unanswered(f"{error}{self._words_in(answer.content)}") from None

    def _samples(self, data: bytes, question: _Question) -> NDArray[np.int16]:
        """Decode and check an answer. Raises BadAudio."""
        options = self.options
        least_s, most_s = plausible_seconds(question.text, question.speed, options.characters_per_second)
        samples, rate_hz = decode_answer(data, options.response_format, options.server_rate_hz, most_s)
        seconds = len(samples) / rate_hz
        if not least_s <= seconds <= most_s:
            raise BadAudio(
                f"{seconds:.2f} s for {len(question.text)} characters at speed {question.speed:g}, "
                f"outside {least_s:.2f} to {most_s:.2f} s"
            )
        if is_silent(to_int16(samples)):
            raise BadAudio(f"silent: {seconds:.2f} s, its loudest sample {np.abs(samples).max():.5f}")
        return to_int16(self._resample(samples, rate_hz, self.sample_rate_hz))

    def _words_in(self, data: bytes) -> str:
        """Return what an answer says that is text instead of audio, such as an error with status 200."""
        if data.lstrip()[:1] not in (b"{", b"<"):
            return ""
        return ": " + self._redact(data[:2000].decode(errors="replace"))[:100]  # a key cut in two would be told

    def _redact(self, message: str) -> str:
        return redacted(message, self._key)
