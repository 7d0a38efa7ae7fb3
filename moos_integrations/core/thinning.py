"""Which words of a sentence may go where thinning is on, so that what is left still says what the source says.

A sentence that is thinned keeps its verbs, negations and numbers. To know verbs takes a grammar; here short lists of
English do, and what might be a verb is kept. In other languages, and in lines of structured text, nothing may go.
"""

from __future__ import annotations

import numpy as np
import regex

from moos_integrations.core.types import BoolArray, Kind, SegmentedText

_LETTERS_ONLY = regex.compile(r"[\p{Latin}’']+")
_FUNCTION_WORDS = frozenset(
    (
        "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "with", "as", "are",
        "this", "by", "be",
    )
)  # fmt: skip

_LEAST_ENGLISH = 0.12
"""Share of function words from which a text counts as English; other languages in Latin script stay far below."""
_NEGATIONS = frozenset(
    (
        "no", "not", "never", "none", "nobody", "nothing", "nowhere", "neither", "nor", "without", "cannot",
        "unless", "except", "only", "hardly", "barely", "rarely", "seldom", "isnt", "dont", "cant", "wont",
        "if", "but", "until",
    )
)  # fmt: skip
_VERBS = frozenset(
    (
        "am", "are", "be", "been", "being", "is", "was", "were", "can", "could", "did", "do", "does", "done",
        "had", "has", "have", "may", "might", "must", "ought", "shall", "should", "will", "would", "became",
        "become", "began", "begin", "begun", "bought", "break", "bring", "broke", "brought", "build", "built",
        "buy", "came", "catch", "caught", "choose", "chose", "come", "cost", "cut", "die", "draw", "drew",
        "drink", "drive", "drove", "eat", "fall", "feel", "fell", "felt", "fight", "find", "flew", "fly",
        "fought", "found", "gave", "get", "give", "go", "got", "grew", "grow", "heard", "held", "help", "hit",
        "hold", "keep", "kept", "knew", "know", "lay", "lead", "leave", "led", "left", "let", "lie", "lose",
        "lost", "made", "make", "mean", "meant", "meet", "met", "pay", "put", "ran", "read", "rise", "rose",
        "run", "said", "sat", "saw", "say", "see", "sell", "send", "sent", "set", "show", "sit", "sold",
        "speak", "spend", "spent", "spoke", "stand", "stood", "take", "taught", "tell", "think", "thought",
        "threw", "told", "took", "try", "turn", "use", "want", "went", "win", "won", "work", "wrote", "write",
        "need", "allow",
        "beat", "bent", "bet", "bind", "bit", "blew", "bound", "burnt", "burst", "clung", "crept", "dealt", "drank",
        "dreamt", "dug", "fed", "fled", "flung", "forbade", "forgave", "forgot", "froze", "hid", "hurt", "knelt",
        "laid", "lain", "leapt", "learnt", "lent", "lit", "mistook", "overcame", "paid", "quit", "rang", "rid", "rode",
        "sang", "sank", "shed", "shone", "shook", "shot", "shrank", "shut", "slept", "slid", "slit", "smelt", "spat",
        "spelt", "spilt", "split", "spread", "sprang", "stole", "stuck", "stung", "struck", "strove", "swam", "swept",
        "swore", "swung", "thrust", "tore", "undertook", "underwent", "upset", "wept", "withdrew", "woke", "wore",
        "wound", "wove", "begun", "blown", "born", "drawn", "drunk", "flown", "gone", "grown", "known", "rung", "shown",
        "sown", "sung", "sunk", "swum", "sworn", "thrown", "torn", "withdrawn", "worn",
    )
)  # fmt: skip
_BEFORE_VERBS = frozenset(
    (
        "to", "can", "cannot", "could", "did", "do", "does", "may", "might", "must", "shall", "should", "will", "would",
        "not", "never", "let", "please", "i", "you", "we", "they", "who",
    )
)  # fmt: skip
_MAYBE_VERB = regex.compile(r".{2,}(?:ed|es|s|ing|en|ize|ise|ify)")
_LIGHT = frozenset(
    (
        "this", "his", "its", "us", "as", "thus", "yes", "perhaps", "always", "sometimes", "during",
    )
)  # fmt: skip


def droppable_words(document: SegmentedText) -> BoolArray:
    """Which words may go without turning what their sentence says. Shape: `(words,)`."""
    words = [word.lower() for word in document.words()]
    flags = np.zeros(len(words), bool)
    if not words or sum(word in _FUNCTION_WORDS for word in words) < _LEAST_ENGLISH * len(words):
        return flags
    prose = (document.unit_kinds == Kind.SENTENCE) & ~document.unit_structured
    inside = prose[document.unit_of_word]
    for index in np.flatnonzero(inside).tolist():
        before = words[index - 1] if index else ""
        flags[index] = _may_go(words[index]) and before not in _BEFORE_VERBS and not before.endswith(("n't", "n’t"))
    return flags


def _may_go(word: str) -> bool:
    bare = word.strip("’'")
    if not _LETTERS_ONLY.fullmatch(word) or word.endswith(("n't", "n’t")):
        return not any(character.isalnum() for character in word)  # punctuation may go, numbers and names of things not
    if bare in _NEGATIONS or bare in _VERBS:
        return False
    return bare in _LIGHT or not _MAYBE_VERB.fullmatch(bare)
