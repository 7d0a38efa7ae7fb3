"""The laws, for any component that takes documents and a question and returns shorter documents; knows no framework."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

KEY = "conformance_source"
"""Metadata key that says which input an output comes from."""


@dataclass(frozen=True)
class Item:
    """A document, whatever the framework.

    Attributes:
        text: Its text.
        id: Its id; None without one.
        metadata: Its metadata.
        score: The retriever's score; None without one.
    """

    text: str
    id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    score: float | None = None


PROSE = (
    "The library opens at nine. Its card costs 12 EUR a year, and students pay nothing.\nDogs are not allowed inside.",
    "# Opening hours\n\n| day | hours |\n| --- | --- |\n| Monday | 9:00-18:30 |\n| Sunday | closed |\n\nNo cafe.",
    "def price(age):\n    if age < 16:\n        return 0\n    return 12\n",
    "The reading room has 140 seats. The building opened in 1911. It rained on that day, as old photographs show.",
)
UNUSUAL = (
    "",
    " \n\t ",
    "x" * 3_000,
    "图书馆九点开门。借书证每年12欧元。",
    "تفتح المكتبة في الساعة التاسعة. البطاقة مجانية.",
    "👩‍👩‍👧 e\u0301 \u200f\u2028 \x00 \x1b[31m {placeholder} <script>alert(1)</script> %s",
    "word " * 400,
)
"""Texts that real retrievers return, too."""


class Suite:
    """The laws as tests. Subclass one of the framework's suites and write `make`.

    A law that does not hold on purpose is overridden in the subclass, with `pytest.mark.xfail` or `pytest.mark.skip`
    and the reason.

    Attributes:
        question: The question of all tests.
        budgets: Ceilings in tokens that `make_with_budget` is tested with.
    """

    question = "What does a library card cost?"
    budgets: Sequence[int] = (0, 5, 25, 60)

    # --- what a subclass says ----------------------------------------------------------------------------------------

    def make(self) -> Any:
        """The component under test, with settings under which it shortens the texts of `PROSE`."""
        raise NotImplementedError

    def make_with_budget(self, budget: int) -> Any:
        """The component with a ceiling of so many tokens over all documents; None if it has none."""
        return None

    def count(self, text: str) -> int:
        """Tokens of a text, as the component counts them."""
        raise NotImplementedError

    separator = "\n\n"
    """What the component assumes between documents when it counts."""

    # --- what a framework's suite says -------------------------------------------------------------------------------

    def inputs(self, items: Sequence[Item]) -> list[Any]:
        """The framework's documents."""
        raise NotImplementedError

    def item(self, output: Any) -> Item:
        """One of the framework's documents as an item."""
        raise NotImplementedError

    def call(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """Run the component."""
        raise NotImplementedError

    async def acall(self, component: Any, documents: list[Any], question: str) -> list[Any]:
        """Run its async form."""
        raise NotImplementedError

    def batch(self, component: Any, requests: list[tuple[list[Any], str]]) -> list[list[Any]] | None:
        """Run its batch form; None if it has none."""
        return None

    # --- the laws ----------------------------------------------------------------------------------------------------

    def test_no_documents_give_no_documents(self) -> None:
        """An empty list is not an error."""
        assert list(self.call(self.make(), [], self.question)) == []

    def test_it_shortens(self) -> None:
        """The other laws would hold for a component that does nothing."""
        outputs = self._run(PROSE)
        assert sum(len(output.text) for output in outputs) < sum(map(len, PROSE))

    def test_each_document_comes_out_at_most_once(self) -> None:
        """One in, at most one out."""
        found = self._sources(self._run(PROSE))
        assert len(found) == len(set(found))
        assert set(found) <= set(range(len(PROSE)))

    def test_order_is_kept(self) -> None:
        """The retriever's order is information."""
        found = self._sources(self._run(PROSE))
        assert found == sorted(found)

    def test_nothing_is_added_or_moved(self) -> None:
        """The output's characters are in the source, in the same order."""
        for texts in (PROSE, UNUSUAL):
            for output in self._run(texts):
                source = texts[output.metadata[KEY]]
                assert is_subsequence(output.text, source), f"{output.text!r} is not made of {source!r}"

    def test_metadata_are_kept(self) -> None:
        """All keys are there with their values; a component may add keys."""
        for output in self._run(PROSE):
            expected = _metadata(output.metadata[KEY])
            assert {key: output.metadata.get(key) for key in expected} == expected

    def test_ids_are_kept(self) -> None:
        """Stores and citations find a document by its id."""
        for output in self._run(PROSE):
            assert output.id == f"id-{output.metadata[KEY]}"

    def test_inputs_are_not_changed(self) -> None:
        """Caches and other branches of a chain hold the same objects."""
        for texts in (PROSE, UNUSUAL):
            items = items_of(texts)
            documents = self.inputs(items)
            before = [self.item(document) for document in self.inputs(items)]
            self.call(self.make(), documents, self.question)
            assert [self.item(document) for document in documents] == before

    def test_outputs_share_no_metadata_with_inputs(self) -> None:
        """Whoever writes into an output must not write into the source."""
        documents = self.inputs(items_of(PROSE))
        for output in self.call(self.make(), documents, self.question):
            self.item(output).metadata["nested"]["list"].append("changed")
        assert all(self.item(document).metadata["nested"] == {"list": [1]} for document in documents)

    def test_the_same_in_gives_the_same_out(self) -> None:
        """Also after another call in between."""
        component, first, other = self.make(), self.inputs(items_of(PROSE)), self.inputs(items_of(UNUSUAL))
        before = self._texts(self.call(component, first, self.question))
        self.call(component, other, "Who?")
        assert self._texts(self.call(component, first, self.question)) == before

    def test_async_gives_the_same(self) -> None:
        """The async form is no second implementation."""
        component, documents = self.make(), self.inputs(items_of(PROSE))
        expected = self._texts(self.call(component, documents, self.question))
        assert self._texts(asyncio.run(self.acall(component, documents, self.question))) == expected

    def test_threads_give_the_same(self) -> None:
        """Servers share one component."""
        component, documents = self.make(), self.inputs(items_of(PROSE))
        expected = self._texts(self.call(component, documents, self.question))
        with ThreadPoolExecutor(4) as pool:
            runs = pool.map(lambda _: self._texts(self.call(component, documents, self.question)), range(8))
            assert all(run == expected for run in runs)

    def test_batches_give_the_same(self) -> None:
        """A batch is its calls, one by one."""
        component = self.make()
        requests = [
            (self.inputs(items_of(PROSE)), self.question),
            (self.inputs(items_of(PROSE[:2])), "When is it closed?"),
        ]
        found = self.batch(component, requests)
        if found is None:
            _skip("the component has no batch form")
            return
        assert [self._texts(outputs) for outputs in found] == [
            self._texts(self.call(component, documents, question)) for documents, question in requests
        ]

    def test_unusual_texts_are_no_error(self) -> None:
        """Blank, huge and right-to-left texts, emoji, control characters and markup."""
        outputs = self._run(UNUSUAL)
        assert len(outputs) <= len(UNUSUAL)
        for text in UNUSUAL:
            assert len(self._run([text])) <= 1

    def test_questions_of_any_form_are_no_error(self) -> None:
        """An empty question, and one longer than any model's input."""
        for question in ("", " ", "What? " * 2_000):
            assert len(self.call(self.make(), self.inputs(items_of(PROSE)), question)) <= len(PROSE)

    def test_a_budget_is_a_ceiling(self) -> None:
        """Of all documents together, joined as the prompt joins them."""
        for budget in self.budgets:
            component = self.make_with_budget(budget)
            if component is None:
                _skip("the component has no budget")
                return
            outputs = self.call(component, self.inputs(items_of(PROSE)), self.question)
            text = self.separator.join(text for text in self._texts(outputs) if text)
            assert self.count(text) <= budget, f"{self.count(text)} tokens under a budget of {budget}"

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _run(self, texts: Sequence[str]) -> list[Item]:
        documents = self.inputs(items_of(texts))
        return [self.item(output) for output in self.call(self.make(), documents, self.question)]

    def _texts(self, outputs: Sequence[Any]) -> list[str]:
        return [self.item(output).text for output in outputs]

    @staticmethod
    def _sources(outputs: Sequence[Item]) -> list[int]:
        return [output.metadata[KEY] for output in outputs]


def is_subsequence(text: str, source: str) -> bool:
    """Whether all characters of a text are in the source, in the same order."""
    rest = iter(source)
    return all(character in rest for character in text)


def items_of(texts: Sequence[str]) -> list[Item]:
    """Texts as items, each with an id, metadata and a score."""
    return [
        Item(text, f"id-{place}", _metadata(place), 0.9 - 0.1 * place / max(len(texts), 1))
        for place, text in enumerate(texts)
    ]


def _metadata(place: int) -> dict[str, Any]:
    return {KEY: place, "source": f"file {place}.txt", "page": place + 1, "nested": {"list": [1]}}


def _skip(reason: str) -> None:
    import pytest

    pytest.skip(reason)
