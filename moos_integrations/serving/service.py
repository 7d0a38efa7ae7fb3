"""What the server and the tools for agents do with a request; knows no protocol."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from moos_integrations.agents.pruning import ToolOutputPruner
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig, Target
from moos_integrations.core.explain import Explanation
from moos_integrations.core.result import CompressionResult
from moos_integrations.core.types import Span
from moos_integrations.errors import CompressionTimeoutError, MoosError
from moos_integrations.serving.chat import FirstGoals, HashingPruner, prune_chat
from moos_integrations.serving.originals import Originals
from moos_integrations.serving.schemas import DocumentsRequest, MessagesRequest

MOST_SENTENCES = 5_000
"""Most sentences that an explanation shows."""


class Service:
    """Compresses documents, prunes chats, and gives full texts back; safe to share between threads."""

    def __init__(self, compressor: ContextCompressor, keep_bytes: int) -> None:
        """Serve with a compressor.

        Args:
            compressor: Its settings are those of requests without their own target.
            keep_bytes: Memory for full texts that were pruned.
        """
        self.compressor, self.originals, self._goals = compressor, Originals(keep_bytes), FirstGoals()
        self._pruner = lru_cache(maxsize=32)(partial(_pruner, compressor))

    def count(self, text: str) -> int:
        """Tokens of a text in the tokenizer of the target LLM."""
        return self.compressor.counter.count(text)

    def run(self, kind: type, target: Target | None, requests: Sequence[Any]) -> list[Any]:
        """The answers to requests of one kind and target, as JSON values; an exception in place of one that fails."""
        if kind is MessagesRequest:
            return [_or_error(partial(self._chat, target, request)) for request in requests]
        try:
            results: Sequence[Any] = self._compress(target, requests)
        except CompressionTimeoutError:
            raise
        except Exception as error:
            if len(requests) == 1:
                return [error]
            results = [_or_error(lambda own=request: self._compress(target, [own])[0]) for request in requests]
        return [
            result if isinstance(result, Exception) else _or_error(partial(answer_of, request, result))
            for request, result in zip(requests, results, strict=True)
        ]

    def _compress(self, target: Target | None, requests: Sequence[DocumentsRequest]) -> list[CompressionResult]:
        return self.compressor.compress_many(
            [[document.text for document in request.documents] for request in requests],
            [request.query for request in requests],
            document_scores=[
                scores if any(score is not None for score in scores) else None
                for scores in ([document.score for document in request.documents] for request in requests)
            ],
            **_keywords(target),
        )

    def _chat(self, target: Target | None, request: MessagesRequest) -> dict[str, Any]:
        chat = prune_chat(request.messages, self._pruner(target), self.count, self.originals, self._goals)
        return {
            "messages": chat.messages,
            "tokens_before": chat.tokens_before,
            "tokens_after": chat.tokens_after,
            "tokens_saved": chat.tokens_before - chat.tokens_after,
            "compression_ratio": chat.tokens_after / chat.tokens_before if chat.tokens_before else 1.0,
            "ccr_hashes": chat.hashes,
        }

    def part(self, text: str, query: str, max_tokens: int) -> str:
        """The lines of a full text that matter for a query."""
        return self._pruner(None).read(text, query=query, max_tokens=max_tokens)


def _pruner(compressor: ContextCompressor, target: Target | None) -> ToolOutputPruner:
    return HashingPruner(compressor=compressor, **pruner_settings(compressor.config, target))


def pruner_settings(config: CompressorConfig, target: Target | None) -> dict[str, Any]:
    """The settings of a compressor for a pruner, with another target if there is one."""
    settings = {name: getattr(config, name) for name in config.model_fields_set if name != "min_tokens"}
    if target is None:
        return settings
    return {name: value for name, value in settings.items() if name not in _TARGETS} | _keywords(target)


_TARGETS = ("rate", "budget_tokens", "threshold")


def _keywords(target: Target | None) -> dict[str, Any]:
    return {} if target is None else {name: getattr(target, name) for name in _TARGETS}


def _or_error(work: Any) -> Any:
    """What the work returns, or the exception that it raises."""
    try:
        return work()
    except CompressionTimeoutError:
        raise
    except Exception as error:
        return error


# --- answers ----------------------------------------------------------------------------------------------------------


def answer_of(request: DocumentsRequest, result: CompressionResult) -> dict[str, Any]:
    """A result as a JSON value."""
    answer: dict[str, Any] = {
        "text": result.text,
        "documents": [
            {
                "id": source.id,
                "text": document.text,
                "spans": document.spans,
                "original_tokens": document.original_tokens,
                "kept_tokens": document.kept_tokens,
                "relevance": document.relevance,
            }
            for source, document in zip(request.documents, result.documents, strict=True)
        ],
        "order": result.order,
        "original_tokens": result.original_tokens,
        "kept_tokens": result.kept_tokens,
        "rate": result.rate,
        "left_alone": result.left_alone,
        "passed_through": result.passed_through,
        "warnings": [{"kind": notice.kind, "text": str(notice)} for notice in result.warnings],
        "seconds": result.seconds,
    }
    if request.explain and not result.passed_through:
        _explain(answer, result)
    return answer


def _explain(answer: dict[str, Any], result: CompressionResult) -> None:
    """Add the sentences; a result without an explanation is still a result."""
    try:
        answer["sentences"] = sentences_of(result.explain(), result)
    except MoosError as error:
        answer["warnings"].append({"kind": "no explanation", "text": f"There is no explanation: {error}"})


def sentences_of(explanation: Explanation, result: CompressionResult) -> list[dict[str, Any]]:
    """The sentences, lines and headings of a result, with what decided about them; at most `MOST_SENTENCES`.

    Each has its text as `parts`, pairs of a string and whether it was kept, and the indices of the sentence that says
    the same (`similar_to`) and of the heading it is under (`under`).
    """
    reasons = _reasons(explanation)
    spans = [(document.spans, [end for _, end in document.spans]) for document in result.documents]
    return [
        {
            "document": unit.document,
            "parts": _parts(unit.text, unit.start, *spans[unit.document]),
            "relevance": unit.relevance,
            "redundancy": unit.redundancy,
            "similar_to": _in_reach(unit.against),
            "repetition": unit.repetition,
            "gain": unit.gain,
            "share": unit.share,
            "words": unit.words,
            "kept_words": unit.kept_words,
            "under": _in_reach(unit.under),
            "reason": reasons.get((unit.document, unit.start)),
        }
        for unit in explanation.units[:MOST_SENTENCES]
    ]


def _in_reach(index: int | None) -> int | None:
    return index if index is not None and index < MOST_SENTENCES else None


def _reasons(explanation: Explanation) -> dict[tuple[int, int], str]:
    """By document and start of a sentence: the reason of its first kept word, or of its first word if none was kept."""
    found: dict[tuple[int, int], str] = {}
    units = iter(explanation.units)
    unit = next(units, None)
    kept = False
    for word in explanation:
        while unit is not None and (word.document, word.start) >= (unit.document, unit.end):
            unit, kept = next(units, None), False
        if unit is None:
            break
        place = unit.document, unit.start
        if place not in found or (word.kept and not kept):
            found[place], kept = word.reason, word.kept
    return found


def _parts(text: str, start: int, spans: Sequence[Span], ends: Sequence[int]) -> list[tuple[str, bool]]:
    """A text that begins at an offset of its document, cut where kept text begins or ends.

    Args:
        text: The text.
        start: Its offset.
        spans: The kept spans of the document, in order.
        ends: Their ends.
    """
    parts, position, end = [], start, start + len(text)
    for first, last in spans[bisect_right(ends, start) :]:
        first, last = max(first, start), min(last, end)
        if first >= last:
            break
        if first > position:
            parts.append((text[position - start : first - start], False))
        parts.append((text[first - start : last - start], True))
        position = last
    if position < end:
        parts.append((text[position - start :], False))
    return parts
