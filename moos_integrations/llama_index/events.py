"""Instrumentation events of a compression, for traces."""

from __future__ import annotations

from llama_index.core.instrumentation.events.base import BaseEvent  # type: ignore[attr-defined]
from pydantic import Field


class MOOSCompressionStartEvent(BaseEvent):
    """Sent before nodes are compressed; never for nodes without any text.

    Examples:
        >>> from moos_integrations.llama_index import MOOSCompressionStartEvent
        >>> MOOSCompressionStartEvent(query=None, documents=2, model="moos-minilm-en").class_name()
        'MOOSCompressionStartEvent'
    """

    query: str | None = Field(description="The question, if there is one.")
    documents: int = Field(description="Number of nodes.")
    model: str = Field(description="The token classifier that scores the words.")

    @classmethod
    def class_name(cls) -> str:
        """Name under which handlers know the event."""
        return "MOOSCompressionStartEvent"


class MOOSCompressionEndEvent(BaseEvent):
    """Sent after nodes were compressed, with the counts of the call.

    Examples:
        >>> from llama_index.core.instrumentation import get_dispatcher
        >>> from llama_index.core.instrumentation.event_handlers import BaseEventHandler
        >>> from moos_integrations.llama_index import MOOSCompressionEndEvent
        >>> class Savings(BaseEventHandler):
        ...     def handle(self, event, **kwargs):
        ...         if isinstance(event, MOOSCompressionEndEvent):
        ...             print(event.original_tokens, "->", event.kept_tokens)
        >>> get_dispatcher().add_event_handler(Savings())  # doctest: +SKIP
    """

    documents: int = Field(description="Number of nodes.")
    dropped_documents: list[int] = Field(description="Positions of the nodes of which no text was kept.")
    original_tokens: int = Field(description="Tokens of the texts before compression, joined.")
    kept_tokens: int = Field(description="Tokens of the texts after compression, joined.")
    context_tokens: int = Field(description="Tokens of the nodes after compression, as the prompt shows them.")
    protected_tokens: int = Field(description="Tokens spent on protected words that would have been dropped.")
    rate: float = Field(description="Achieved share of the tokens that was kept.")
    seconds: float = Field(description="Wall time of the compression.")
    left_alone: bool = Field(default=False, description="Whether the texts were too small to compress.")
    warnings: list[str] = Field(description="What could not be done as requested, in words.")

    @classmethod
    def class_name(cls) -> str:
        """Name under which handlers know the event."""
        return "MOOSCompressionEndEvent"
