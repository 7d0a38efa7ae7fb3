"""Checks of settings: pydantic models that raise `ConfigError`, and checks of single values.

A message has what was expected, what came and what to do. What was expected comes from the field's type.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AllowInfNan, BaseModel, BeforeValidator, ConfigDict, Strict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from moos_integrations.errors import ConfigError

# --- types of fields --------------------------------------------------------------------------------------------------


def _plain_number(value: Any) -> Any:
    """NumPy's numbers as Python's; booleans and values that only convert to a number are refused."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise PydanticCustomError("number", "no number")
    return int(value) if isinstance(value, numbers.Integral) else float(value)


Number: TypeAlias = Annotated[float, Strict(), AllowInfNan(False), BeforeValidator(_plain_number)]
WholeNumber: TypeAlias = Annotated[int, Strict(), BeforeValidator(_plain_number)]
Share: TypeAlias = Annotated[Number, Ge(0), Le(1)]
FromZero: TypeAlias = Annotated[Number, Ge(0)]
AboveZero: TypeAlias = Annotated[Number, Gt(0)]
Count: TypeAlias = Annotated[WholeNumber, Ge(0)]
PositiveCount: TypeAlias = Annotated[WholeNumber, Ge(1)]
Text: TypeAlias = Annotated[str, Strict()]


def expected(field: FieldInfo) -> str:
    """The values that a field takes, in words: "a number in [0, 1]"."""
    return " or ".join(_expected(kind, metadata) for kind, metadata in _alternatives(field.annotation, field.metadata))


def plain_types(field: FieldInfo) -> list[Any]:
    """The types of a field without None and without the metadata of `Annotated`."""
    return [kind for kind, _ in _alternatives(field.annotation, field.metadata)]


def _alternatives(annotation: Any, metadata: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """The members of a union, without None, with the metadata of `Annotated`."""
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member, metadata)
    elif get_origin(annotation) is Annotated:
        yield annotation.__origin__, [*annotation.__metadata__, *metadata]
    elif annotation is not NoneType:
        yield annotation, metadata


def _expected(kind: Any, metadata: list[Any]) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    if kind in (int, float):
        return _expected_number("a whole number" if kind is int else "a number", metadata)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"`{kind.__name__}` or a dict of {', '.join(kind.model_fields)}"
    return {str: "a string", bool: "True or False"}.get(kind, "a value that fits")


def _expected_number(name: str, metadata: list[Any]) -> str:
    low = next((item.ge for item in metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in metadata if isinstance(item, Le)), None)
    above = next((item.gt for item in metadata if isinstance(item, Gt)), None)
    if low is not None and high is not None:
        return f"{name} in [{low}, {high}]"
    name = name.replace("a number", "a finite number")
    return f"{name} from {low} on" if low is not None else f"{name} above {above}" if above is not None else name


# --- models -----------------------------------------------------------------------------------------------------------


class CheckedModel(BaseModel):
    """A pydantic model that raises `ConfigError`, and never pydantic's `ValidationError`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        """Check the values.

        Raises:
            ConfigError: Naming each setting that is unknown or cannot be used.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise config_error(type(self), error) from None

    @classmethod
    def model_validate(cls, *args: Any, **kwargs: Any) -> Self:
        """As pydantic's.

        Raises:
            ConfigError: Naming each setting that is unknown or cannot be used.
        """
        try:
            return super().model_validate(*args, **kwargs)
        except ValidationError as error:
            raise config_error(cls, error) from None

    @classmethod
    def model_validate_json(cls, *args: Any, **kwargs: Any) -> Self:
        """As pydantic's.

        Raises:
            ConfigError: Naming each setting that is unknown or cannot be used.
        """
        try:
            return super().model_validate_json(*args, **kwargs)
        except ValidationError as error:
            raise config_error(cls, error) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a field.

        Raises:
            ConfigError: If there is no such field, the value cannot be used, or the model is frozen.
        """
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            problem = error.errors()[0]["type"]
            if problem.startswith("frozen"):
                raise ConfigError(
                    f"A `{type(self).__name__}` cannot be changed; make another one with "
                    f"`.model_copy(update={{{name!r}: ...}})`."
                ) from error
            if problem == "no_such_attribute":
                raise ConfigError(unknown_setting(name, value, type(self))) from None
            raise config_error(type(self), error) from None
        except ValueError:  # pydantic's error for an unknown field
            raise ConfigError(unknown_setting(name, value, type(self))) from None


class FrozenModel(CheckedModel):
    """A `CheckedModel` that never changes; its copies are checked too."""

    model_config = ConfigDict(frozen=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values for some fields, all checked.

        Raises:
            ConfigError: As on building.
        """
        if not update:
            return super().model_copy(deep=deep)
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **update})


def config_error(kind: type[BaseModel], error: ValidationError) -> ConfigError:
    """The errors of pydantic as one `ConfigError`."""
    moved: dict[str, dict[str, Any]] = {}
    messages: dict[str, None] = {}  # a set that keeps the order: a union reports each of its members
    homes = homes_of(kind)
    for item in error.errors(include_url=False):
        name = str(item["loc"][-1]) if item["loc"] else ""
        if item["type"] == "extra_forbidden" and name in homes:
            moved.setdefault(homes[name], {})[name] = item["input"]
        else:
            messages[_message(kind, item)] = None
    return ConfigError(" ".join([*(_moved(stage, values) for stage, values in moved.items()), *messages]))


def _moved(stage: str, values: Mapping[str, Any]) -> str:
    names = ", ".join(f"`{name}`" for name in values)
    written = ", ".join(f"{name!r}: {shown(value)}" for name, value in values.items())
    verb = "is a setting" if len(values) == 1 else "are settings"
    return f"{names} {verb} of `{stage}`: write {stage}={{{written}}}."


def _message(kind: type[BaseModel], item: Any) -> str:
    cause = (item.get("ctx") or {}).get("error")
    if isinstance(cause, ConfigError):
        return str(cause)
    place = [str(step) for step in item["loc"]]
    if item["type"] == "extra_forbidden":
        return unknown_setting(place[-1], item["input"], kind)
    name = place[0] if place else ""
    field = kind.model_fields.get(name)
    if field is None or item["type"] in ("value_error", "assertion_error"):
        return f"`{name or kind.__name__}` cannot be used: {item['msg']}."
    return f"`{setting_name(kind, name)}` must be {expected(field)}, got {shown(item['input'])}."


def setting_name(kind: type[BaseModel], name: str) -> str:
    """The name as the user writes it: `gains.temperature` for a field of a nested model."""
    stage = getattr(kind, "stage", "")
    return f"{stage}.{name}" if stage else name


def stages(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The nested models of a model, by the name of their field."""
    fields = kind.model_fields.items()
    return {
        name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, CheckedModel)
    }


def homes_of(kind: type[BaseModel]) -> dict[str, str]:
    """The stage of each setting in the nested models of a model."""
    return {name: stage for stage, model in stages(kind).items() for name in model.model_fields}


def unknown_setting(name: str, value: Any, kind: type[BaseModel]) -> str:
    """The message for an unknown field: where the setting is, or which one may be meant."""
    homes = homes_of(kind)
    if name in homes:
        return _moved(homes[name], {name: value})
    stage = getattr(kind, "stage", "")
    where = f" in `{stage}`" if stage else ""
    near = did_you_mean(name, [*kind.model_fields, *homes])
    if near in homes:
        hint = f"; did you mean {homes[near]}={{{near!r}: ...}}?"
    else:
        hint = f"; did you mean {near!r}?" if near else "."
    return f"Unknown setting {name!r}{where}{hint} Known are {', '.join(kind.model_fields)}."


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most similar to this one; None if none is similar."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def shown(value: Any) -> str:
    """A value for a message, cut short if it is long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


# --- checks of single values ------------------------------------------------------------------------------------------


def settings_in(text: str, what: str = "settings") -> dict[str, Any]:
    """The JSON object in a text.

    Raises:
        ConfigError: If the text is not one.
    """
    try:
        values = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Expected a JSON object of {what}: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"Expected a JSON object of {what}, got {type(values).__name__}.")
    return values


def refuse_unknown(settings: Mapping[str, Any], kind: type, what: str = "setting") -> None:
    """Check that all names are fields of a dataclass.

    Raises:
        ConfigError: Naming the unknown ones and the known ones.
    """
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"Unknown {what} {', '.join(map(repr, unknown))}; known are {', '.join(known)}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_share(name: str, value: Any) -> None:
    """Raise a `ConfigError` unless the value is a number in [0, 1]."""
    if not _is_number(value) or math.isnan(value) or not 0 <= value <= 1:
        raise ConfigError(f"`{name}` must be a number in [0, 1], got {shown(value)}.")


def check_number(name: str, value: Any, *, above: float | None = None) -> None:
    """Raise a `ConfigError` unless the value is a finite number from 0 on, or above a bound."""
    if not _is_number(value) or not math.isfinite(value) or (value < 0 if above is None else value <= above):
        bound = "from 0 on" if above is None else f"above {above:g}"
        raise ConfigError(f"`{name}` must be a finite number {bound}, got {shown(value)}.")


def check_whole_number(name: str, value: Any, minimum: int) -> None:
    """Raise a `ConfigError` unless the value is a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ConfigError(f"`{name}` must be a whole number from {minimum} on, got {shown(value)}.")


# --- checks of the surroundings, before any weights are loaded --------------------------------------------------------

_DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu", "hpu", "mtia", "npu", "xla", "meta", "privateuseone")
_DEVICE = re.compile(rf"(?:{'|'.join(_DEVICE_TYPES)})(?::\d+)?")
_DEVICE_HABITS = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps", "apple": "mps"}
_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)?(?<![.-])", re.ASCII)
_HUB_ID_LENGTH = 96


def check_device(device: str) -> str:
    """The device, if torch has devices of that name. Whether this machine has one shows when the model is loaded.

    Raises:
        ConfigError: Otherwise.
    """
    if device == "auto" or _DEVICE.fullmatch(device):
        return device
    kind, _, index = device.partition(":")
    near = _DEVICE_HABITS.get(kind.lower()) or did_you_mean(kind.lower(), _DEVICE_TYPES)
    hint = f" Did you mean {near + (':' + index if index.isdecimal() else '')!r}?" if near else ""
    raise ConfigError(f"`device` must be 'auto' or a torch device such as 'cpu' or 'cuda:0', got {device!r}.{hint}")


def check_model(model: Any, bundled: Path, setting: str = "model") -> str:
    """The model, if it is a bundled name, a folder with a model, or looks like an id of the Hugging Face hub.

    Args:
        model: What the user passed.
        bundled: The folder that has one sub-folder per bundled model.
        setting: Its name, for messages.

    Raises:
        ConfigError: Otherwise.
    """
    names = sorted(folder.parent.name for folder in bundled.glob("*/config.json"))
    what = f"`{setting}` must be a bundled name ({', '.join(names)}), a folder in Hugging Face layout or a hub id"
    if not isinstance(model, str):
        raise ConfigError(f"{what}; got {shown(model)}.")
    if model in names:
        return model
    path = Path(model)
    if model and _exists(path):
        if not path.is_dir():
            raise ConfigError(f"{what}; {model!r} is a file. Name the folder that it is in.")
        if not (path / "config.json").is_file():
            raise ConfigError(f"{what}; the folder {model!r} has no config.json.")
        return model
    if len(model) > _HUB_ID_LENGTH or not _HUB_ID.fullmatch(model):
        raise ConfigError(f"{what}; {shown(model)} is none, and there is no such folder.")
    near = did_you_mean(model, names, cutoff=0.8)  # only old models of the hub have names without an owner
    if near:
        raise ConfigError(f"{what}, got {model!r}. Did you mean {near!r}?")
    return model


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a null character
        return False


CACHE_FILE = "scores.sqlite"
"""The file in `cache_dir`; where it can only be read, scores are read from it and none are added."""


def check_cache_dir(directory: Any) -> str:
    """The directory as a string, if scores can be kept in it, or are in it. It is not created here.

    Raises:
        ConfigError: If it is not a path, is a file, or cannot be written or created.
    """
    if not isinstance(directory, (str, os.PathLike)) or not isinstance(os.fspath(directory), str):
        raise ConfigError(f"`cache_dir` must be a path or None, got {shown(directory)}.")
    text = os.fspath(directory)
    if not text or "\0" in text:
        raise ConfigError(f"`cache_dir` must be the path of a directory, got {text!r}. Leave it out to keep no files.")
    existing = Path(text).absolute()
    while not _exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise ConfigError(f"`cache_dir` must be a directory, got {text!r}: {str(existing)!r} is a file.")
    if not os.access(existing, os.W_OK | os.X_OK) and not os.access(Path(text) / CACHE_FILE, os.R_OK):
        raise ConfigError(f"`cache_dir` must be a writable directory, got {text!r}: {str(existing)!r} is not writable.")
    return text


def check_store(store: Any) -> Any:
    """The store, if it has the methods of a LangChain `BaseStore` or a LlamaIndex `BaseKVStore`.

    Raises:
        ConfigError: Otherwise.
    """
    for names in (("mget", "mset"), ("get", "put")):
        if all(callable(getattr(store, name, None)) for name in names) and not isinstance(store, type):
            return store
    raise ConfigError(
        "`cache_store` must be a LangChain `BaseStore[str, bytes]` (`mget`, `mset`) or a LlamaIndex `BaseKVStore` "
        f"(`get`, `put`), got {shown(store)}. For a folder use `cache_dir`."
    )
