"""Spans through OpenTelemetry: counts, never text; and none of it where it is not used."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from moos_integrations import CompressionError, CompressorConfig, ContextCompressor, WordScores
from moos_integrations.core.types import SegmentedText

TEXTS = ["Zanzibar was reached at noon. It rained there.", "Nothing of note was written down."]


class Scorer:
    failing = False

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        if self.failing:
            raise RuntimeError(documents[0].text)
        return [WordScores.from_preserve([0.5] * len(document)) for document in documents]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Finished spans, with a tracer provider of this test alone."""
    exporters = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter, provider = exporters.InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter.get_finished_spans
    provider.shutdown()


def test_a_span_has_the_counts_and_no_text(spans: Any) -> None:
    result = ContextCompressor(Scorer()).compress(TEXTS, "When was Zanzibar reached?", budget_tokens=8)
    (span,) = spans()
    found = dict(span.attributes)
    assert span.name == "moos.compress"
    assert found["moos.documents"] == 2
    assert (found["moos.original_tokens"], found["moos.kept_tokens"]) == (result.original_tokens, result.kept_tokens)
    assert found["moos.rate"] == pytest.approx(result.rate)
    assert (found["moos.target"], found["moos.target_value"], found["moos.question"]) == ("budget_tokens", 8, True)
    assert found["moos.dropped_documents"] == sum(document.dropped for document in result)
    assert "Zanzibar" not in span.to_json()


def test_targets_of_the_settings_and_defaults(spans: Any) -> None:
    ContextCompressor(Scorer(), CompressorConfig(rate=0.5)).compress(TEXTS)
    ContextCompressor(Scorer()).compress(TEXTS)
    first, second = (dict(span.attributes) for span in spans())
    assert (first["moos.target"], first["moos.target_value"], first["moos.question"]) == ("rate", 0.5, False)
    assert second["moos.target"] == "default"


def test_an_error_is_told_by_its_type_alone(spans: Any) -> None:
    scorer = Scorer()
    scorer.failing = True
    with pytest.raises(CompressionError):
        ContextCompressor(scorer, CompressorConfig(min_tokens=0)).compress(TEXTS)
    (span,) = spans()
    assert span.attributes["error.type"] == "CompressionError"
    assert span.status.is_ok is False
    assert "Zanzibar" not in span.to_json()


def test_spans_are_under_those_of_the_caller(spans: Any) -> None:
    from opentelemetry import trace

    async def chain() -> None:
        with trace.get_tracer("test").start_as_current_span("chain"):
            await ContextCompressor(Scorer()).acompress(TEXTS)

    asyncio.run(chain())
    inner, outer = spans()
    assert inner.parent.span_id == outer.context.span_id


def test_opentelemetry_is_not_imported() -> None:
    code = (
        "import sys; from moos_integrations import ContextCompressor, WordScores\n"
        "class S:\n    def score(self, ds, q): return [WordScores.from_preserve([.5] * len(d)) for d in ds]\n"
        "ContextCompressor(S()).compress('A b c.'); assert 'opentelemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
