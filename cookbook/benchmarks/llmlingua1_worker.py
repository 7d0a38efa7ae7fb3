"""LLMLingua and LongLLMLingua in a process of their own, as they fail on transformers 5 (see `peers.py`).

    PYTHONPATH=FOLDER_WITH_TRANSFORMERS_4 python llmlingua1_worker.py MODEL llmlingua|longllmlingua

Reads JSON lines `{"documents", "question", "target"}` and answers each with `{"text"}` or `{"error"}`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

# What LLMLingua's documentation sets for LongLLMLingua, its ratio between documents included.
LONG = {
    "rank_method": "longllmlingua",
    "condition_in_question": "after_condition",
    "reorder_context": "sort",
    "dynamic_context_compression_ratio": 0.3,
    "condition_compare": True,
    "context_budget": "+100",
}


def compress(compressor: Any, method: str, request: dict[str, Any]) -> str:
    """The compressed documents; the question, which LongLLMLingua puts at the end, is left out."""
    if method == "llmlingua":
        result = compressor.compress_prompt(request["documents"], target_token=request["target"])
        return str(result["compressed_prompt"])
    question = request["question"]
    result = compressor.compress_prompt(
        request["documents"], question=question, target_token=request["target"], concate_question=False, **LONG
    )
    return str(result["compressed_prompt"])


def main() -> None:
    """Answer until standard input ends."""
    model, method = sys.argv[1:]
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # nothing that a library prints may stand between the answers
        from llmlingua import PromptCompressor

        compressor = PromptCompressor(model, device_map="cpu")
        for line in sys.stdin:
            try:
                answer = {"text": compress(compressor, method, json.loads(line))}
            except Exception as error:  # told to the caller, whatever it is
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
