"""Languages of tracks: from the codes in containers to BCP 47 tags and names. Standard library only.

Source: ISO 639-2 (three letters, both its bibliographic and terminology codes), ISO 639-1, RFC 5646 2.2.1 (the
shortest code is the tag).
"""

from __future__ import annotations

_TABLE = """
ara ar Arabic|ben bn Bengali|bul bg Bulgarian|cat ca Catalan|ces,cze cs Czech|zho,chi zh Chinese|cym,wel cy Welsh
dan da Danish|deu,ger de German|ell,gre el Greek|eng en English|epo eo Esperanto|est et Estonian|eus,baq eu Basque
fas,per fa Persian|fin fi Finnish|fra,fre fr French|gle ga Irish|glg gl Galician|guj gu Gujarati|heb he Hebrew
hin hi Hindi|hrv hr Croatian|hun hu Hungarian|hye,arm hy Armenian|ind id Indonesian|isl,ice is Icelandic|ita it Italian
jpn ja Japanese|kan kn Kannada|kat,geo ka Georgian|kaz kk Kazakh|khm km Khmer|kor ko Korean|lao lo Lao|lat la Latin
lav lv Latvian|lit lt Lithuanian|mal ml Malayalam|mar mr Marathi|mkd,mac mk Macedonian|mon mn Mongolian
msa,may ms Malay|mya,bur my Burmese|nep ne Nepali|nld,dut nl Dutch|nob nb Norwegian Bokmål|nno nn Norwegian Nynorsk
nor no Norwegian|pan pa Punjabi|pol pl Polish|por pt Portuguese|ron,rum ro Romanian|rus ru Russian|sin si Sinhala
slk,slo sk Slovak|slv sl Slovenian|som so Somali|spa es Spanish|sqi,alb sq Albanian|srp sr Serbian|swa sw Swahili
swe sv Swedish|tam ta Tamil|tel te Telugu|tgl tl Tagalog|tha th Thai|tur tr Turkish|ukr uk Ukrainian|urd ur Urdu
uzb uz Uzbek|vie vi Vietnamese|yid yi Yiddish|zul zu Zulu
"""

_SHORT: dict[str, str] = {}
_NAMES: dict[str, str] = {}
for _entry in _TABLE.replace("\n", "|").strip("|").split("|"):
    _longs, _short, _name = _entry.split(" ", 2)
    _NAMES[_short] = _name
    _SHORT.update(dict.fromkeys(_longs.split(","), _short))

_UNKNOWN = {"", "und", "unk", "mis", "zxx", "mul", "qaa"}


def language_tag(code: str | None) -> str | None:
    """The BCP 47 tag of a container's language code; None when it says nothing or is no code at all."""
    primary, dash, rest = (code or "").strip().replace("_", "-").partition("-")
    primary = primary.lower()
    if primary in _UNKNOWN or not (primary.isascii() and primary.isalpha() and 2 <= len(primary) <= 3):
        return None
    parts = [part for part in rest.split("-") if part.isascii() and part.isalnum() and len(part) <= 8]
    return "-".join([_SHORT.get(primary, primary), *parts]) if dash else _SHORT.get(primary, primary)


def language_name(code: str | None) -> str | None:
    """What the language is called in English; the tag itself for rare ones; None when it is not known."""
    tag = language_tag(code)
    return None if tag is None else _NAMES.get(tag.partition("-")[0], tag)
