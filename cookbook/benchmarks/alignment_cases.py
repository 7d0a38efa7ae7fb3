"""Aligners to compare with, hand-labelled cases that are easy to get wrong, and the word error rate.

An aligner takes a text and a compressed text and returns a mask over `word_spans(text)`: True for the words that the
compression kept. A case marks those words in its source with square brackets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from moos_integrations.core.text import word_spans
from moos_integrations.core.types import BoolArray
from moos_integrations.training.alignment import align

Aligner = Callable[[str, str], BoolArray]
WINDOW = 150  # the default of LLMLingua-2's label_word.py

_ENDING = re.compile(r"(?:['’]s|ing|ied|ies|ed|es|s)$")


def words_of(text: str) -> list[str]:
    """The words of a text."""
    return [text[start:end] for start, end in zip(*word_spans(text), strict=True)]


def lemma(word: str) -> str:
    """A crude lemma in lower case, in place of spaCy's."""
    word = word.lower()
    shorter = _ENDING.sub("", word)
    return (shorter if len(shorter) >= 3 else word).rstrip("e")


def greedy(text: str, compressed: str) -> BoolArray:
    """LLMLingua-2's Algorithm 1, with the details of its label_word.py.

    Every compressed word is searched at prev, prev + 1, prev - 1, prev + 2, ... inside the window; the first free
    source word with the same lemma is labelled and becomes prev; forward, prev moves by half a window at most. Commas
    are left out on both sides.
    """
    words = words_of(text)
    places = [place for place, word in enumerate(words) if word != ","]
    source = [lemma(words[place]) for place in places]
    labels = np.zeros(len(source), bool)
    previous = 0
    for target in (lemma(word) for word in words_of(compressed) if word != ","):
        for found in _outwards(previous, len(source)):
            if source[found] == target and not labels[found]:
                labels[found] = True
                previous = min(found, previous + WINDOW // 2)
                break
    mask = np.zeros(len(words), bool)
    mask[places] = labels
    return mask


def _outwards(centre: int, length: int) -> Iterable[int]:
    for step in range(WINDOW if length else 0):
        yield min(centre + step, length - 1)
        yield max(centre - step, 0)


def longest_blocks(text: str, compressed: str) -> BoolArray:
    """Longest matching blocks of words in lower case (difflib)."""
    source, target = ([word.lower() for word in words_of(side)] for side in (text, compressed))
    mask = np.zeros(len(source), bool)
    for start, _, size in SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks():
        mask[start : start + size] = True
    return mask


def longest_blocks_filled(text: str, compressed: str) -> BoolArray:
    """Longest matching blocks; then each word left over takes the most similar source word inside its gap."""
    source, target = ([word.lower() for word in words_of(side)] for side in (text, compressed))
    mask = np.zeros(len(source), bool)
    at = since = 0
    for start, target_start, size in SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks():
        for word in target[since:target_start]:
            ratios = [(SequenceMatcher(None, word, source[place]).ratio(), -place) for place in range(at, start)]
            best, place = max((pair for pair in ratios if not mask[-pair[1]]), default=(0.0, 0))
            if best >= 0.7:
                mask[-place] = True
        mask[start : start + size] = True
        at, since = start + size, target_start + size
    return mask


ALIGNERS: dict[str, Aligner] = {
    "ours": lambda text, compressed: align(text, compressed).preserve,
    "llmlingua2_greedy": greedy,
    "difflib": longest_blocks,
    "difflib_gap_fill": longest_blocks_filled,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A text, its compressed text, and the words that were kept. Shape of `kept`: `(words,)`."""

    name: str
    text: str
    compressed: str
    kept: BoolArray


def case(name: str, marked: str, compressed: str) -> Case:
    """A case from a source in which square brackets enclose the kept words."""
    text, inside = [], []
    depth = 0
    for character in marked:
        if character in "[]":
            depth += 1 if character == "[" else -1
        else:
            text.append(character)
            inside.append(depth > 0)
    source = "".join(text)
    kept = np.array([any(inside[start:end]) for start, end in zip(*word_spans(source), strict=True)], bool)
    return Case(name, source, compressed, kept)


def error_rates(cases: Iterable[Case]) -> dict[str, Any]:
    """Per aligner: the share of source words with a wrong label, with and without punctuation, and the cases with any.

    Without punctuation is the fairer figure for `greedy`, which gives commas no label.
    """
    cases = list(cases)
    spoken = [np.array([any(c.isalnum() for c in word) for word in words_of(item.text)], bool) for item in cases]
    rates = {}
    for name, aligner in ALIGNERS.items():
        wrong = [aligner(item.text, item.compressed) != item.kept for item in cases]
        rates[name] = {
            "word_error_rate": _share(wrong, [np.ones_like(each) for each in wrong]),
            "without_punctuation": _share(wrong, spoken),
            "cases_with_errors": sum(bool(each.any()) for each in wrong),
        }
    return {"cases": len(cases), "words": sum(len(item.kept) for item in cases), "aligners": rates}


def _share(wrong: list[BoolArray], counted: list[BoolArray]) -> float:
    number = sum(int((each & mask).sum()) for each, mask in zip(wrong, counted, strict=True))
    return round(number / max(sum(int(mask.sum()) for mask in counted), 1), 6)


_SPEECHES = " ".join(
    f"Speaker {number} thanked the chair and the committee for the work that was done on item {number}."
    for number in range(1, 26)
)

CASES = (
    # --- the same word at several places
    case(
        "determiner before the kept noun",
        "[The council] of the town of the county [approved] the first of [the budgets] on the table.",
        "The council approved the budgets",
    ),
    case(
        "names that come twice",
        "Anna Smith met Tom Jones on Monday. [Jones] later [told Smith] the truth, and Smith left.",
        "Jones told Smith",
    ),
    case(
        "negation behind and ahead",
        "It was not raining. The [pump] that we had bought did [not start].",
        "pump not start",
    ),
    case(
        "warnings with the same opening",
        "Do not open the valve. If the light is on, [do not close] the valve[.]",
        "Do not close.",
    ),
    case(
        "pronoun in every clause",
        "He said he thought he would lose, but [he won] the race he wanted.",
        "he won",
    ),
    case(
        "chain of of",
        "[The minister] of finance in the government [of Norway resigned] on the day of the vote[.]",
        "The minister of Norway resigned.",
    ),
    case("chain of and", "We saw cats and [dogs] and birds [and fish] and frogs.", "dogs and fish"),
    case(
        "instructions that differ in one word",
        "Press the red button to start. Press the green button to stop. [Press] the red [button] twice [to reset.]",
        "Press button to reset.",
    ),
    case(
        "sentence that comes twice, before its follower",
        "The door is locked. The key is lost. [The door is locked. Call the guard.]",
        "The door is locked. Call the guard.",
    ),
    case(
        "sentence that comes twice, after its leader",
        "[The key is lost. The door is locked.] Call the guard. The door is locked. Go home.",
        "The key is lost. The door is locked.",
    ),
    case(
        "announcement repeated by the clerk",
        "Thank you. Item 14, please. Clerk: [Item 14, council bill 120,] an [ordinance relating] to the city's "
        "[transit] and to item 14[.]",
        "Item 14, council bill 120, ordinance relating transit.",
    ),
    case(
        "turns of a dialogue",
        "A: Did you call the bank? [B: No], I did not[. A: Why not? B: The bank was closed.]",
        "B: No. A: Why not? B: The bank was closed.",
    ),
    case(
        "value that comes twice",
        "In 2019 sales were 5, and in [2020 sales] were [5], too[.]",
        "2020 sales 5.",
    ),
    case(
        "month and verb",
        "In March the protesters plan to [march to the] old [capital.]",
        "March to the capital.",
    ),
    case("title and modal", "[May] said that the [vote] may come in [June.]", "May vote June."),
    case(
        "conjunction inside a list",
        "[The storm] hit roads and bridges, and it [damaged] homes, [schools and] two [hospitals] and cars[.]",
        "The storm damaged schools and hospitals.",
    ),
    case(
        "second of two subjects",
        "The bank said that the rate would rise. Analysts said [the bank] itself [would] not [raise the rate].",
        "the bank would raise the rate",
    ),
    # --- long ways
    case(
        "jump beyond the window",
        f"[The committee met] in the old hall[.] {_SPEECHES} [The vote was postponed] to the next day[.]",
        "The committee met. The vote was postponed.",
    ),
    case(
        "start beyond the window",
        f"The committee met in the old hall. {_SPEECHES} At the end [the vote was] once more [postponed.]",
        "The vote was postponed.",
    ),
    case(
        "one item out of many",
        f"{_SPEECHES} [Nobody thanked the committee for item 7.]",
        "Nobody thanked the committee for item 7.",
    ),
    # --- words in another order
    case(
        "date moved to the front",
        "[The mayor] of Springfield [announced a new bridge on Tuesday.]",
        "On Tuesday the mayor announced a new bridge.",
    ),
    case(
        "clause moved to the end",
        "[Because of heavy snow], officials said, [the schools] in the district [were closed.]",
        "The schools were closed because of heavy snow.",
    ),
    case(
        "sentences swapped",
        "[Profit fell by a third.] The board met twice. [The chief executive will leave in June.]",
        "The chief executive will leave in June. Profit fell by a third.",
    ),
    case("items swapped", "The winners are [Ann], Bob, [Cid and] Dan[.]", "Cid and Ann."),
    case(
        "attribution moved to the front",
        "[The tunnel will open in the spring], although it was due in the autumn, [the minister said.]",
        "The minister said the tunnel will open in the spring.",
    ),
    # --- words changed
    case(
        "regular inflection",
        "[Researchers] have been [measuring] the [temperatures] of the [oceans] for many years.",
        "Researchers measure ocean temperatures",
    ),
    case("irregular inflection", "The [team went] to [Paris] and [won] the [cup.]", "Team goes Paris, wins cup."),
    case("singular and plural both there", "One dog barks; [two dogs bark.]", "Two dogs bark."),
    case(
        "inflected here, exact elsewhere",
        "The reports that the auditors wrote were [reported to the court by the auditor.]",
        "Report to the court by the auditor.",
    ),
    case(
        "British and American spelling",
        "The [colour] of the [organisation’s logo] was [grey], not red.",
        "Color organization logo gray",
    ),
    case(
        "possessive dropped",
        "[The president’s] brother [criticised] the [plan] of the president's rivals[.]",
        "The president criticised plan.",
    ),
    case(
        "contractions made",
        "[We do not think] that [it is ready,] and [they cannot pay] for it[.]",
        "We don't think it's ready, they can't pay.",
    ),
    case(
        "contractions undone",
        "[They're happy] that [we won’t] have to [move] and that they will not pay[.]",
        "They are happy, we will not move.",
    ),
    case(
        "hyphens undone",
        "[The state-of-the-art engine replaced a] well known [petrol engine] of the state[.]",
        "The state of the art engine replaced a petrol engine.",
    ),
    case(
        "hyphens made and lost",
        "The [long term] plan calls for [co-operation] on [e-mail security] over the term[.]",
        "Long-term cooperation email security.",
    ),
    case(
        "thousands separators",
        "[Revenue] rose from $980 to [$1,250,000] in [2019], while costs fell to $1,000[.]",
        "Revenue $1250000 2019.",
    ),
    case(
        "percent sign",
        "About [12 percent] of 1,200 patients [recovered] within 12 days[.]",
        "12% recovered.",
    ),
    case(
        "dotted abbreviation",
        "[The U.S.] government and us, the citizens, [agreed] to the plan.",
        "The US agreed",
    ),
    case(
        "title case", "[the NASA probe], built by a Nasa contractor, [landed on mars]", "The NASA Probe Landed On Mars"
    ),
    # --- words added
    case(
        "added conjunction",
        "[Sales] of the new phone [rose] sharply [in Asia] but fell in Europe[.]",
        "However, sales rose in Asia.",
    ),
    case(
        "added article that the source has elsewhere",
        "[Officials] from the ministry [confirmed] that [twelve people] had been [injured] in a crash near the "
        "border[.]",
        "Officials confirmed the twelve people injured.",
    ),
    case(
        "preamble",
        "[The museum opens at nine] and closes at five; here is the text of the rules[.]",
        "Here is the compressed text: The museum opens at nine.",
    ),
    case(
        "word replaced",
        "[The firm] said that it [would purchase] two [rivals in Spain] and that it would sell one in Italy[.]",
        "The firm would buy rivals in Spain.",
    ),
    # --- punctuation, lists, other scripts
    case(
        "quotation marks",
        "[“We will win,” said the coach], “if we don’t lose[.]”",
        '"We will win," said the coach.',
    ),
    case("quotation without its marks", 'It was "a disgrace" and "[a complete disaster]".', "a complete disaster"),
    case(
        "full stop set early",
        "[The plant closed in May], and, said Mr. Hill of No. 3 branch, it will not open again[.] It had 40 workers.",
        "The plant closed in May.",
    ),
    case(
        "commas of a shortened list",
        "They sell [tea, coffee,] fresh milk, [sugar,] and, in summer, [ice.]",
        "Tea, coffee, sugar, ice.",
    ),
    case("numbered list", "[1. milk]\n2. bread\n[3. eggs]\n4. milk powder\n[5. flour]", "1. milk\n3. eggs\n5. flour"),
    case(
        "dashes",
        "[The budget] — the largest ever — [passed 51–49] on the third try.",
        "The budget passed 51-49",
    ),
    case(
        "dash without spaces",
        "The [company—]once a giant—[filed for bankruptcy] in May[.]",
        "Company filed for bankruptcy.",
    ),
    case(
        "identifiers",
        "Set user_id=41 first, then [user_id=42] in config.yaml; user_id=43 [is reserved.]",
        "user_id=42 is reserved.",
    ),
    case(
        "composed and decomposed",
        "[Beyoncé visited São Paulo] and a café in Zürich.",
        "Beyonce\u0301 visited Sa\u0303o Paulo",
    ),
    case(
        "sharp s",
        "[Die Straße] nach Köln [ist] seit Montag wegen der Arbeiten [gesperrt.]",
        "Die STRASSE ist gesperrt.",
    ),
    case("Japanese", "[東京は日本の首都]であり、日本で人口が最も多い都市[です。]", "東京は日本の首都です。"),
)
