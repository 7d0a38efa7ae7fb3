"""`COMISynthesizer`: a LlamaIndex response synthesizer that answers from memory vectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from moos_integrations.comi.compressor import COMI, MAX_NEW_TOKENS
from moos_integrations.errors import MissingExtraError

try:
    from llama_index.core.llms import MockLLM
    from llama_index.core.prompts.mixin import PromptDictType
    from llama_index.core.response_synthesizers import BaseSynthesizer
except ImportError as error:
    raise MissingExtraError("llama_index.core", extra="llama-index") from error

_DONE = object()


class COMISynthesizer(BaseSynthesizer):
    """Answers by the tuned decoder, from the vectors of all nodes; `index.as_query_engine(response_synthesizer=...)`.

    The query engine's LLM is not used.
    """

    def __init__(
        self,
        comi: COMI,
        *,
        merge_size: int | None = None,
        budget_positions: int | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        repetition_penalty: float = 1.0,
        streaming: bool = False,
    ) -> None:
        """Use a loaded `COMI`; the other arguments are those of its `compress` and `answer`."""
        # The base class wants an LLM, and would otherwise look for one in the global settings.
        super().__init__(llm=MockLLM(), streaming=streaming)
        self.comi = comi
        self.compression: dict[str, Any] = {"merge_size": merge_size, "budget_positions": budget_positions}
        self.generation: dict[str, Any] = {"max_new_tokens": max_new_tokens, "repetition_penalty": repetition_penalty}

    def get_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> Any:
        """The answer, or its pieces with `streaming`.

        Raises:
            InputError: If the question is blank.
            ConfigError: As for `COMI.compress`.
        """
        memory = self.comi.compress(list(text_chunks), query_str, **self.compression)
        if self._streaming:
            return self.comi.stream(memory, **self.generation)
        return self.comi.answer(memory, **self.generation)[0]

    async def aget_response(self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any) -> Any:
        """As `get_response`, in a thread."""
        found = await asyncio.to_thread(self.get_response, query_str, text_chunks, **response_kwargs)
        return _in_thread(found) if self._streaming else found

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """There are none: the decoder was tuned for one form of prompt."""


async def _in_thread(pieces: Iterator[str]) -> AsyncIterator[str]:
    while (piece := await asyncio.to_thread(next, pieces, _DONE)) is not _DONE:
        yield str(piece)
