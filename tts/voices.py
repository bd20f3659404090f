"""The English voices that we use of eSpeak NG: a language file of its own, and a timbre variant.

eSpeak names a voice `language` or `language+variant`. The accent is what the language file is
named for. A variant file states its gender; a language file states none, and its own voice has a
median f0 of about 100 Hz, so we call it male. `tests/tts/test_espeak.py` measures both claims.
Left out: the Klatt variants, whose noise comes from the C library's `rand()` and so from whatever
else the process drew.
"""

from tts.engine import Voice

# eSpeak's name of a language -> its file under espeak-ng-data/lang/gmw.
LANGUAGE_FILES: dict[str, str] = {
    "en": "en",
    "en-029": "en-029",
    "en-gb-scotland": "en-GB-scotland",
    "en-gb-x-gbclan": "en-GB-x-gbclan",
    "en-gb-x-gbcwmd": "en-GB-x-gbcwmd",
    "en-gb-x-rp": "en-GB-x-rp",
    "en-us": "en-US",
    "en-us-nyc": "en-US-nyc",
}

_VOICES = (
    Voice("en-us", "male", "American"),
    Voice("en-us+m7", "male", "American"),
    Voice("en-us+f2", "female", "American"),
    Voice("en-us+f3", "female", "American"),
    Voice("en-us-nyc+m5", "male", "New York City"),
    Voice("en-us-nyc+Annie", "female", "New York City"),
    Voice("en", "male", "British"),
    Voice("en+m3", "male", "British"),
    Voice("en+f1", "female", "British"),
    Voice("en+f5", "female", "British"),
    Voice("en-gb-x-rp+m2", "male", "Received Pronunciation"),
    Voice("en-gb-x-rp+f4", "female", "Received Pronunciation"),
    Voice("en-gb-scotland+m6", "male", "Scottish"),
    Voice("en-gb-scotland+f2", "female", "Scottish"),
    Voice("en-gb-x-gbclan+m4", "male", "Lancastrian"),
    Voice("en-gb-x-gbclan+anika", "female", "Lancastrian"),
    Voice("en-gb-x-gbcwmd+m1", "male", "West Midlands"),
    Voice("en-gb-x-gbcwmd+linda", "female", "West Midlands"),
    Voice("en-029+m8", "male", "Caribbean"),
    Voice("en-029+steph", "female", "Caribbean"),
)

VOICES: dict[str, Voice] = {voice.id: voice for voice in _VOICES}
