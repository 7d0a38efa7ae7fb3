"""What a conversation costs at a provider that caches the beginnings of prompts: tokens and dollars, offline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Prices:
    """Dollars per million tokens. They change: enter those of your provider, and the day you looked them up.

    Attributes:
        name: Of the model.
        day: When the prices were looked up.
        fresh: Tokens of the prompt that are not in the cache; with what writing them to the cache costs.
        cached: Tokens of the prompt that are read from the cache.
        output: Tokens of the answer.
    """

    name: str
    day: str
    fresh: float
    cached: float
    output: float


EXAMPLES = (
    Prices("cache reads at 1/10, writes at 5/4 of the price", "an example: enter your own", 3.75, 0.30, 15.0),
    Prices("cache reads at 1/10, writes at no extra price", "an example: enter your own", 1.25, 0.125, 10.0),
)
"""Two forms of price lists that were common in 2025."""


@dataclass(frozen=True)
class Call:
    """One call of an LLM: the parts of its prompt in order, and its answer."""

    prompt: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Bill:
    """What calls cost together: tokens by price, and dollars."""

    calls: int
    fresh: int
    cached: int
    output: int
    dollars: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def bill(calls: Sequence[Call], prices: Prices, count: Callable[[str], int]) -> Bill:
    """The bill of calls in a row; of each prompt, the parts that the one before it began with are read from the cache.

    Args:
        calls: In their order.
        prices: Of the provider.
        count: Counts tokens as the model does.
    """
    fresh = cached = output = 0
    before: tuple[str, ...] = ()
    for call in calls:
        shared = 0
        while shared < min(len(before), len(call.prompt)) and before[shared] == call.prompt[shared]:
            shared += 1
        cached += sum(map(count, call.prompt[:shared]))
        fresh += sum(map(count, call.prompt[shared:]))
        output += count(call.answer)
        before = call.prompt
    dollars = (fresh * prices.fresh + cached * prices.cached + output * prices.output) / 1e6
    return Bill(len(calls), fresh, cached, output, round(dollars, 6))


def conversation(questions: Sequence[str], contexts: Sequence[str], answers: Sequence[str]) -> list[Call]:
    """A RAG conversation: earlier questions and answers first, then the documents of this turn and its question."""
    calls, history = list[Call](), ("Answer from the documents.",)
    for question, context, answer in zip(questions, contexts, answers, strict=True):
        calls.append(Call((*history, context, question), answer))
        history = (*history, question, answer)
    return calls


def one_document(questions: Sequence[str], contexts: Sequence[str], answers: Sequence[str]) -> list[Call]:
    """Many questions on one document, which comes first, so that it is read from the cache where it stays the same."""
    return [
        Call(("Answer from the document.", context, question), answer)
        for question, context, answer in zip(questions, contexts, answers, strict=True)
    ]


def agent_run(task: str, calls: Sequence[str], results: Sequence[str], answer: str) -> list[Call]:
    """A run of an agent: each result of a tool stays in the prompt until the end."""
    made, transcript = list[Call](), ("You may call tools.", task)
    for call, result in zip(calls, results, strict=True):
        made.append(Call(transcript, call))
        transcript = (*transcript, call, result)
    return [*made, Call(transcript, answer)]
