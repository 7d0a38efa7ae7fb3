"""What both framework adapters use: the settings as pydantic fields, and the compressor built from them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, PrivateAttr
from typing_extensions import Self

from moos_integrations.core.checks import unknown_setting
from moos_integrations.core.citations import places_in
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig, Settings
from moos_integrations.core.provenance import Origin, Piece, chained, found, stored
from moos_integrations.core.result import Citation, CompressedDocument
from moos_integrations.core.threads import Lock
from moos_integrations.core.tokens import TokenCounter
from moos_integrations.core.types import Scorer
from moos_integrations.errors import ConfigError, InputError
from moos_integrations.messages import Notice

METADATA_KEY = "moos"
"""The metadata key of the string that leads back into the source."""
ORIGINAL_TOKENS_KEY, KEPT_TOKENS_KEY = "moos_original_tokens", "moos_kept_tokens"
RELEVANCE_KEY, WARNINGS_KEY = "moos_relevance", "moos_warnings"
ADDED_KEYS = (METADATA_KEY, ORIGINAL_TOKENS_KEY, KEPT_TOKENS_KEY, RELEVANCE_KEY, WARNINGS_KEY)
"""All keys that may be added to a document's metadata."""

AddedMetadata = Literal["spans", "all", "none"]
_SEAM = 3  # tokens that may come where the entry meets its neighbours

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

    def compressor_for(self, settings: Mapping[str, Any]) -> tuple[ContextCompressor, dict[str, Any]]:
        """The compressor of one call, and the call's target.

        Args:
            settings: Those of `PER_CALL` that the call has; None for a target that it has not.

        Returns:
            A compressor that shares model and caches with the usual one, and the keywords for its methods.

        Raises:
            ConfigError: If a setting cannot be used.
        """
        target = {name: settings[name] for name in TARGETS if settings.get(name) is not None}
        changed = {name: value for name, value in settings.items() if name not in TARGETS}
        usual = self.compressor
        return _OfOneCall(usual, self._with(changed)) if changed else usual, target

    def config_of_compressor(self) -> CompressorConfig:
        """These settings as a `CompressorConfig`."""
        # They were checked when they were set, and the warnings were logged there.
        return CompressorConfig.model_construct(
            _fields_set=self.model_fields_set & set(Settings.model_fields),
            **{name: getattr(self, name) for name in Settings.model_fields},
        )

    def check_call(self, settings: Mapping[str, Any]) -> None:
        """Check the settings of a call.

        Raises:
            ConfigError: If one cannot be used, or there are two targets.
        """
        targets = dict.fromkeys(TARGETS) if any(settings.get(name) is not None for name in TARGETS) else {}
        self._with({**targets, **settings})

    def _with(self, changed: Mapping[str, Any]) -> CompressorConfig:
        """These settings with others for some, checked."""
        return CompressorConfig(**{**{name: getattr(self, name) for name in Settings.model_fields}, **changed})


# --- settings of one call ---------------------------------------------------------------------------------------------


class _OfOneCall(ContextCompressor):
    """A compressor with other settings. What it loads, in its call and within its `timeout`, the usual one loads."""

    def __init__(self, usual: ContextCompressor, config: CompressorConfig) -> None:
        self.__dict__.update(usual.__dict__)
        self.config, self._usual = config, usual

    def load(self) -> tuple[Scorer, TokenCounter]:
        self._scorer, self._counter = self._usual.load()
        return self._scorer, self._counter

    @property
    def counter(self) -> TokenCounter:
        self._counter = self._usual.counter
        return self._counter


TARGETS = ("rate", "budget_tokens", "threshold")
PER_CALL = (*TARGETS, "timeout", "on_error", "order", "protect", "separator", "top_n")
"""Settings that a single call may have in place of the configured ones: none of them changes what is loaded."""


# --- metadata ---------------------------------------------------------------------------------------------------------


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


def origin_in(metadata: Mapping[str, Any], text: str, offset: int | None, *, offset_is_sure: bool = True) -> Origin:
    """Where a text comes from, by its metadata.

    Args:
        metadata: Of a document or node.
        text: Its text.
        offset: Where a splitter says that it begins in the text that it was cut from.
        offset_is_sure: Whether `offset` can be of this text.

    Returns:
        Within "text" if nothing is known: the text is then its own source.
    """
    if METADATA_KEY in metadata:
        known = found(metadata[METADATA_KEY], text, offset)
        # With an entry of another text, the offset may be of another text too.
        return known or Origin.whole("text", len(text))
    if offset is None or not offset_is_sure:
        return Origin.whole("text", len(text))
    return Origin.whole("document", len(text), offset)


def entry_of(
    metadata: Mapping[str, Any],
    document: CompressedDocument,
    origin: Origin,
    offset: int | None,
    warnings: Sequence[Notice] = (),
) -> dict[str, Any]:
    """What is added to the metadata of a compressed document: flat keys with strings and numbers.

    Args:
        metadata: Of the source.
        document: What was kept of it.
        origin: Of the source's text.
        offset: Where the metadata of the result say that its text begins.
        warnings: Of the whole call.
    """
    source = replace(origin, within="node") if origin.within == "text" else origin
    earlier = metadata.get(ORIGINAL_TOKENS_KEY) if origin.within != "text" else None
    entry: dict[str, Any] = {
        METADATA_KEY: stored(chained(pieces_of(document), source), document.text, offset),
        ORIGINAL_TOKENS_KEY: earlier if isinstance(earlier, int) else document.original_tokens,
        KEPT_TOKENS_KEY: document.kept_tokens,
    }
    if document.relevance is not None:
        entry[RELEVANCE_KEY] = round(document.relevance, 4)
    return entry | warnings_entry(warnings)


def warnings_entry(warnings: Sequence[Notice]) -> dict[str, Any]:
    """The part of the entry with the kinds of the warnings; empty without any."""
    return {WARNINGS_KEY: "; ".join(dict.fromkeys(notice.kind for notice in warnings))} if warnings else {}


def without_entry(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata without what an earlier call added."""
    return {name: value for name, value in metadata.items() if name not in ADDED_KEYS}


def pieces_of(document: CompressedDocument) -> tuple[Piece, ...]:
    """Where the kept spans are in the compressed text; omission marks stand between them."""
    behind = {mark.start: mark.end for mark in document.marks}
    pieces, at = [], 0
    for start, end in document.spans:
        while at in behind:
            at = behind[at]
        pieces.append((at, start, end))
        at += end - start
    return tuple(pieces)


def pays_off(entry: Mapping[str, Any], document: CompressedDocument, count: Callable[[str], int] | None) -> bool:
    """Whether the entry, printed in a prompt with the rest of the metadata, costs less than compression saved.

    Args:
        entry: What is added.
        document: The compressed document.
        count: Counts tokens; None if that may be slow. The entry then has at most a token per character.
    """
    printed = "".join(f", {name!r}: {value!r}" for name, value in entry.items())
    cost = len(printed) if count is None else count(printed) + _SEAM
    return cost <= document.original_tokens - document.kept_tokens


# --- citations --------------------------------------------------------------------------------------------------------


def citations_in(
    quote: str, texts: Sequence[str], names: Sequence[str | None], origins: Sequence[Origin], least: float
) -> list[Citation]:
    """Places of a quote in the sources of texts.

    Args:
        quote: A piece of an answer.
        texts: The texts as they are now.
        names: Their ids.
        origins: Where they come from.
        least: Smallest share of the quote's words that a place must have.

    Returns:
        Places with most of the quote first. A place outside of the pieces of its origin is one in the text.

    Raises:
        InputError: If the quote is not a string.
    """
    if not isinstance(quote, str):
        raise InputError(f"A quote must be a string, got {type(quote).__name__}.")
    found = places_in(quote, [origin.without_rest(text) for origin, text in zip(origins, texts, strict=True)], least)
    if not found or found[0][1][2] < 1:
        printed = places_in(quote, texts, least)  # a quote may have a mark or a heading that is not from the source
        found = printed if printed and (not found or printed[0][1][2] > found[0][1][2]) else found
    places = []
    for index, (start, end, coverage) in found:
        place, within = origins[index].place(start, end), origins[index].within
        if place is None:
            place, within = (start, end), "text"
        places.append(Citation(index, *place, texts[index][start:end], coverage, names[index], within))
    return places
