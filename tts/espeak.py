"""eSpeak NG in this process, through ctypes, with a fresh copy of the library per utterance.

eSpeak keeps state from one utterance to the next (phase, flutter, noise), and neither setting the
voice again nor `espeak_Terminate` clears it. So each utterance loads the library, speaks, and
unloads it: its .data and .bss are new each time, which is what a new process would see. The library
is loaded from a memory file of our own, so that no other user of eSpeak in the process shares it,
and nothing is left behind if the process is killed.

The C calls are those of speak_lib.h in https://github.com/espeak-ng/espeak-ng (1.52).
"""

import ctypes
import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts.engine import Delivery, Request, SpeechError, Spoken, Voice
from tts.voices import LANGUAGE_FILES, VOICES

RATE_WPM = (80, 450)  # espeakRATE_MINIMUM, espeakRATE_MAXIMUM
PITCH = (0, 99)

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: espeak_Synth returns when the text is spoken
_BUFFER_MS = 200  # per callback; samples are equal from 20 to 1000 ms, and change above that
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_FLAGS = 1 | 0x1000  # UTF-8, pause at the end; neither SSML (0x10) nor [[phonemes]] (0x100)
_SEED = 1  # of the noise of the breathy voices: espeak_Initialize seeds it from the clock

# Control characters start commands inside eSpeak (0x01) or end the text (0x00), and private-use
# characters are its own escapes: all become spaces.
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff]")

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The eSpeak NG engine. Not thread-safe: one per process, used by one thread.

    The audio of a text depends on the text, the delivery and the version alone, bit for bit: on one
    machine it is the same in any order and in any process.
    """

    name = "espeak"
    sample_rate_hz = 22_050
    voices: Mapping[str, Voice] = VOICES
    batch_size = 1
    usage: Mapping[str, float] = {}

    def __init__(self) -> None:
        """Read the library into memory. Raises ImportError if espeakng_loader is not installed."""
        loader = _loader()
        self._data_path = os.fsencode(loader.get_data_path())
        self._library_fd = os.memfd_create("libespeak-ng")
        with open(self._library_fd, "wb", closefd=False) as memory:
            memory.write(Path(loader.get_library_path()).read_bytes())
        self._voice_fds: dict[str, int] = {}
        self._libc = ctypes.CDLL(None)
        self._libc.dlclose.argtypes = [ctypes.c_void_p]
        self._chunks: list[bytes] = []
        self._callback = _SynthCallback(self._collect)
        with self._fresh_library() as library:
            library.espeak_Info.restype = ctypes.c_char_p
            self.version = "espeak-ng " + library.espeak_Info(None).decode()

    def close(self) -> None:
        """Give back the memory file and the voice files. The engine cannot speak afterwards."""
        for fd in (self._library_fd, *self._voice_fds.values()):
            os.close(fd)
        self._library_fd = -1
        self._voice_fds = {}

    def speak_all(self, requests: Sequence[Request]) -> list[Spoken | SpeechError]:
        """Speak one text after another, as `Engine.speak_all` says."""
        return [self._speak_one(request) for request in requests]

    def _speak_one(self, request: Request) -> Spoken | SpeechError:
        try:
            return Spoken(self.speak(request.text, request.delivery))
        except SpeechError as error:
            return error

    def speak(self, text: str, delivery: Delivery) -> NDArray[np.int16]:
        """Speak the whole text: int16 (n_samples,), mono at 22,050 Hz.

        Raises SpeechError if the text is blank or is not valid Unicode, ValueError if the voice,
        rate or pitch is not one of ours, RuntimeError if eSpeak itself fails.
        """
        encoded = _encode(text)
        voice = self._voice_file(delivery.voice)
        for what, value, (low, high) in (
            ("rate_wpm", delivery.rate_wpm, RATE_WPM),
            ("pitch", delivery.pitch, PITCH),
        ):
            if not low <= value <= high:
                raise ValueError(f"{what} {value} is outside eSpeak's range {low}..{high}")
        self._chunks = []
        with self._fresh_library() as library, _callback_errors(self._collect) as errors:
            _check("espeak_SetVoiceByFile", library.espeak_SetVoiceByFile(voice))
            _check("rate", library.espeak_SetParameter(_RATE, delivery.rate_wpm, 0))
            _check("pitch", library.espeak_SetParameter(_PITCH, delivery.pitch, 0))
            library.espeak_SetSynthCallback(self._callback)
            size = ctypes.c_size_t(len(encoded) + 1)
            status = library.espeak_Synth(encoded, size, 0, 0, 0, _FLAGS, None, None)
            _check("espeak_Synth", status)
        if errors:
            raise errors[0]
        samples = np.frombuffer(b"".join(self._chunks), np.int16)
        if samples.size == 0:
            raise SpeechError(f"eSpeak made no sound of {text[:60]!r}")
        return samples

    def _collect(self, wave: Any, n_samples: int, _events: int | None) -> int:
        """Keep one buffer; the audio is the same however eSpeak cuts it up. 0 means go on."""
        if wave:
            self._chunks.append(ctypes.string_at(wave, 2 * n_samples))
        return 0

    def _voice_file(self, voice: str) -> bytes:
        """Return a path that eSpeak opens at once, where a voice's name costs it 1.3 ms of search.

        `espeak_SetVoiceByFile` lowers the path's case and cuts it at 60 bytes, so we name the open
        file by its descriptor. Raises ValueError, with the nearest names, for an unknown voice.
        """
        if voice not in self.voices:
            near = difflib.get_close_matches(voice, self.voices, n=3, cutoff=0.3)
            raise ValueError(f"unknown voice {voice!r}; nearest: {', '.join(near or self.voices)}")
        language, plus, variant = voice.partition("+")
        if language not in self._voice_fds:
            file = Path(os.fsdecode(self._data_path), "lang", "gmw", LANGUAGE_FILES[language])
            self._voice_fds[language] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._voice_fds[language]}{plus}{variant}".encode()

    @contextmanager
    def _fresh_library(self) -> Iterator[ctypes.CDLL]:
        """Load and initialise the library as a new process would; unload it at the end."""
        if self._library_fd < 0:
            raise RuntimeError("this engine was closed: make a new one")
        library = ctypes.CDLL(f"/proc/self/fd/{self._library_fd}")
        try:
            rate_hz = library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, self._data_path, 0)
            if rate_hz != self.sample_rate_hz:
                raise RuntimeError(
                    f"espeak_Initialize gave {rate_hz}, not {self.sample_rate_hz} Hz: is the data "
                    f"at {os.fsdecode(self._data_path)} complete? Reinstall espeakng-loader"
                )
            _check("espeak_ng_SetRandSeed", library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED)))
            yield library
            _check("espeak_Terminate", library.espeak_Terminate())
        finally:
            _check("dlclose", self._libc.dlclose(library._handle))


@contextmanager
def _callback_errors(callback: Any) -> Iterator[list[BaseException]]:
    """Collect what is raised inside `callback`, such as a Ctrl-C.

    ctypes reports it as unraisable and carries on, which would leave a hole in the audio.
    """
    errors: list[BaseException] = []
    outer = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if unraisable.object == callback:
            errors.append(unraisable.exc_value)
        else:
            outer(unraisable)

    sys.unraisablehook = hook
    try:
        yield errors
    finally:
        sys.unraisablehook = outer


def _encode(text: str) -> bytes:
    """Return what eSpeak is given: UTF-8 without control and private-use characters."""
    cleaned = _NOT_TEXT.sub(" ", text)
    if not cleaned.strip():
        raise SpeechError("the text is blank: there is nothing to speak")
    try:
        return cleaned.encode()
    except UnicodeEncodeError as error:
        raise SpeechError(
            f"the text holds a lone surrogate at character {error.start}: it is not valid Unicode"
        ) from error


def _check(call: str, status: int) -> None:
    if status != 0:
        raise RuntimeError(f"eSpeak NG: {call} failed with status {status}")


def _loader() -> Any:
    """Import espeakng_loader, which carries the library and its data (GPL-3.0, hence optional)."""
    try:
        return importlib.import_module("espeakng_loader")
    except ModuleNotFoundError as error:
        raise ImportError("the espeak engine needs espeakng_loader: pip install 'speechmill[espeak]'") from error
