"""Evidence: addresses. URLs, e-mail addresses and file paths cannot be followed by ear."""

import re

from filters.screen import Look, loosen

_TOP_LEVEL = r"(?:com|org|net|edu|gov|io|ai|dev|app|info|co\.uk|me)"
_EXTENSION = (
    r"(?:py|[jt]sx?|vue|txt|csv|json|xml|ya?ml|html?|css|md|sh|c|h|cpp|java|go|rs|rb|php|sql|log|conf|cfg"
    r"|ini|pdf|docx?|xlsx?|png|jpe?g|gif|svg|mp[34]|wav|zip|tar|gz|exe)"
)
_SCHEME = re.compile(r"\b(?:https?|ftps?|file|ssh|git|s3|wss?)://|\bmailto:", re.I)
_WWW = re.compile(r"\bwww\.\w", re.I)
_EMAIL = re.compile(r"@(?<=[\w.+-]@)[\w-]{1,63}\.[A-Za-z]")
_PATH = re.compile(
    r"(?<![\w/.:)])~?(?:/[\w.@-]{1,64}){2,}"  # /home/user, ~/notes/a
    r"|(?<![\w/.:)])~?/(?:etc|home|usr|var|tmp|dev|bin|opt|root|mnt)\b"
    r"|(?<![\w.])\.{1,2}/[\w.-]"  # ./run, ../data
    r"|(?<![\w/.:)])~/\.?\w"  # ~/.bashrc
    rf"|(?<=\w)/[\w-]{{1,64}}\.{_EXTENSION}\b"  # src/main.py
    r"|\b(?:src|dist|node_modules)/\w|\b(?:folder|directory|path|repo) [a-z]\w{0,40}/[a-z]\w{0,40}/[a-z]"
    r"|\b[A-Za-z]:[\\/]\w|(?<!\S)\\\\\w{2}"  # C:\Users, \\server
)
_SHORTENER = r"(?:be|ly|gl|gg|tv|co|ca|uk|de|fr|nl|eu)"  # youtu.be, bit.ly, amazon.de: with a path only
_DOMAIN = re.compile(rf"\.(?<=[\w-]\.)(?:{_TOP_LEVEL}\b(?!\.[a-z])(/[\w?#%-])?|{_SHORTENER}(/[\w?#%-]))")
_DOMAIN_MAX = 80
_VISIT = ("visit", "visiting", "open", "browse", "site", "website", "page", "link", "from", "at")


def find_url(text: str) -> str | None:
    """The first URL, e-mail address or file path in `text`, else None.

    A bare domain that is used as a name ("What is booking.com") can be said and is kept; one with a
    path, with a subdomain or that the prompt asks to visit is not. A file name alone is kept.

    >>> find_url("Is Amazon.com older than eBay?")
    >>> find_url("Should he/she work 24/7, and/or read AC/DC's notes.txt on 3/28/2020?")
    >>> find_url("Summarize https://example.com/a for me")
    'https://'
    >>> find_url("Why is /etc/hosts empty?")
    '/etc/hosts'
    """
    if ("/" in text or "\\" in text) and (match := _SCHEME.search(text) or _PATH.search(text)):
        return match.group()
    if match := _EMAIL.search(text) or _WWW.search(text):
        return match.group()
    for match in _DOMAIN.finditer(text):
        words = text[max(0, match.start() - _DOMAIN_MAX) : match.start()].split()
        name = words[-1] if words else ""
        visited = len(words) > 1 and words[-2].lower().rstrip(":") in _VISIT
        if match.group(1) or match.group(2) or "." in name.strip("'\"(.") or visited:
            return name + match.group()
    return None


URL_LOOKS = (Look(find_url, (loosen(_SCHEME, _PATH, _EMAIL, _WWW, _DOMAIN),)),)
