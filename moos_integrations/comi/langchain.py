"""`COMIGenerator`: a LangChain Runnable from documents and a question to an answer, through memory vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from moos_integrations.comi.compressor import COMI, MAX_NEW_TOKENS
from moos_integrations.comi.memory import SoftMemory
from moos_integrations.errors import InputError, MissingExtraError

try:
    from langchain_core.documents import Document
    from langchain_core.runnables import Runnable, RunnableConfig
    from langchain_core.runnables.config import run_in_executor
except ImportError as error:
    raise MissingExtraError("langchain_core", extra="langchain") from error

DOCUMENT_KEYS = ("context", "documents")
QUESTION_KEYS = ("question", "query", "input")
_DONE = object()


class COMIGenerator(Runnable[Mapping[str, Any], str]):
    """`{"context": documents, "question": question}` to an answer by the tuned decoder.

    `batch` compresses and answers all inputs together. Async methods run in a thread, so that the event loop is free.
    """

    def __init__(
        self,
        comi: COMI,
        *,
        merge_size: int | None = None,
        budget_positions: int | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        repetition_penalty: float = 1.0,
    ) -> None:
        """Use a loaded `COMI`; the other arguments are those of its `compress` and `answer`."""
        self.comi = comi
        self.compression: dict[str, Any] = {"merge_size": merge_size, "budget_positions": budget_positions}
        self.generation: dict[str, Any] = {"max_new_tokens": max_new_tokens, "repetition_penalty": repetition_penalty}

    def memory(self, input: Mapping[str, Any]) -> SoftMemory:
        """The memory that an input gives.

        Raises:
            InputError: If it is no dict with documents and a question.
            ConfigError: As for `COMI.compress`.
        """
        documents, question = _read(input)
        return self.comi.compress(documents, question, **self.compression)

    def invoke(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> str:
        """The answer.

        Raises:
            InputError: If the input is no dict with documents and a question.
            ConfigError: As for `COMI.compress`.
        """
        return self._call_with_config(self._answer, input, config, run_type="chain", **kwargs)

    async def ainvoke(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> str:
        """As `invoke`, in a thread."""
        return await run_in_executor(config, self.invoke, input, config, **kwargs)

    def batch(
        self,
        inputs: list[Mapping[str, Any]],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """The answers, generated together; with `return_exceptions` one by one, so that one error stays one."""
        if return_exceptions or not inputs:
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        return self._batch_with_config(self._answers, inputs, config, **kwargs)

    async def abatch(
        self,
        inputs: list[Mapping[str, Any]],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """As `batch`, in a thread."""
        return await run_in_executor(None, self.batch, inputs, config, return_exceptions=return_exceptions, **kwargs)

    def stream(self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[str]:
        """The answer piece by piece."""
        return self._transform_stream_with_config(iter([input]), self._pieces, config, run_type="chain", **kwargs)

    async def astream(
        self, input: Mapping[str, Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        """As `stream`; each piece is waited for in a thread."""
        pieces = self.stream(input, config, **kwargs)
        try:
            while (piece := await run_in_executor(config, next, pieces, _DONE)) is not _DONE:
                yield str(piece)
        finally:
            await run_in_executor(config, getattr(pieces, "close", lambda: None))

    def transform(
        self, input: Iterator[Mapping[str, Any]], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[str]:
        """The answer piece by piece, for an input that comes in parts, as in a chain that streams."""
        return self._transform_stream_with_config(input, self._pieces, config, run_type="chain", **kwargs)

    async def atransform(
        self, input: AsyncIterator[Mapping[str, Any]], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[str]:
        """As `transform`, without blocking the event loop."""
        merged = _merged([part async for part in input])
        async for piece in self.astream(merged, config, **kwargs):
            yield piece

    def _answer(self, input: Mapping[str, Any]) -> str:
        return self.comi.answer(self.memory(input), **self.generation)[0]

    def _answers(self, inputs: list[Mapping[str, Any]]) -> list[Exception | str]:
        return [*self.comi.answer([self.memory(own) for own in inputs], **self.generation)]

    def _pieces(self, inputs: Iterator[Mapping[str, Any]]) -> Iterator[str]:
        yield from self.comi.stream(self.memory(_merged(list(inputs))), **self.generation)


def _merged(parts: Sequence[Any]) -> Any:
    """Parts of a streamed dict as one; anything else as it is."""
    if all(isinstance(own, Mapping) for own in parts):
        return {name: value for own in parts for name, value in own.items()}
    return parts[-1]


def _read(given: Any) -> tuple[list[str], str]:
    if not isinstance(given, Mapping):
        raise InputError(f"Expected a dict with `context` and `question`, got {type(given).__name__}.")
    found = [next((own for own in names if own in given), None) for names in (DOCUMENT_KEYS, QUESTION_KEYS)]
    if None in found:
        raise InputError(
            f"Expected a dict with the documents under {' or '.join(DOCUMENT_KEYS)} and the question under "
            f"{' or '.join(QUESTION_KEYS)}, got the keys {', '.join(map(repr, given)) or 'of an empty dict'}."
        )
    documents, question = (given[own] for own in found if own is not None)
    if isinstance(documents, (str, bytes)) or not isinstance(documents, Sequence):
        raise InputError(f"Expected a list of `Document`s, got {type(documents).__name__}.")
    texts = [own.page_content if isinstance(own, Document) else own for own in documents]
    return texts, question
