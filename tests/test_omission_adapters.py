"""Omission marks and small inputs in the adapters and on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps, loads
from llama_index.core.schema import NodeWithScore, TextNode
from tiny import HashScorer
from typer.testing import CliRunner

from moos_integrations import CompressorConfig, ContextCompressor
from moos_integrations.cli import app
from moos_integrations.langchain import MOOSCompressor
from moos_integrations.langchain import cite as cite_documents
from moos_integrations.llama_index import MOOSNodePostprocessor, MOOSNodeTransform
from moos_integrations.llama_index import cite as cite_nodes

MARK = "[... {count} {unit} omitted]"
TEXT = " ".join(f"Room {n} of the old house was painted in a new colour in {1900 + n}." for n in range(1, 13))


def with_scorer(component: Any) -> Any:
    """The component with a scorer that needs no weights."""
    component._compressor = ContextCompressor(HashScorer(), component.config_of_compressor())
    return component


def quotes_of(text: str) -> list[str]:
    """Quotes across marks: the sentences before and behind each."""
    return [sentence for sentence in text.replace("omitted] ", "omitted]. ").split(". ") if sentence.startswith("Room")]


def test_quotes_around_marks_lead_back_from_langchain() -> None:
    made = with_scorer(MOOSCompressor(rate=0.5, omission=MARK))
    (document,) = made.compress_documents([Document(TEXT, id="a")])
    shown = re.findall(r"\[\.\.\. \d+ sentences? omitted\]", document.page_content)
    assert shown
    for quote in quotes_of(document.page_content):
        (place,) = cite_documents(quote, [document], min_coverage=1.0)
        assert TEXT[place.start : place.end] == quote.rstrip(".")
    assert [place.within for place in cite_documents(shown[0], [document])] == ["text"]  # not from the source


def test_llama_index_nodes_lead_back_through_two_passes() -> None:
    transform = with_scorer(MOOSNodeTransform(rate=0.7, omission=MARK))
    (once,) = transform([TextNode(text=TEXT)])
    processor = with_scorer(MOOSNodePostprocessor(rate=0.6, omission=MARK))
    (twice,) = processor.postprocess_nodes([NodeWithScore(node=once)])
    assert "omitted]" in once.text
    assert "omitted]" in twice.text
    for node in (once, twice.node):
        assert isinstance(node, TextNode)
        assert quotes_of(node.text)
        for quote in quotes_of(node.text):
            (place,) = cite_nodes(quote, [node], min_coverage=1.0)
            assert TEXT[place.start : place.end] == quote.rstrip(".")
        assert {place.within for place in cite_nodes("sentences omitted", [node])} == {"text"}


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_settings_travel_with_the_components() -> None:
    made = MOOSCompressor(omission=MARK, min_tokens=9)
    again = loads(dumps(made), allowed_objects=[MOOSCompressor], valid_namespaces=["moos_integrations"])
    assert (again.omission, again.min_tokens) == (MARK, 9)
    node = MOOSNodePostprocessor(omission=MARK, min_tokens=9)
    assert MOOSNodePostprocessor.from_dict(node.to_dict()).omission == MARK


def test_small_documents_are_left_alone_in_both() -> None:
    short = ["Two words.", "", "Three more words."]
    for keep_empty, kept in ((False, ["Two words.", "Three more words."]), (True, short)):
        component = MOOSCompressor(min_tokens=50, keep_empty=keep_empty, model="moos-minilm-en")
        component._compressor = ContextCompressor(pytest.fail, component.config_of_compressor())
        assert [own.page_content for own in component.compress_documents([Document(text) for text in short])] == kept
    node = MOOSNodeTransform(min_tokens=50)
    node._compressor = ContextCompressor(pytest.fail, node.config_of_compressor())
    assert [own.get_content() for own in node([TextNode(text=text) for text in short if text])] == kept[:1] + kept[2:]


def test_the_command_line_has_both(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(TEXT, encoding="utf-8")
    done = CliRunner().invoke(app, ["compress", str(file), "--rate", "0.4", "--omission", MARK, "--json", "-q"])
    assert done.exit_code == 0, done.output
    (document,) = json.loads(done.stdout)["documents"]
    assert document["marks"]
    for mark in document["marks"]:
        assert document["text"][mark["start"] : mark["end"]] == MARK.format(
            count=mark["count"], unit=mark["unit"] + "s" * (mark["count"] != 1)
        )
    alone = CliRunner().invoke(app, ["compress", str(file), "--min-tokens", "1000"])
    assert alone.stdout == TEXT + "\n"
    assert "left alone: fewer than 1000 tokens" in alone.stderr
    wrong = CliRunner().invoke(app, ["compress", str(file), "--omission", "[{lines}]"])
    assert wrong.exit_code == 2
    assert "unknown field 'lines'" in wrong.stderr
    assert CompressorConfig(omission=None).omission is None
