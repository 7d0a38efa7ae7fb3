"""What both framework adapters use: the settings as pydantic fields, and the compressor built from them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, PrivateAttr
from typing_extensions import Self

from moos_integrations.core.checks import unknown_setting
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig, Settings
from moos_integrations.core.result import Citation, CompressedDocument
from moos_integrations.core.threads import Lock
from moos_integrations.errors import ConfigError
from moos_integrations.messages import Notice

METADATA_KEY = "moos"
"""The metadata key of everything that is added to a document."""

_BUILDING = Lock()
_DEEPEST = 32  # levels of metadata that are copied one by one


class CompressorFields(Settings):
    """Mixin: every setting is a field, so that it is serialised; the weights load on first use, never here.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.
    """

    _compressor: ContextCompressor | None = PrivateAttr(None)

    def __init__(self, **settings: Any) -> None:
        """Check the settings, and log those that have no effect."""
        super().__init__(**settings)
        self.warn_of_settings_without_effect()

    @classmethod
    def from_config(cls, config: CompressorConfig, **fields: Any) -> Self:
        """A component with the settings of a config.

        Args:
            config: The settings, for example those that `calibrate` found.
            **fields: The component's other fields, such as `keep_empty`.

        Raises:
            ConfigError: If `config` is not a `CompressorConfig`, or a field is unknown or repeats a setting.
        """
        if not isinstance(config, CompressorConfig):
            raise ConfigError(f"`config` must be a `CompressorConfig`, got {type(config).__name__}.")
        repeated = [name for name in fields if name in Settings.model_fields]
        if repeated:
            raise ConfigError(
                f"`from_config` takes its settings from `config`; got {', '.join(repeated)} too. Change them in the "
                "config: `config.model_copy(update={...})`."
            )
        return cls(**{name: getattr(config, name) for name in config.model_fields_set}, **fields)

    def __setattr__(self, name: str, value: Any) -> None:
        """Assign a field; a changed setting is checked, and the compressor is rebuilt on its next use."""
        if name in Settings.model_fields:
            value = getattr(self._with({name: value}), name)
            super().__setattr__("_compressor", None)
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; with `update`, its settings are checked and its compressor is rebuilt.

        Raises:
            ConfigError: If a setting in `update` is unknown or cannot be used.
        """
        for name in set(update or {}) - set(type(self).model_fields):
            raise ConfigError(unknown_setting(name, (update or {})[name], type(self)))
        changed = {name: value for name, value in (update or {}).items() if name in Settings.model_fields}
        checked = self._with(changed) if changed else self
        values = {**(update or {}), **{name: getattr(checked, name) for name in changed}}
        copy = super().model_copy(update=values, deep=deep)
        if update:
            copy._compressor = None
        return copy

    def __getstate__(self) -> dict[Any, Any]:
        """State for pickling, without the loaded model: it is loaded again on first use."""
        state = super().__getstate__()
        if state.get("__pydantic_private__"):
            state["__pydantic_private__"] = {**state["__pydantic_private__"], "_compressor": None}
        return state

    @property
    def compressor(self) -> ContextCompressor:
        """The core compressor with these settings; its weights load when it first compresses."""
        with _BUILDING:  # threads that share this adapter share its compressor
            if self._compressor is None:
                self._compressor = ContextCompressor.from_pretrained(lazy=True, config=self.config_of_compressor())
            return self._compressor

    def config_of_compressor(self) -> CompressorConfig:
        """These settings as a `CompressorConfig`."""
        # They were checked when they were set, and the warnings were logged there.
        return CompressorConfig.model_construct(
            _fields_set=self.model_fields_set & set(Settings.model_fields),
            **{name: getattr(self, name) for name in Settings.model_fields},
        )

    def _with(self, changed: Mapping[str, Any]) -> CompressorConfig:
        """These settings with others for some, checked."""
        return CompressorConfig(**{**{name: getattr(self, name) for name in Settings.model_fields}, **changed})


def copied(value: Any, shared: Iterable[Any] = ()) -> Any:
    """A deep copy; what cannot be copied (a lock, a connection, a generator) is shared with the original.

    Args:
        value: Usually metadata, or a document of a framework's class.
        shared: Objects that are not copied in any case.
    """
    known = {id(own): own for own in shared}
    try:
        return copy.deepcopy(value, dict(known))
    except Exception:  # whatever the metadata's own classes raise
        return _copied_in_parts(value, known, ())


def _copied_in_parts(value: Any, known: Mapping[int, Any], above: tuple[int, ...]) -> Any:
    """Dicts and lists as new ones, down to the parts that can or cannot be copied as a whole."""
    try:
        return copy.deepcopy(value, dict(known))
    except Exception:
        if id(value) in above or len(above) >= _DEEPEST:
            return value
    above = (*above, id(value))
    if type(value) is dict:
        return {key: _copied_in_parts(own, known, above) for key, own in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copied_in_parts(own, known, above) for own in value)
    if isinstance(value, BaseModel):
        names = [*type(value).model_fields, *(value.model_extra or ())]
        parts = {name: _copied_in_parts(getattr(value, name), known, above) for name in names}
        return BaseModel.model_copy(value, update=parts)
    return value


def document_metadata(document: CompressedDocument, warnings: Sequence[Notice] = ()) -> dict[str, Any]:
    """The metadata entry under `METADATA_KEY`: JSON-ready, enough to map the text back to its source.

    Args:
        document: A compressed document.
        warnings: Of the whole call. The entry has their kinds as `warnings`, if there are any.
    """
    entry = {
        "original_tokens": document.original_tokens,
        "kept_tokens": document.kept_tokens,
        "spans": [list(span) for span in document.spans],
    }
    return entry | warnings_metadata(warnings)


def warnings_metadata(warnings: Sequence[Notice]) -> dict[str, Any]:
    """The part of the entry with the kinds of the warnings; empty without any."""
    return {"warnings": list(dict.fromkeys(notice.kind for notice in warnings))} if warnings else {}


def citations_of(
    quote: str, index: int, name: str | None, text: str, spans: Sequence[Sequence[int]] | None, start: int, least: float
) -> list[Citation]:
    """Places of a quote in the original of a framework's document.

    Args:
        quote: A piece of an answer.
        index: Position of the document in its list.
        name: Its id.
        text: Its compressed text.
        spans: The spans of its source that `text` was made of; None for an uncompressed document.
        start: Offset of the source in the original that it was cut from.
        least: Smallest share of the quote's words that a place must have in a row.
    """
    known = [(0, len(text))] if spans is None else spans
    shifted = tuple((int(first) + start, int(last) + start) for first, last in known)
    document = CompressedDocument(index, text, shifted, 0, 0, ())
    return [replace(place, id=name) for place in document.cite(quote, min_coverage=least)]


def best_first(places: Iterable[Citation]) -> list[Citation]:
    """Places with most of the quote first, then in document order."""
    return sorted(places, key=lambda place: -place.coverage)
