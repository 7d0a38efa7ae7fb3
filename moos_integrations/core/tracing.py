"""Spans for OpenTelemetry, if the application uses it: counts, times and settings, never any text."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from moos_integrations.core.result import CompressionResult

SPAN = "moos.compress"
_TARGETS = ("rate", "budget_tokens", "threshold")
_Method = TypeVar("_Method", bound=Callable[..., Any])


def traced(method: _Method) -> _Method:
    """A method that runs a checked call in a span; without OpenTelemetry, the method as it is.

    The span has the attributes `moos.requests`, `moos.documents`, `moos.dropped_documents`, `moos.original_tokens`,
    `moos.kept_tokens`, `moos.rate`, `moos.seconds`, `moos.question` (whether there is one), `moos.model`, `moos.target`
    (its name) and `moos.target_value`, and `moos.warnings` (kinds). A failed call has `error.type`.
    """

    @functools.wraps(method)
    def run(compressor: Any, call: Any) -> Any:
        with _span() as span:
            results = method(compressor, call)
            if span is not None:
                span.set_attributes(_attributes(compressor.config, call, results))
            return results

    return run  # type: ignore[return-value]


@contextmanager
def _span() -> Iterator[Any]:
    # An application that exports spans has imported it; importing it here would only cost time.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        yield None
        return
    tracer = trace.get_tracer("moos_integrations")
    # The message of an error may have a piece of a document, so that it is not recorded.
    with tracer.start_as_current_span(SPAN, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield span if span.is_recording() else None
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise


def _attributes(config: Any, call: Any, results: Sequence[CompressionResult]) -> dict[str, Any]:
    original, kept = (sum(getattr(result, f"{name}_tokens") for result in results) for name in ("original", "kept"))
    source = config if call.target is None else call.target
    target = next((name for name in _TARGETS if getattr(source, name) is not None), None)
    kinds = dict.fromkeys(notice.kind for result in results for notice in result.warnings)
    attributes = {
        "moos.requests": len(results),
        "moos.documents": sum(len(result) for result in results),
        "moos.dropped_documents": sum(document.dropped for result in results for document in result),
        "moos.original_tokens": original,
        "moos.kept_tokens": kept,
        "moos.rate": kept / original if original else 1.0,
        "moos.seconds": max((result.seconds for result in results), default=0.0),
        "moos.question": any(query is not None for query in call.queries),
        "moos.model": config.model,
        "moos.target": target or "default",
        "moos.warnings": list(kinds),
    }
    return attributes if target is None else attributes | {"moos.target_value": getattr(source, target)}
