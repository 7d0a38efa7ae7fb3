"""Whether a text is in a language that the model does not read: by its script, or by its function words.

Cheap, and sure rather than complete: a text without clear signs (code, tables, a few words) counts as known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import regex

from moos_integrations.core.types import SegmentedText, WordScores
from moos_integrations.messages import Notice

_SAMPLE = 4000  # code points of a text that are looked at
_LEAST_WORDS, _LEAST_SHARE, _LEAD = 3, 0.12, 1.5  # function words: different ones; share of all; against our own
_LEAST_LETTERS = 4

_SCRIPTS = {
    "Arabic": "ar fa ur ps",
    "Armenian": "hy",
    "Bengali": "bn as",
    "Cyrillic": "ru uk bg sr mk be kk mn",
    "Devanagari": "hi mr ne",
    "Ethiopic": "am ti",
    "Georgian": "ka",
    "Greek": "el",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Han": "zh ja",
    "Hangul": "ko",
    "Hebrew": "he yi",
    "Hiragana": "ja",
    "Kannada": "kn",
    "Katakana": "ja",
    "Khmer": "km",
    "Lao": "lo",
    "Malayalam": "ml",
    "Myanmar": "my",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
}
_LETTERS = {name: regex.compile(rf"[\p{{L}}&&\p{{Script={name}}}]", regex.V1) for name in _SCRIPTS}
_LETTER = regex.compile(r"\p{L}")
_NOT_LATIN = regex.compile(r"[\p{L}--\p{Script=Latin}]", regex.V1)
_WORD = regex.compile(r"(?<![\p{N}_])[\p{L}\p{M}]{2,}+(?![\p{N}_])")  # not of codes and identifiers

_FUNCTION_WORDS = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the of and to is was that for it with as on are by this be at from or an which were not have has had "
        "his her they but you we he she their its been who when what how will would can if there",
        "de": "der die das und ist nicht von mit sich des auf für dem den ein eine einer eines einem als auch es an "
        "wird wurde werden aus bei nach sind im war wie er sie zum zur über durch oder noch nur einen hat "
        "hatte wer wann",
        "fr": "le la les de des du et est un une dans que qui pour pas sur par plus au aux avec ce cette il elle "
        "sont ne se été être ont son ses leur ou mais nous vous était comme quand où",
        "es": "el la los las de del y en que es un una por con para se su al lo como más pero sus fue son está ha "
        "este esta entre cuando también no era sobre desde cuál cuándo",
        "it": "il lo la gli le di del della dei delle che è un una per con non si da al alla nel nella sono come "
        "anche ma più dal dalla ha stato questo questa quando suo sua degli ed",
        "pt": "o os as de do da dos das que e é um uma em no na nos nas para com não por se mais ao foi são como "
        "seu sua também pelo pela ser quando à entre até",
        "nl": "de het een van en is dat op te in voor niet met zijn aan er ook als bij door maar om nog werd worden "
        "uit naar heeft deze dit wordt over ze hij wanneer",
        "sv": "och att det som en på är av för med den till inte har de ett om var från men vid ska eller kan när "
        "hade sig efter blev",
        "da": "og at det som en på er af for med den til ikke har de et om var fra men ved skal eller kan når havde "
        "sig efter blev",
        "no": "og at det som en på er av for med den til ikke har de et om var fra men ved skal eller kan når hadde "
        "seg etter ble",
        "fi": "ja on ei se että oli hän joka mutta kun ovat olivat myös sekä tai jos niin kuin sen ole jotka mukaan",
        "pl": "w i na z się nie do to jest że o jak po od za przez przy był była oraz ale dla są które który ich jego",
        "cs": "a v se na je že o s z do to by jako po za od pro ale byl byla jsou které který také nebo při jeho",
        "ro": "și în de la cu pe este nu un o din care a că pentru au fost mai sau prin ca dar lui după între",
        "hu": "a az és hogy nem is egy volt meg ez mint csak de vagy már még ki után lett által azt",
        "tr": "ve bir bu için ile da de olarak olan daha en çok gibi sonra kadar ne ya ama göre tarafından değil",
        "vi": "và của là có được cho trong không một các những với này đã khi người từ đến về ở",
        "id": "yang dan di dari untuk dengan pada ini itu dalam tidak adalah oleh sebagai ke akan juga atau karena",
    }.items()
}


_CODES = {
    word: [code for code, own in _FUNCTION_WORDS.items() if word in own]
    for word in frozenset[str]().union(*_FUNCTION_WORDS.values())
}
"""The languages of each function word."""


class _Signs(NamedTuple):
    """What shows the language of a text.

    Attributes:
        language: As `language_of`.
        hits: How many words of the text are function words of each language; empty if the script is not the Latin one.
    """

    language: str | None
    hits: Mapping[str, int]


def language_of(text: str) -> str | None:
    """The language of a text by its function words, or its script, if that is not the Latin one; None if unclear."""
    return _signs_of(text).language


def _signs_of(text: str) -> _Signs:
    """Looked for once: a request reads them before and after the model, and another one may have the same text."""
    sample = text[:_SAMPLE]
    known = _kept(hash(sample))
    if not known:
        known.append(_find_signs(sample))
    return known[0]


@lru_cache(maxsize=4096)
def _kept(key: int) -> list[_Signs]:
    """Where the signs of the text with this hash are kept: the text is not, as `cache_bytes=0` promises."""
    return []


def _find_signs(text: str) -> _Signs:
    others = [] if text.isascii() else _NOT_LATIN.findall(text)
    if others and len(others) > len(_LETTER.findall(text)) / 2:
        return _Signs(_script_of(Counter(others)), {})
    words = Counter(_WORD.findall(text.lower()))
    hits = dict.fromkeys(_FUNCTION_WORDS, 0)
    for word in words.keys() & _CODES.keys():
        for code in _CODES[word]:
            hits[code] += words[word]
    best = max(hits, key=lambda code: hits[code])
    # Different ones: in codes and tables, one that looks like a word may come often.
    different = len(_FUNCTION_WORDS[best].intersection(words))
    clear = different >= _LEAST_WORDS and hits[best] >= _LEAST_SHARE * words.total()
    return _Signs(best if clear else None, hits)


def _script_of(letters: Counter[str]) -> str | None:
    different = "".join(letters)
    counts = {name: sum(letters[own] for own in pattern.findall(different)) for name, pattern in _LETTERS.items()}
    name = max(counts, key=lambda script: counts[script])
    # Japanese has as many Han letters as its own.
    name = "Hiragana" if name == "Han" and counts["Hiragana"] > counts["Han"] / 10 else name
    return name if counts[name] >= _LEAST_LETTERS else None


def reads(languages: Sequence[str], text: str) -> bool:
    """Whether a model of these languages reads a text; True if the text's language is unclear."""
    found, hits = _signs_of(text)
    if found is None or found in languages:
        return True
    if found in _SCRIPTS:
        return _reads_script(languages, found)
    ours = max((hits[code] for code in languages if code in hits), default=0)
    return hits[found] < _LEAD * ours + 1


def unread(languages: Sequence[str] | None, texts: Sequence[str], query: str | None) -> Notice | None:
    """A warning if most of the text, or the question, is in a language that the model does not read.

    Args:
        languages: ISO 639 codes of what the model reads; None if unknown, which gives no warning.
        texts: The documents of a request.
        query: The question, if there is one.
    """
    foreign = _foreign(languages, texts, query)
    if languages is None or not foreign:
        return None
    what = (
        "Its scores are not used. The words that they share with the question and the order of the documents choose"
        if _are_scripts(languages, foreign)
        else "Its scores are less sure. The order of the documents counts too"
    )
    return Notice(
        "language",
        f"The model reads {', '.join(languages)}, and most of the text or the question is in another language or "
        f"script ({', '.join(dict.fromkeys(foreign))}). {what}, and sentences are kept whole. Use a model of it "
        "(`model`), or `embeddings`.",
    )


def script_is_unread(languages: Sequence[str] | None, texts: Sequence[str], query: str | None) -> bool:
    """Whether this is so because of the script: a model knows no word there.

    In another language of a script that it reads, it knows names, numbers and related words.
    """
    return _are_scripts(languages or (), _foreign(languages, texts, query))


def _are_scripts(languages: Sequence[str], foreign: Sequence[str]) -> bool:
    return bool(foreign) and not any(_reads_script(languages, language) for language in foreign)


def _foreign(languages: Sequence[str] | None, texts: Sequence[str], query: str | None) -> list[str]:
    """The languages of what the model does not read, if that is most of the text, or the question."""
    if languages is None:
        return []
    foreign = [text for text in texts if not reads(languages, text)]
    asked = [query] if query is not None and not reads(languages, query) else []
    if not asked and 2 * sum(map(len, foreign)) <= sum(map(len, texts)):
        return []
    return [str(language_of(text)) for text in (*foreign, *asked)]


def _reads_script(languages: Sequence[str], found: str) -> bool:
    if found in _SCRIPTS:
        return not set(languages).isdisjoint(_SCRIPTS[found].split())
    return not set(languages).isdisjoint(_FUNCTION_WORDS)


def without_model(document: SegmentedText, query: str | None) -> WordScores:
    """Scores that say nothing, for a text that the model does not read."""
    flat = np.full(len(document), 0.5)
    return WordScores(flat, np.full(len(flat), np.nan), flat, np.nan if query is None else 0.5)
