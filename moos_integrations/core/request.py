"""What a user passes to a compressor, checked before anything is loaded."""

from __future__ import annotations

import numbers
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from moos_integrations.core.config import Target
from moos_integrations.core.documents import RISING, rise
from moos_integrations.core.marginal_gain import standardised
from moos_integrations.core.prompt import PromptFormat
from moos_integrations.core.types import FloatArray
from moos_integrations.errors import InputError
from moos_integrations.messages import warn_once


@dataclass(frozen=True, slots=True)
class Call:
    """What the user passed to `compress_many` or its like, checked.

    Attributes:
        texts: The documents of each request.
        queries: One per request.
        scores: Scores of the documents as they were passed, per request; None for none.
        retrieved: The same, standardised.
        target: None for that of the settings.
        prompts: How each request's documents are shown.
        start: When the call began.
    """

    texts: list[list[str]]
    queries: list[str | None]
    scores: Sequence[Sequence[float | None] | None]
    retrieved: list[FloatArray]
    target: Target | None
    prompts: list[PromptFormat | None]
    start: float

    @classmethod
    def of(cls, requests: Any, queries: Any, document_scores: Any, target: Target | None, prompts: Any) -> Call:
        """The call, with the arguments of `compress_many`.

        Raises:
            InputError: If one is of another type, or has not one item per request or document.
        """
        start = time.perf_counter()
        texts = [checked_texts(request) for request in _checked_requests(requests)]
        checked = _checked_queries(queries, len(texts))
        retrieved = _checked_document_scores(document_scores, texts)
        formats = _checked_prompts(prompts, len(texts))
        return cls(texts, checked, document_scores or [None] * len(texts), retrieved, target, formats, start)


def _checked_requests(requests: Any) -> Iterable[Any]:
    if isinstance(requests, (str, bytes, bytearray, Mapping, Set)) or not isinstance(requests, Iterable):
        raise InputError(
            "`requests` must be a list with the documents of each request (a string, or a list of strings), got "
            f"{type(requests).__name__}. For one request use `compress`."
        )
    return requests


def checked_texts(documents: Any) -> list[str]:
    """The texts of one request; a string is one text.

    Raises:
        InputError: If it is neither a string nor a sequence of strings.
    """
    if isinstance(documents, str):
        return [documents]
    if not isinstance(documents, Sequence) or isinstance(documents, (bytes, bytearray)):
        raise InputError(f"`documents` must be a string or a sequence of strings, got {type(documents).__name__}.")
    for index, text in enumerate(documents):
        if not isinstance(text, str):
            raise InputError(
                f"`documents` must hold strings; item {index} is a {type(text).__name__}. For LangChain documents use "
                "`moos_integrations.langchain.MOOSCompressor`, for LlamaIndex nodes "
                "`moos_integrations.llama_index.MOOSNodePostprocessor`."
            )
    return list(documents)


def _checked_document_scores(scores: Any, texts: list[list[str]]) -> list[FloatArray]:
    """Standardised scores per request; zeros where there are none."""
    if scores is None:
        return [np.zeros(len(own)) for own in texts]
    if isinstance(scores, str) or not isinstance(scores, Sequence) or len(scores) != len(texts):
        raise InputError(f"`document_scores` must hold a list or None per request: expected {len(texts)} of them.")
    checked = [None if own is None else _numbers(own, len(request)) for own, request in zip(scores, texts, strict=True)]
    if any(map(rise, checked)):
        warn_once(RISING)
    return [
        np.zeros(len(request)) if own is None or rise(own) else standardised(own)
        for own, request in zip(checked, texts, strict=True)
    ]


def _numbers(scores: Any, documents: int) -> list[float | None]:
    """The scores of one request, one number or None per document."""
    own = scores.tolist() if isinstance(scores, np.ndarray) else scores
    if isinstance(own, str) or not isinstance(own, Sequence) or len(own) != documents:
        raise InputError(
            f"`document_scores` must hold one number or None per document: expected {documents}, got {scores!r}."
        )
    for score in own:
        if score is not None and (isinstance(score, bool) or not isinstance(score, numbers.Real)):
            raise InputError(f"`document_scores` must hold numbers or None, got {score!r}.")
    try:
        return [None if score is None else float(score) for score in own]
    except OverflowError as error:
        raise InputError(f"`document_scores` must hold numbers of usual size: {error}.") from error


def _checked_prompts(prompts: Any, count: int) -> list[PromptFormat | None]:
    if prompts is None:
        return [None] * count
    if not isinstance(prompts, Sequence) or len(prompts) != count:
        raise InputError(f"`prompts` must hold a `PromptFormat` or None per request: expected {count} of them.")
    for prompt in prompts:
        if prompt is not None and not isinstance(prompt, PromptFormat):
            raise InputError(f"`prompt` must be a `PromptFormat` or None, got {type(prompt).__name__}.")
    return list(prompts)


def _checked_queries(queries: Any, count: int) -> list[str | None]:
    if queries is None:
        return [None] * count
    if isinstance(queries, str) or not isinstance(queries, Sequence) or len(queries) != count:
        raise InputError(
            f"`queries` must be a list of one query or None per request: expected {count}, got {queries!r}."
        )
    for query in queries:
        if query is not None and not isinstance(query, str):
            raise InputError(f"`query` must be a string or None, got {type(query).__name__}.")
    return list(queries)
