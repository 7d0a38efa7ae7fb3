"""Corpora: texts scored or compressed at ingestion by the workers of a Ray cluster (extra `ray`).

Each worker is an actor of Ray Data that loads the weights once. A worker that is killed is started again, and its
batch is done again. Scores are stored by content, so a batch that is done twice leaves one entry per text, and a run
that was broken off goes on where it stopped: known texts need no forward pass.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moos_integrations.core.checks import check_number, check_whole_number
from moos_integrations.core.compressor import ContextCompressor
from moos_integrations.core.config import CompressorConfig
from moos_integrations.core.failures import isolated
from moos_integrations.core.result import CompressionResult
from moos_integrations.errors import ConfigError, MissingExtraError

try:
    import ray
except ImportError as error:
    raise MissingExtraError("ray", extra="ray") from error

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["CorpusReport", "FailedText", "compress", "precompute"]

Batch = dict[str, Any]
MOST_FAILURES = 1000
"""How many failed texts a report names; it counts all of them."""

_NOT_STORED = re.compile("The score cache .* (cannot be|can only be read|failed)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FailedText:
    """A text that could not be scored.

    Attributes:
        id: What the row has in `id_column`; None without one.
        error: Why.
    """

    id: str | None
    error: str


@dataclass(frozen=True, slots=True)
class CorpusReport:
    """What `precompute` did.

    Attributes:
        texts: Rows of the dataset.
        computed: Texts that needed the model; the others were in the store, or came twice in a batch.
        failures: How many texts have no scores.
        failed: The first `MOST_FAILURES` of them.
        seconds: Wall time.
        workers: Texts by worker (node and process); one that was started again is another one.
    """

    texts: int
    computed: int
    failures: int
    failed: tuple[FailedText, ...]
    seconds: float
    workers: Mapping[str, int]


def precompute(
    dataset: Dataset,
    *,
    text_column: str = "text",
    id_column: str | None = None,
    workers: int | tuple[int, int] = 1,
    cpus_per_worker: float = 1.0,
    batch_size: int = 64,
    store: Callable[[], Any] | None = None,
    **settings: Any,
) -> CorpusReport:
    """Score the texts of a dataset without a question, as `ContextCompressor.precompute`, on many workers.

    Args:
        dataset: A Ray dataset with one text per row.
        text_column: The column of the texts.
        id_column: A column that names the rows in `failed`.
        workers: The most workers, or the least and the most. Ray starts as many as it has cores and work for. The least
            must leave cores free, or nothing reads the dataset.
        cpus_per_worker: Cores of each; the model uses as many threads.
        batch_size: Texts that a worker scores at once. It is also what is done again if the worker is killed.
        store: Makes the `cache_store` in each worker, for stores with connections, which cannot be sent to others.
        settings: Settings of the compressor. `cache_dir` must be a folder that all workers and the later chains share;
            SQLite asks for a file system with working locks, which most network file systems lack: use a store there.

    Returns:
        The counts. Progress is shown by Ray's own bars.

    Raises:
        ConfigError: Unless there is a `cache_dir`, a `cache_store` or a `store`; also if a number is out of range, or
            a column is missing.
        RayError: As Ray raises it, if the workers cannot start or a store cannot be written.
    """
    own = _Worker.settings_of(settings, store)
    config = CompressorConfig.from_settings(own)
    if store is None and not config.cache_dir and config.cache_store is None:
        raise ConfigError(
            "`precompute` has nowhere to keep scores that outlives the workers: set `cache_dir`, `cache_store` or "
            "`store`."
        )
    columns = [text_column, *([id_column] if id_column else [])]
    rows = _checked_columns(dataset, columns)
    start = time.monotonic()
    arguments = {"settings": own, "store": store, "text_column": text_column, "id_column": id_column}
    done = _mapped(rows.select_columns(columns), _Scores, arguments, workers, cpus_per_worker, batch_size)
    return _report(done.iter_rows(), start)


def compress(
    dataset: Dataset,
    *,
    text_column: str = "text",
    query_column: str | None = None,
    workers: int | tuple[int, int] = 1,
    cpus_per_worker: float = 1.0,
    batch_size: int = 64,
    store: Callable[[], Any] | None = None,
    **settings: Any,
) -> Dataset:
    """Compress each text of a dataset by itself, on many workers.

    For runs that can be broken off, write the result with a `ray.data.checkpoint.CheckpointConfig`: rows that are
    written are not read again.

    Args:
        dataset: A Ray dataset with one text per row.
        text_column: The column of the texts; it stays.
        query_column: The column of each text's question; None to compress without one. Empty questions are none.
        workers: As in `precompute`.
        cpus_per_worker: As in `precompute`.
        batch_size: As in `precompute`.
        store: As in `precompute`.
        settings: Settings of the compressor; a text that cannot be compressed stays as it is.

    Returns:
        The dataset, not yet computed, with these columns more: `compressed_text`, `original_tokens`, `kept_tokens` and
        `compression_error`, which is empty where there is none.

    Raises:
        ConfigError: If a setting or a number is out of range, or a column is missing.
    """
    own = _Worker.settings_of({**settings, "on_error": "passthrough"}, store)
    CompressorConfig.from_settings(own)
    rows = _checked_columns(dataset, [text_column, *([query_column] if query_column else [])])
    arguments = {"settings": own, "store": store, "text_column": text_column, "query_column": query_column}
    return _mapped(rows, _Compressed, arguments, workers, cpus_per_worker, batch_size)


# --- on the driver ----------------------------------------------------------------------------------------------------


def _checked_columns(dataset: Any, columns: Sequence[str]) -> Dataset:
    if not isinstance(dataset, ray.data.Dataset):
        raise ConfigError(
            f"`dataset` must be a `ray.data.Dataset`, got {type(dataset).__name__}. Make one with "
            "`ray.data.read_parquet` or `ray.data.from_items`."
        )
    names = dataset.columns()
    missing = [column for column in columns if column not in (names or ())]
    if missing and names is not None:  # None: an empty dataset
        raise ConfigError(f"The dataset has no column {missing[0]!r}; its columns are {', '.join(map(repr, names))}.")
    return dataset


def _mapped(
    rows: Dataset,
    worker: type[_Worker],
    arguments: Mapping[str, Any],
    workers: int | tuple[int, int],
    cpus_per_worker: float,
    batch_size: int,
) -> Dataset:
    check_number("cpus_per_worker", cpus_per_worker, above=0)
    check_whole_number("batch_size", batch_size, 1)
    # From one on: a fixed pool that takes all cores leaves none to those who read, and waits for them for ever.
    bounds = workers if isinstance(workers, tuple) else (1, workers)
    for bound in bounds:
        check_whole_number("workers", bound, 1)
    # Ray starts killed workers again without end, and does their batches again.
    return rows.map_batches(
        worker,
        fn_constructor_kwargs=dict(arguments),
        compute=ray.data.ActorPoolStrategy(min_size=bounds[0], max_size=bounds[-1]),
        num_cpus=cpus_per_worker,
        batch_size=batch_size,
        batch_format="pyarrow",
    )


def _report(batches: Iterable[Mapping[str, Any]], start: float) -> CorpusReport:
    texts = computed = failures = 0
    failed: list[FailedText] = []
    shares: Counter[str] = Counter()
    for batch in batches:
        texts += int(batch["texts"])
        computed += int(batch["computed"])
        shares[str(batch["worker"])] += int(batch["texts"])
        own = json.loads(batch["failed"])
        failures += len(own)
        failed += [FailedText(*pair) for pair in own[: MOST_FAILURES - len(failed)]]
    return CorpusReport(texts, computed, failures, tuple(failed), time.monotonic() - start, dict(shares))


# --- in the workers ---------------------------------------------------------------------------------------------------


class _Worker:
    """Base of the actors: a compressor with its weights loaded."""

    def __init__(self, settings: Mapping[str, Any], store: Callable[[], Any] | None, text_column: str) -> None:
        own = {**settings, **({} if store is None else {"cache_store": store()})}
        self.compressor = ContextCompressor.from_pretrained(**own)
        self.compressor.load()
        self.text_column = text_column
        self.name = f"{ray.get_runtime_context().get_node_id()[:8]}/{os.getpid()}"

    @staticmethod
    def settings_of(settings: Mapping[str, Any], store: Callable[[], Any] | None) -> dict[str, Any]:
        """The settings to send to the workers. Texts do not come back, so that memory keeps none of them."""
        if store is not None and settings.get("cache_store") is not None:
            raise ConfigError("Pass either `cache_store` or `store`, which makes one in each worker; got both.")
        return {"cache_bytes": 0, **settings}


class _Scores(_Worker):
    """Scores batches; returns one row per batch."""

    def __init__(
        self, settings: Mapping[str, Any], store: Callable[[], Any] | None, text_column: str, id_column: str | None
    ) -> None:
        super().__init__(settings, store, text_column)
        self.id_column = id_column

    def __call__(self, batch: Any) -> Batch:
        cells = batch.column(self.text_column).to_pylist()
        ids = [None] * len(cells) if self.id_column is None else batch.column(self.id_column).to_pylist()
        readable = [index for index, value in enumerate(cells) if isinstance(value, str)]
        failed = {index: _no_string(value) for index, value in enumerate(cells) if not isinstance(value, str)}
        before = _computed(self.compressor)
        with warnings.catch_warnings(record=True) as reported:
            warnings.simplefilter("always")
            _, errors = isolated(self._score, [cells[index] for index in readable])
        _raise_if_not_stored(reported)
        failed |= {readable[place]: str(error) for place, error in errors.items()}
        computed = _computed(self.compressor) - before
        named = [(None if ids[index] is None else str(ids[index]), failed[index]) for index in sorted(failed)]
        row = {"texts": len(cells), "computed": computed, "worker": self.name, "failed": json.dumps(named)}
        return {name: np.array([value]) for name, value in row.items()}

    def _score(self, texts: list[str]) -> list[None]:
        self.compressor.precompute(texts)
        return [None] * len(texts)


class _Compressed(_Worker):
    """Compresses batches; returns the rows with what was left of their texts."""

    def __init__(
        self, settings: Mapping[str, Any], store: Callable[[], Any] | None, text_column: str, query_column: str | None
    ) -> None:
        super().__init__(settings, store, text_column)
        self.query_column = query_column

    def __call__(self, batch: Any) -> Any:
        cells = batch.column(self.text_column).to_pylist()
        queries = [None] * len(cells) if self.query_column is None else batch.column(self.query_column).to_pylist()
        texts = [value if isinstance(value, str) else "" for value in cells]
        results = self.compressor.compress_many(texts, [own if isinstance(own, str) else None for own in queries])
        columns = {
            "compressed_text": [own.text for own in results],
            "original_tokens": [own.original_tokens for own in results],
            "kept_tokens": [own.kept_tokens for own in results],
            "compression_error": [_error(value, own) for value, own in zip(cells, results, strict=True)],
        }
        for name, values in columns.items():
            batch = batch.append_column(name, [values])
        return batch


def _error(value: Any, result: CompressionResult) -> str:
    """Why a text is as it was; empty if it was compressed."""
    if not isinstance(value, str):
        return _no_string(value)
    return "; ".join(map(str, result.warnings)) if result.documents[0].passed_through else ""


def _no_string(value: Any) -> str:
    return f"Expected a string, got {type(value).__name__}."


def _raise_if_not_stored(reported: Sequence[warnings.WarningMessage]) -> None:
    """In a chain a store that fails is passed over. Here it is all that the run is for."""
    for warning in reported:
        if _NOT_STORED.match(str(warning.message)):
            raise ConfigError(f"The scores cannot be kept. {warning.message}")


def _computed(compressor: ContextCompressor) -> int:
    """Texts that the compressor's model has scored so far."""
    return int(getattr(compressor.scorer, "computed", 0))
