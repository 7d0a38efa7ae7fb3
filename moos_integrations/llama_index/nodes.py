"""Nodes in, copies of the nodes with less text out; the inputs are never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, Node, NodeWithScore, TextNode

from moos_integrations.adapter import (
    METADATA_KEY,
    AddedMetadata,
    citations_in,
    copied,
    entry_of,
    origin_in,
    warnings_entry,
    without_entry,
)
from moos_integrations.core.provenance import Origin
from moos_integrations.core.result import Citation, CompressedDocument
from moos_integrations.errors import InputError
from moos_integrations.messages import Notice

_OFFSETS = ("start_char_idx", "end_char_idx")
_MEDIA = ("image_resource", "audio_resource", "video_resource")


def text_of(node: BaseNode) -> str:
    """The text alone; any other mode would put the metadata into the text."""
    return node.get_content(metadata_mode=MetadataMode.NONE)


def shown_to_llm(node: BaseNode, text: str) -> str:
    """What the LLM would see of a node that had this text: with metadata and template, as synthesizers join it."""
    other = node.model_copy()  # shallow: only the text of the copy is set
    if text != text_of(node):
        _replace_text(other, text)
    return other.get_content(metadata_mode=MetadataMode.LLM).strip()


def is_more_than_text(node: BaseNode) -> bool:
    """True for images, audio, video, and unknown classes: without text they still have content."""
    if isinstance(node, Node):
        return any(getattr(node, name) is not None for name in _MEDIA)
    return isinstance(node, ImageNode) or not isinstance(node, TextNode)


def copy_of(node: BaseNode) -> BaseNode:
    """A deep copy; it shares `obj` of an index node (an index, a query engine), and what cannot be copied."""
    return cast(BaseNode, copied(node, [getattr(node, "obj", None)]))


def compressed_copy(
    node: BaseNode,
    document: CompressedDocument,
    warnings: Sequence[Notice] = (),
    *,
    added: AddedMetadata = "all",
    score_key: str | None = None,
) -> BaseNode:
    """A copy of the node with the text that was kept.

    Args:
        node: The source.
        document: What was kept of its text.
        warnings: Of the whole call.
        added: What is added to the metadata.
        score_key: Metadata key for the document's relevance; None for none.
    """
    pruned, text = copy_of(node), text_of(node)
    if document.text != text:
        _replace_text(pruned, document.text)
    entry = {}
    if added != "none":
        entry = entry_of(node.metadata, document, origin_of(node), _start(pruned), warnings)
    if added == "spans":
        entry = {METADATA_KEY: entry[METADATA_KEY]}
    if score_key is not None and document.relevance is not None:
        entry[score_key] = round(document.relevance, 4)
    _write_entry(pruned, without_entry(pruned.metadata), entry)
    return pruned


def passed_through_copy(node: BaseNode, warnings: Sequence[Notice], *, added: AddedMetadata = "all") -> BaseNode:
    """A copy of the node with the same text and a warning in its metadata; the rest of an earlier entry stays."""
    same = copy_of(node)
    _write_entry(same, same.metadata, warnings_entry(warnings) if added == "all" else {})
    return same


def _write_entry(node: BaseNode, rest: dict[str, Any], entry: dict[str, Any]) -> None:
    """Put our metadata into a node, hidden from language and embedding models."""
    node.metadata = rest | entry
    for hidden in (node.excluded_llm_metadata_keys, node.excluded_embed_metadata_keys):
        hidden.extend(key for key in entry if key not in hidden)


def cite(quote: str, nodes: Sequence[BaseNode | NodeWithScore], *, min_coverage: float = 0.5) -> list[Citation]:
    """Find the source of a quoted piece of an answer in compressed or uncompressed nodes.

    Args:
        quote: A piece of an answer; words are compared, without case and punctuation. "..." stands for any words, and
            the quote may begin in one node and end in another.
        nodes: For example `response.source_nodes`.
        min_coverage: Smallest share of the quote's words that a place must have.

    Returns:
        Places, those with most of the quote first. `within` says what `start` and `end` count in: "document" the text
        that the node was cut from, "node" the node before compression, "text" the node as it is now, where another
        component has changed its text since. `document` is the position in the list, `id` the node's id.

    Raises:
        InputError: If the quote is not a string, or an item is not a node.
    """
    checked: list[BaseNode] = []
    for index, item in enumerate(nodes):
        node = item.node if isinstance(item, NodeWithScore) else item
        if not isinstance(node, BaseNode):
            raise InputError(f"Expected nodes to cite from; item {index} is a {type(item).__name__}.")
        checked.append(node)
    texts, names = [text_of(node) for node in checked], [node.node_id for node in checked]
    return citations_in(quote, texts, names, [origin_of(node) for node in checked], min_coverage)


def origin_of(node: BaseNode) -> Origin:
    """Where the text of a node comes from: what a component of this package wrote, read from the metadata.

    Returns:
        `spans` of the source, and `within`, what the source is: see `cite`.
    """
    text, start, end = text_of(node), _start(node), getattr(node, "end_char_idx", None)
    # Components that replace the text leave the offsets of the old one.
    sure = start is not None and end is not None and end - start == len(text)
    return origin_in(node.metadata, text, start, offset_is_sure=sure)


def _start(node: BaseNode) -> int | None:
    start = getattr(node, "start_char_idx", None)
    return start if isinstance(start, int) and start >= 0 else None


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
