"""Is a reply what an assistant says that understood nothing? Verdicts by what it says, and by what it must not say.

A good reply says that it heard or understood nothing, or has the person say it again. It does not pretend: it names
nothing that the person may have meant, and answers nothing. How often the verdicts agree with a reader's is in
docs/answers.md.
"""

from __future__ import annotations

import re

from answers.checks import other_language, unwritable
from filters.speakable import unspeakable


def _joined(pattern: str) -> str:
    """Return a pattern that is written over several lines: line breaks and indents are no part of it."""
    return re.sub(r"\s*\n\s*", "", pattern)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_joined(pattern), re.IGNORECASE)


MOST_WORDS = 70  # what a person says in half a minute

_NOT = _joined(
    r"""
    (?:(?:could|did|do|can|was|am|is|'m|are|were|have)(?:n['’]?t|n['’]t| not| hardly| barely)|cannot|can['’]t
    |couldn['’]t|unable to|not able to|fail(?:ed)? to|struggling to
    |(?:hard|difficult|impossible|tough|tricky)(?: for me)? to|too \w+ (?:for me )?to
    |(?:trouble|difficulty|problems?|hard time)|nobody could|never)
    """
)
_TAKE_IN = _joined(
    r"""
    (?:hear|heard|catch|caught|understand|understood|make (?:\w+ ){0,3}(?:out|sense)|made out
    |get (?:that|it|any|you|a|what|all)|follow|recogni[sz]e|pick (?:\w+ ){0,3}(?:out|up)
    |tell (?:what|which|apart|you)|decode|decipher|work out|figure out|find any|hearing|understanding|following
    |catching|making (?:\w+ ){0,2}out|(?:come|came|get|reach) (?:through|me|across)|clear enough|quite clear
    |sure that was|know what)
    """
)
_SOUNDS = _joined(
    r"""
    (?:nois[ey]|static|hiss\w*|hum\w*|buzz\w*|crackl\w*|clicks?|clicking|pops?|rustl\w*|rumbl\w*|silence|silent
    |quiet|sounds?|nothing|scraps?|bits?|murmur\w*|mumbl\w*|babbl\w*|gibberish|jumble|rattl\w*|roar\w*|interference
    |voices|wind|blur|waterfall)
    """
)
_FAULTS = _joined(
    r"""
    (?:static|hiss\w*|hum(?:s|ming)?|buzz\w*|crackl\w*|clicking|rustl\w*|rumbl\w*|blur|echo\w*|faint|interference
    |gibberish|mumbl\w*|scrambled|garbled|muffled|jumbled|distorted|racket|corrupt\w*|mystery|swallowed|drowned
    |masked|rattl\w*|mixed up|escaped|failed me|backwards)
    """
)
_UNHEARD = _compiled(
    rf"""
    \b{_NOT}\b[^.?!]{{0,40}}?\b{_TAKE_IN}\b
    |\b(?:only|mostly|nothing but|just|all (?:I|that|of that|noise)|merely)\b[^.?!]{{0,40}}\b{_SOUNDS}\b
    |\b(?:not a|no|without (?:a|any)|didn['’]t (?:hear|catch) (?:a|any))(?: single| clear| real| actual)? (?:words?
    |speech|voice|syllable)\b
    |\bnothing (?:I heard|in (?:that|there|it)|(?:\w+ ){{0,2}}(?:reached|came|made)|at all|understandable
    |intelligible)\b|\b(?:heard|hear|got|received|caught|getting|hearing) nothing\b|\bno (?:idea|clue) what\b
    |\bsilence on\b|\b(?:make|made) (?:no |any )?sense\b|\bdid(?:n['’]t| not) work\b|\bnot what you\b
    |\b(?:inaudible|unintelligible|incomprehensible|unclear|garbled|muffled|scrambled|distorted|unreadable
    |indistinct|fuzzy|jumbled|drowned|choppy|patchy)\b|\bnot (?:understandable|audible|intelligible|clear|speech)\b
    |\btoo (?:quiet|faint|soft|weak|noisy|loud|short|low|far|many|much|fuzzy)\b
    |\b(?:was|were|got|is|are|gets?|been|seems? to be) (?:\w+ )?(?:lost|cut|swallowed|buried|mangled|backwards)\b
    |\b(?:broke|breaking|cut|cutting|dropped|dropping) (?:up|off|out|short)\b|\bdropped\b
    |\bsound(?:ed|s) backwards\b|\bran together\b
    |\b(?:lost (?:you|that|it|in|your)|missed (?:that|all|it|what|everything|you|something|every)|misheard)\b
    |\bears\b|\b(?:silent|quiet|still) on (?:my|this)\b|\b(?:as|so) (?:quiet|silent) as\b
    |\bhard (?:for me )?to hear\b|\blost the thread\b
    |\b(?:recording|message|clip|audio|line|file|sound) (?:\w+ ){{1,2}}?(?:empty|silent|blank|ended|stopped
    |corrupt\w*|damaged|broken|dead|bad|rough|cut|went|dropped|crackled)\b
    |\b(?:I|I['’]m|me|my|you|you['’]re|your|that|it|there['’]s)\b[^.?!]{{0,40}}\b{_FAULTS}\b|\bthat was all\b
    |\bcrowd around\b|\b(?:was|is) (?:all|only|just|nothing but)? ?(?:silence|noise|static)\b
    |\bnothing(?:['’]s| is| was)? (?:\w+ )?(?:coming|getting|arriving|reaching)\b
    |\bnot familiar with that language\b|\bread you (?:zero|nothing)\b
    |\b(?:poor|bad|weak|terrible|awful|unstable) (?:\w+ )?(?:connection|line|signal|reception)\b|\b(?:echo|muted)\b
    |\bdidn['’]t sound like\b
    """
)
_AGAIN = _joined(
    r"""
    (?:again|once more|one more (?:time|try)|(?:an)?other (?:try|go|chance|time|shot)|repeat\w*|rephras\w*|reword\w*
    |over(?: from)?|start(?:ing)? over|differently|another go|in (?:another|other|a different|a few) (?:way|words?)
    |speak(?:ing)? (?:up|a|more|slow\w*|loud\w*)|type|typing|closer|louder|slower|a go
    |from the (?:beginning|start|top)|raise your|longer|listen again|anew|at a time|simple words|English|nearer
    |fewer words|hold the button|after the|say it|quieter|less noisy|check (?:your|the|that|if|whether)|resend
    |a second time|retransmit)
    """
)
_PLEASE = _joined(
    r"""
    (?:please|kindly|could (?:you|we|I)|would you|can you|can we|will you|won['’]t you|mind|may I|might I|let['’]?s
    |shall we|want to|care to|go ahead|feel free|try|why don['’]t|how about|just|perhaps|maybe
    |if you(?:['’]d| would| could| can)?)
    """
)
_ASKS = _compiled(
    rf"""
    \b{_PLEASE}\b[^.?!]{{0,70}}?\b{_AGAIN}\b
    |(?:\A|[.?!,;:–—] |\band |\bso |\bthen )(?:now )?(?:say|repeat|try|speak|start|tell|give|record|type|come|ask
    |put|go|send|rephrase|take|check|have|raise|hold)\b[^.?!]{{0,60}}?\b{_AGAIN}\b
    |(?:\A|[.?!,;:–—] )(?:please )?(?:repeat|rephrase|say again|speak up|try again|pardon|come again|once more
    |one more time|again|retransmit|resend|slower|louder|from the top)\b|\bpardons?\b
    |\bone (?:word|thing|piece) at a time\b|\bcome again\b|\bsay (?:that )?again\b|\bsay what\b|\bbeg your pardon\b
    |\bwhat (?:was (?:that|it)|did you (?:say|need|want)|were you (?:saying|trying)|is it you)\b
    """
)
_POLICY = _compiled(
    r"""
    \b(?:can['’]t|cannot|can not|unable to|not able to|won['’]t|refuse to|not allowed to|not permitted to
    |not comfortable)\b[^.?!]{0,15}?\b(?:help|assist|answer|discuss|provide|comply|fulfil\w*|share|respond|engage
    |do that|support|process|listen)\b|\bguidelines\b|\binappropriate\b|\bmy (?:policy|rules|programming)\b
    |\bnot something I can\b
    """
)
_MACHINE = _compiled(
    r"""
    \b(?:an AI|(?:virtual|digital) assistant|language model|text[- ]based|artificial intelligence|chatbot)\b
    |\bprocess (?:audio|sound|speech)\b|\bability to (?:hear|listen|process)\b|\bonly (?:work|deal) with text\b
    |\b(?:can['’]t|cannot|not able to|unable to) (?:hear|process|play|listen to) (?:audio|sounds?|recordings
    |speech)\b
    """
)
_META = _compiled(
    r"""
    \A(?:(?:sure|certainly|of course|okay|ok|absolutely)\b[,!.]? ?)?(?:here(?:['’]s| is
    | are)) [^.?!]{0,30}?\b(?:one|reply|refusal|response|version|answer|line|example|option|way)s?\b
    |\A[A-Z][\w ]{1,30}:\s|[*\[\]()_#]|\bthe (?:assistant|reply|response|user)\b|\bthis (?:reply|response)\b
    |\bas (?:requested|instructed)\b
    """
)
_KNOWN = _joined(
    r"""
    (?:(?:about|for|how|that|to|whether|if|why|where|when|who|something (?:about|like)|a|an|the|my|some)\b|[\"“'‘])
    """
)
_UNSAID = _joined(
    r"""
    (?<!what )(?<!what did )(?<!what do )(?<!whatever )(?<!all )(?<!anything )(?<!everything )
    """
)
_TOPIC = _joined(
    r"""
    (?:about|regarding|concerning|on how|on (?!your|my|the (?:line|way))|was on
    |to (?!me\b|the (?:mic|phone|device)|be\b)\w)
    """
)
_SPOKEN_THINGS = _joined(
    r"""
    (?:voice|words?|message|question|request|recording|mic\w*|connection|line|speech|audio|sound|signal|phone|device
    |headset|earphones|headphones|speakers?|volume|settings|side|end|time|patience|mouth|internet|network|reception
    |transmission|clip|sentence|wi-?fi|cables?|own|pocket|bag|hood|window|background|surroundings|turn|hands?
    |convenience|query|command|thoughts?|language|accent|last|first|whole|entire|pardon|way|things?|noise|lot
    |rest of (?:your|the) (?:message|question|request))
    """
)
_PRETENDS = _compiled(
    rf"""
    \byour (?!(?:\w+ )?{_SPOKEN_THINGS}\b)\w+
    |\b(?:which|what) (?!(?:words?|language|sounds?|part|way|would|did|do|can|could|is|was|are
    |were)\b)\w+ (?:that )?you (?:want|would|['’]d|need|ask|mean|like)
    |\bthe (?!(?:\w+ )?(?:words?|sounds?|thing|things)\b)\w+ (?:that )?you (?:want|would|['’]d|need|ask|mean|mention
    |like)\w*
    |\b(?:repeat|hear|heard|catch|caught|say|spell|confirm|missed|understand|understood|tell me) (?:the
    |your) (?!(?:\w+ )?{_SPOKEN_THINGS}\b)\w+
    |\b(?:hear|heard|catch|caught|missed|sure) (?:who|which|whether|how|where|when|why|if) (?!it\b|that\b|this\b)
    |\bhere (?:are|is) (?:some|a|an|the|my|your|what|how)\b
    |\bthe (?:name|title|number|size|colou?r|date|price|kind|type) of\b
    |{_UNSAID}\byou were (?:telling|talking|asking|describing)\b
    |\b(?:question|request) (?:was|is) (?:about|on|for)\b
    |{_UNSAID}\byou(?:['’]re| are| were)? (?:asked|asking|said|saying|talking|wondering|wondered|looking
    |meant) (?:me )?{_KNOWN}|\b(?:are|were) you (?:asking|talking|looking|wondering|saying) {_KNOWN}
    |\b(?:again|repeat) (?:how|which|who|whether|what time)\b
    |\b(?:again|repeat) (?:when|where) you (?:want|need|would|wish|plan)\b|\bis (?:it|this|that) about\b
    |\b(?:first|second|last|other) (?:word|half)\b
    |(?<!what )\bdid you (?:say|ask|mean|want|mention) (?!something\b|anything\b|that\b|again\b|to (?:know|speak|say
    |ask)\b)|\byou mentioned\b|\bso,? you(?:['’]re|['’]d| are| need| want| would)\b|\bif you meant\b
    |\bif (?:that|it) was (?:about|a)\b
    |{_UNSAID}(?<!do )\byou (?:want|wanted|need|needed|['’]d like|would like) (?:me to (?!do\b|repeat|listen|wait
    |try|hear|know)|help with|information|to (?!try|repeat|say|speak|type|ask|tell|start|record|send|check|move|be
    |go|get)\w)
    |\b(?:heard|hear|understood|gathered|got|caught|understand|see|know) (?:that )?(?:you (?:ask|say|mention|want
    |need|are asking|were asking|would|['’]d|['’]re|are (?:asking|look))|the word|something about)
    |\b(?:from|based on) what I (?:could|can|did)? ?(?:hear|heard|understand|understood|gather|catch|caught)\b
    |\b(?:question|request|message|query|command|order|story|issue|problem)s? {_TOPIC}
    |\b(?:repeat|hear|catch|caught|say|tell me|missed|get|got) (?:only )?(?:me )?the (?:city|place|name|rest|last
    |first|end|details?|number|date|time|address|part|bit)\b
    |\b(?:rest|last part|end|first part|remainder) of (?:your|the|that|it)\b|\bthe answer (?:is|would|to)\b|[\"“”]
    |(?<!\w)['‘][^'’\n]{{2,}}['’](?!\w)|\bis that (?:right|correct)\b|\b(?:, right|, correct)\?
    """
)
# A sentence of a good reply has one of these, or is as short as "I'm all ears!".
_ABOUT_HEARING = _compiled(
    rf"""
    {_UNHEARD.pattern}|{_ASKS.pattern}
    |\b(?:hear\w*|listen\w*|sound\w*|audio|nois\w*|static|microphone|mic|phone|line|connection|signal|recording|clip
    |transmission|channel|voices?|speech|speak\w*|spoke|talk\w*|say\w*|said|words?|repeat\w*|again|try|tries|another
    |catch|caught|miss\w*|underst\w+|follow|clear\w*|loud\w*|quiet\w*|slow\w*|closer|calm\w*|type|ask|question
    |request|message|help|sorry|apolog\w+|forgive|pardon|excuse|patien\w+|your time|ready|no rush|wait|ears?
    |language|reach\w*|on my (?:end|side)|interfer\w+|crowd\w*|racket|background|what (?:do|would|can|did)
    |got through|right away|whenever|need|press|button|switch|quieter|corner|silence|from the top)\b
    """
)
_SENTENCE = re.compile(r"[^.?!…]+[.?!…]*")
_ENDED = re.compile(r"[.?!…][\"'”’)]*\Z")
_STRAY_WORDS = 3
_EXCLAMATION_WORDS = 6


def refusal_flaw(text: str, most_words: int = MOST_WORDS) -> str | None:
    """Return what is wrong with a reply, as kind or "kind:evidence"; None for one that is good.

    Kinds: empty, unwritable, meta (talk about the reply), unspeakable, language (not English), unfinished, length,
    machine (says what it is), pretends (to have heard something), policy (refuses for another reason),
    not_a_refusal, answers (says something that has nothing to do with hearing).

    >>> refusal_flaw("Sorry, that was all static. Could you say it again?")
    >>> refusal_flaw("I'm sorry, but I can't help with that.")
    "policy:can't help"
    >>> refusal_flaw("You asked about trains, but I missed the rest.")
    'pretends:You asked about'
    """
    words = len(text.split())
    if not any(map(str.isalpha, text)):
        return "empty"
    if flaw := unwritable(text):
        return flaw
    if found := _META.search(text):
        return f"meta:{found[0].strip()}"
    if said := unspeakable(text):
        return f"unspeakable:{said}"
    if language := other_language(text, ("en",)):
        return f"language:{language}"
    if not _ENDED.search(text):
        return "unfinished"
    if words > most_words:
        return f"length:{words} words"
    if found := _MACHINE.search(text):
        return f"machine:{found[0]}"
    if found := _PRETENDS.search(text):
        return f"pretends:{found[0]}"
    unheard = _UNHEARD.search(text)
    if not unheard and (found := _POLICY.search(text)):
        return f"policy:{found[0]}"
    if not unheard and not _ASKS.search(text):
        return "not_a_refusal"
    for number, sentence in enumerate(_SENTENCE.findall(text)):
        most = _EXCLAMATION_WORDS if number == 0 and sentence.endswith(("!", "?")) else _STRAY_WORDS
        if len(sentence.split()) > most and not _ABOUT_HEARING.search(sentence):
            return f"answers:{sentence.strip()}"
    return None
