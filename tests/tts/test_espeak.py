"""eSpeak NG itself: bit-exact in any order and process, distinct voices, whole texts, no leaks."""

import _ctypes
import ctypes
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

import tts
from tts.audio import is_silent
from tts.engine import Delivery, SpeechError
from tts.espeak import Espeak

TEXTS = (
    "What is the capital of France?",
    "Write a short story about a dragon who is afraid of the dark.",
    "Привет, 你好, and three hundred café tables: naïve!",
)
SPOKEN = "The quick brown fox jumps over the lazy dog, and then it runs far away. Why not ask her?"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine():
    engine = tts.ENGINES["espeak"](tts.Setup())
    yield engine
    engine.close()


def _digest(engine, text, voice, rate_wpm=175, pitch=50):
    samples = engine.speak(text, Delivery(voice, rate_wpm, pitch))
    return hashlib.sha256(samples.tobytes()).hexdigest()


def _jobs(engine):
    deliveries = itertools.cycle(((175, 50), (120, 10), (260, 90)))
    return [(t, v, *next(deliveries)) for t in TEXTS for v in engine.voices]


def test_bit_exact_in_any_order(engine):
    jobs = _jobs(engine)
    forward = {job: _digest(engine, *job) for job in jobs}
    time.sleep(1.1)  # eSpeak seeds the noise of its breathy voices from the clock, in seconds
    backward = {job: _digest(engine, *job) for job in reversed(jobs)}
    shuffled = random.Random(3).sample(jobs, len(jobs))
    other_engine = Espeak()
    assert backward == forward
    assert {job: _digest(other_engine, *job) for job in shuffled} == forward
    assert len(set(forward.values())) == len(jobs)
    other_engine.close()


_CHILD = """
import json, sys
from tests_of_tts import _digest
from tts.espeak import Espeak
engine = Espeak()
print(json.dumps([_digest(engine, *job) for job in json.load(sys.stdin)]))
"""


def test_bit_exact_across_processes(engine):
    """The child runs backwards, and its allocator fills new memory with a pattern."""
    jobs = _jobs(engine)[::-5]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD.replace("tests_of_tts", Path(__file__).stem)],
        input=json.dumps(jobs),
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(child.stdout) == [_digest(engine, *job) for job in reversed(jobs)][::-1]


def test_another_user_of_the_library_changes_nothing_and_is_not_disturbed(engine):
    before = _digest(engine, TEXTS[0], "en-us")
    other = ctypes.CDLL(espeakng_loader.get_library_path())
    phonemes = other.espeak_TextToPhonemes
    phonemes.restype = ctypes.c_char_p
    data = espeakng_loader.get_data_path().encode()
    assert other.espeak_Initialize(2, 0, data, 0) == 22_050
    assert other.espeak_SetVoiceByName(b"fr") == 0

    def in_french():
        return phonemes(ctypes.byref(ctypes.c_char_p(b"bonjour")), 1, 0)

    french = in_french()
    assert _digest(engine, TEXTS[0], "en-us") == before
    assert in_french() == french
    assert other.espeak_Terminate() == 0
    _ctypes.dlclose(other._handle)


def test_the_library_is_unloaded_after_each_utterance(engine):
    engine.speak("Hello.", Delivery("en", 175, 50))
    assert "memfd:libespeak-ng" not in Path("/proc/self/maps").read_text()


def _f0_hz(samples, rate_hz):
    """The median over frames of the autocorrelation's peak between 60 and 400 Hz."""
    found = []
    for start in range(0, len(samples) - 2_048, 1_024):
        frame = samples[start : start + 2_048] * np.hanning(2_048)
        if np.sqrt((frame**2).mean()) < 500:
            continue
        correlation = np.fft.irfft(np.abs(np.fft.rfft(frame, 4_096)) ** 2)[: rate_hz // 60]
        lag = rate_hz // 400 + int(np.argmax(correlation[rate_hz // 400 :]))
        if correlation[lag] > 0.35 * correlation[0]:
            found.append(rate_hz / lag)
    return float(np.median(found))


def _spectrum_db(samples):
    """The long-term average spectrum: 24 bands in dB, less their mean."""
    frames = [samples[i : i + 1_024] * np.hanning(1_024) for i in range(0, len(samples) - 1_024, 512)]
    power = (np.abs(np.fft.rfft(frames)) ** 2).sum(axis=0)
    edges = np.linspace(0, 512, 25).astype(int)
    bands = [power[low:high].sum() for low, high in itertools.pairwise(edges)]
    decibels = 10 * np.log10(bands)
    return decibels - decibels.mean()


def test_voices_sound_different_and_are_of_the_gender_that_they_state(engine):
    f0, spectrum, seconds = {}, {}, {}
    for voice in engine.voices:
        samples = engine.speak(SPOKEN, Delivery(voice, 175, 50)).astype(np.float64)
        f0[voice] = _f0_hz(samples, engine.sample_rate_hz)
        spectrum[voice] = _spectrum_db(samples)
        seconds[voice] = len(samples) / engine.sample_rate_hz
    for voice, facts in engine.voices.items():
        assert voice == facts.id
        assert (f0[voice] > 150) == (facts.gender == "female"), (voice, f0[voice])
    for one, two in itertools.combinations(engine.voices, 2):
        bands_db = float(np.sqrt(((spectrum[one] - spectrum[two]) ** 2).mean()))
        pitch_ratio = max(f0[one], f0[two]) / min(f0[one], f0[two])
        length_ratio = max(seconds[one], seconds[two]) / min(seconds[one], seconds[two])
        assert bands_db > 1.0 or pitch_ratio > 1.05 or length_ratio > 1.03, (one, two, bands_db)


def test_there_are_enough_voices_of_both_genders(engine):
    assert len(engine.voices) >= 8
    genders = [voice.gender for voice in engine.voices.values()]
    assert genders.count("female") == genders.count("male") == len(genders) // 2
    assert len({voice.accent for voice in engine.voices.values()}) == 8


def test_rate_and_pitch_are_heard(engine):
    lengths = [len(engine.speak(SPOKEN, Delivery("en", rate, 50))) for rate in (120, 175, 260)]
    assert lengths[0] > 1.3 * lengths[1] > 1.3 * 1.3 * lengths[2]
    f0 = [_f0_hz(engine.speak(SPOKEN, Delivery("en", 175, pitch)).astype(float), 22_050) for pitch in (10, 50, 90)]
    assert f0[1] > 1.2 * f0[0] and f0[2] > 1.2 * f0[1]


def test_samples_are_mono_int16_speech(engine):
    samples = engine.speak("Hello there.", Delivery("en-us", 175, 50))
    assert samples.dtype == np.int16 and samples.ndim == 1
    assert 0.5 < len(samples) / engine.sample_rate_hz < 2.0
    assert not is_silent(samples)


@pytest.mark.parametrize("joint", [" ", ", ", ". ", "\n\n"])
def test_long_texts_are_spoken_to_the_end(engine, joint):
    """Half the words take half the time, and 6,000 characters have no limit to meet."""
    words = ["banana"] * 850
    whole = len(engine.speak(joint.join(words), Delivery("en", 400, 50)))
    half = len(engine.speak(joint.join(words[:425]), Delivery("en", 400, 50)))
    assert whole == pytest.approx(2 * half, rel=0.02)


def test_a_text_of_one_long_word_is_spoken(engine):
    assert len(engine.speak("a" * 5_000, Delivery("en", 175, 50))) > 22_050


def test_text_is_never_a_command(engine):
    """NUL would end the text, 0x01 sets parameters, [[ ]] and < > are other input modes."""
    delivery = Delivery("en", 175, 50)

    def say(text):
        return len(engine.speak(text, delivery))

    assert say("one two\x00 three four five") > 1.3 * say("one two")
    quiet = engine.speak("\x01" + "5A hello hello", delivery)
    assert np.abs(quiet).max() > 5_000
    assert say("say [[h@l'oU]] now") > say("say h@l'oU now")
    assert say("<speak>hello</speak>") > 2 * say("hello")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "blank"), (" \n\t", "blank"), ("\x00\x01", "blank"), ("a\ud800", "surrogate")],
)
def test_what_cannot_be_spoken_says_why(engine, text, reason):
    with pytest.raises(SpeechError, match=reason):
        engine.speak(text, Delivery("en", 175, 50))


def test_wrong_deliveries_name_the_value_and_the_remedy(engine):
    with pytest.raises(ValueError, match=r"unknown voice 'en-gb'; nearest: en"):
        engine.speak("Hello.", Delivery("en-gb", 175, 50))
    with pytest.raises(ValueError, match=r"rate_wpm 79 .* 80\.\.450"):
        engine.speak("Hello.", Delivery("en", 79, 50))
    with pytest.raises(ValueError, match=r"pitch 100 .* 0\.\.99"):
        engine.speak("Hello.", Delivery("en", 175, 100))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"pip install 'speechmill\[espeak\]'"):
        Espeak()


def test_a_closed_engine_says_so():
    engine = Espeak()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        engine.speak("Hello.", Delivery("en", 175, 50))


def test_importing_tts_loads_no_engine():
    code = "import sys, tts; print('tts.espeak' in sys.modules or 'soundfile' in sys.modules)"
    run = [sys.executable, "-c", code]
    child = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout == "False\n"


class _Interrupted(BaseException):
    pass


def test_an_interrupt_leaves_no_hole_in_the_audio(engine):
    """ctypes would swallow what a signal handler raises inside the callback, and lose a buffer."""

    def interrupt(_signal, _frame):
        raise _Interrupted

    before = _digest(engine, TEXTS[1], "en")
    outer = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(_Interrupted):
            engine.speak(SPOKEN * 100, Delivery("en", 80, 50))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer)
    assert _digest(engine, TEXTS[1], "en") == before


def _resident_kib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_nothing_leaks_over_a_thousand_utterances(engine):
    deliveries = [Delivery(voice, 300, 50) for voice in engine.voices]

    def speak_all(n):
        for delivery, text in itertools.islice(zip(itertools.cycle(deliveries), itertools.cycle(TEXTS)), n):
            engine.speak(text, delivery)
        return _resident_kib(), len(list(Path("/proc/self/fd").iterdir()))

    before_kib, before_fds = speak_all(200)
    after_kib, after_fds = speak_all(1_000)
    assert after_fds == before_fds
    assert after_kib - before_kib < 1_024  # 1 KiB an utterance would be seen
