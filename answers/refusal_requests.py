"""What a refusal is asked for: the sound that was not understood, who spoke, and how the assistant is to say so.

All of it is drawn from the run's seed and the row's id, so that ten thousand requests hardly ever agree. What is said
of the sound fits how the row's sound was made, as far as an assistant can hear it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_GARBLED = (
    "a string of broken sounds that resembles speech and holds no word",
    "mumbling from which no word can be told",
    "sounds of a language that the assistant does not know, if it is one",
    "a voice so distorted that nothing can be told apart",
    "a jumble, as if the connection had dropped most of what was said",
    "short bursts of sound in no order, perhaps a fault of the line",
    "something between stuttering and static, without a word in it",
)
_NOISE = (
    "nothing but noise; if somebody spoke, it drowned them",
    "a wall of noise, as from a machine beside the microphone",
    "noise all the way through, with no voice to be heard",
    "a loud, even noise that leaves no room for words",
    "only background noise; the person may have been too far away",
)
# What an assistant may hear, by the kind of sound.
SITUATIONS: dict[str, tuple[str, ...]] = {
    "independent": _GARBLED,
    "sticky": (*_GARBLED, "long, held sounds without a word, like a tape that sticks"),
    "shuffled": (
        "pieces of real speech in the wrong order, so that no word is whole",
        "syllables cut up and mixed, without sense",
        "a voice that is certainly a voice, and says nothing that can be followed",
        "speech that arrived scrambled, as by a very bad connection",
        "sounds of a foreign or a made-up language",
    ),
    "recordings": (
        "the sounds of a place, and nobody speaking near the microphone",
        "background sounds only, as from a street, a room or a machine",
        "surroundings that are louder than any voice in them",
        "everyday noise; the person may not have spoken yet, or too quietly",
        "rustling and noise, as from a telephone in a pocket",
    ),
    "white": (*_NOISE, "a hiss like that of a radio between two stations", "static, like an untuned television"),
    "pink": (*_NOISE, "a rush like that of a waterfall or of steady rain"),
    "brown": (*_NOISE, "a deep rumble, like heavy wind or an engine"),
    "hum": (
        "a steady electrical hum and no voice",
        "the drone of a machine or of a bad cable",
        "one low tone that does not stop",
        "humming as from a loudspeaker with a broken plug",
        "a buzz on the line, and nothing else",
    ),
    "clicks": (
        "clicks and pops and no voice",
        "crackling, as from a loose contact",
        "a ticking, tapping sound, as if the microphone were touched",
        "pops on the line with silence between them",
        "knocking without a word",
    ),
    "babble": (
        "many people speaking at once, and nobody to be singled out",
        "a crowd of voices, as in a full restaurant",
        "a muddle of conversations in the background",
        "several voices on top of each other",
        "so much talk around the microphone that no sentence can be followed",
    ),
    "silence": (
        "silence: the microphone may have been off",
        "next to nothing; if somebody spoke, it was far too quiet",
        "an empty recording",
        "no sound that could be a voice, only quiet",
        "a recording that is as good as silent",
    ),
    "masked": (
        "a voice, hopelessly drowned by noise",
        "somebody speaking behind a noise that is much louder",
        "noise, under which one can just tell that somebody talks",
        "speech in a place that is far too loud",
        "a voice too faint against its surroundings to make out a word",
    ),
    "fragment": (
        "a mere scrap of a word; the rest was cut off",
        "the beginning of a sound, and then nothing more",
        "speech that broke off before a word was complete",
        "a fraction of a second of a voice, far too short to understand",
        "a recording that stopped almost at once",
    ),
    "reversed": (
        "a voice that sounds as if it were played backwards",
        "speech with a strange melody, in no language that the assistant knows",
        "fluent sounds that are no words, perhaps a fault of the recording",
        "what could be a foreign language, or a broken recording of one",
        "a voice whose sounds swell and stop in odd places, without a word",
    ),
    "ladder": (
        "a voice that has become too unclear to understand",
        "somebody speaking, as through a wall",
        "speech so muffled or so drowned that no word can be made out",
        "a voice that is there and cannot be followed",
        "words that are lost in what lies over them",
    ),
}
ANY_SITUATION = tuple(dict.fromkeys((*_GARBLED, *_NOISE, *SITUATIONS["silence"], *SITUATIONS["fragment"])))

PERSONAS = (
    "a child of about seven", "a teenager", "a student before an exam", "a busy parent",
    "an elderly man", "an elderly woman", "a nurse on a night shift", "a driver in traffic",
    "a cook with both hands full", "a farmer", "a shopkeeper", "a teacher", "an engineer at work",
    "somebody out jogging", "a tourist who learns English", "a native speaker with a strong accent",
    "somebody who just woke up", "a customer in a hurry", "a regular user who likes to chat",
    "a first-time user", "somebody in a shared office", "somebody on a train", "a person with a cold",
    "somebody who is upset", "a musician between rehearsals", "a gardener outdoors",
    "somebody speaking from another room", "a curious neighbour",
)  # fmt: skip
MANNERS = (
    "warm and friendly", "brief and matter-of-fact", "polite and formal", "relaxed, as among friends",
    "cheerful", "calm and patient", "apologetic", "dry, with a little humour", "encouraging",
    "like a receptionist", "like a good teacher", "like a radio operator",
    "old-fashioned and courteous", "in very simple words", "professional", "gentle", "lively",
    "modest", "direct, without frills", "considerate, as to somebody in a difficult place",
)  # fmt: skip
WISHES = (
    "to say it again", "to say it again more slowly", "to speak up a little",
    "to come closer to the microphone", "to go where it is quieter and try again",
    "to put it in other words", "to type it instead", "to check the microphone",
    "to check the connection and start over", "to say it in a few words first",
    "to take their time and repeat it", "to record it once more", "to repeat it one piece at a time",
    "whatever the person finds easiest",
)  # fmt: skip
STARTS = (
    "with an apology", "with what it heard, told truthfully", "with a question",
    "with what the person should do", "without any apology", "with a small exclamation",
    "with a word of regret", "with thanks for the patience", "by saying that it was listening",
    "by saying plainly that it did not understand", "with a polite address",
    "by saying that it would like to help", "with the difficulty, and then the remedy",
)  # fmt: skip
LENGTHS = (  # as asked for, and the most words that are then taken
    ("at most eight words", 20),
    ("one short sentence", 28),
    ("one sentence", 40),
    ("two short sentences", 44),
    ("two sentences", 56),
    ("three short sentences", 64),
)


def draw_refusal_request(seed: int, row_id: str, inaudible: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a row's request, and `most_words`, the most that its answer may have.

    Args:
        inaudible: how the row's sound was made: its `kind` and the parameters of that kind.
    """
    digest = hashlib.blake2b(f"{seed}/refusal/{row_id}".encode(), digest_size=16).digest()
    draws = _Draws(int.from_bytes(digest))
    situation = draws.choose(SITUATIONS.get(inaudible["kind"], ANY_SITUATION))
    details = _details(inaudible)
    length, most_words = draws.choose(LENGTHS)
    return {
        "situation": f"{situation}{draws.choose(['', *details])}",
        "persona": draws.choose(PERSONAS),
        "manner": draws.choose(MANNERS),
        "length": length,
        "wish": draws.choose(WISHES),
        "start": draws.choose(STARTS),
        "most_words": most_words,
    }


class _Draws:
    """Choices by the digits of one number: 128 bits are enough for all of a request, whatever the order of rows."""

    def __init__(self, number: int) -> None:
        self._number = number

    def choose(self, choices: Sequence[T]) -> T:
        self._number, position = divmod(self._number, len(choices))
        return choices[position]


def _details(inaudible: Mapping[str, Any]) -> list[str]:
    """Return what can be added about a sound, from the parameters that it was made with (`noise/`)."""
    said = []
    if (snr_db := inaudible.get("snr_db")) is not None and snr_db < 0:
        said.append(f" (the noise is some {-snr_db:.0f} decibels louder than the voice)")
    if (talkers := inaudible.get("talkers")) is not None:
        said.append(f" (about {talkers} voices)")
    if (band_hz := inaudible.get("band_hz")) is not None:
        said.append(f" (nothing of it is left above {band_hz:.0f} hertz)")
    if (level_dbfs := inaudible.get("level_dbfs")) is not None:
        said.append(" (and it is loud)" if level_dbfs > _LOUD_DBFS else " (and it is faint)")
    if inaudible["kind"] == "fragment":
        said.append(f" (there are {inaudible['seconds']:.1f} seconds of it)")
    return said


_LOUD_DBFS = -30.0
