"""What the LLM receives is within the budget: the prompts of both frameworks, with metadata and templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.load import dumps, loads
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.llms import MockLLM
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import ImageNode, MediaResource, MetadataMode, Node, NodeWithScore, TextNode
from pydantic import PrivateAttr
from tiny import HashScorer, UnitScorer

from moos_integrations import (
    CompressedDocument,
    CompressorConfig,
    ConfigError,
    ContextCompressor,
    InputError,
    PassthroughWarning,
    PromptFormat,
    budget_for,
)
from moos_integrations.core.tokens import token_counter
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.llama_index import MOOSNodePostprocessor

QUESTION = "When did meeting 3 end?"
TEXTS = [
    f"Topic {i} opens. The meeting {i} was long and boring. It ended at 1{i}:30 on May {i}. Lunch was cold, and nobody "
    f"ate it. The minutes of meeting {i} were sent to all members."
    for i in range(8)
]
METADATA = [
    {
        "file_path": f"/data/reports/2024/quarter_2/minutes_of_meeting_{i}.md",
        "file_name": f"minutes_of_meeting_{i}.md",
        "file_type": "text/markdown",
        "creation_date": "2024-05-01",
        "last_modified_date": "2024-05-02",
    }
    for i in range(8)
]
BUDGETS = [0, 30, 100, 217, 400]
count = token_counter("o200k_base").count


def with_scorer(component: Any, scorer: Any = None) -> Any:
    component._compressor = ContextCompressor(scorer or UnitScorer(), component.config_of_compressor())
    return component


def core(**settings: Any) -> ContextCompressor:
    return ContextCompressor(UnitScorer(), CompressorConfig(**settings))


# --- the core ---------------------------------------------------------------------------------------------------------


def titled(document: CompressedDocument) -> str:
    return f"# Minutes of meeting number {document.index}\n{document.text}"


FORMATS: list[PromptFormat] = [
    PromptFormat(titled),
    PromptFormat(titled, "\n---\n", range(8)),
    PromptFormat(lambda document: document.text, " | ", {1, 7}),
    PromptFormat(lambda document: document.text.upper(), ""),
    PromptFormat(lambda document: f"{document.relevance} {document.kept_tokens} {document.spans}: {document.text}"),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "settings", [{}, {"order": "ends"}, {"omission": "[... {count} {unit} omitted]"}, {"top_n": 3}]
)
def test_the_ceiling_holds_for_what_is_shown(form: PromptFormat, settings: dict[str, Any]) -> None:
    least = count(form.separator.join([form.document(CompressedDocument(i, "", (), 0, 0, ())) for i in form.always]))
    for budget in BUDGETS:
        result = core(**settings).compress(TEXTS, QUESTION, budget_tokens=budget, prompt=form)
        shown = [result.documents[index] for index in result.order]
        shown = [document for document in shown if document.text or document.index in form.always]
        assert result.context == form.separator.join([form.document(document) for document in shown])
        assert result.context_tokens == count(result.context)
        kinds = [notice.kind for notice in result.warnings]
        if result.context_tokens > budget:
            assert least * 0.9 > budget
            assert "budget too small for the format" in kinds
            assert not result.text


def test_a_large_budget_is_used_and_a_rate_counts_the_text_alone() -> None:
    form = PromptFormat(titled)
    whole = count(form.joined([CompressedDocument(i, text, (), 0, 0, ()) for i, text in enumerate(TEXTS)]))
    compressor = core()
    assert compressor.compress(TEXTS, QUESTION, budget_tokens=whole, prompt=form).text == "\n\n".join(TEXTS)
    less = compressor.compress(TEXTS, QUESTION, budget_tokens=whole - 1, prompt=form)
    assert whole - 40 < less.context_tokens < whole
    for rate in (0.3, 1.0):
        plain, shown = (compressor.compress(TEXTS, QUESTION, rate=rate, prompt=own) for own in (None, form))
        assert plain.text == shown.text
        assert plain.context == plain.text
        assert shown.context_tokens > plain.context_tokens == plain.kept_tokens


def test_the_user_is_told_where_metadata_outweigh_the_text() -> None:
    form = PromptFormat(lambda document: f"{METADATA[document.index]}\n{document.text}")
    kinds = {
        budget: [own.kind for own in core().compress(TEXTS, QUESTION, budget_tokens=budget, prompt=form).warnings]
        for budget in (20, 300, 5_000)
    }
    assert kinds[20] == ["budget too small for the format"]
    assert "metadata outweigh the text" in kinds[300]
    short = PromptFormat(lambda document: f"{document.index}: {document.text}")
    result = core().compress(TEXTS, QUESTION, budget_tokens=300, prompt=short)
    assert "metadata outweigh the text" not in [own.kind for own in result.warnings]


def test_documents_that_are_shown_in_any_case_cost_from_the_start() -> None:
    form = PromptFormat(titled, always=range(8))
    least = count("\n\n".join(titled(CompressedDocument(i, "", (), 0, 0, ())) for i in range(8)))
    result = core().compress(TEXTS, QUESTION, budget_tokens=least + 60, prompt=form)
    assert least < result.context_tokens <= least + 60
    assert result.text


def test_what_fails_is_shown_and_counted_too() -> None:
    class Failing(HashScorer):
        def score(self, documents: Any, query: Any) -> Any:
            if any("Topic 2" in document.text for document in documents):
                raise RuntimeError("bad text")
            return super().score(documents, query)

    compressor = ContextCompressor(Failing(), CompressorConfig(on_error="passthrough"))
    with pytest.warns(PassthroughWarning):
        result = compressor.compress(TEXTS, budget_tokens=200, prompt=PromptFormat(titled))
    assert result.documents[2].text == TEXTS[2]
    assert titled(result.documents[2]) in result.context
    assert 100 < result.context_tokens == count(result.context) <= 200


def test_a_format_that_fails_is_an_error_or_passes_the_texts_through() -> None:
    def broken(document: CompressedDocument) -> str:
        raise KeyError("title")

    with pytest.raises(Exception, match="title"):
        core().compress(TEXTS, budget_tokens=50, prompt=PromptFormat(broken))
    with pytest.warns(PassthroughWarning):
        result = core(on_error="passthrough").compress(TEXTS, budget_tokens=50, prompt=PromptFormat(broken))
    assert result.context == result.text == "\n\n".join(TEXTS)
    with pytest.raises(InputError, match="must return a string, got int for document 0"):
        core().compress(TEXTS, budget_tokens=50, prompt=PromptFormat(lambda document: 3))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{text}",), "must be a function"),
        ((str, 3), "`separator` must be a string"),
        ((str, " ", "abc"), "`always` must hold"),
    ],
)
def test_wrong_formats_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PromptFormat(*arguments)


async def test_the_type_of_a_prompt_is_checked_and_many_have_one_each() -> None:
    with pytest.raises(InputError, match="`prompt` must be a `PromptFormat` or None, got str"):
        core().compress(TEXTS, prompt="{text}")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected 2 of them"):
        core().compress_many([TEXTS, TEXTS], prompts=[None])
    form = PromptFormat(titled)
    one = await core().acompress(TEXTS, QUESTION, budget_tokens=90, prompt=form)
    many = await core().acompress_many([TEXTS, TEXTS], [QUESTION] * 2, budget_tokens=90, prompts=[None, form])
    assert many[1].context == one.context
    assert many[0].context == many[0].text != many[1].text


# --- the rate in another order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["source", "relevance", "ends"])
def test_a_rate_of_one_keeps_all_in_any_order(order: Any) -> None:
    pieces = ["one", "two\n\n", " \n", "3", ".", "x  ", "\tfour five.", "", "6\n", "naïve", "(", ")"]
    for shift in range(60):
        texts = [pieces[(shift * 7 + 5 * place + shift // 12) % 12] * (1 + (shift + place) % 3) for place in range(4)]
        result = core(order=order, separator=["\n\n", "", " "][shift % 3]).compress(texts, QUESTION, rate=1.0)
        assert [document.text for document in result.documents] == texts
        assert result.kept_tokens == result.original_tokens == count(result.text)


@pytest.mark.parametrize("target", [{"threshold": 0.0}, {"rate": 1.0}, {"budget_tokens": 99}])
@pytest.mark.parametrize("protect", [(), ("numbers",)])
def test_a_document_without_words_does_not_exceed_top_n(target: dict[str, Any], protect: Sequence[str]) -> None:
    result = core(top_n=1, protect=protect).compress(["It ended at 17:30.", "  ", "\n\n"], QUESTION, **target)
    assert [bool(document.text) for document in result.documents] == [True, False, False]


# --- LangChain --------------------------------------------------------------------------------------------------------

DOCUMENTS = [Document(text, id=str(i), metadata=METADATA[i]) for i, text in enumerate(TEXTS)]
SHOWN = PromptTemplate.from_template("Source: {file_path}, {creation_date}\n{page_content}")
CHAT = ChatPromptTemplate.from_messages([("system", "Answer from this:\n\n{context}"), ("human", "{question}")])


class Listening(FakeListChatModel):
    _seen: list[str] = PrivateAttr(default_factory=list)

    def _call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
        self._seen.append("\n".join(message.content for message in messages))
        return super()._call(messages, *args, **kwargs)


def template_tokens() -> int:
    messages = CHAT.format_messages(context="", question=QUESTION)
    return count("\n".join(str(message.content) for message in messages))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("separator", [None, "\n\n-------- next document --------\n\n"])
@pytest.mark.parametrize("settings", [{}, {"added_metadata": "all"}, {"keep_empty": True}, {"order": "ends"}])
def test_the_prompt_of_a_stuff_chain_is_within_the_budget(
    budget: int, separator: str | None, settings: dict[str, Any]
) -> None:
    compressor = with_scorer(
        MOOSCompressor(budget_tokens=budget, document_prompt=SHOWN, document_separator=separator, **settings)
    )
    kept = compressor.compress_documents(DOCUMENTS, QUESTION)
    llm = Listening(responses=["At noon."])
    between: dict[str, Any] = {} if separator is None else {"document_separator": separator}
    create_stuff_documents_chain(llm, CHAT, document_prompt=SHOWN, **between).invoke(
        {"context": kept, "question": QUESTION}
    )
    (seen,) = llm._seen
    empty = (separator or "\n\n").join(SHOWN.format(page_content="", **metadata) for metadata in METADATA)
    least = count(empty) if settings.get("keep_empty") else 0
    assert count(seen) <= max(budget, least) + template_tokens() + 2


def test_without_a_format_a_budget_is_that_of_the_texts() -> None:
    compressor = with_scorer(MOOSCompressor(budget_tokens=400))
    kept = compressor.compress_documents(DOCUMENTS, QUESTION)
    assert count("\n\n".join(SHOWN.format(page_content=own.page_content, **own.metadata) for own in kept)) > 500


PRINTS: list[Callable[[Document], str]] = [
    lambda document: f"Source: {document.metadata}\n{document.page_content}",
    lambda document: f"<doc id={document.id}>{document.page_content}</doc>",
]


@pytest.mark.parametrize("form", PRINTS)
@pytest.mark.parametrize("added", ["spans", "all", "none"])
def test_a_function_sees_the_documents_as_they_come_out(form: Callable[[Document], str], added: Any) -> None:
    for budget in BUDGETS:
        compressor = with_scorer(
            MOOSCompressor(budget_tokens=budget, document_format=form, added_metadata=added, score_key="score")
        )
        kept = compressor.compress_documents(DOCUMENTS, QUESTION)
        assert count("\n\n".join(map(form, kept))) <= budget


def test_empty_documents_that_are_kept_count() -> None:
    for budget in (20, 60):
        kept = with_scorer(MOOSCompressor(budget_tokens=budget, keep_empty=True)).compress_documents(
            DOCUMENTS, QUESTION
        )
        assert len(kept) == len(DOCUMENTS)
        assert count("\n\n".join(document.page_content for document in kept)) <= budget


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_formats_are_saved_copied_and_checked() -> None:
    compressor = MOOSCompressor(document_prompt=SHOWN, document_separator="\n")
    allowed: dict[str, Any] = {
        "allowed_objects": [MOOSCompressor, PromptTemplate],
        "valid_namespaces": ["moos_integrations"],
    }
    again = loads(dumps(compressor), **allowed)
    assert (again.document_prompt, again.document_separator) == (SHOWN, "\n")
    assert compressor.model_copy().document_prompt == SHOWN
    for settings, message in (
        ({"document_prompt": "{page_content}"}, "`document_prompt` must be a prompt template, got str"),
        ({"document_prompt": PromptTemplate.from_template("{text}")}, "must have the variable `page_content`"),
        ({"document_format": "x"}, "`document_format` must be a function"),
        ({"document_prompt": SHOWN, "document_format": str}, "not both"),
    ):
        with pytest.raises(ConfigError, match=message):
            MOOSCompressor(**settings)


def test_budget_for_and_a_format_together_fill_the_window_and_no_more() -> None:
    prompt = CHAT.format_messages(context="", question=QUESTION)
    budget = budget_for("gpt-4o", prompt, 100, context_window=500)
    kept = with_scorer(MOOSCompressor(budget_tokens=budget, document_prompt=SHOWN)).compress_documents(
        DOCUMENTS, QUESTION
    )
    llm = Listening(responses=["At noon."])
    create_stuff_documents_chain(llm, CHAT, document_prompt=SHOWN).invoke({"context": kept, "question": QUESTION})
    assert 300 < count(llm._seen[0]) <= 400


# --- LlamaIndex -------------------------------------------------------------------------------------------------------


class Hearing(MockLLM):
    _seen: list[str] = PrivateAttr(default_factory=list)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        self._seen.append(prompt)
        return super().complete(prompt, formatted, **kwargs)


def nodes(kind: Any = TextNode) -> list[NodeWithScore]:
    name, made_of = ("text", str) if kind is TextNode else ("text_resource", lambda text: MediaResource(text=text))
    made = [
        kind(**{name: made_of(text)}, metadata=METADATA[i], excluded_llm_metadata_keys=["file_type"])
        for i, text in enumerate(TEXTS)
    ]
    return [NodeWithScore(node=node, score=1 - i / 10) for i, node in enumerate(made)]


def prompt_of(kept: list[NodeWithScore], mode: ResponseMode = ResponseMode.COMPACT) -> str:
    llm = Hearing(max_tokens=None)
    get_response_synthesizer(llm=llm, response_mode=mode).synthesize(QUESTION, nodes=kept)
    return "\n".join(llm._seen)


def stated_tokens(mode: ResponseMode = ResponseMode.COMPACT) -> int:
    return count(prompt_of([NodeWithScore(node=TextNode(text="x"))], mode))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", [TextNode, Node])
@pytest.mark.parametrize("settings", [{}, {"order": "relevance"}, {"score_key": "relevance_score"}])
def test_the_prompt_of_a_synthesizer_is_within_the_budget(budget: int, settings: dict[str, Any], kind: Any) -> None:
    processor = with_scorer(MOOSNodePostprocessor(budget_tokens=budget, **settings))
    kept = processor.postprocess_nodes(nodes(kind), query_str=QUESTION)
    assert count(prompt_of(kept)) <= budget + stated_tokens()
    if budget == 400:
        assert count(prompt_of(kept)) > 300


ENDS = ("", ")", " |", "\n", "  \n\n", "}", ":", '."', " 7", "```")


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.TREE_SUMMARIZE])
@pytest.mark.parametrize("budget", [60, 120, 200])
@pytest.mark.parametrize("begin", ["", " ", "\n    ", "- "])
def test_budgets_hold_whatever_nodes_begin_and_end_with(mode: ResponseMode, budget: int, begin: str) -> None:
    texts = [f"{begin}Restarted {number} times{end}" for number in range(4) for end in ENDS]
    given = [NodeWithScore(node=TextNode(text=text), score=1.0) for text in texts]
    processor = with_scorer(MOOSNodePostprocessor(budget_tokens=budget))
    kept = processor.postprocess_nodes(given, query_str=QUESTION)
    assert 0.8 * budget < count(prompt_of(kept, mode)) - stated_tokens(mode) + 1 <= budget


def test_without_metadata_a_budget_is_that_of_the_texts() -> None:
    processor = with_scorer(MOOSNodePostprocessor(budget_tokens=400, count_metadata=False))
    kept = processor.postprocess_nodes(nodes(), query_str=QUESTION)
    assert count("\n\n".join(item.node.get_content() for item in kept)) <= 400
    assert count(prompt_of(kept)) > 600


async def test_metadata_that_outweigh_the_text_are_reported_in_the_nodes() -> None:
    processor = with_scorer(MOOSNodePostprocessor(budget_tokens=250))
    kept = await processor.apostprocess_nodes(nodes(), query_str=QUESTION)
    assert "metadata outweigh the text" in kept[0].node.metadata["moos_warnings"]
    assert count(prompt_of(kept)) <= 250 + stated_tokens()


def test_nodes_that_stay_without_text_count() -> None:
    image = NodeWithScore(node=ImageNode(text="", image="aGVsbG8=", metadata=METADATA[0]))
    processor = with_scorer(MOOSNodePostprocessor(budget_tokens=300))
    kept = processor.postprocess_nodes([image, *nodes()[1:]], query_str=QUESTION)
    assert any(isinstance(item.node, ImageNode) for item in kept)
    assert 200 < count("\n\n".join(item.node.get_content(MetadataMode.LLM) for item in kept)) <= 300


def test_nodes_are_not_changed_by_counting() -> None:
    given = nodes()
    before = [item.model_dump() for item in given]
    with_scorer(MOOSNodePostprocessor(budget_tokens=200)).postprocess_nodes(given, query_str=QUESTION)
    assert [item.model_dump() for item in given] == before
