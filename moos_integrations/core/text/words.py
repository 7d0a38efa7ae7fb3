r"""Words: the smallest things that are kept or dropped, and the atoms that are never cut.

Two grammars: `_WORD` cuts text into pieces at its white space and punctuation, and `atom_spans` finds what must not be
parted although it holds white space or punctuation: `1 240 €`, `3 May 2024`, `p < 0.05`, `Art. 12(3)(b)`. An atom of
numbers is found from its digits: what may be before them is matched backwards, what may follow forwards, so that text
without digits costs next to nothing. All repetitions are bounded or possessive: time is linear, whatever the text.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain

import numpy as np
import regex

from moos_integrations.core.types import BoolArray, IntArray

_SURROGATE = regex.compile(r"[\ud800-\udfff]")

# --- pieces ----------------------------------------------------------------------------------------------------------

# Scripts written without spaces: every grapheme cluster is a word of its own. Katakana stays in runs (loan words).
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"[\p{{L}}\p{{M}}\p{{N}}_--[{_UNSPACED}]]"
_PLAIN = r"[A-Za-zÀ-ÖØ-öø-ÿĀ-ž]++(?=\s|[.,;:?!)]\s)"  # most words: a short cut
URL = r"(?:[a-zA-Z][a-zA-Z0-9+.\-]{1,15}://|www\.)[^\s<>\"'`{}|\\^\[\]]{0,2000}[^\s<>\"'`{}|\\^\[\].,;:!?)…。，]"
EMAIL = r"(?<![\w.+\-])[\w.+\-]{1,64}@[\w\-]{1,64}(?:\.[\w\-]{1,64}){1,8}"
PATH = r"(?:[A-Za-z]:|~|\.{1,2})?(?:[\\/][\w\-@+]++(?:[.]++[\w\-@+]++)*+){1,64}+[\\/]?"
_OPTION = r"(?<![^\s\"'“„`(\[{|,=*\p{Han}\p{Hiragana}])--?[A-Za-z][\w\-]{0,64}(?:=[\w.,:/+\-]{0,128}\w)?(?![\w\-])"
_DIGITS = r"\d++(?:[.,:/'’_·\-–]\d++){0,64}+(?:[eE][+\-]?\d++)?"
_SIGN = r"(?:\+/[\-−]|[+\-−±~≈])"
_NUMBER = rf"(?:{_SIGN}|[#№])?\p{{Sc}}?(?:{_SIGN})?{_DIGITS}(?:\p{{Sc}}|[%‰°]|(?:\(\w{{1,4}}\)){{1,8}}|(?!{_LETTER}))"
# Pieces of letters and digits joined by single connectors: user_id, ORD-99172, a.b.c(), key=value, don't, C++.
_IDENTIFIER = (
    rf"[@#]?{_LETTER}++(?:(?:[._\-'’&@:/\\·]|=(?![a-zA-Z]{{2,10}}://)|::|->|−|‑){_LETTER}++)*+"
    r"(?:\(\)|\+\+|#(?![\p{L}\p{N}])|(?<=\b\p{Lu}(?:\.\p{Lu}){1,8})\.)?"
)
_VERSION = (
    r"[vV]?\d++(?:\.\d++){1,8}+(?:-[a-zA-Z]\w{0,32}(?:\.\w{1,32}){0,8}|(?=\+\w))(?:\+\w{1,64}(?:\.\w{1,32}){0,8})?"
)
_SPACED = rf"(?:{URL}|{EMAIL}|(?<![\w)]){PATH}|{_VERSION}|{_NUMBER}|{_OPTION}|{_IDENTIFIER})"
# Punctuation between two words that no space parts ("foo—bar") stays with the first, so that dropping it can never
# glue two words into one that the source does not have. A sign is left to its number.
_BRIDGE = rf"[^\s\p{{L}}\p{{M}}\p{{N}}_]{{1,64}}?(?={_LETTER}|{_SIGN}\p{{Sc}}?\d|(?<=[=(\[|,])(?:--?[A-Za-z]|[/#]\w))"

_WORD = regex.compile(
    rf"{_PLAIN}|{_SPACED}(?:{_BRIDGE})?|[{_UNSPACED}]\p{{M}}*+|([^\s\p{{L}}\p{{N}}_])\1*+\p{{M}}*+|\S",
    regex.VERSION1,
)

# --- atoms -----------------------------------------------------------------------------------------------------------

# One space of any width, or the break of a wrapped line.
_S = r"(?:[ \u00a0\u202f\u2009\u2007]|[ \t]{0,40}\r?\n[ \t]{0,40})"
MONTH = (
    r"(?:jan(?:uary|uar|vier)?|jänner|feb(?:ruary|ruar|r)?|févr(?:ier)?|mar(?:ch|s|zo|ço)?|märz|mrz|mär|apr(?:il|ile)?|"
    r"avr(?:il)?|may|mai|mayo|maio|maggio|mag|june?|juni?|juin|junio|giugno|giu|july?|juli?|juil(?:let)?|julio|luglio|"
    r"lug|aug(?:ust|ustus)?|août|agosto|ago|sept?(?:ember|embre|iembre)?|settembre|setembro|oct(?:ober|obre|ubre)?|"
    r"okt(?:ober)?|ottobre|outubro|nov(?:ember|embre|iembre|embro)?|dec(?:ember)?|dez(?:ember|embro)?|déc(?:embre)?|"
    r"dic(?:iembre|embre)?|enero|ene|gennaio|gen|janeiro|febrero|febbraio|fevereiro|abril|maart|mrt|января|февраля|"
    r"марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря)"
)
_CURRENCY = (
    r"(?:USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|BRL|RUB|KRW|US\$|A\$|C\$|HK\$|Rs\.?|Fr\.?|kr|zł|Kč)"
)
_MONEY = rf"(?:\p{{Sc}}|{_CURRENCY}(?!{_LETTER}))"
_UNIT = (
    r"(?:[%‰℃℉]|[°º][CFK]?|[kKMGTP]i?(?:[bB](?:ps|its?|ytes?)?)|bits?|bytes?|[kcdmnµμ]?m[²³23]?|[kmµμ]?g|[kmµμn]?s|"
    r"[kMGT]?Hz|[kMGTm]?Wh?p?|[kmM]?V|m?Ah?|[kM]?Ω|[cdmµμ]?[lL]|h|min|hrs?|hours?|minutes?|seconds?|days?|weeks?|"
    r"months?|years?|yrs?|mins?|secs?|Tagen?|Tage|Wochen?|Monaten?|Monate|Jahren?|Jahre|Stunden?|Minuten?|Uhr|jours?|"
    r"mois|ans|heures?|días?|meses|años?|ft|inch(?:es)?|feet|yd|miles?|mi|lbs?|oz|pt|px|dpi|rpm|mph|kph|bar|[kMh]?Pa|"
    r"psi|[kM]?J|k?cal|m?mol|pp[mb]|IU|IE|dB|lx|lm|ha|acres?|cups?|tbsp|tsp|EL|TL|Stück|pcs|pieces?|people|persons?|"
    r"percent|per cent|Prozent|bn|mn|million(?:en)?s?|billion(?:en)?s?|trillion|thousand|hundred|dozen|Mi[lo]\.?|"
    r"Mrd\.?|Tsd\.?|[AaPp]\.?[Mm]\.?|Euro|euros?|dollars?|pounds?|cents?|crore|lakh|×|x|fold|o'clock|"
    r"[万亿億]?[年月日時时分秒元円万亿億岁歳個个度]|[MKk])"
)
_REFERENCE = (
    r"(?:§{1,2}|art(?:icles?|ikel|ículo)?|abs(?:atz|chnitt)?|s(?:ec(?:tions?|t)?|atz)|ch(?:ap(?:ter)?)?|kap(?:itel)?|"
    r"fig(?:ure)?s?|abb|tab(?:le|elle)?|eq(?:uation)?|nos?|nr|núm|n[º°]|№|para(?:graph)?s?|lit|pp?|pages?|seiten?|"
    r"vol(?:ume)?|ver(?:sion)?|v|step|phase|level|part|teil|clause|cl|rule|item|annex|appendix|anhang|anlage|"
    r"recital|rn|rz|ziff(?:er)?|tel|ext|room|line|issue|port|error|http|iso|rfc|din)"
)
_COMPARES = r"(?:[<>]=?|[≤≥≠=≈≃≅]|==|!=|=<)"
_OPENS = rf"(?<=[\s(\[:;,=/|\"“„«'*{_UNSPACED}]|^)"
# Backwards from the first digit: what belongs to the number behind it.
_BEFORE = regex.compile(
    rf"(?r)(?:(?P<month>(?<!{_LETTER}){MONTH}\.?{_S})"
    rf"|(?<!{_LETTER})(?<!\.){_REFERENCE}\.?{_S}?(?:[#(]{_S}?)?"
    rf"|(?:{_OPENS}{_SIGN}{_S}?)?(?<!{_LETTER}){_MONEY}{_S}?(?:{_SIGN}{_S}?)?"
    rf"|(?:(?<!{_LETTER})[\p{{L}}²]{{1,3}}{_S}?|{_OPENS}){_COMPARES}{_S}?{_SIGN}?"
    rf"|(?P<phone>(?<!{_LETTER})(?:\+|(?:\+\d{{1,3}}|00\d{{1,3}})?{_S}?\())"
    rf"|{_OPENS}{_SIGN}{_S}?)",
    regex.IGNORECASE | regex.VERSION1,
)
_GROUPED = rf"\d{{1,3}}(?:{_S}\d{{3}}(?!\d)){{1,6}}(?:[.,]\d++)?"
_VALUE = r"\d++(?:[.,:/'’_·\-–]\d++){0,64}+"
_LONG_CODE = (  # an IBAN, the number of a card
    rf"(?<=(?<!{_LETTER})[A-Z]{{2}})\d{{2}}(?:{_S}?[A-Z0-9]{{4}}){{2,7}}(?:{_S}?[A-Z0-9]{{1,4}})?(?!{_LETTER})"
    r"|\d{4}(?:[ \-]\d{4}){2,4}(?!\d)"
)
_ORDINAL = r"(?:st|nd|rd|th|er|[.ºª])?"
_FRACTION = rf"(?:{_S}\d{{1,2}}[/⁄]\d{{1,2}}(?![\d/])|{_S}?[½⅓¼¾⅔⅛⅜⅝⅞])"
_RANGE = rf"(?:(?:{_S}?[\-–—±~〜×x]{_S}?|{_S}(?:to|bis){_S})[+\-−]?\p{{Sc}}?(?:{_GROUPED}|{_VALUE}))"
_MEASURE = rf"(?:{_S}?(?:{_UNIT}(?:{_S}?[/·]{_S}?{_UNIT}(?:\^?[\-−]?\d)?){{0,3}}(?!{_LETTER})|{_MONEY}(?!{_S}?\d)))"
_DATE = (
    rf"{_ORDINAL}{_S}(?:(?:of|de|d'){_S})?{MONTH}(?!{_LETTER})(?:\.(?={_S}\d))?"
    rf"(?:,?{_S}(?:del?{_S})?\d{{4}}(?!\d)|(?!{_S}\d{{1,2}}(?!\d)))"
)
_SUBREFERENCE = rf"(?:{_S}(?:abs|satz|s|nr|no|lit|para|cl|ziff)\.?{_S}(?:\d++|\p{{L}}(?!{_LETTER})))"
# Forwards from the first digit.
_NUMBER_ATOM = regex.compile(
    rf"(?:{_LONG_CODE}"
    r"|(?:\d{1,4}[年月日号號时時点點分秒]){2,6}"
    rf"|\d{{1,2}}(?i:{_DATE})"
    rf"|(?:{_GROUPED}|{_VALUE}){_FRACTION}?(?:\(\w{{1,4}}\)){{0,8}}{_RANGE}{{0,2}}{_MEASURE}{{0,2}}{_RANGE}?{_MEASURE}?"
    rf"(?i:{_SUBREFERENCE}){{0,6}})",
    regex.VERSION1,
)
_YEAR_BEHIND = regex.compile(rf"(?:st|nd|rd|th)?,?{_S}\d{{4}}(?!\d)")
_PHONE_BEHIND = regex.compile(r"\d{1,5}\)?(?:[ ./\-–]{1,3}\d{2,8}|[ ]?\(0?\d{1,5}\)){1,8}")
# The first digit of a number, except in plain rows of numbers, where nothing is before or behind it.
_DIGIT = regex.compile(
    r"\d(?:(?<=(?:[\d,;|\t][ \t]|[\r\n]|^)\d)\d*+(?:[.,]\d++)?+"
    r"(?=[ \t](?:\d{1,2}|\d{5,})(?![\d/⁄])|[ \t]?[,;|\t]|[\r\n]|\Z)(*SKIP)(*FAIL)|)"
)
# A number and the next piece behind it, without a full stop, an ordinal's ending and white space.
_HEAD = regex.compile(rf"(?P<value>{_VALUE})(?:st|nd|rd|th|er|[.ºª])?,?{_S}?(?P<next>\p{{L}}++|\d++|\S)?")
_FOLLOWER = regex.compile(
    rf"(?i:{MONTH}|of|del?|d|abs|satz|s|nr|no|lit|para|cl|ziff|to|bis|per|o|[ap])\Z|{_UNIT}|{_MONEY}|[(\[\-–—±~〜×½⅓¼¾⅔⅛⅜⅝⅞]|[A-Z]{{2}}\Z",
    regex.VERSION1,
)
_TOKEN_BEFORE = regex.compile(rf"(?r)(?P<token>[\p{{L}}--[{_UNSPACED}]]++\.?|\S){_S}", regex.VERSION1)
_LEADER = regex.compile(rf"(?i:{MONTH}|{_REFERENCE}|{_CURRENCY}|[\p{{L}}]{{1,2}})\.?", regex.VERSION1)
_LINE_SIGN = regex.compile(r"(?r)(?:^|[\r\n])[ \t]*[+\-*–][ \t]+")
_LOOK_BACK = 60
_SEARCHED = 50_000
# A word broken at the end of a line, with the break, and the comment or quote mark that the next line begins with.
_HYPHENATED = regex.compile(
    r"(?<=\p{L}\p{L})[\-\u2010\u00ad][ \t]*+\r?\n[ \t]*+(?:(?:[>#*;%]{1,3}|//+)[ \t]++)?+(?=\p{Ll}{2})"
)
_LINK = regex.compile(r"\]\([^\s()]{1,1000}\)")


def well_formed(text: str) -> str:
    """`text` with lone surrogates replaced one for one, so that UTF-8 libraries take it and offsets stay true."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def atom_spans(text: str) -> list[tuple[int, int]]:
    """Spans of numbers with all that belongs to them, and of words broken at the end of a line.

    Returns:
        Start and end in code points, in order of their ends. They may begin or end inside a word.
    """
    spans = [] if "\n" not in text else [(match.start() - 1, match.end() + 1) for match in _HYPHENATED.finditer(text)]
    at = 0
    while (digit := _next_digit(text, at)) is not None:
        start, at = _number(text, at, digit.start())
        spans.append((start, at))
    return spans


def _next_digit(text: str, at: int) -> regex.Match[str] | None:
    """The next number's first digit; searched in runs of lines, as one long search keeps all other threads waiting."""
    while at + _SEARCHED < len(text) and (border := text.rfind("\n", at, at + _SEARCHED) + 1):
        found = _DIGIT.search(text, at, border)
        if found is not None:
            return found
        at = border
    return _DIGIT.search(text, at)


def _number(text: str, begin: int, digit: int) -> tuple[int, int]:
    """The atom around a digit; nothing before `begin` belongs to it."""
    head = _HEAD.match(text, digit)
    assert head is not None
    atom = _NUMBER_ATOM.match(text, digit) if _goes_on(text, head) else None
    start, end = digit, head.end("value") if atom is None else atom.end()
    before = _BEFORE.match(text, max(begin, digit - _LOOK_BACK), digit) if _comes_after(text, begin, digit) else None
    if before is None:
        if text[digit] == "0":
            end = _longer(_PHONE_BEHIND, text, digit, end)
        return start, end
    if not _LINE_SIGN.match(text, before.start(), digit):
        start = before.start()
    if before["month"]:
        end = _longer(_YEAR_BEHIND, text, end, end)
    elif before["phone"]:
        end = _longer(_PHONE_BEHIND, text, digit, end)
    return start, end


def _goes_on(text: str, head: regex.Match[str]) -> bool:
    """Whether what is behind a number may belong to it: a cheap look that saves the full match nearly always."""
    behind = head["next"]
    if not behind:
        return False
    if behind[0].isdigit():
        return behind.isdigit() and (
            len(behind) == 3 or text[head.end() : head.end() + 1] in ("/", "⁄") or len(behind) == 4
        )
    return _may_follow(behind)


@lru_cache(4096)
def _may_follow(word: str) -> bool:
    return _FOLLOWER.match(word) is not None


def _comes_after(text: str, begin: int, digit: int) -> bool:
    """Whether what is before a number may belong to it."""
    last = text[digit - 1] if digit > begin else ""
    if last.isspace():
        token = _TOKEN_BEFORE.match(text, max(begin, digit - _LOOK_BACK), digit)
        return token is not None and _may_precede(token["token"])
    return bool(last) and (not last.isalnum() or _may_precede(last)) and last not in ",.;:|/"


@lru_cache(4096)
def _may_precede(token: str) -> bool:
    return (not token[-1].isalnum() and token[-1] != ".") or _LEADER.fullmatch(token) is not None


def _longer(pattern: regex.Pattern[str], text: str, start: int, end: int) -> int:
    match = pattern.match(text, start)
    return end if match is None else max(end, match.end())


# --- words -----------------------------------------------------------------------------------------------------------

_CLUSTER = regex.compile(r"\X")
_JOINING = regex.compile(
    r"[\p{M}\u200c\u200d\p{Grapheme_Extend}\p{RI}\p{Emoji_Modifier}\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff\u0600-\u0605"
    r"\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\u0d4e\U000111c2\U000111c3]|\p{GCB=Prepend}|\p{GCB=SpacingMark}"
)


def find_words(text: str, borders: IntArray, inside: BoolArray | None) -> tuple[IntArray, IntArray]:
    """Offsets of the words of `text`.

    Args:
        text: Any string. White space between words belongs to none; every other character belongs to exactly one.
        borders: Where units start; no word goes over one. Increasing. None may lie inside a grapheme cluster.
        inside: What `inside_clusters` says of the text.

    Returns:
        Starts and ends in code points. Shape: `(words,)` each, increasing, `starts[i] < ends[i] <= starts[i + 1]`.
        No boundary lies inside a grapheme cluster.
    """
    # One by one: an array made of a list of a million tuples holds Python's lock, and every other thread, for a second.
    found = chain.from_iterable(match.span() for match in _WORD.finditer(text))
    spans = np.fromiter(found, np.int64).reshape(-1, 2)
    if not len(spans):
        return spans[:, 0], spans[:, 1]
    starts, ends = _cut_at(spans[:, 0], spans[:, 1], borders)
    atoms = atom_spans(text)
    if atoms:
        starts, ends = _joined(starts, ends, np.array(atoms, np.int64), borders)
    return (starts, ends) if inside is None else _join_split_clusters(starts, ends, inside)


def inside_clusters(text: str) -> BoolArray | None:
    """True for offsets inside a grapheme cluster; None where there is none longer than a character but CR LF.

    Shape: `(len(text) + 1,)`.
    """
    if text.isascii() or not _JOINING.search(text):
        return None
    inside = np.ones(len(text) + 1, bool)
    inside[[0, *(match.end() for match in _CLUSTER.finditer(text))]] = False
    return inside


def _cut_at(starts: IntArray, ends: IntArray, borders: IntArray) -> tuple[IntArray, IntArray]:
    """Words cut where units start."""
    word = np.searchsorted(ends, borders, side="right")
    known = word < len(starts)
    cuts = borders[known][starts[word[known]] < borders[known]]
    if not len(cuts):
        return starts, ends
    return np.sort(np.concatenate([starts, cuts])), np.sort(np.concatenate([ends, cuts]))


def _joined(starts: IntArray, ends: IntArray, atoms: IntArray, borders: IntArray) -> tuple[IntArray, IntArray]:
    """Words that an atom touches made one, but not over the start of a unit."""
    first = np.searchsorted(ends, atoms[:, 0], side="right")
    last = np.searchsorted(starts, atoms[:, 1], side="left") - 1
    several = first < last
    if not several.any():
        return starts, ends
    change = np.zeros(len(starts) + 1, np.int64)
    np.add.at(change, first[several], 1)
    np.add.at(change, last[several], -1)
    glued = np.cumsum(change[:-1]) > 0  # word i belongs together with word i + 1
    at_border = np.searchsorted(borders, starts[1:], side="right") > np.searchsorted(borders, starts[:-1], side="right")
    glued[:-1] &= ~at_border
    glued[-1] = False
    return starts[np.append(True, ~glued[:-1])], ends[~glued]


def _join_split_clusters(starts: IntArray, ends: IntArray, inside: BoolArray) -> tuple[IntArray, IntArray]:
    """Join neighbouring words whose common border lies inside a grapheme cluster, and swallow stray marks."""
    if not (inside[starts].any() or inside[ends].any()):
        return starts, ends
    borders = np.flatnonzero(~inside)
    # Widen each word to whole clusters, then merge those that touch the same cluster.
    starts = borders[np.searchsorted(borders, starts, side="right") - 1]
    ends = borders[np.searchsorted(borders, ends, side="left")]
    first = np.ones(len(starts), bool)
    first[1:] = starts[1:] >= np.maximum.accumulate(ends)[:-1]
    last = np.roll(first, -1)
    last[-1] = True
    return starts[first], np.maximum.accumulate(ends)[last]
