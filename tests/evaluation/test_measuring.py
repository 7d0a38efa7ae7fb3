"""What readers make of contexts: the same ceilings for all methods, each text read once, notes and errors kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from tiny import HashScorer, UnitScorer

from moos_integrations import ContextCompressor
from moos_integrations.core.tokens import token_counter
from moos_integrations.core.types import FloatArray
from moos_integrations.evaluation.measuring import Context, Kind, contexts, joined, measure, ours
from moos_integrations.evaluation.readers import Readers
from moos_integrations.records import Document, Question

COUNTER = token_counter("o200k_base")
TEXTS = (
    "The bridge was built by Ada Byron. It is long. Nobody knows how long it is today.",
    "Bread is baked from flour and water. The baker of the town sells it warm in the morning.",
)


def asked(name: str = "q", answer: str = "Ada Byron") -> Question:
    return Question("Who built the bridge?", (answer,), tuple(Document(text, "", True) for text in TEXTS), name)


def first_words(question: Question, ceilings: Sequence[int]) -> Mapping[int, Context]:
    words = joined(question).split(" ")
    return {ceiling: Context(" ".join(words[: ceiling // 2]), 0.5) for ceiling in ceilings}


def failing(question: Question, ceilings: Sequence[int]) -> Mapping[int, Context]:
    return {ceiling: Context("", note="ValueError: no") for ceiling in ceilings}


class Echo:
    """Answers with the name if it is there; counts what it reads."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def answers(self, questions: Sequence[str], texts: Sequence[str]) -> list[str]:
        self.read += list(zip(questions, texts, strict=True))
        return ["Ada Byron" if "Ada Byron" in text else "Ada" for text in texts]

    def continuations(self, prompts: Sequence[str], texts: Sequence[str]) -> FloatArray:
        self.read += list(zip(prompts, texts, strict=True))
        return np.array([-1.0 if "Byron" in prompt else -3.0 for prompt in prompts])


def test_no_method_of_ours_is_above_its_ceiling() -> None:
    methods = ours(ContextCompressor(UnitScorer()))
    for name, method in methods.items():
        for ceiling, kept in method(asked(), [3, 9, 20, 500]).items():
            assert COUNTER.count(kept.text) <= ceiling, name
            if ceiling == 500:
                assert kept.text == joined(asked()), name


def test_ours_is_the_compressor_with_and_without_the_question() -> None:
    compressor = ContextCompressor(UnitScorer())
    methods = ours(compressor)
    texts = list(TEXTS)
    told = compressor.compress(texts, "Who built the bridge?", budget_tokens=15).text
    untold = compressor.compress(texts, budget_tokens=15).text
    assert methods["moos"](asked(), [15])[15].text == told != untold
    assert methods["moos, no question"](asked(), [15])[15].text == untold


def test_a_table_by_hand() -> None:
    reader, judge = Echo(), Echo()
    questions = [asked("a"), asked("b")]
    table = measure(
        questions,
        {"first": first_words, "failing": failing},
        COUNTER,
        Readers(reader, judge),
        shares=(0.9, 0.5, 0.1),
        judged_share=0.5,
    )
    assert table["questions"] == 2
    half = table["methods"]["first"]["0.5"]
    assert [half[name]["value"] for name in ("recall", "exact_match", "f1", "log_likelihood")] == [1, 1, 1, -1]
    assert half["median_seconds"] == 0.5
    assert 0 < half["tokens"] < 0.5
    tenth = table["methods"]["first"]["0.1"]
    assert [tenth[name]["value"] for name in ("recall", "exact_match")] == [0, 0]
    assert tenth["f1"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert "log_likelihood" in tenth
    assert "log_likelihood" not in table["methods"]["first"]["0.9"]
    assert table["methods"]["failing"]["0.5"]["notes"] == {"ValueError: no": 2}
    assert table["methods"]["failing"]["0.5"]["log_likelihood"]["value"] == -3
    assert table["differences"]["first - failing"]["0.5"]["log_likelihood"]["difference"] == 2
    assert table["bounds"]["whole"]["recall"]["value"] == 1
    assert table["bounds"]["nothing"]["recall"]["value"] == 0
    assert len(reader.read) == len(set(reader.read)) * 2  # each text once per question; both questions are alike
    assert len(judge.read) == len(set(judge.read)) * 2


def test_a_budget_that_is_not_reached_is_not_read() -> None:
    def everything(question: Question, ceilings: Sequence[int]) -> Mapping[int, Context]:
        return {ceiling: Context(joined(question), note="above the budget") for ceiling in ceilings}

    reader = Echo()
    methods = {"first": first_words, "everything": everything}
    table = measure([asked()], methods, COUNTER, Readers(reader), shares=(0.5,))
    assert table["methods"]["everything"]["0.5"] == {"tokens": 1.0, "notes": {"above the budget": 1}, "noted": 1}
    assert table["differences"]["first - everything"]["0.5"] == {}


def test_summaries_are_measured_by_what_is_left_of_the_reference() -> None:
    reader = Echo()
    question = replace(asked(), answers=("The bridge was built by Ada Byron",))
    table = measure([question], {"first": first_words}, COUNTER, Readers(reader), kind="summary", shares=(0.5,))
    cell = table["methods"]["first"]["0.5"]
    assert cell["rouge2"]["value"] == 1
    assert "recall" not in cell
    assert not reader.read


def test_what_the_model_cannot_read_is_no_part_of_the_mean() -> None:
    class Short(Echo):
        def continuations(self, prompts: Sequence[str], texts: Sequence[str]) -> FloatArray:
            given = super().continuations(prompts, texts)
            return np.where(np.array([len(prompt) > 250 for prompt in prompts]), np.nan, given)

    methods = {"first": first_words, "failing": failing}
    table = measure([asked()], methods, COUNTER, Readers(None, Short()), shares=(0.5,), judged_share=0.5)
    assert table["bounds"]["whole"]["log_likelihood"]["value"] is None
    assert table["methods"]["first"]["0.5"]["log_likelihood"]["value"] == -1


def test_every_share_has_a_context_even_where_ceilings_are_equal() -> None:
    made = contexts([asked()], {"first": first_words}, [10], shares=(0.02, 0.01))
    assert [len(own) for own in made["first"].values()] == [1, 1]


def test_no_questions_give_an_empty_table() -> None:
    table = measure([], {"moos": first_words}, COUNTER, Readers(Echo(), Echo()))
    assert table["questions"] == 0
    assert table["methods"]["moos"]["0.5"]["recall"]["value"] is None


def test_a_compressor_without_relevance_can_be_measured() -> None:
    table = measure([asked()], ours(ContextCompressor(HashScorer())), COUNTER, Readers(), shares=(0.5,))
    assert table["methods"]["moos"]["0.5"]["tokens"] <= 0.5


@pytest.mark.parametrize(
    ("kind", "asked_for"), [("solved", "Let's think step by step\n"), ("result", "So the answer is")]
)
def test_worked_examples_are_judged_by_the_solution_alone(kind: Kind, asked_for: str) -> None:
    reader, judge = Echo(), Echo()
    methods = {"first": first_words}
    table = measure([asked()], methods, COUNTER, Readers(reader, judge), kind=kind, shares=(0.5,), judged_share=0.5)
    assert set(table["methods"]["first"]["0.5"]) == {"tokens", "log_likelihood", "median_seconds"}
    assert not reader.read
    assert all(prompt.endswith(f"Who built the bridge?\n{asked_for}") for prompt, _ in judge.read)
