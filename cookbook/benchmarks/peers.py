"""Other context compressors behind one call, each brought to the same number of tokens.

    found = peers()["trimwise lexical"](["first document", "second document"], "Who?", [100, 200])

Compared is at equal achieved tokens (o200k_base, documents joined by blank lines): for each budget the peer's own size
parameter is searched for the largest output that is within the budget. Nothing else of a peer is tuned. An output that
is above the budget at every setting, an error and an unchanged text are results too, and are told in `Outcome.note`.

Where a peer can be given a model, all get the same one: the bundled checkpoint as fp32 for LLMLingua-2, ctxprune and
grugify, and all-MiniLM-L6-v2 for those that embed. While a budget is searched, the outputs of these models are kept, as
they do not depend on the size parameter. `Outcome.seconds` is not read from that search: once per question, one call at
the setting that was found for the middle budget is repeated with nothing kept, and its time stands for all budgets. The
exceptions are llmlingua-1 and longllmlingua, which run in another process that keeps nothing: each has its own time.

Needs the packages in requirements.txt here, but only those of the peers that are called.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from moos_integrations.core.config import BUNDLED_MODEL
from moos_integrations.core.hub import resolve
from moos_integrations.core.text import segment
from moos_integrations.core.tokens import token_counter

BETA_0 = ", beta 0"
_ON_LLM = ("selective context (port)", "llmlingua-1", "longllmlingua")
_LEGACY = ("llmlingua-1", "longllmlingua")

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "langchain filters": ("langchain-classic", "langchain-community", "langchain-text-splitters"),
    "llama-index optimizer": ("llama-index-core",),
    "llama-index optimizer, no neighbours": ("llama-index-core",),
    "trimwise lexical": ("trimwise", "langchain-trimwise"),
    "trimwise semantic": ("trimwise", "llama-index-postprocessor-trimwise"),
    "llmslim": ("llmslim",),
    "llmlingua-2": ("llmlingua",),
    "ctxprune": ("ctxprune",),
    "grugify": ("grugify",),
    "llmlingua-2" + BETA_0: ("llmlingua",),
    "ctxprune" + BETA_0: ("ctxprune",),
    "grugify" + BETA_0: ("grugify",),
    "selective context (port)": ("transformers",),
    "llmlingua-1": ("llmlingua",),
    "longllmlingua": ("llmlingua",),
}
"""The distributions behind each peer."""
NAMES: tuple[str, ...] = tuple(PACKAGES)
GRID = (0.008, 0.04, 0.2, 1.0)
"""Shares of the text that are tried first, for every budget; after these, only what lies between two of them."""
STEPS = 6
"""Halvings, on a logarithmic scale, between two shares of the grid: the last one moves the share by 2.5 %."""
CLOSE = 0.99
"""A search ends early when this share of the budget is used."""


def versions(names: Sequence[str] = NAMES) -> dict[str, str | None]:
    """The installed version of each distribution behind the named peers; None where it is not installed."""
    found: dict[str, str | None] = {}
    for package in sorted({package for name in names for package in PACKAGES[name]}):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a peer made of the documents for one budget.

    Attributes:
        text: The compressed context, its documents joined by blank lines; empty after an error.
        tokens: Tokens of `text` (o200k_base).
        seconds: Time of one call with nothing kept from others; not of the search.
        calls: Settings that were tried for this budget.
        note: The error; or "unchanged", "empty", "above the budget (N tokens)", joined by semicolons; or nothing.
    """

    text: str
    tokens: int
    seconds: float
    calls: int
    note: str = ""


class Peer(Protocol):
    """A compressor that answers for several budgets at once."""

    def __call__(self, documents: Sequence[str], question: str, budgets: Sequence[int]) -> dict[int, Outcome]:
        """The outcome for each budget; raises only if the peer's package is missing."""
        ...


def count(text: str) -> int:
    """Tokens of a text (o200k_base)."""
    return token_counter("o200k_base").count(text)


# --- the search ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a peer.

    Attributes:
        text: Its output; empty after an error.
        tokens: Tokens of `text`.
        seconds: How long the call took.
        error: Type and message of what it raised; empty if nothing.
    """

    text: str
    tokens: int
    seconds: float
    error: str = ""


def attempt(call: Callable[[], str]) -> Attempt:
    """Call a peer, its warnings unheard, its errors kept."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = call()
    except Exception as error:  # whatever it is: a peer that fails is a result
        return Attempt("", 0, time.perf_counter() - start, f"{type(error).__name__}: {error}"[:300])
    return Attempt(text, count(text), time.perf_counter() - start)


def search(
    run: Callable[[float], Attempt], budget: int, grid: Sequence[float], steps: int = STEPS
) -> tuple[float, dict[float, Attempt]]:
    """The setting with the largest output within a budget, and all that were tried.

    After the grid, the range between the best setting so far and the next larger one is halved. A peer whose output
    does not grow with its setting is served too: the grid tells the range in which it fits. As long as nothing fits,
    the range below the smallest output is halved instead.

    Args:
        run: Calls the peer with a setting.
        budget: Largest allowed output.
        grid: Settings that are tried first; positive.
        steps: How often the range is halved.

    Returns:
        The setting of the largest output within the budget; if there is none, of the smallest output; if there is no
        output at all, of the last error.
    """
    tried = {setting: run(setting) for setting in sorted(set(grid))}
    for _ in range(steps):
        setting = _next_setting(tried, budget)
        if setting is None:
            break
        tried[setting] = run(setting)
    return _best(tried, budget), tried


def _best(tried: Mapping[float, Attempt], budget: int) -> float:
    worked = [setting for setting, one in tried.items() if not one.error]
    fitting = [setting for setting in worked if tried[setting].tokens <= budget]
    if fitting:
        return max(fitting, key=lambda setting: (tried[setting].tokens, setting))
    return min(worked, key=lambda setting: (tried[setting].tokens, setting), default=max(tried))


def _next_setting(tried: Mapping[float, Attempt], budget: int) -> float | None:
    best, settings = _best(tried, budget), sorted(tried)
    if tried[best].error or CLOSE * budget <= tried[best].tokens <= budget:
        return None
    place = settings.index(best) + (1 if tried[best].tokens <= budget else -1)
    if not 0 <= place < len(settings):
        return None
    middle = (best * settings[place]) ** 0.5
    return middle if max(best, settings[place]) > 1.004 * min(best, settings[place]) else None


def noted(one: Attempt, documents: Sequence[str], budget: int) -> str:
    """What there is to say about an attempt."""
    if one.error:
        return one.error
    notes = []
    if one.text == "\n\n".join(documents):
        notes.append("unchanged")
    if not one.text.strip():
        notes.append("empty")
    if one.tokens > budget:
        notes.append(f"above the budget ({one.tokens} tokens)")
    return "; ".join(notes)


class Kept:
    """Values that are computed once per question, unless it is paused."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._values: dict[Any, Any] = {}
        self._paused = False

    def get(self, keys: Sequence[Any], compute: Callable[[list[int]], Sequence[Any]]) -> list[Any]:
        """The value of each key; `compute` is told the indexes of those that are missing, and gives theirs."""
        if self._paused:
            return list(compute(list(range(len(keys)))))
        missing = list({key: index for index, key in enumerate(keys) if key not in self._values}.values())
        if missing:
            self._values.update(zip([keys[index] for index in missing], compute(missing), strict=True))
        return [self._values[key] for key in keys]

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Compute everything anew, and keep nothing."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False


def keep_outputs(model: Any, kept: Kept) -> None:
    """Let a transformers model answer equal inputs from what is kept; the outputs themselves are the model's own."""
    forward = model.forward

    def remembered(*positional: Any, **named: Any) -> Any:
        inputs = [*enumerate(positional), *sorted(named.items())]
        key = tuple((name, _key(value)) for name, value in inputs)
        return kept.get([key], lambda _: [forward(*positional, **named)])[0]

    model.forward = remembered


def _key(value: Any) -> Any:
    return (tuple(value.shape), value.cpu().numpy().tobytes()) if hasattr(value, "shape") else value


Run = Callable[[Sequence[str], str, float], str]
"""Documents, question and setting to the compressed context."""


def shares(budget: int) -> Sequence[float]:
    """The grid of a peer whose setting is a share of the text."""
    return GRID


def ceilings(budget: int) -> Sequence[float]:
    """The grid of a peer that takes a ceiling: the budget; less, as the blank lines between documents may not count."""
    return (max(1, budget // 2), budget)


@dataclass(slots=True)
class Searched:
    """A peer whose size parameter is searched.

    Attributes:
        run: Calls it.
        kept: What its models computed for the question at hand.
        grid: The settings to try first for a budget.
    """

    run: Run
    kept: Kept = field(default_factory=Kept)
    grid: Callable[[int], Sequence[float]] = shares

    def __call__(self, documents: Sequence[str], question: str, budgets: Sequence[int]) -> dict[int, Outcome]:
        """Search each budget, then time one call."""
        self.kept.clear()
        seen: dict[float, Attempt] = {}

        def run(setting: float) -> Attempt:
            if setting not in seen:
                seen[setting] = attempt(lambda: self.run(documents, question, setting))
            return seen[setting]

        found = {budget: search(run, budget, self.grid(budget)) for budget in sorted(budgets)}
        if not found:
            return {}
        middle = found[sorted(found)[len(found) // 2]][0]
        with self.kept.paused():
            seconds = attempt(lambda: self.run(documents, question, middle)).seconds
        self.kept.clear()
        outcomes = {}
        for budget, (setting, tried) in found.items():
            one = tried[setting]
            outcomes[budget] = Outcome(one.text, one.tokens, seconds, len(tried), noted(one, documents, budget))
        return outcomes


# --- shared models ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def checkpoint(source: str) -> str:
    """Folder with an fp32 copy of a checkpoint; llmlingua tells models apart by their path, hence its name."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    source = resolve(source)
    parent = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    target = str(Path(parent) / "bert-base-multilingual-cased")
    AutoModelForTokenClassification.from_pretrained(source).float().save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    return target


@lru_cache(maxsize=1)
def _minilm() -> Any:
    from moos_benchmarks.ranking import SentenceEmbedder

    return SentenceEmbedder()


def embedder(kept: Kept) -> Callable[[Sequence[str]], list[list[float]]]:
    """MiniLM, from texts to unit vectors; each distinct text is embedded once per question."""
    model = _minilm()

    def embed(texts: Sequence[str]) -> list[list[float]]:
        return kept.get(list(texts), lambda rows: model([texts[row] for row in rows]).tolist()) if texts else []

    return embed


def _tiktoken_offline() -> None:
    # llmlingua and llmslim count with tiktoken themselves; offline, the copy that llama-index-core ships serves them.
    import llama_index.core

    cache = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(cache))


# --- the peers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """What `peers` was given.

    Attributes:
        model: Checkpoint folder of the token classifiers.
        llm: Folder of a causal language model in Hugging Face format.
        legacy: Folder with a transformers that llmlingua-1 can run on.
        threads: Torch threads, also of other processes.
    """

    model: str
    llm: str | None
    legacy: str | None
    threads: int | None


def _langchain_documents(documents: Sequence[str]) -> list[Any]:
    from langchain_core.documents import Document

    return [Document(page_content=text) for text in documents]


def _nodes(documents: Sequence[str]) -> list[Any]:
    from llama_index.core.schema import NodeWithScore, TextNode

    return [NodeWithScore(node=TextNode(text=text), score=1.0) for text in documents]


def _joined_documents(documents: Sequence[Any]) -> str:
    return "\n\n".join(document.page_content for document in documents)


def _joined_nodes(nodes: Sequence[Any]) -> str:
    return "\n\n".join(node.node.text for node in nodes)


def langchain_filters(options: Options) -> Peer:
    """LangChain's pipeline: split into 300 characters, drop near duplicates, keep the k chunks nearest the question.

    Searched is k. Its output stands in order of similarity, not of the documents.
    """
    from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline, EmbeddingsFilter
    from langchain_community.document_transformers import EmbeddingsRedundantFilter
    from langchain_core.embeddings import Embeddings
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    kept = Kept()
    embed = embedder(kept)

    class MiniLM(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return embed(texts)

        def embed_query(self, text: str) -> list[float]:
            return embed([text])[0]

    splitter = RecursiveCharacterTextSplitter(chunk_size=300, chunk_overlap=0)
    redundant = EmbeddingsRedundantFilter(embeddings=MiniLM())

    def run(documents: Sequence[str], question: str, share: float) -> str:
        chunks = sum(len(splitter.split_text(text)) for text in documents)
        nearest = EmbeddingsFilter(embeddings=MiniLM(), k=max(1, round(share * chunks)), similarity_threshold=None)
        pipeline = DocumentCompressorPipeline(transformers=[splitter, redundant, nearest])
        return _joined_documents(pipeline.compress_documents(_langchain_documents(documents), question))

    return Searched(run, kept)


def llama_index_optimizer(options: Options, neighbours: int | None = None) -> Peer:
    """LlamaIndex's sentence selection inside each document; searched is `percentile_cutoff`.

    It repeats each chosen sentence's neighbours (one on either side by default), orders by similarity, and keeps the
    whole of a document that has too few sentences for the percentile: its output does not always grow with it.
    """
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.postprocessor import SentenceEmbeddingOptimizer

    kept = Kept()
    embed = embedder(kept)

    class MiniLM(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return embed([query])[0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return embed([query])[0]

        def _get_text_embedding(self, text: str) -> list[float]:
            return embed([text])[0]

        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return embed(texts)

    def run(documents: Sequence[str], question: str, share: float) -> str:
        optimizer = SentenceEmbeddingOptimizer(
            embed_model=MiniLM(), percentile_cutoff=share, context_before=neighbours, context_after=neighbours
        )
        return _joined_nodes(optimizer.postprocess_nodes(_nodes(documents), query_str=question))

    return Searched(run, kept)


def llama_index_sentences(options: Options) -> Peer:
    """The same without the neighbours of the chosen sentences, which can reach smaller budgets."""
    return llama_index_optimizer(options, neighbours=0)


def trimwise_lexical(options: Options) -> Peer:
    """By BM25: trimwise through its LangChain package; given are the budget and our counter."""
    from langchain_trimwise import create_trimwise_runnable

    def run(documents: Sequence[str], question: str, limit: float) -> str:
        runnable = create_trimwise_runnable(int(limit), strategy="lexical", token_counter=count)
        return _joined_documents(runnable.invoke({"documents": _langchain_documents(documents), "query": question}))

    return Searched(run, grid=ceilings)


def trimwise_semantic(options: Options) -> Peer:
    """By MiniLM embeddings: trimwise through its LlamaIndex package; given are the budget and our counter."""
    from llama_index.postprocessor.trimwise import TrimwiseNodePostprocessor
    from trimwise import Trimmer

    kept = Kept()
    embed = embedder(kept)

    def vectors(query: str, passages: Sequence[str]) -> tuple[list[float], list[list[float]]]:
        own, *others = embed([query, *passages])
        return own, others

    trimmer = Trimmer(embedding_callback=vectors)

    def run(documents: Sequence[str], question: str, limit: float) -> str:
        trimwise = TrimwiseNodePostprocessor(
            limit=int(limit), strategy="semantic", trimmer=trimmer, token_counter=count
        )
        return _joined_nodes(trimwise.postprocess_nodes(_nodes(documents), query_str=question))

    return Searched(run, kept, ceilings)


def llmslim(options: Options) -> Peer:
    """The LangChain class of llmslim with its default, lexical relevance; searched is `target_ratio`."""
    from llmslim.integrations.langchain import LLMSlimCompressor

    _tiktoken_offline()

    def run(documents: Sequence[str], question: str, share: float) -> str:
        compressor = LLMSlimCompressor(target_ratio=share)
        return _joined_documents(compressor.compress_documents(_langchain_documents(documents), question))

    return Searched(run)


def llmlingua_2(options: Options) -> Peer:
    """LLMLingua-2 on our checkpoint, its document filter off; searched is `rate`. It reads no question."""
    from llmlingua import PromptCompressor

    _tiktoken_offline()
    kept = Kept()
    compressor = PromptCompressor(checkpoint(options.model), use_llmlingua2=True, device_map="cpu")
    keep_outputs(compressor.model, kept)

    def run(documents: Sequence[str], question: str, rate: float) -> str:
        result = compressor.compress_prompt_llmlingua2(list(documents), rate=rate, use_context_level_filter=False)
        return str(result["compressed_prompt"])

    return Searched(run, kept)


def ctxprune(options: Options) -> Peer:
    """The LangChain class of ctxprune on our checkpoint; searched is `rate`. It reads no question."""
    # The class makes its engine by this function, which returns the same one each time: the way to its model.
    from ctxprune.integrations import CtxpruneDocumentCompressor, _compressor

    kept = Kept()
    settings = {"model": checkpoint(options.model), "backend": "torch"}
    keep_outputs(_compressor(settings["model"], settings["backend"]).model, kept)

    def run(documents: Sequence[str], question: str, rate: float) -> str:
        compressor = CtxpruneDocumentCompressor(**settings, rate=rate)
        return _joined_documents(compressor.compress_documents(_langchain_documents(documents), question))

    return Searched(run, kept)


def grugify(options: Options) -> Peer:
    """The classifier backend of grugify on our checkpoint; searched is `rate`. It reads no question.

    By default it keeps all negations, numbers and names, whatever the rate: small budgets are out of its reach.
    """
    import grug

    kept = Kept()
    compressor = grug.Compressor("classifier", model_name=checkpoint(options.model), device="cpu")
    keep_outputs(compressor.backend.model, kept)

    def run(documents: Sequence[str], question: str, rate: float) -> str:
        return "\n\n".join(result.text for result in compressor.compress_batch(list(documents), rate=rate))

    return Searched(run, kept)


# --- Selective-Context, re-implemented -------------------------------------------------------------------------------


def sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence that has words."""
    own = segment(text)
    first = np.flatnonzero(np.diff(own.unit_of_word, prepend=-1))
    last = np.append(first[1:], len(own.unit_of_word))
    return [(int(own.word_starts[a]), int(own.word_ends[b - 1])) for a, b in zip(first, last, strict=True)]


def sentence_information(text: str, token_ends: Sequence[int], information: Sequence[float]) -> list[float]:
    """Mean self-information of the tokens of each sentence; a token belongs where its last character stands.

    Args:
        text: A document.
        token_ends: Offset at which each token ends.
        information: Self-information of each token, in nats.
    """
    last, values = np.asarray(token_ends) - 1, np.asarray(information)
    means = []
    for start, end in sentences(text):
        own = values[(last >= start) & (last < end)]
        means.append(float(own.mean()) if len(own) else 0.0)
    return means


def most_informative(documents: Sequence[str], information: Sequence[Sequence[float]], share: float) -> str:
    """The sentences whose information is at or above a percentile of all of them, in source order."""
    everything = [value for own in information for value in own]
    if not everything:
        return ""
    least = np.percentile(everything, 100 * (1 - share))
    texts = []
    for text, own in zip(documents, information, strict=True):
        spans = [span for span, value in zip(sentences(text), own, strict=True) if value >= least]
        texts.append(" ".join(text[start:end] for start, end in spans))
    return "\n\n".join(text for text in texts if text)


def selective_context(options: Options) -> Peer:
    """Selective-Context (Li et al., 2023) re-implemented: its package cannot be installed beside today's others.

    Kept are the sentences with the highest mean self-information under a causal language model that reads each document
    by itself, through a percentile filter over all documents; searched is the percentile. It reads no question.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.llm)
    model = AutoModelForCausalLM.from_pretrained(options.llm, dtype=torch.float32).eval()
    kept = Kept()
    start, window = [tokenizer.bos_token_id or tokenizer.eos_token_id], 2048

    def information(text: str) -> list[float]:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, values = encoded["input_ids"], []
        for first in range(0, len(ids), window):
            piece = torch.tensor([start + ids[first : first + window]])
            with torch.inference_mode():
                logits = model(input_ids=piece, use_cache=False).logits[0, :-1]
            values += torch.nn.functional.cross_entropy(logits.float(), piece[0, 1:], reduction="none").tolist()
        return sentence_information(text, [end for _, end in encoded["offset_mapping"]], values)

    def run(documents: Sequence[str], question: str, share: float) -> str:
        own = kept.get(list(documents), lambda rows: [information(documents[row]) for row in rows])
        return most_informative(documents, own, share)

    return Searched(run, kept)


# --- llmlingua-1 and longllmlingua, in another process ---------------------------------------------------------------


@dataclass(slots=True)
class Guessed:
    """A peer that takes a target and misses it, too slow to be searched: the target is corrected a few times.

    Attributes:
        run: Calls it, with the target as setting.
        tries: Calls for each budget.
    """

    run: Run
    tries: int = 4

    def __call__(self, documents: Sequence[str], question: str, budgets: Sequence[int]) -> dict[int, Outcome]:
        """Correct the target for each budget."""
        return {budget: self._outcome(documents, question, budget) for budget in sorted(budgets)}

    def _outcome(self, documents: Sequence[str], question: str, budget: int) -> Outcome:
        tried: dict[float, Attempt] = {}
        target = budget
        while target not in tried and len(tried) < self.tries:
            tried[target] = one = attempt(lambda target=target: self.run(documents, question, target))
            if one.error or 0.95 * budget <= one.tokens <= budget:
                break
            # Aim a little below, and never move by more than four times.
            target = max(1, round(target * min(4.0, max(0.25, 0.98 * budget / max(1, one.tokens)))))
        best = tried[_best(tried, budget)]
        return Outcome(best.text, best.tokens, best.seconds, len(tried), noted(best, documents, budget))


class Worker:
    """The process that runs llmlingua on an older transformers: one JSON line in, one out."""

    def __init__(self, options: Options, method: str) -> None:
        """Start it."""
        _tiktoken_offline()
        found = [options.legacy, os.environ.get("PYTHONPATH")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in found if path)}
        if options.threads:
            environment["OMP_NUM_THREADS"] = str(options.threads)
        script = str(Path(__file__).with_name("llmlingua1_worker.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, str(options.llm), method],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        atexit.register(self.close)

    def __call__(self, documents: Sequence[str], question: str, target: float) -> str:
        """Compress to about `target` tokens.

        Raises:
            RuntimeError: With the error of the other process.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"documents": list(documents), "question": question, "target": int(target)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of llmlingua ended with {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return str(answer["text"])

    def close(self) -> None:
        """End it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.terminate()
        self._process.wait()


def llmlingua_1(options: Options) -> Peer:
    """LLMLingua on the causal language model; it reads no question. Its target is corrected a few times."""
    import llmlingua  # noqa: F401  # the other process needs it

    return Guessed(Worker(options, "llmlingua"))


def longllmlingua(options: Options) -> Peer:
    """LongLLMLingua on the same, with the settings of its documentation: it reorders the documents."""
    import llmlingua  # noqa: F401  # the other process needs it

    return Guessed(Worker(options, "longllmlingua"))


# --- all of them -----------------------------------------------------------------------------------------------------

_FACTORIES: Mapping[str, Callable[[Options], Peer]] = {
    "langchain filters": langchain_filters,
    "llama-index optimizer": llama_index_optimizer,
    "llama-index optimizer, no neighbours": llama_index_sentences,
    "trimwise lexical": trimwise_lexical,
    "trimwise semantic": trimwise_semantic,
    "llmslim": llmslim,
    "llmlingua-2": llmlingua_2,
    "ctxprune": ctxprune,
    "grugify": grugify,
    "selective context (port)": selective_context,
    "llmlingua-1": llmlingua_1,
    "longllmlingua": longllmlingua,
}


@dataclass(slots=True)
class Lazy:
    """A peer that is built when it is first called; building is in no time."""

    name: str
    options: Options
    _peer: Peer | None = None

    def __call__(self, documents: Sequence[str], question: str, budgets: Sequence[int]) -> dict[int, Outcome]:
        """Build it if need be, and call it.

        Raises:
            ImportError: If a package of it is not installed.
        """
        if self._peer is None:
            self._peer = self._build()
        return self._peer(documents, question, budgets)

    def _build(self) -> Peer:
        if self.options.threads:
            import torch

            torch.set_num_threads(self.options.threads)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _FACTORIES[self.name.removesuffix(BETA_0)](self.options)
        except ImportError as error:
            raise ImportError(
                f"{self.name!r} needs {', '.join(PACKAGES[self.name])} ({error}): "
                "pip install --no-deps -r cookbook/benchmarks/requirements.txt"
            ) from error


def peers(
    names: Sequence[str] | None = None,
    *,
    model: str = BUNDLED_MODEL,
    baseline_model: str | None = None,
    llm: str | None = None,
    legacy: str | None = None,
    threads: int | None = None,
) -> dict[str, Peer]:
    """The peers by name, each built when it is first called.

    Args:
        names: Which; None for all that the other arguments allow.
        model: Checkpoint for the token classifiers: bundled name, folder or hub id.
        baseline_model: Checkpoint folder for those called ", beta 0".
        llm: Folder of a causal language model in Hugging Face format. For llmlingua-1 and longllmlingua its
            `tokenizer_class` must be PreTrainedTokenizerFast, and its config must have `rope_theta` at the top.
        legacy: Folder for llmlingua-1 and longllmlingua, which fail on transformers 5:
            `pip install --target DIR transformers==4.46.3 "tokenizers<0.21" "huggingface-hub<1.0" --no-deps`.
        threads: Torch threads; None leaves them as they are.

    Raises:
        ValueError: If a name is unknown, or needs an argument that is not given.
    """
    needs = {name: _missing(name, baseline_model, llm, legacy) for name in NAMES}
    if names is None:
        names = [name for name in NAMES if not needs[name]]
    for name in names:
        if name not in needs:
            raise ValueError(f"unknown peer {name!r}; there are: {', '.join(NAMES)}")
        if needs[name]:
            raise ValueError(f"{name!r} needs `{needs[name]}`")
    return {
        name: Lazy(name, Options((baseline_model or model) if name.endswith(BETA_0) else model, llm, legacy, threads))
        for name in names
    }


def _missing(name: str, baseline_model: str | None, llm: str | None, legacy: str | None) -> str:
    """The argument of `peers` that a peer lacks; empty if none."""
    if name.endswith(BETA_0) and not baseline_model:
        return "baseline_model"
    if name in _ON_LLM and not llm:
        return "llm"
    return "legacy" if name in _LEGACY and not legacy else ""
