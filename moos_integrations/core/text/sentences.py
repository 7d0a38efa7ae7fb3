"""Where sentences end: marks, abbreviations and ordinals, in scripts with and without spaces."""

from __future__ import annotations

from collections.abc import Iterator

import regex


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A full stop behind these never ends a sentence, whatever comes next.
_TITLES = _words(
    "mr mrs ms mx dr prof rev hon gen col capt lt sgt cmdr adm gov sen rep pres supt st mt ft messrs mme mlle vs cf "
    "viz eg ie al ca approx resp incl excl esp ibid op loc eds ed trans e.g i.e c.f z.b d.h u.a o.ä u.ä i.d.r v.a s.o "
    "s.u z.t u.u i.e.s bzw bspw evtl ggf vgl dipl ing hrsg inkl exkl zzgl ggü sog gem bzgl abzgl dgl hr fr frl geb "
    "gest sr sra srta dra ud uds p.ej pág núm av avda m mm mgr sig sig.ra dott ing avv geom rag egr spett dhr mevr "
    "drs bijv o.a d.w.z m.b.t т.е т.д т.п т.к им ул пр просп пер гг lit para paras"
)
# Behind these a full stop belongs to the number or the name that follows.
_BEFORE_NUMBER = _words(
    "no nos nr nrn art arts abs abschn sec secs sect ch chap fig figs eq eqs tab vol vols p pp pg pgs s ss ziff rn rz "
    "nº núm n num ver v vers tel ext app anh kap bd jg jan feb febr mar mär apr jun jul aug sep sept oct okt nov dec "
    "dez janv févr avr juil déc ene abr ago dic gen mag giu lug set ott rs fr ref bl item cl reg sched § ст п рис "
    "стр"
)
# These may end a sentence: only a word that often begins one, or a new line of it, tells.
_EITHER = _words(
    "inc ltd co corp llc bros jr sr etc est dept univ assn yrs yr mos hrs hr min sec mins secs ft lbs oz ph.d m.d b.a "
    "m.a m.sc b.sc u.s u.k u.n e.u u.s.a d.c a.m p.m a.d b.c usw usf etw ust mio mrd tsd str gmbh co.kg ag st.gallen "
    "ecc etcétera"
)
_STARTERS = _words(
    "the a an this that these those it its he she they we you i his her their our in on at for from with by but and or "
    "as if when while after before however there then what why how who where no not all some many most der die das den "
    "dem ein eine es er sie wir ihr ich in im am auf bei für von mit nach aber und wenn als dies diese dieser dieses "
    "bitte le la les un une il elle nous vous ils elles ce cette ces en dans pour mais el los las una este esta lo gli "
    "si per con ma o os as um uma não de het een"
)
_MONTHS = tuple(
    _words(
        "jan feb mar mär apr mai may mag mei jun jui jul aug ago août sep oct okt ott out nov dec dez dic déc gen giu "
        "lug set avr avril ene abr янв фев мар апр мая июн июл авг сен окт ноя дек"
    )
)
_CLOSERS = "\"'”’»›\\)\\]}*_`"
# A mark, what closes behind it, references in brackets, and the white space that follows; or a mark of a script that
# needs no space behind it.
_SPACED_END = rf"[{_CLOSERS}]*+(?:\[\d{{1,3}}\])*+(?P<gap>\s++)"
_ASCII_CANDIDATE = regex.compile(rf"[.!?]++{_SPACED_END}")
_UNSPACED = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_CANDIDATE = regex.compile(
    rf"[.!?…‽।॥؟۔።᙮]++[\p{{M}}\u200d\ufe0f]*+{_SPACED_END}"
    r"|[。！？｡．]++[」』”’）》〉】\)\"']*+[\p{M}\u200d\ufe0f]*+\s*+"
    rf"|(?P<phrase>(?<={_UNSPACED})[ \u00a0]++(?={_UNSPACED}))"
)
_ASCII_TOKEN = regex.compile(r"(?r)[A-Za-z0-9.'&\-]{1,20}")
_TOKEN = regex.compile(r"(?r)(?:(?![\p{Han}\p{Hiragana}\p{Thai}])[\p{L}\p{M}\p{N}.’'§&\-]){1,20}")
_FOLLOWING = regex.compile(r"[^\p{L}\p{N}\s]*(?P<word>[\p{L}\p{N}][\p{L}\p{M}]*)")
_CAPITAL = regex.compile(r"\p{Lu}")
_WORD_CHARACTER = regex.compile(r"[\p{L}\p{N}]")
_GERMAN = _words("de da nb nn no fi cs sk pl hu hr sl et lv is")
_GERMAN_WORDS = regex.compile(r"\b(?:der|die|das|und|ist|nicht|mit|den|von|wird|eine?|og|på|není|jest)\b")
_ENGLISH_WORDS = regex.compile(r"\b(?:the|and|is|of|to|that|les|des|est|los|las|por|che|het)\b")
_GUESSED_FROM = 4000  # characters
_LONGEST_MARK = 8
_PLACEHOLDER = regex.compile(r"\.{3}\]*\s+(?:\[|\p{Lu}{2})")  # "tool [OPTION...] FILE... [DEST]"
_SHORTEST_PHRASE = 40
_LONGEST = 4000


def ordinals_have_stops(text: str, language: str | None = None) -> bool:
    """Whether "3." may be an ordinal: in German, the Nordic and Slavic languages; guessed from frequent words.

    Args:
        text: Its beginning is looked at where no language is given.
        language: ISO 639-1 code, also with a region ("de-AT"); None to guess.
    """
    if language is not None:
        return language.lower().split("-")[0].split("_")[0] in _GERMAN
    german = len(_GERMAN_WORDS.findall(text, 0, _GUESSED_FROM))
    return german >= 2 and german > len(_ENGLISH_WORDS.findall(text, 0, _GUESSED_FROM))


def sentence_ends(text: str, start: int, stop: int, *, ordinals: bool = False) -> Iterator[int]:
    """Ends of the sentences of one paragraph, the white space behind them included.

    Args:
        text: The whole text.
        start: Where the paragraph begins.
        stop: Where it ends; always the last end that is given.
        ordinals: Whether a full stop behind a number may belong to it.
    """
    begun, cased, word_at = start, None, start
    candidate = _ASCII_CANDIDATE if text.isascii() else _CANDIDATE
    for match in candidate.finditer(text, start, stop):
        if word_at < match.end():
            following = _WORD_CHARACTER.search(text, match.end(), stop)
            if following is None:  # what is left has no word: it belongs to this sentence
                break
            word_at = following.start()
        if cased is None:
            cased = _CAPITAL.search(text, start, stop) is not None
        if _is_end(text, begun, match, ordinals, cased):
            yield from _pieces(text, begun, match.end())
            begun = match.end()
    yield from _pieces(text, begun, stop)


def _pieces(text: str, start: int, stop: int) -> Iterator[int]:
    """The end of a sentence; of a very long one, also of pieces of it that end in white space."""
    while stop - start > _LONGEST:
        cut = max(text.rfind(" ", start, start + _LONGEST), text.rfind("\n", start, start + _LONGEST)) + 1
        if cut <= start:
            break
        yield cut
        start = cut
    yield stop


def _is_end(text: str, begun: int, match: regex.Match[str], ordinals: bool, cased: bool) -> bool:
    if match.start() - begun < _LONGEST_MARK and _WORD_CHARACTER.search(text, begun, match.start()) is None:
        return False  # nothing is said yet
    if text[match.start()] in " \u00a0":
        return match.start() - begun >= _SHORTEST_PHRASE
    if match["gap"] is None:
        return True
    following = _FOLLOWING.match(text, match.end(), match.end() + 40)
    word = following["word"] if following else ""
    if word[:1].islower() and cased:
        return False
    if text[match.start()] != "." or text[match.start() + 1] == ".":
        return not _PLACEHOLDER.match(text, match.start(), match.end() + 40)
    token = (_ASCII_TOKEN if text.isascii() else _TOKEN).match(text, begun, match.start())
    return token is None or _ends_behind(token.group(), word, text, token.start(), begun, ordinals)


def _ends_behind(token: str, word: str, text: str, at: int, begun: int, ordinals: bool) -> bool:
    """Whether a full stop between a token and a word that does not begin small ends a sentence."""
    lower, starts = token.lower(), word.lower() in _STARTERS
    if lower in _TITLES:
        return False
    if lower in _BEFORE_NUMBER:
        return not word[:1].isdigit() and (len(lower) > 1 or starts)
    if token.replace(".", "").isdigit() and "." in token:  # "version 2.0.", but no number of a section
        return at > begun
    if lower in _EITHER or "." in token.strip("."):
        return starts
    if token.isdigit():
        named = word.lower().startswith(_MONTHS) and len(word) > 2
        return not (len(token) <= 2 and (named or (ordinals and not starts)) and at > begun)
    if len(token) == 1 and token.isalpha():  # an initial, or "vitamin C."
        return starts
    return True
