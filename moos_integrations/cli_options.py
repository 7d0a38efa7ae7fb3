"""Options made from the fields of settings: those of `moos compress` and `moos explain`, and the limits of a server."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_origin

from moos_integrations.errors import MissingExtraError

try:
    import typer
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="cli") from error

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from moos_integrations.core.checks import plain_types, stages
from moos_integrations.core.config import Settings
from moos_integrations.serving.limits import Limits

NOT_ON_A_COMMAND_LINE = ("embeddings", "cache_store", "similarity_scale", "retriever_weight")
"""Settings of what only Python can pass: an embedding model, and scores of documents."""

_PANELS = {
    "": "Settings",
    "scores": "Advanced: scores of words",
    "gains": "Advanced: shares of sentences",
    "limits": "Limits",
}
_LIMITS = "limits"


@dataclass(frozen=True)
class SettingOption:
    """One setting as an option.

    Attributes:
        stage: Name of the nested settings that it belongs to, or "".
        name: Name of the field; the option has it with dashes.
        field: The field.
    """

    stage: str
    name: str
    field: FieldInfo

    @property
    def default(self) -> Any:
        """The field's default as the user would type it."""
        if self.name == "separator":
            return _escaped(self.field.default)
        return None if self.name == "protect" else self.field.default

    def parameter(self) -> inspect.Parameter:
        """The option as a parameter of a signature, for typer."""
        variable = f"MOOS_{self.name.upper()}" if self.stage == _LIMITS else None
        option = typer.Option(help=self.field.description, rich_help_panel=_PANELS[self.stage], envvar=variable)
        annotation = cast(Any, Annotated)[self._type(), option]  # made at run time, for typer to read
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=annotation)

    def value(self, typed: Any) -> Any:
        """The typed text as a value of the setting."""
        if self.name == "separator":
            return typed.replace("\\n", "\n").replace("\\t", "\t")
        if self.name == "protect":
            return tuple(typed or ())
        if self.name == "preserve_label" and typed is not None and typed.isdecimal():
            return int(typed)
        return typed

    def _type(self) -> Any:
        if self.name == "protect":
            return list[str] | None
        kinds = plain_types(self.field)
        kind = kinds[0] if len(kinds) == 1 and kinds[0] is not Any else str
        kind = kind if kind in (int, float, str) or get_origin(kind) is Literal else str
        return kind if self.field.default is not None else kind | None


def setting_options() -> Iterator[SettingOption]:
    """An option for each setting; nested settings come last, without their stage in the name."""
    nested = stages(Settings)
    models: dict[str, type[BaseModel]] = {"": Settings, **nested}
    for stage, model in models.items():
        for name, field in model.model_fields.items():
            if name not in nested and name not in NOT_ON_A_COMMAND_LINE:
                yield SettingOption(stage, name, field)


def with_setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `settings` by the options; it receives a dict for `CompressorConfig`."""
    return _with_options(command, "settings", list(setting_options()), _settings)


def with_limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `limits` by an option for each limit of a server; it receives a dict."""
    options = [SettingOption(_LIMITS, name, field) for name, field in Limits.model_fields.items()]
    return _with_options(command, _LIMITS, options, lambda _, typed: dict(typed))


def _with_options(
    command: Callable[..., None],
    replaced: str,
    made: Sequence[SettingOption],
    collected: Callable[[Mapping[str, SettingOption], Mapping[str, Any]], dict[str, Any]],
) -> Callable[..., None]:
    """The command with options in place of one parameter."""
    options = {option.name: option for option in made}

    @functools.wraps(command)
    def run(**given: Any) -> None:
        typed = {name: given.pop(name) for name in options}
        command(**given, **{replaced: collected(options, typed)})

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name == replaced:
            parameters += [option.parameter() for option in options.values()]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _settings(options: Mapping[str, SettingOption], typed: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, option in options.items():
        home = settings.setdefault(option.stage, {}) if option.stage else settings
        home[name] = option.value(typed[name])
    return settings


def _escaped(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")
