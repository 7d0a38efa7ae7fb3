"""`COMI`: compress documents into memory vectors for one LLM, and let it answer from them."""

from __future__ import annotations

import copy
import operator
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

from moos_integrations.comi.hybrid import smallest_merge_size, text_units, unit_gains
from moos_integrations.comi.memory import SoftMemory, joined_prompts
from moos_integrations.comi.method import reallocate
from moos_integrations.comi.network import ContextStates, Network
from moos_integrations.comi.settings import DecoderTuning, Method
from moos_integrations.comi.states import StateStore, fingerprint_of, segment_key
from moos_integrations.core.checks import check_number, check_whole_number
from moos_integrations.core.text import unit_spans, well_formed
from moos_integrations.errors import ConfigError, InputError, ModelError

DEFAULT_STATE_BYTES = 2**28
MAX_NEW_TOKENS = 64
_AT_ONCE = 16  # segments per pass of the encoder
_MARK = "\ue000"  # where the vectors go in a rendered chat; a private character that no template has
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A piece of a document, at most `segment_tokens` long.

    Attributes:
        ids: Its tokens. Shape: `(n,)`.
        units: Start and end in tokens of each sentence or line.
        as_text: Tokens that must stay text. Shape: `(n,)`.
    """

    ids: Tensor
    units: tuple[Span, ...]
    as_text: Tensor


class COMI:
    """Soft context compression for one local LLM.

    Safe to share between threads. States of documents are kept by content, in memory.

    Attributes:
        network: Encoder, fusion layer and decoder.
        tokenizer: The LLM's.
        store: States of known documents.
        base: Name or path of the LLM.
        base_fingerprint: Hash of its weights.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Any,
        *,
        base: str = "",
        base_fingerprint: str = "",
        state_bytes: int = DEFAULT_STATE_BYTES,
    ) -> None:
        """Use a network and its tokenizer; see `from_pretrained` and `from_llm`.

        Raises:
            ModelError: If the tokenizer is not a fast one.
            ConfigError: If `state_bytes` is not a whole number.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"Expected a fast tokenizer with character offsets, got {type(tokenizer).__name__}. Save the model "
                "with a `tokenizer.json`."
            )
        check_whole_number("state_bytes", state_bytes, 0)
        self.network, self.tokenizer = network.eval(), tokenizer
        # The option that takes special tokens as text is a state of the tokenizer, so that it needs one of its own.
        self._plain = copy.deepcopy(tokenizer)
        self.base, self.base_fingerprint = base, base_fingerprint
        self.store = StateStore(state_bytes)
        weights = fingerprint_of(network.encoder.named_parameters())
        self._key = f"{weights}{network.method.encoding_key()}"

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        base: str | Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
        state_bytes: int = DEFAULT_STATE_BYTES,
    ) -> COMI:
        """Load what `moos comi train` saved, with its LLM.

        Args:
            folder: The saved folder.
            base: Folder, hub id or GGUF file of the LLM; None for where it was at training.
            device: "auto" or a torch device.
            dtype: "auto", "float32", "bfloat16" or "float16".
            state_bytes: Memory for states of known documents.

        Raises:
            ModelError: If a part is missing or damaged, or the LLM is not the one it was trained with.
            ConfigError: On an unknown device or dtype.
        """
        from moos_integrations.comi.storage import load

        network, tokenizer, name, fingerprint = load(Path(folder), base, device, dtype)
        return cls(network, tokenizer, base=name, base_fingerprint=fingerprint, state_bytes=state_bytes)

    @classmethod
    def from_llm(
        cls,
        llm: Any,
        tokenizer: Any,
        method: Method | None = None,
        tuning: DecoderTuning | None = None,
        *,
        base: str = "",
        own_embeddings: bool = False,
        state_bytes: int = DEFAULT_STATE_BYTES,
    ) -> COMI:
        """An untrained one around a causal LLM of transformers, which becomes its decoder.

        Raises:
            ModelError: If the LLM takes no embeddings as input, or the tokenizer is not a fast one.
            ConfigError: If method or tuning do not fit the LLM.
        """
        fingerprint = fingerprint_of(llm.named_parameters())
        network = Network(llm, method or Method(), tuning or DecoderTuning(), own_embeddings=own_embeddings)
        return cls(network, tokenizer, base=base, base_fingerprint=fingerprint, state_bytes=state_bytes)

    @property
    def method(self) -> Method:
        """How contexts become vectors."""
        return self.network.method

    # --- compression ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def compress(
        self,
        documents: Sequence[str],
        query: str,
        *,
        merge_size: int | None = None,
        budget_positions: int | None = None,
        text_spans: Sequence[Sequence[Span]] | None = None,
        hybrid: bool = True,
        method: Method | None = None,
    ) -> SoftMemory:
        """Documents as memory vectors for a question.

        Without a budget every `merge_size` tokens become one vector; a shorter document becomes one vector. With
        `budget_positions` the sentences and lines of highest gain stay text and the rest becomes vectors, all in the
        order of the source. Empty documents take no position. If all are empty, the prompt is the question alone.

        Args:
            documents: Texts, in the order of the prompt.
            query: The question.
            merge_size: Tokens per vector, from 1 on; None for the method's. With a budget that is too small for it,
                None takes the smallest merge size that fits.
            budget_positions: Most positions for vectors and text together.
            text_spans: Character spans of each document that stay text, such as `spans` of `ContextCompressor`.
            hybrid: With a budget, False makes vectors only, with the smallest merge size that fits.
            method: Another method with the same encoder, for ablations.

        Raises:
            InputError: If documents or query are of the wrong type, or the query is blank.
            ConfigError: If a number is out of range, the budget is too small, or the prompt is too long for the LLM.
            ModelError: If the states are not finite numbers.
        """
        checked_input(documents, query)
        if merge_size is not None:
            check_whole_number("merge_size", merge_size, 1)
        if budget_positions is not None:
            check_whole_number("budget_positions", budget_positions, 1)
        used = self._checked_method(method)
        segments = self.segments(documents, text_spans)
        question = self.token_ids(query)
        self._check_length(
            max((len(own.ids) for own in segments), default=0) + len(question), "A segment with the query"
        )
        pairs = self.states(segments, question)
        if text_spans is None and budget_positions is not None and hybrid:
            segments, size = self._with_text(segments, pairs, budget_positions, merge_size, used)
        else:
            size = self._merge_size(segments, budget_positions, merge_size, used)
        parts = [self._positions(own, pair, size, used) for own, pair in zip(segments, pairs, strict=True)]
        tokens = sum(len(own.ids) for own in segments)
        return self._memory(parts, query, tokens, size)

    def segments(self, documents: Sequence[str], text_spans: Sequence[Sequence[Span]] | None = None) -> list[Segment]:
        """Tokens of all documents in segments; documents without tokens have none.

        Raises:
            InputError: If `text_spans` has another number of documents, or documents are joined.
        """
        if text_spans is not None and (len(text_spans) != len(documents) or not self.method.per_document):
            raise InputError(
                f"Expected `text_spans` with one list per document ({len(documents)}) and a method with "
                f"`per_document=True`, got {len(text_spans)} lists."
            )
        texts = documents if self.method.per_document else ["\n\n".join(own for own in documents if own)]
        spans = text_spans if text_spans is not None else [()] * len(texts)
        return [segment for text, own in zip(texts, spans, strict=True) for segment in self._cut(text, own)]

    def _cut(self, text: str, spans: Sequence[Span]) -> Iterator[Segment]:
        encoded = self._tokens_of(text, return_offsets_mapping=True)
        starts = np.array([start for start, _ in encoded["offset_mapping"]], dtype=np.int64)
        if not len(starts):
            return
        unit_of = np.maximum(np.searchsorted(unit_spans(text)[0], starts, side="right") - 1, 0)
        as_text = np.zeros(len(starts), dtype=bool)
        for start, end in _checked_spans(spans):
            as_text |= (starts >= start) & (starts < end)
        ids = torch.tensor(encoded["input_ids"], device=self.network.device)
        for begin in range(0, len(starts), self.method.segment_tokens):
            part = slice(begin, begin + self.method.segment_tokens)
            yield Segment(ids[part], _runs(unit_of[part]), torch.from_numpy(as_text[part]).to(ids.device))

    def states(self, segments: Sequence[Segment], question: Tensor) -> list[tuple[Tensor, Tensor]]:
        """States of segments and of the question after each; known segments are not encoded again."""
        contexts = self.context_states([own.ids for own in segments])
        found: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(contexts), _AT_ONCE):
            part = contexts[start : start + _AT_ONCE]
            queries = self.network.encode_query(part, question)
            found += [(own.states, query) for own, query in zip(part, queries, strict=True)]
        return found

    def context_states(self, segments: Sequence[Tensor]) -> list[ContextStates]:
        """States, keys and values of segments, from the store where they are known. Shape of each: `(n,)`."""
        keys = [segment_key(self._key, own) for own in segments]
        found = {key: known for key in dict.fromkeys(keys) if (known := self.store.get(key)) is not None}
        missing = {key: ids for key, ids in zip(keys, segments, strict=True) if key not in found}
        order = sorted(missing, key=lambda key: len(missing[key]))  # less padding
        for start in range(0, len(order), _AT_ONCE):
            part = order[start : start + _AT_ONCE]
            for key, fresh in zip(part, self.network.encode_contexts([missing[key] for key in part]), strict=True):
                found[key] = fresh
                self.store.put(key, fresh)
        return [found[key] for key in keys]

    @torch.no_grad()
    def precompute(self, documents: Sequence[str]) -> None:
        """Encode documents at ingestion and keep their states, so that a question costs only the question.

        Raises:
            InputError: If the documents are not strings.
        """
        checked_input(documents, "?")
        self.context_states([own.ids for own in self.segments(documents)])

    def _with_text(
        self,
        segments: list[Segment],
        pairs: Sequence[tuple[Tensor, Tensor]],
        budget: int,
        merge_size: int | None,
        method: Method,
    ) -> tuple[list[Segment], int]:
        """Segments with the units marked that stay text, and the merge size of the rest."""
        lengths = [len(own.ids) for own in segments]
        size = merge_size or max(method.merge_size, smallest_merge_size(lengths, budget))
        gains = [unit_gains(*pair, own.units, method) for own, pair in zip(segments, pairs, strict=True)]
        units = [[end - start for start, end in own.units] for own in segments]
        chosen = text_units(units, gains, budget, size)
        return [_marked(own, kept) for own, kept in zip(segments, chosen, strict=True)], size

    def _merge_size(
        self, segments: Sequence[Segment], budget: int | None, merge_size: int | None, method: Method
    ) -> int:
        rest = [int((~own.as_text).sum()) for own in segments]
        left = None if budget is None else budget - sum(len(own.ids) for own in segments) + sum(rest)
        size = merge_size or (method.merge_size if left is None else smallest_merge_size(rest, left))
        if left is not None and (needed := sum(-(-own // size) for own in rest)) > left:
            raise ConfigError(
                f"The vectors take {needed} positions at `merge_size={size}`, more than `budget_positions` leaves: "
                f"{left}. Raise one of them, or leave `merge_size` out."
            )
        return size

    def _positions(
        self, segment: Segment, pair: tuple[Tensor, Tensor], size: int, method: Method
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of a segment in the order of its tokens, and which of them are text."""
        states, query = pair
        text = segment.as_text.nonzero()[:, 0]
        rest = (~segment.as_text).nonzero()[:, 0]
        embeds, places = [self.network.embed(segment.ids[text])], [text]
        if len(rest):
            (vectors,) = self.network.memory([segment.ids[rest]], [(states[rest], query)], [size], method)
            groups = reallocate(states[rest].float(), query.float(), method, size)
            first = torch.cat([groups.new_ones(1, dtype=torch.bool), groups.diff() > 0])
            embeds.append(vectors.to(embeds[0].dtype))
            places.append(rest[first])
        order = torch.cat(places).argsort()
        is_text = torch.arange(len(order), device=order.device) < len(text)
        return torch.cat(embeds)[order], is_text[order]

    def _memory(self, parts: Sequence[tuple[Tensor, Tensor]], query: str, tokens: int, size: int) -> SoftMemory:
        before, after = (self.network.embed(own) for own in self.frame(query))
        embeds = torch.cat([before[:0], *(own for own, _ in parts)])
        is_text = torch.cat([torch.zeros(0, dtype=torch.bool, device=embeds.device), *(own for _, own in parts)])
        prompt = torch.cat([before, embeds, after])
        self._check_length(len(prompt), "The prompt")
        return SoftMemory(embeds, is_text, prompt, query, tokens, size)

    def frame(self, query: str) -> tuple[Tensor, Tensor]:
        """Token ids in front of the memory and after it. Shapes: `(before,)`, `(after,)`.

        Raises:
            ModelError: If the chat template does not have the user's message once, word for word.
        """
        if self.method.prompt == "plain" or not self.tokenizer.chat_template:
            return self.token_ids(""), self.token_ids(query)
        chat = [{"role": "user", "content": f"{_MARK}\n{_MARK}"}]
        rendered = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        parts = rendered.split(_MARK)
        if len(parts) != 3:
            raise ModelError("The chat template changes the user's message. Use a method with `prompt='plain'`.")
        before, between, after = (self._template_ids(own) for own in parts)
        return before, torch.cat([between, self.token_ids(query), after])

    def _template_ids(self, text: str) -> Tensor:
        found = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return torch.tensor(found, dtype=torch.long, device=self.network.device)

    def token_ids(self, text: str) -> Tensor:
        """Tokens of a text; what looks like a special token in it is plain text. Shape: `(tokens,)`."""
        return torch.tensor(self._tokens_of(text)["input_ids"], dtype=torch.long, device=self.network.device)

    def _tokens_of(self, text: str, **options: Any) -> Any:
        # A document must not be able to end the user's turn.
        options |= {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        return self._plain(well_formed(text), **options)

    def _checked_method(self, method: Method | None) -> Method:
        own = self.method
        if method is not None and method.encoding_key() != own.encoding_key():
            raise ConfigError(
                "`method` must have the `encoder_layers`, `segment_tokens` and `per_document` of the loaded one: "
                f"{own.encoder_layers}, {own.segment_tokens} and {own.per_document}."
            )
        return method or own

    def _check_length(self, positions: int, what: str) -> None:
        most = getattr(self.network.decoder.config, "max_position_embeddings", None)
        if most and positions > most:
            raise ConfigError(
                f"{what} takes {positions} positions, and the LLM has {most}. Pass fewer documents, raise `merge_size` "
                "or lower `budget_positions` or `segment_tokens`."
            )

    # --- answers -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def answer(
        self,
        memories: SoftMemory | Sequence[SoftMemory],
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        repetition_penalty: float = 1.0,
    ) -> list[str]:
        """Greedy answers of the decoder, one per memory, all in one batch.

        Args:
            memories: One or several.
            max_new_tokens: Longest answer.
            repetition_penalty: Above 1 discourages tokens that the answer already has; published: 1.3.

        Raises:
            ConfigError: If a number is out of range.
        """
        batch = [memories] if isinstance(memories, SoftMemory) else list(memories)
        if not batch:
            return []
        ids = self.network.decoder.generate(
            **joined_prompts(batch), generation_config=self._generation(max_new_tokens, repetition_penalty)
        )
        return [own.strip() for own in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def stream(
        self, memory: SoftMemory, *, max_new_tokens: int = MAX_NEW_TOKENS, repetition_penalty: float = 1.0
    ) -> Iterator[str]:
        """The answer piece by piece; the pieces joined and stripped are that of `answer`.

        A consumer that stops early stops the generation.

        Raises:
            ConfigError: If a number is out of range.
        """
        settings = self._generation(max_new_tokens, repetition_penalty)
        streamer: Any = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        stop, failures = _Stop(), list[Exception]()

        def generate() -> None:
            try:
                with torch.no_grad():
                    self.network.decoder.generate(
                        **memory.to_transformers(),
                        generation_config=settings,
                        streamer=streamer,
                        stopping_criteria=StoppingCriteriaList([stop]),
                    )
            except Exception as error:  # raised again where the consumer sees it
                failures.append(error)
                streamer.end()

        thread = threading.Thread(target=generate, daemon=True)
        thread.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            stop.event.set()
            thread.join()
        if failures:
            raise failures[0]

    @torch.no_grad()
    def log_likelihoods(self, memories: Sequence[SoftMemory], answers: Sequence[str]) -> list[float]:
        """Mean log-likelihood of the answers' tokens and of the end, in nats; higher is better."""
        ids = [self.answer_ids(own) for own in answers]
        losses = self.network.token_losses([own.prompt for own in memories], ids).sum(1)
        return [-float(loss) / len(own) for loss, own in zip(losses, ids, strict=True)]

    def answer_ids(self, answer: str) -> Tensor:
        """An answer's tokens and the end token. Shape: `(tokens,)`."""
        end = self.tokenizer.eos_token_id
        ids = self.token_ids(answer)
        return ids if end is None else torch.cat([ids, ids.new_tensor([end])])

    def frozen_decoder(self) -> AbstractContextManager[Any]:
        """A context in which the decoder answers as before LoRA training; for baselines, in one thread."""
        if hasattr(self.network.decoder, "disable_adapter"):
            found: AbstractContextManager[Any] = self.network.decoder.disable_adapter()
            return found
        return nullcontext()

    def _generation(self, max_new_tokens: int, repetition_penalty: float) -> GenerationConfig:
        check_whole_number("max_new_tokens", max_new_tokens, 1)
        check_number("repetition_penalty", repetition_penalty, above=0)
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=max_new_tokens,
            do_sample=False,
            repetition_penalty=float(repetition_penalty),
            eos_token_id=end,
            pad_token_id=pad if pad is not None else end,
        )


class _Stop(StoppingCriteria):
    """Stops a generation from another thread."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.full((input_ids.shape[0],), self.event.is_set(), dtype=torch.bool, device=input_ids.device)


def checked_input(documents: Any, query: Any) -> None:
    """Raise an `InputError` unless these are texts and a question.

    Raises:
        InputError: Otherwise.
    """
    if isinstance(documents, str) or not isinstance(documents, Sequence):
        raise InputError(f"Expected a list of strings as documents, got {type(documents).__name__}.")
    for index, own in enumerate(documents):
        if not isinstance(own, str):
            raise InputError(f"Expected a list of strings as documents; item {index} is a {type(own).__name__}.")
    if not isinstance(query, str):
        raise InputError(f"Expected the question as a string, got {type(query).__name__}.")
    if not query.strip():
        raise InputError("Expected a question that is not blank: the vectors depend on it.")


def _checked_spans(spans: Any) -> Sequence[Span]:
    try:
        found = [(operator.index(start), operator.index(end)) for start, end in spans]
    except (TypeError, ValueError):
        found = [(0, -1)]
    if any(not 0 <= start <= end for start, end in found):
        raise InputError(f"Expected `text_spans` as pairs of start and end in characters, got {spans!r}.")
    return found


def _runs(values: Any) -> tuple[Span, ...]:
    """Start and end of each run of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return tuple(zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True))


def _marked(segment: Segment, kept: Sequence[bool]) -> Segment:
    as_text = segment.as_text.clone()
    for (start, end), chosen in zip(segment.units, kept, strict=True):
        as_text[start:end] |= chosen
    return Segment(segment.ids, segment.units, as_text)
