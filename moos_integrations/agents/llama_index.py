"""LlamaIndex agents: `compress_tools` prunes what tools return, before it joins the conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_type_hints

from moos_integrations.errors import ConfigError, MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llama_index.core", extra="llama-index") from error

from llama_index.core.base.llms.types import TextBlock
from llama_index.core.tools import BaseTool, FunctionTool, ToolOutput, adapt_to_async_tool
from llama_index.core.workflow import Context

from moos_integrations.agents.keeping import OUTPUTS_KEY, Folder, check_names, unknown
from moos_integrations.agents.pruning import LEAST_BUDGET, READ_TOOL, PrunedOutput, ToolOutputPruner, goal_of
from moos_integrations.core.checks import check_whole_number
from moos_integrations.core.threads import Stop, in_thread
from moos_integrations.messages import Notice, warn_once

__all__ = ["CompressedTool", "compress_tool", "compress_tools", "read_omitted_tool"]

Keep: TypeAlias = "Literal['state'] | str | Path"
"""Where full results are kept: in the context of the agent's run, or in a folder."""
AnyTool: TypeAlias = "BaseTool | Callable[..., Any]"

_CONTEXT = "moos_context"
"""Name under which an agent passes the context of its run."""


class CompressedTool(FunctionTool):
    """A tool whose long results are pruned for what the agent is after.

    Of an agent's run it gets the context, which has the user's message. Left untouched: results below `min_tokens`,
    errors, images and other blocks, `raw_output`, and results of tools with `return_direct`, which the user gets. If
    pruning fails, the result is passed on as it is.
    """

    def __init__(
        self, tool: BaseTool, pruner: ToolOutputPruner, keep: Keep = "state", budget_tokens: int | None = None
    ) -> None:
        """Wrap a tool; `compress_tool` makes one."""
        self.tool, self.pruner, self.budget_tokens = adapt_to_async_tool(tool), pruner, budget_tokens
        super().__init__(fn=self.tool.call, async_fn=self.tool.acall, metadata=tool.metadata)
        self.requires_context, self.ctx_param_name = True, _CONTEXT
        self.keep = _folder(keep)

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """Run the tool, and prune its result.

        Without an agent, or without its event loop, there is no context: results are pruned only with a folder.
        """
        _, passed = self._arguments(kwargs)
        output = self.tool.call(*args, **passed)
        pruned = self._pruned(output, None, args, kwargs) if self.keep is not None else None
        if pruned is None or not self._written(pruned, output):
            return output
        return _with_text(output, pruned)

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        """`call` with the user's message as a part of the goal, and with the work in a thread of the package."""
        context, passed = self._arguments(kwargs)
        output = await self.tool.acall(*args, **passed)
        if self.keep is None and context is None:
            return output
        question = await _question(context)
        pruned = await in_thread(partial(self._pruned, output, question, args, kwargs), Stop(None))
        if pruned is None:
            return output
        if self.keep is None:
            await context.store.set(f"{OUTPUTS_KEY}.{pruned.output_id}", _text_of(output))  # type: ignore[union-attr]
        elif not await in_thread(partial(self._written, pruned, output), Stop(None)):
            return output
        return _with_text(output, pruned)

    def _arguments(self, kwargs: dict[str, Any]) -> tuple[Context[Any] | None, dict[str, Any]]:
        """The context of the run, taken out of the arguments, and what the tool itself gets."""
        context, tool = kwargs.pop(_CONTEXT, None), self.tool
        wants = isinstance(tool, FunctionTool) and tool.requires_context and tool.ctx_param_name
        return context, {**kwargs, wants: context} if wants and context is not None else kwargs

    def _pruned(
        self, output: ToolOutput, question: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> PrunedOutput | None:
        """The result as the model is to read it; None if it stays as it is."""
        text = _text_of(output)
        if text is None or output.is_error or self.metadata.return_direct:
            return None
        arguments = {**kwargs, "args": list(args)} if args else dict(kwargs)
        try:
            goal = goal_of(question, self.metadata.name, arguments)
            pruned = self.pruner.prune(text, goal, budget_tokens=self.budget_tokens)
        except Exception as error:  # an agent must get its result whatever happens here
            self._warn(error)
            return None
        return pruned if pruned.pruned else None

    def _written(self, pruned: PrunedOutput, output: ToolOutput) -> bool:
        """Keep the full result in the folder; False if it cannot be written."""
        try:
            if self.keep is not None:
                self.keep.write(pruned.output_id, _text_of(output) or "")
        except OSError as error:
            self._warn(error)
            return False
        return True

    def _warn(self, error: Exception) -> None:
        text = f"A result of {self.metadata.name!r} is passed on whole: {type(error).__name__}: {error}"
        warn_once(Notice("tool result not pruned", text))


def compress_tools(
    tools: Sequence[AnyTool],
    *,
    include_tools: Sequence[str] | None = None,
    exclude_tools: Sequence[str] = (),
    tool_budgets: Mapping[str, int] | None = None,
    keep: Keep = "state",
    read_tokens: int = 2_000,
    pruner: ToolOutputPruner | None = None,
    **settings: Any,
) -> list[BaseTool]:
    """The tools of a `FunctionAgent`, `ReActAgent` or `AgentWorkflow`, with their long results pruned.

    A result is pruned once, when it enters; messages that are there are never changed. The goal is the user's message
    with the tool's name and arguments. The full result is kept under its id: in the context of the run
    (`keep="state"`, with it where a context is saved), or in a folder.

    Args:
        tools: Tools, or functions to make them of.
        include_tools: Names of the only tools to prune; None for all.
        exclude_tools: Names of tools to leave alone.
        tool_budgets: Most tokens of a result by the name of its tool, in place of `budget_tokens`.
        keep: Where the full results are kept: "state" or a folder.
        read_tokens: Most tokens that one call of `read_omitted` returns.
        pruner: In place of the settings.
        **settings: Of `ToolOutputPruner`: `min_tokens`, `last_lines`, and those of the compressor.

    Returns:
        The tools, and the tool `read_omitted`, which gives the model any part of a full result.

    Raises:
        ConfigError: On an unknown or unusable setting.

    Example:
        >>> from moos_integrations.agents import compress_tools
        >>> def read_log(path: str) -> str:
        ...     "Read a log."
        ...     return "line"
        >>> [tool.metadata.name for tool in compress_tools([read_log], budget_tokens=800)]
        ['read_log', 'read_omitted']

        An agent: `FunctionAgent(tools=compress_tools([read_log], budget_tokens=800), llm=llm)`.
    """
    check_names(include_tools=include_tools, exclude_tools=exclude_tools)
    shared, budgets = _pruner(pruner, settings), dict(tool_budgets or {})
    found = [_tool(tool) for tool in tools]
    made: list[BaseTool] = []
    for tool in found:
        name = tool.metadata.name or ""
        wanted = name not in exclude_tools and (include_tools is None or name in include_tools)
        budget = budgets.get(name)
        made.append(compress_tool(tool, keep=keep, pruner=shared, budget_tokens=budget) if wanted else tool)
    return [*made, read_omitted_tool(keep=keep, pruner=shared, read_tokens=read_tokens)]


def compress_tool(
    tool: AnyTool,
    *,
    keep: Keep = "state",
    pruner: ToolOutputPruner | None = None,
    budget_tokens: int | None = None,
    **settings: Any,
) -> CompressedTool:
    """One tool with its long results pruned; see `compress_tools`.

    Give the agent the tool of `read_omitted_tool` as well: the note on what was left out names it.

    Args:
        tool: A tool, or a function to make one of.
        keep: Where the full results are kept: "state" or a folder.
        pruner: In place of the settings.
        budget_tokens: Most tokens of a result.
        **settings: Of `ToolOutputPruner`.

    Raises:
        ConfigError: On an unknown or unusable setting.
    """
    if budget_tokens is not None:
        check_whole_number("budget_tokens", budget_tokens, LEAST_BUDGET)
    return CompressedTool(_tool(tool), _pruner(pruner, settings), keep, budget_tokens)


def read_omitted_tool(
    *, keep: Keep = "state", read_tokens: int = 2_000, pruner: ToolOutputPruner | None = None
) -> FunctionTool:
    """The tool that gives the model any part of a full result.

    Args:
        keep: Where the full results are kept: as in `compress_tool`.
        read_tokens: Most tokens that one call returns.
        pruner: Whose model to share.

    Raises:
        ConfigError: If a setting cannot be used.
    """
    check_whole_number("read_tokens", read_tokens, 1)
    folder, reader = _folder(keep), pruner or ToolOutputPruner()

    async def read_omitted(
        context: Context, output_id: str, start_line: int = 1, end_line: int | None = None, query: str | None = None
    ) -> str:
        """Read lines that were left out of a pruned tool result.

        Args:
            context (Context): Passed by the agent.
            output_id (str): The id in the note at the end of the pruned result.
            start_line (int): First line, from 1.
            end_line (int): Last line. Leave it out to read as many as fit.
            query (str): What to look for among these lines. Leave it out to read them as they are.
        """
        text = folder.read(output_id) if folder is not None else await _kept(context, output_id)
        if text is None:
            return unknown(output_id)
        part = partial(reader.read, text, start_line=start_line, end_line=end_line, query=query, max_tokens=read_tokens)
        return await in_thread(part, Stop(None))

    read_omitted.__annotations__ = get_type_hints(read_omitted)  # LlamaIndex finds the context by its class
    return FunctionTool.from_defaults(read_omitted, name=READ_TOOL, description=_READ_DESCRIPTION)


_READ_DESCRIPTION = """Read lines that were left out of a pruned tool result.
`output_id` is in the note at the end of the pruned result. Lines count from 1. Leave out `end_line` to read as many
lines as fit. With `query`, only the lines among these that matter for it are read."""


def _tool(tool: AnyTool) -> BaseTool:
    if isinstance(tool, BaseTool):
        return tool
    if not callable(tool):
        raise ConfigError(f"Expected a tool of LlamaIndex or a function, got {type(tool).__name__}.")
    return FunctionTool.from_defaults(tool)


def _pruner(pruner: ToolOutputPruner | None, settings: dict[str, Any]) -> ToolOutputPruner:
    if pruner is not None and settings:
        raise ConfigError("Pass the settings to the `pruner`, or no `pruner`: it has settings of its own.")
    return pruner or ToolOutputPruner(**settings)


def _folder(keep: Keep) -> Folder | None:
    """The folder for full results; None for the context of the run."""
    if not isinstance(keep, (str, Path)):
        raise ConfigError(f'`keep` must be "state" or a folder, got {type(keep).__name__}.')
    return None if keep == "state" else Folder(Path(keep))


async def _question(context: Context[Any] | None) -> str | None:
    """The user's message of an agent's run."""
    found = None if context is None else await context.store.get("user_msg_str", default=None)
    return found if isinstance(found, str) else None


async def _kept(context: Context[Any], name: str) -> str | None:
    kept = await context.store.get(OUTPUTS_KEY, default=None)
    text = kept.get(name) if isinstance(kept, Mapping) else None
    return text if isinstance(text, str) else None


def _text_of(output: ToolOutput) -> str | None:
    """The text of a result that is nothing but one text."""
    blocks = output.blocks
    return blocks[0].text if len(blocks) == 1 and isinstance(blocks[0], TextBlock) else None


def _with_text(output: ToolOutput, pruned: PrunedOutput) -> ToolOutput:
    return output.model_copy(update={"blocks": [TextBlock(text=pruned.text)]})
