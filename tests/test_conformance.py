"""The conformance suite against our components, and against peers, whose known failures are listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from langchain_classic.retrievers.document_compressors import LLMChainExtractor
from langchain_core.language_models import FakeListChatModel
from llama_index.core import MockEmbedding
from llama_index.core.postprocessor import SentenceEmbeddingOptimizer
from tiny import UnitScorer

from moos_integrations import ContextCompressor
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.llama_index import MOOSNodePostprocessor
from moos_integrations.testing import (
    DocumentCompressorSuite,
    DocumentTransformerSuite,
    NodePostprocessorSuite,
)
from moos_integrations.testing.laws import is_subsequence


def without_model(component: Any) -> Any:
    """The component with a scorer that needs no weights."""
    component._compressor = ContextCompressor(UnitScorer(), component.config_of_compressor())
    return component


class TestOurCompressor(DocumentCompressorSuite):
    def make(self) -> Any:
        return without_model(MOOSCompressor(rate=0.5))

    def make_with_budget(self, budget: int) -> Any:
        return without_model(MOOSCompressor(budget_tokens=budget))

    def count(self, text: str) -> int:
        return ContextCompressor(UnitScorer()).counter.count(text)


class TestOurTransformer(DocumentTransformerSuite):
    def make(self) -> Any:
        return without_model(MOOSCompressor(rate=0.5))


class TestOurPostprocessor(NodePostprocessorSuite):
    def make(self) -> Any:
        return without_model(MOOSNodePostprocessor(rate=0.5))

    def make_with_budget(self, budget: int) -> Any:
        return without_model(MOOSNodePostprocessor(budget_tokens=budget))

    def count(self, text: str) -> int:
        return ContextCompressor(UnitScorer()).counter.count(text)


Suite = TypeVar("Suite", bound=type)


def known_failures(**reasons: str) -> Callable[[Suite], Suite]:
    """Mark laws that a peer breaks: a law that it keeps one day fails the test, so that the list stays true."""

    def mark(suite: Suite) -> Suite:
        for law, reason in reasons.items():
            inherited = getattr(suite, f"test_{law}")

            def broken(self: Any, inherited: Callable[[Any], None] = inherited) -> None:
                inherited(self)

            setattr(suite, f"test_{law}", pytest.mark.xfail(reason=reason, strict=True)(broken))
        return suite

    return mark


@known_failures(
    nothing_is_added_or_moved="the LLM rewrites, and nothing compares its answer with the source",
    ids_are_kept="documents are made anew without their ids",
    outputs_share_no_metadata_with_inputs="metadata are handed on as the same object",
)
class TestChainExtractor(DocumentCompressorSuite):
    """LangChain's extractor, with an LLM that rewrites."""

    def make(self) -> Any:
        return LLMChainExtractor.from_llm(FakeListChatModel(responses=["A card is 12 euros."]))


_CHANGES_INPUTS = "the text is written into the nodes that came in, so that each call shortens them again"


@known_failures(
    it_shortens="it writes the metadata, as the embedding model sees them, into the text",
    nothing_is_added_or_moved="it writes the metadata into the text",
    inputs_are_not_changed=_CHANGES_INPUTS,
    outputs_share_no_metadata_with_inputs="nodes come out as the same objects",
    the_same_in_gives_the_same_out=_CHANGES_INPUTS,
    async_gives_the_same=_CHANGES_INPUTS,
    threads_give_the_same=_CHANGES_INPUTS,
    questions_of_any_form_are_no_error="an empty question is an error",
)
class TestSentenceEmbeddingOptimizer(NodePostprocessorSuite):
    """LlamaIndex's optimizer, with a splitter that needs no download."""

    def make(self) -> Any:
        return SentenceEmbeddingOptimizer(
            embed_model=MockEmbedding(8), percentile_cutoff=0.5, tokenizer_fn=lambda text: text.split(". ")
        )


# --- the suite itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "expected"), [("", True), ("ac", True), ("abc", True), ("ca", False), ("aa", False)])
def test_subsequences(text: str, expected: bool) -> None:
    assert is_subsequence(text, "abc") == expected


class Longer:
    """A component that breaks laws: it adds a word, and writes into its inputs."""

    def compress_documents(self, documents: list[Any], question: str) -> list[Any]:
        for document in documents:
            document.page_content += " more"
        return documents


class BrokenSuite(DocumentCompressorSuite):
    def make(self) -> Any:
        return Longer()


@pytest.mark.parametrize("law", ["it_shortens", "nothing_is_added_or_moved", "inputs_are_not_changed"])
def test_the_suite_finds_broken_laws(law: str) -> None:
    with pytest.raises(AssertionError):
        getattr(BrokenSuite(), f"test_{law}")()


@pytest.mark.parametrize("law", ["batches_give_the_same", "a_budget_is_a_ceiling"])
def test_laws_of_what_is_not_offered_are_skipped(law: str) -> None:
    with pytest.raises(pytest.skip.Exception):
        getattr(BrokenSuite(), f"test_{law}")()
