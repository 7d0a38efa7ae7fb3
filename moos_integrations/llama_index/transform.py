"""`MOOSNodeTransform`: prunes nodes at ingestion, without a query."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llama_index.core.schema import BaseNode, TransformComponent
from pydantic import ConfigDict
from typing_extensions import Self, Unpack

import moos_integrations
from moos_integrations.core.config import BUNDLED_MODELS, WITHOUT_QUESTION, Rule
from moos_integrations.core.result import CompressionResult
from moos_integrations.errors import InputError
from moos_integrations.llama_index.component import NodeCompressor, NodeCompressorKeywords, dispatcher

_WEIGHTS_AND_SETTINGS = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model")


class MOOSNodeTransform(NodeCompressor, TransformComponent):
    """Prunes nodes or documents in an `IngestionPipeline`, before they are embedded and stored.

    Ids, metadata, copies and dropped nodes are as in `MOOSNodePostprocessor`, with one difference. The target applies
    to each node alone, so what is stored of a node does not depend on other nodes.

    It may be before or after the node parser. `cite` leads back into the document either way.

    The pipeline's cache identifies a run by `to_dict`. It includes a fingerprint: this package's version and, for the
    bundled model and local folders, a hash of the model's files. With `on_error="passthrough"` the cache also stores
    nodes that were passed through.

    Raises:
        ConfigError: On building or assignment, if a setting is unknown or cannot be used.

    Examples:
        >>> from llama_index.core import Document
        >>> from llama_index.core.ingestion import IngestionPipeline
        >>> from llama_index.core.node_parser import SentenceSplitter
        >>> from moos_integrations.llama_index import MOOSNodeTransform
        >>> pipeline = IngestionPipeline(transformations=[SentenceSplitter(), MOOSNodeTransform(rate=0.7)])
        >>> text = "The meeting was really very long. It ended at 17:30 on 3 May."
        >>> nodes = pipeline.run(documents=[Document(text=text)])
        >>> 0 < len(nodes[0].text) < len(text)
        True
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    more_rules: ClassVar[tuple[Rule, ...]] = (
        *WITHOUT_QUESTION,
        (("score_key",), lambda settings: True, "at ingestion there is no question, and so no relevance."),
    )

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[NodeCompressorKeywords]) -> None: ...  # noqa: D107

    @classmethod
    def class_name(cls) -> str:
        """Name under which the transform is saved."""
        return "MOOSNodeTransform"

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """Compress each node.

        Args:
            nodes: Nodes or documents; they are not changed.
            **kwargs: What the pipeline passes to all of its transformations; not used.

        Returns:
            Copies, in order, without the nodes of which nothing was kept.

        Raises:
            InputError: If an item is not a node.
            ModelError: If the model cannot be loaded (with `on_error="raise"`).
            TokenizerError: If tokens cannot be counted (with `on_error="raise"`).
            CompressionError: If the model fails on the input (with `on_error="raise"`).
        """
        texts = self._start(_checked(nodes), None)
        return self._output(nodes, self._compress(texts) if texts else [])

    @dispatcher.span  # LlamaIndex adds spans to its abstract methods only
    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[BaseNode]:
        """`__call__` with the model in a worker thread, so that the event loop goes on."""
        texts = self._start(_checked(nodes), None)
        return self._output(nodes, await self.compressor.acompress_many(texts) if texts else [])

    def _compress(self, texts: list[str]) -> list[CompressionResult]:
        return self.compressor.compress_many(texts)

    def _output(self, nodes: Sequence[BaseNode], results: Sequence[CompressionResult]) -> list[BaseNode]:
        """The kept nodes.

        Args:
            nodes: The sources.
            results: One per node; none if there was no text.
        """
        together = _together(results, self.separator) if results else None
        copies = self._end(nodes, together, [result.warnings for result in results])
        return [node for node in copies if node is not None]

    # --- saving ------------------------------------------------------------------------------------------------------

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The settings, JSON-ready, and a fingerprint of package and model."""
        return {**super().to_dict(**kwargs), "fingerprint": _fingerprint(self.model)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """A transform from the output of `to_dict`; the fingerprint is not a setting.

        Args:
            data: Output of `to_dict`; it is not changed.
            **kwargs: Settings to replace. `tokenizer` must be among them if it was an object: only its name was saved.

        Raises:
            ConfigError: If a setting is unknown or cannot be used, or a tokenizer object is missing.
        """
        return super().from_dict({name: value for name, value in data.items() if name != "fingerprint"}, **kwargs)


def _checked(nodes: Any) -> Sequence[BaseNode]:
    if isinstance(nodes, (str, bytes)) or not isinstance(nodes, Sequence):
        raise InputError(f"`nodes` must be a list of nodes or documents, got {type(nodes).__name__}.")
    for index, node in enumerate(nodes):
        if not isinstance(node, BaseNode):
            raise InputError(
                f"`nodes` must hold nodes or documents; item {index} is a {type(node).__name__}. Wrap a text as "
                "`Document(text=text)`; for retrieved nodes, which have scores, use `MOOSNodePostprocessor`."
            )
    return nodes


def _together(results: Sequence[CompressionResult], separator: str) -> CompressionResult:
    """The results of single texts as one result."""
    return CompressionResult(
        documents=tuple(replace(result.documents[0], index=index) for index, result in enumerate(results)),
        text=separator.join([result.text for result in results if result.text]),
        original_tokens=sum(result.original_tokens for result in results),
        kept_tokens=sum(result.kept_tokens for result in results),
        protected_tokens=sum(result.protected_tokens for result in results),
        seconds=max(result.seconds for result in results),
        warnings=tuple(dict.fromkeys(warning for result in results for warning in result.warnings)),
        order=tuple(range(len(results))),
        left_alone=all(result.left_alone for result in results),
        _explanation=results[0]._explanation,
    )


def _fingerprint(model: str) -> str:
    """Version of the package, and a hash of the model's files; for a hub id, the version alone."""
    folder = next((folder for folder in (BUNDLED_MODELS / model, Path(model)) if folder.is_dir()), None)
    if folder is None:
        return moos_integrations.__version__
    files = sorted({path for pattern in _WEIGHTS_AND_SETTINGS for path in folder.glob(pattern)})
    states = [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return f"{moos_integrations.__version__}-{_hash_of(tuple(states))}"


@lru_cache(maxsize=8)
def _hash_of(states: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash of names and contents; sizes and times are arguments so that a changed file is read again."""
    digest = hashlib.sha256()
    for path, size, _ in states:
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:16]
