"""What readers make of contexts that are compressed to the same number of tokens.

A method gets a question with its documents and token ceilings, and gives a text for each: our compressor, or anything
else (`Method`). Texts are counted with one tokenizer, documents joined by blank lines.
Then, per method and ceiling:

* `recall`: does an answer stand in the text? For summaries `rouge2`: the share of the reference's word pairs that do;
* `exact_match`, `f1`: of the answer that a reader finds there;
* `log_likelihood`: of the first accepted answer after text and question, in nats per token, by a language model.

Questions whose answer is quoted and does not stand in the full documents say nothing of compression and are left out.
Intervals are 95 % bootstrap over questions; differences are paired.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import DEFAULT_SEPARATOR
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import FloatArray
from moos_integrations.evaluation.metrics import containment, estimate, exact_match, paired, rouge, token_f1
from moos_integrations.evaluation.readers import EXAMPLES, PROMPT, RESULT, Judge, Reader, Readers, log_likelihoods
from moos_integrations.records import Question

Kind = Literal["quoted", "summary", "chosen", "solved", "result"]
"""How answers come about: quoted from the documents, written about them, chosen after reading them, or worked out as in
the worked examples that are compressed, with the solution or with its result alone. Of the last three only the
log-likelihood tells."""
TEMPLATES: Mapping[Kind, str] = {"solved": EXAMPLES, "result": RESULT}
"""Prompts for worked examples; `PROMPT` for all others."""
SHARES = (0.5, 0.25, 0.125, 0.0625, 0.03125)
"""Of the tokens: 2, 4, 8, 16 and 32 times fewer."""
JUDGED_SHARE = 0.25
"""The largest share at which the language model is asked, as it is slow: half of the text costs as much as the rest."""
REACHED = 1.05
"""A method that takes more than so many times its budget, in the mean, cannot reach it, and is not read there."""
METRICS = ("recall", "rouge2", "exact_match", "f1", "log_likelihood")


class Kept(Protocol):
    """A compressed context.

    Attributes:
        text: What is left, documents joined by blank lines; "" if the method failed.
        seconds: What one call took.
        note: What is to be said of it: an error, or that it is above the ceiling; "" if all went well.
    """

    @property
    def text(self) -> str: ...  # noqa: D102

    @property
    def seconds(self) -> float: ...  # noqa: D102

    @property
    def note(self) -> str: ...  # noqa: D102


Method = Callable[[Question, Sequence[int]], Mapping[int, Kept]]
"""A question and ceilings in tokens to a context for each ceiling."""
Contexts = dict[str, dict[float, list["Context"]]]
"""By method and share, one per question."""


@dataclass(frozen=True, slots=True)
class Context:
    """A compressed context; see `Kept`."""

    text: str
    seconds: float = math.nan
    note: str = ""


# --- methods ---------------------------------------------------------------------------------------------------------


def ours(compressor: ContextCompressor) -> dict[str, Method]:
    """The compressor with a token budget, told the question and not told."""

    def compressed(question: Question, ceilings: Sequence[int], *, asked: bool) -> dict[int, Context]:
        texts, query = [document.text for document in question.documents], question.question if asked else None
        found = {}
        for ceiling in ceilings:
            start = time.perf_counter()
            text = compressor.compress(texts, query, budget_tokens=ceiling).text
            found[ceiling] = Context(text, time.perf_counter() - start)
        # Later calls find the scores of the first in the cache: its time is that of them all.
        first = found[ceilings[0]].seconds
        return {ceiling: Context(own.text, first) for ceiling, own in found.items()}

    return {"moos": partial(compressed, asked=True), "moos, no question": partial(compressed, asked=False)}


# --- measuring -------------------------------------------------------------------------------------------------------


def joined(question: Question) -> str:
    """All documents of a question, uncompressed."""
    return DEFAULT_SEPARATOR.join(document.text for document in question.documents)


def measure(
    questions: Sequence[Question],
    methods: Mapping[str, Method],
    counter: TokenCounter,
    readers: Readers,
    *,
    kind: Kind = "quoted",
    shares: Sequence[float] = SHARES,
    judged_share: float = JUDGED_SHARE,
    watch: Callable[[Iterable[Question]], Iterable[Question]] = iter,
) -> dict[str, Any]:
    """The table of methods.

    Args:
        questions: With their documents, as read.
        methods: By name; the first is the one whose differences to the others are reported.
        counter: Counts tokens.
        readers: Who reads.
        kind: How answers come about: decides what is measured.
        shares: Of each question's tokens.
        judged_share: The largest of them at which the language model is asked.
        watch: Wraps the loop over the questions that compresses.
    """
    whole = [max(counter.count(joined(question)), 1) for question in questions]
    made = contexts(questions, methods, whole, shares, watch)
    bounds = {"whole": [Context(joined(own)) for own in questions], "nothing": [Context("") for _ in questions]}
    table = _Table(questions, whole, counter, readers, kind)
    cells = {
        name: {share: table.columns(own, share, likely=share <= judged_share) for share, own in by_share.items()}
        for name, by_share in made.items()
    }
    ends = {name: table.columns(own, 1.0, likely=True) for name, own in bounds.items()}
    against = next(iter(methods))
    return {
        "questions": len(questions),
        "tokens": round(statistics.mean(whole)) if whole else 0,
        "bounds": {name: _cell(own, bounds[name]) for name, own in ends.items()},
        "methods": {
            name: {str(share): _cell(own, made[name][share]) for share, own in by_share.items()}
            for name, by_share in cells.items()
        },
        "differences": {
            f"{against} - {name}": {
                str(share): _differences(cells[against][share], own) for share, own in by_share.items()
            }
            for name, by_share in cells.items()
            if name != against
        },
    }


def contexts(
    questions: Sequence[Question],
    methods: Mapping[str, Method],
    whole: Sequence[int],
    shares: Sequence[float] = SHARES,
    watch: Callable[[Iterable[Question]], Iterable[Question]] = iter,
) -> Contexts:
    """Every method's context of every question at every share of its `whole` tokens."""
    found: Contexts = {name: {share: [] for share in shares} for name in methods}
    for question, tokens in zip(watch(questions), whole, strict=True):
        ceilings = {share: max(int(share * tokens), 1) for share in shares}
        for name, method in methods.items():
            kept = method(question, list(dict.fromkeys(ceilings.values())))
            for share, ceiling in ceilings.items():
                own = kept[ceiling]
                found[name][share].append(Context(own.text, own.seconds, own.note))
    return found


class _Table:
    """Measures columns of contexts; a text that comes again for the same question is not read again."""

    def __init__(
        self,
        questions: Sequence[Question],
        whole: Sequence[int],
        counter: TokenCounter,
        readers: Readers,
        kind: Kind,
    ) -> None:
        self._questions, self._whole, self._counter = questions, whole, counter
        self._readers, self._kind = readers, kind
        self._answers: dict[tuple[int, str], str] = {}
        self._likely: dict[tuple[int, str], float] = {}

    def columns(self, own: Sequence[Context], share: float, *, likely: bool) -> dict[str, FloatArray]:
        """A number per question for every metric that applies, and the share of the tokens that is kept.

        Only the latter where the budget, a `share` of the tokens, is not reached.
        """
        texts = [context.text for context in own]
        accepted = [question.answers for question in self._questions]
        tokens = [self._counter.count(text) / whole for text, whole in zip(texts, self._whole, strict=True)]
        found = {"tokens": np.array(tokens)}
        if tokens and statistics.mean(tokens) > REACHED * share:
            return found
        if self._kind == "summary":
            found["rouge2"] = np.array([rouge(*row)[0] for row in zip(texts, accepted, strict=True)])
        if self._kind == "quoted":
            found["recall"] = np.array([containment(*row) for row in zip(texts, accepted, strict=True)])
            if self._readers.reader is not None:
                given = self._read(self._readers.reader, texts)
                found["exact_match"] = np.array([exact_match(*row) for row in zip(given, accepted, strict=True)])
                found["f1"] = np.array([token_f1(*row) for row in zip(given, accepted, strict=True)])
        if likely and self._readers.judge is not None:
            found["log_likelihood"] = self._judge(self._readers.judge, texts)
        return found

    def _read(self, reader: Reader, texts: Sequence[str]) -> list[str]:
        new = [(row, text) for row, text in enumerate(texts) if (row, text) not in self._answers]
        given = reader.answers([self._questions[row].question for row, _ in new], [text for _, text in new])
        self._answers.update(zip(new, given, strict=True))
        return [self._answers[row, text] for row, text in enumerate(texts)]

    def _judge(self, judge: Judge, texts: Sequence[str]) -> FloatArray:
        new = [(row, text) for row, text in enumerate(texts) if (row, text) not in self._likely]
        asked = [self._questions[row] for row, _ in new]
        given = log_likelihoods(
            judge,
            [own.question for own in asked],
            [text for _, text in new],
            [own.answers[0] for own in asked],
            template=TEMPLATES.get(self._kind, PROMPT),
        )
        self._likely.update(zip(new, given.tolist(), strict=True))
        return np.array([self._likely[row, text] for row, text in enumerate(texts)])


def _cell(columns: Mapping[str, FloatArray], own: Sequence[Context]) -> dict[str, Any]:
    """What a method reached at one ceiling, ready for JSON."""
    notes = Counter(context.note for context in own if context.note)
    seconds = [context.seconds for context in own if not math.isnan(context.seconds)]
    return {
        "tokens": round(float(columns["tokens"].mean()), 4) if len(own) else None,
        **{name: estimate(_known(columns[name])) for name in METRICS if name in columns},
        **({"median_seconds": round(statistics.median(seconds), 3)} if seconds else {}),
        **({"notes": dict(notes.most_common(5)), "noted": sum(notes.values())} if notes else {}),
    }


def _differences(left: Mapping[str, FloatArray], right: Mapping[str, FloatArray]) -> dict[str, Any]:
    both = [name for name in METRICS if name in left and name in right]
    return {name: paired(*_known(left[name], right[name])) for name in both}


def _known(*columns: FloatArray) -> Any:
    """The rows that no column lacks; of one column, the column itself."""
    some = np.logical_and.reduce([~np.isnan(own) for own in columns])
    found = [own[some] for own in columns]
    return found if len(found) > 1 else found[0]
