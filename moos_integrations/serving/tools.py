"""Tools for agents under the Model Context Protocol: `compress`, `explain` and `read_omitted`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import Field

from moos_integrations import __version__
from moos_integrations.agents.pruning import DEFAULT_OMISSION, READ_TOOL, ToolOutputPruner, output_id
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.result import CompressionResult
from moos_integrations.core.threads import Stop, in_thread
from moos_integrations.errors import MissingExtraError, MoosError
from moos_integrations.serving.limits import Limits
from moos_integrations.serving.originals import Originals
from moos_integrations.serving.service import pruner_settings, sentences_of

try:
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import CallToolResult, TextContent, ToolAnnotations
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="mcp") from error

_T = TypeVar("_T")

READ_TOKENS = 2_000
"""Most tokens that one call of `read_omitted` or `explain` returns."""

_Documents = Annotated[list[str], Field(description="The texts, one string each.")]
_Query = Annotated[str | None, Field(description="The question that the texts should answer.")]
_Budget = Annotated[int | None, Field(description="Most tokens to keep of all texts together.")]
_Rate = Annotated[float | None, Field(description="Share of the tokens to keep, from 0 to 1; in place of a budget.")]
_NOTES = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


def create_mcp(compressor: ContextCompressor, *, keep_bytes: int | None = None) -> MCPServer[Any]:
    """The server that `moos mcp` runs over standard input and output.

    Args:
        compressor: Its settings hold for calls without a target. Without `omission` in them, omission marks are written
            in the form of the agents' tools.
        keep_bytes: Memory for full texts that can be read again; the server's default if None.
    """
    tools = _Tools(compressor, Limits().keep_bytes if keep_bytes is None else keep_bytes)
    server: MCPServer[Any] = MCPServer(
        "moos",
        version=__version__,
        instructions="Shorten long texts for a question before you read them; read again what was left out.",
    )
    for tool in (tools.compress, tools.explain, tools.read_omitted):
        server.add_tool(tool, annotations=_NOTES)
    return server


class _Tools:
    """The tools, and the full texts that they have seen."""

    def __init__(self, compressor: ContextCompressor, keep_bytes: int) -> None:
        config = compressor.config
        if config.omission is None:
            config = config.model_copy(update={"omission": DEFAULT_OMISSION})
        self._compressor = ContextCompressor(lambda: compressor.scorer, config)
        self._reader = ToolOutputPruner(compressor=compressor, **pruner_settings(config, None))
        self._originals = Originals(keep_bytes)

    async def compress(
        self, documents: _Documents, query: _Query = None, budget_tokens: _Budget = None, rate: _Rate = None
    ) -> CallToolResult:
        """Shorten long texts to the sentences and lines that a question needs.

        Nothing is rewritten: what is left stands in the source. Marks say where something was left out, and
        `read_omitted` reads it.
        """
        result = await self._compressed(documents, query, budget_tokens, rate)
        cut = [index for index, document in enumerate(result.documents) if document.text != documents[index]]
        for index in cut:
            self._originals.put(documents[index])
        notes = [_note(index, documents[index], result) for index in cut]
        return _answer(
            "\n".join([result.text, *notes]) if notes else result.text,
            {
                "text": result.text,
                "documents": [
                    {
                        "text": document.text,
                        "output_id": output_id(documents[index]) if index in cut else None,
                        "original_tokens": document.original_tokens,
                        "kept_tokens": document.kept_tokens,
                    }
                    for index, document in enumerate(result.documents)
                ],
                "original_tokens": result.original_tokens,
                "kept_tokens": result.kept_tokens,
                "warnings": list(result.warnings),
            },
        )

    async def explain(
        self, documents: _Documents, query: _Query = None, budget_tokens: _Budget = None, rate: _Rate = None
    ) -> CallToolResult:
        """Say for each sentence or line of the texts whether `compress` keeps it, and why."""
        result = await self._compressed(documents, query, budget_tokens, rate)
        work = partial(_on_errors_of_ours, partial(self._explained, result))
        sentences, text = await in_thread(work, Stop(None))
        return _answer(text, {"sentences": sentences})

    async def read_omitted(
        self,
        output_id: Annotated[str, Field(description="The id in the note of a shortened text.")],
        start_line: Annotated[int, Field(description="First line, from 1.")] = 1,
        end_line: Annotated[int | None, Field(description="Last line; leave it out to read as many as fit.")] = None,
        query: Annotated[str | None, Field(description="What to look for among these lines.")] = None,
    ) -> str:
        """Read lines of a text that `compress` has shortened."""
        text = self._originals.get(output_id)
        if text is None:
            raise ToolError(
                f"`output_id` must be an id from a note of `compress`, got {output_id!r}, which is unknown or too old. "
                "Compress the text again."
            )
        read = partial(
            self._reader.read, text, start_line=start_line, end_line=end_line, query=query, max_tokens=READ_TOKENS
        )
        return await in_thread(partial(_on_errors_of_ours, read), Stop(self._compressor.config.timeout))

    async def _compressed(
        self, documents: Sequence[str], query: str | None, budget_tokens: int | None, rate: float | None
    ) -> CompressionResult:
        return await _awaited(
            lambda: self._compressor.acompress(documents, query, budget_tokens=budget_tokens, rate=rate)
        )

    def _explained(self, result: CompressionResult) -> tuple[list[dict[str, Any]], str]:
        """The sentences of a result as data, and as the lines of text that fit."""
        sentences = sentences_of(result.explain(), result)
        lines, used = [f"{result.original_tokens} -> {result.kept_tokens} tokens"], 0
        for sentence in sentences:
            text = "".join(part for part, _ in sentence["parts"]).strip()
            sign = "+" if sentence["kept_words"] else "-"
            line = f"{sign} [{sentence['document']}] gain {sentence['gain']:.1f}, {sentence['reason']}: {text}"
            used += self._compressor.counter.count(line) + 1
            if used > READ_TOKENS:
                lines.append(f"[{len(sentences) - len(lines) + 1} more sentences or lines]")
                break
            lines.append(line)
        return sentences, "\n".join(lines)


def _note(index: int, text: str, result: CompressionResult) -> str:
    document = result.documents[index]
    return (
        f"[document {index}: {document.kept_tokens} of {document.original_tokens} tokens; read more: "
        f'{READ_TOOL}(output_id="{output_id(text)}")]'
    )


def _answer(text: str, values: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], structured_content=values)


async def _awaited(work: Callable[[], Awaitable[_T]]) -> _T:
    """The result of the work; our errors as those that a model may read."""
    try:
        return await work()
    except MoosError as error:
        raise ToolError(str(error)) from error


def _on_errors_of_ours(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except MoosError as error:
        raise ToolError(str(error)) from error
