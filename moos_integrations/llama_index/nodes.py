"""Nodes in, copies of the nodes with less text out; the inputs are never changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, Node, NodeWithScore, TextNode

from moos_integrations.adapter import (
    METADATA_KEY,
    best_first,
    citations_of,
    copied,
    document_metadata,
    warnings_metadata,
)
from moos_integrations.core.result import Citation, CompressedDocument
from moos_integrations.errors import InputError
from moos_integrations.messages import Notice

_OFFSETS = ("start_char_idx", "end_char_idx")
_MEDIA = ("image_resource", "audio_resource", "video_resource")


def text_of(node: BaseNode) -> str:
    """The text alone; any other mode would put the metadata into the text."""
    return node.get_content(metadata_mode=MetadataMode.NONE)


def is_more_than_text(node: BaseNode) -> bool:
    """True for images, audio, video, and unknown classes: without text they still have content."""
    if isinstance(node, Node):
        return any(getattr(node, name) is not None for name in _MEDIA)
    return isinstance(node, ImageNode) or not isinstance(node, TextNode)


def copy_of(node: BaseNode) -> BaseNode:
    """A deep copy; it shares `obj` of an index node (an index, a query engine), and what cannot be copied."""
    return cast(BaseNode, copied(node, [getattr(node, "obj", None)]))


def compressed_copy(
    node: BaseNode, document: CompressedDocument, warnings: Sequence[Notice] = (), *, flat: bool
) -> BaseNode:
    """A copy of the node with the text that was kept.

    Args:
        node: The source.
        document: What was kept of its text.
        warnings: Of the whole call.
        flat: Write our metadata as one JSON string, because many vector stores refuse nested values.
    """
    pruned = copy_of(node)
    _write_entry(pruned, _entry(node, document, warnings), flat=flat)
    if document.text != text_of(node):
        _replace_text(pruned, document.text)
    return pruned


def passed_through_copy(node: BaseNode, warnings: Sequence[Notice], *, flat: bool) -> BaseNode:
    """A copy of the node with the same text and a warning in its entry; the rest of an earlier entry stays."""
    same = copy_of(node)
    _write_entry(same, (_earlier_entry(node) or {}) | warnings_metadata(warnings), flat=flat)
    return same


def _write_entry(node: BaseNode, entry: dict[str, Any], *, flat: bool) -> None:
    """Put our metadata into a node, hidden from language and embedding models."""
    node.metadata[METADATA_KEY] = json.dumps(entry, separators=(",", ":")) if flat else entry
    for hidden in (node.excluded_llm_metadata_keys, node.excluded_embed_metadata_keys):
        if METADATA_KEY not in hidden:
            hidden.append(METADATA_KEY)


def cite(quote: str, nodes: Sequence[BaseNode | NodeWithScore], *, min_coverage: float = 0.5) -> list[Citation]:
    """Find the source of a quoted piece of an answer in compressed or uncompressed nodes.

    Args:
        quote: A piece of an answer; words are compared, without case and punctuation.
        nodes: For example `response.source_nodes`.
        min_coverage: Smallest share of the quote's words that a place must have in a row.

    Returns:
        Places, those with most of the quote first. `start` and `end` are offsets into the text before compression. For
        nodes with a `start_char_idx`, they are offsets into the document that the node was cut from. `document` is the
        position in the list, `id` the node's id.

    Raises:
        InputError: If the quote is not a string, or an item is not a node.
    """
    places: list[Citation] = []
    for index, item in enumerate(nodes):
        node = item.node if isinstance(item, NodeWithScore) else item
        if not isinstance(node, BaseNode):
            raise InputError(f"Expected nodes to cite from; item {index} is a {type(item).__name__}.")
        entry = _earlier_entry(node) or {}
        start = entry.get("start_char_idx", getattr(node, "start_char_idx", None)) or 0
        places += citations_of(quote, index, node.node_id, text_of(node), entry.get("spans"), start, min_coverage)
    return best_first(places)


def _replace_text(node: BaseNode, text: str) -> None:
    """Set the text, and clear what described the old one."""
    if isinstance(node, Node) and node.text_resource is not None:
        # `set_content` would lose the resource's path, URL and MIME type.
        node.text_resource = node.text_resource.model_copy(update={"text": text, "embeddings": None})
    else:
        node.set_content(text)
    for name in ("embedding", "text_embedding", *_OFFSETS):
        if getattr(node, name, None) is not None:
            setattr(node, name, None)


def _entry(node: BaseNode, document: CompressedDocument, warnings: Sequence[Notice]) -> dict[str, Any]:
    """Our metadata: counts, spans, and the offsets that the node had in its document."""
    entry = document_metadata(document, warnings)
    for name in _OFFSETS:
        if getattr(node, name, None) is not None:
            entry[name] = getattr(node, name)
    earlier = _earlier_entry(node)
    if earlier is None:
        return entry
    spans = _chained(document.spans, earlier["spans"])
    earlier = {name: value for name, value in earlier.items() if name != "warnings"}  # those were of the earlier call
    return {**earlier, **entry, "original_tokens": earlier["original_tokens"], "spans": spans}


def _earlier_entry(node: BaseNode) -> dict[str, Any] | None:
    """The entry of an earlier pass, as at ingestion; None if it does not describe the text that the node has now."""
    stored: Any = node.metadata.get(METADATA_KEY)
    try:
        entry = json.loads(stored) if isinstance(stored, str) else stored
        length = sum(end - start for start, end in entry["spans"])
        return entry if length == len(text_of(node)) and isinstance(entry["original_tokens"], int) else None
    except (KeyError, TypeError, ValueError):
        return None


def _chained(spans: Sequence[Sequence[int]], earlier: Sequence[Sequence[int]]) -> list[list[int]]:
    """Spans of the text that `earlier` made, as spans of the source that `earlier` was made from. Both ascend."""
    chained: list[list[int]] = []
    index = offset = 0
    for start, end in earlier:
        stop = offset + end - start  # this earlier span is [offset, stop) of the text in between
        while index < len(spans) and spans[index][0] < stop:
            first, last = max(spans[index][0], offset), min(spans[index][1], stop)
            chained.append([start + first - offset, start + last - offset])
            if spans[index][1] > stop:
                break  # goes on in the next earlier span
            index += 1
        offset = stop
    return chained
