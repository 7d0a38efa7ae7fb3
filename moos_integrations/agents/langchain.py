"""LangChain agents: `MOOSToolOutputMiddleware` prunes what tools return, before it joins the conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from moos_integrations.errors import ConfigError, MissingExtraError

try:
    import langchain.agents  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain", extra="agents") from error

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.tools import ToolRuntime, tool
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command
from typing_extensions import NotRequired

from moos_integrations.agents.keeping import OUTPUTS_KEY, Folder, check_names, unknown
from moos_integrations.agents.pruning import (
    DEFAULT_LAST_LINES,
    DEFAULT_MIN_TOKENS,
    LEAST_BUDGET,
    READ_TOOL,
    ToolOutputPruner,
    goal_of,
    output_id,
)
from moos_integrations.core.checks import check_whole_number
from moos_integrations.core.threads import Stop, in_thread
from moos_integrations.messages import Notice, warn_once

__all__ = ["OUTPUTS_KEY", "FileBackend", "MOOSToolOutputMiddleware", "ToolOutputState"]

LARGE_RESULTS = "/large_tool_results"
"""Folder of a backend of deepagents for large results, as deepagents names it."""


class FileBackend(Protocol):
    """What is used of a backend of deepagents (`deepagents.backends.BackendProtocol`)."""

    def write(self, file_path: str, content: str) -> Any:
        """Write a file; the answer has an `error`, or None."""

    def download_files(self, paths: list[str]) -> list[Any]:
        """The files; each has its `content` as bytes, or None."""


Keep: TypeAlias = "Literal['state', 'store'] | str | Path | FileBackend"
"""Where full results are kept: in the agent's state, in its store, in a folder, or in a backend of deepagents."""

_Result: TypeAlias = "ToolMessage | Command[Any]"


def merged(before: Mapping[str, str] | None, new: Mapping[str, str] | None) -> dict[str, str]:
    """The full results of parallel calls together."""
    return {**(before or {}), **(new or {})}


class ToolOutputState(AgentState[Any]):
    """The agent's state with the full results of pruned tools, by their ids."""

    moos_tool_outputs: NotRequired[Annotated[dict[str, str], merged]]


class MOOSToolOutputMiddleware(AgentMiddleware[Any, Any, Any]):
    """Prunes long results of tools for what the agent is after; the model can read the rest with `read_omitted`.

    A result is pruned once, when it enters; messages that are there are never changed. The goal is the last message of
    the user with the tool's name and arguments. Lines stay whole, and JSON stays JSON. Errors, tracebacks, exit codes
    and the last lines are kept while they fit. A mark says how many lines were left out.

    Left untouched: results below `min_tokens`, messages with `status="error"`, content blocks and images, artifacts,
    `Command`s, and results of tools with `return_direct`, which the user gets. If pruning fails, the result is passed
    on as it is.

    The full result is kept under its id: in the agent's state (`keep="state"`, with it in checkpoints), in the agent's
    store (`keep="store"`), or in a folder. An agent can read all results in a store or folder that it shares with
    others, if it knows their ids.

    In `create_deep_agent`, large results are replaced by their first and last lines, which cannot be changed there.
    This middleware runs before that. With `keep=backend`, the agent's backend, the full result is a file in
    `/large_tool_results` there as well, and the model sees the lines that matter instead. Results of its tool
    `read_file` are then left alone.

    Examples:
        >>> from langchain.agents import create_agent
        >>> from moos_integrations.agents import MOOSToolOutputMiddleware
        >>> middleware = MOOSToolOutputMiddleware(budget_tokens=800)
        >>> middleware.tools[0].name
        'read_omitted'

        An agent: `create_agent(model, tools, middleware=[MOOSToolOutputMiddleware(budget_tokens=800)])`.
    """

    state_schema = ToolOutputState

    def __init__(
        self,
        *,
        include_tools: Sequence[str] | None = None,
        exclude_tools: Sequence[str] = (),
        tool_budgets: Mapping[str, int] | None = None,
        min_tokens: int = DEFAULT_MIN_TOKENS,
        last_lines: int = DEFAULT_LAST_LINES,
        keep: Keep = "state",
        read_tokens: int = 2_000,
        pruner: ToolOutputPruner | None = None,
        **settings: Any,
    ) -> None:
        """Check the settings; the weights load on first use.

        Args:
            include_tools: Names of the only tools to prune; None for all.
            exclude_tools: Names of tools to leave alone.
            tool_budgets: Most tokens of a result by the name of its tool, in place of `budget_tokens`.
            min_tokens: Results with fewer tokens are left alone.
            last_lines: How many lines at the end are kept while they fit.
            keep: Where the full results are kept: "state", "store", a folder, or a backend of deepagents.
            read_tokens: Most tokens that one call of `read_omitted` returns.
            pruner: In place of `min_tokens`, `last_lines` and the settings.
            **settings: Of the compressor, as in `CompressorConfig`, and `json_counts` of `ToolOutputPruner`.

        Raises:
            ConfigError: On an unknown or unusable setting.
        """
        super().__init__()
        check_names(include_tools=include_tools, exclude_tools=exclude_tools)
        for name, budget in (tool_budgets or {}).items():
            check_whole_number(f"tool_budgets[{name!r}]", budget, LEAST_BUDGET)
        check_whole_number("read_tokens", read_tokens, 1)
        kept_in_files = _is_backend(keep)
        if not kept_in_files and not isinstance(keep, (str, Path)):
            raise ConfigError(
                f'`keep` must be "state", "store", a folder or a backend of deepagents, got {type(keep).__name__}.'
            )
        if pruner is not None and (settings or (min_tokens, last_lines) != (DEFAULT_MIN_TOKENS, DEFAULT_LAST_LINES)):
            raise ConfigError("Pass the settings to the `pruner`, or no `pruner`: it has settings of its own.")
        own = (READ_TOOL, "read_file") if kept_in_files else (READ_TOOL,)
        self.include_tools, self.exclude_tools = include_tools, (*exclude_tools, *own)
        self.tool_budgets, self.read_tokens = dict(tool_budgets or {}), read_tokens
        self.keep = Path(keep) if isinstance(keep, str) and keep not in ("state", "store") else keep
        self.pruner = pruner or ToolOutputPruner(min_tokens=min_tokens, last_lines=last_lines, **settings)
        self.tools = [self._read_tool()]

    # --- calls of tools ----------------------------------------------------------------------------------------------

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], _Result]) -> _Result:
        """Run a tool, and prune its result."""
        result = handler(request)
        message = self._to_prune(request, result)
        return result if message is None else self._finished(request, message)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[_Result]]
    ) -> _Result:
        """`wrap_tool_call` with the work in a thread of the package."""
        result = await handler(request)
        message = self._to_prune(request, result)
        return result if message is None else await in_thread(partial(self._finished, request, message), Stop(None))

    def _to_prune(self, request: ToolCallRequest, result: _Result) -> ToolMessage | None:
        """The message, if its text may be pruned."""
        name = request.tool_call["name"]
        wanted = name not in self.exclude_tools and (self.include_tools is None or name in self.include_tools)
        wanted = wanted and not getattr(request.tool, "return_direct", False)
        plain = isinstance(result, ToolMessage) and isinstance(result.content, str) and result.status != "error"
        return result if wanted and plain else None  # type: ignore[return-value]

    def _finished(self, request: ToolCallRequest, message: ToolMessage) -> _Result:
        """The message with the pruned text, once the full one is in its place; as it is, if either fails."""
        call, content = request.tool_call, str(message.content)
        try:
            goal = goal_of(last_question(_messages(request.state)), call["name"], call["args"])
            budget, path = self.tool_budgets.get(call["name"]), self._path(output_id(content))
            output = self.pruner.prune(content, goal, budget_tokens=budget, path=path)
            if output.pruned and self.keep != "state":
                self._write(request, output.output_id, content)
        except Exception as error:  # an agent must get its result whatever happens here
            text = f"A result of {call['name']!r} is passed on whole: {type(error).__name__}: {error}"
            warn_once(Notice("tool result not pruned", text))
            return message
        if not output.pruned:
            return message
        pruned = message.model_copy(update={"content": output.text})
        if self.keep != "state":
            return pruned
        return Command(update={"messages": [pruned], OUTPUTS_KEY: {output.output_id: content}})

    # --- the way back ------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str | None:
        """The file of a result that the model can read itself, in a backend of deepagents."""
        return f"{LARGE_RESULTS}/{name}" if _is_backend(self.keep) else None

    def _write(self, request: ToolCallRequest, name: str, text: str) -> None:
        if isinstance(self.keep, Path):
            return Folder(self.keep).write(name, text)
        if self.keep != "store":
            return _write_file(self.keep, f"{LARGE_RESULTS}/{name}", text)
        store = request.runtime.store
        if store is None:
            raise ConfigError('`keep="store"` needs an agent with a store: `create_agent(..., store=...)`.')
        return store.put((OUTPUTS_KEY,), name, {"text": text})

    def _full(self, runtime: ToolRuntime[Any, Any], name: str) -> str | None:
        if isinstance(self.keep, Path):
            return Folder(self.keep).read(name)
        if self.keep == "store":
            item = None if runtime.store is None else runtime.store.get((OUTPUTS_KEY,), name)
            return None if item is None else str(item.value["text"])
        if self.keep != "state":
            return _file(self.keep, f"{LARGE_RESULTS}/{name}") if name.isalnum() else None
        kept: Mapping[str, str] = (runtime.state or {}).get(OUTPUTS_KEY) or {}
        return kept.get(name)

    def _read_tool(self) -> Any:
        def read_omitted(  # noqa: D417 - the framework passes `runtime`
            output_id: str,
            runtime: ToolRuntime,
            start_line: int = 1,
            end_line: int | None = None,
            query: str | None = None,
        ) -> str:
            """Read lines that were left out of a pruned tool result.

            Args:
                output_id: The id in the note at the end of the pruned result.
                start_line: First line, from 1.
                end_line: Last line. Leave it out to read as many as fit.
                query: What to look for among these lines. Leave it out to read them as they are.
            """
            text = self._full(runtime, output_id)
            if text is None:
                return unknown(output_id)
            return self.pruner.read(
                text, start_line=start_line, end_line=end_line, query=query, max_tokens=self.read_tokens
            )

        return tool(READ_TOOL, parse_docstring=True)(read_omitted)


def _is_backend(keep: Any) -> bool:
    return all(callable(getattr(keep, name, None)) for name in ("write", "download_files"))


def _write_file(backend: Any, path: str, text: str) -> None:
    answer = backend.write(path, text)
    if answer.error and _file(backend, path) != text:
        raise OSError(f"the backend cannot write {path}: {answer.error}")


def _file(backend: Any, path: str) -> str | None:
    (answer,) = backend.download_files([path])
    return None if answer.content is None else str(answer.content, "utf-8", "surrogatepass")


def _messages(state: Any) -> Sequence[AnyMessage]:
    found = state.get("messages", ()) if isinstance(state, Mapping) else getattr(state, "messages", ())
    return found or ()


def last_question(messages: Sequence[AnyMessage]) -> str | None:
    """The text of the last message of the user; None if there is none."""
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return message.text or None
    return None
