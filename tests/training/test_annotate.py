from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr
from tenacity import wait_none
from typer.testing import CliRunner

from moos_integrations import cli
from moos_integrations.core.tokens import token_counter
from moos_integrations.errors import ConfigError, InputError, MissingExtraError, ModelError
from moos_integrations.training.annotation import (
    _LEAD,
    AnnotationSettings,
    Record,
    aannotate,
    annotate,
    chunk_spans,
    estimate,
    judge,
    load_chat_model,
    read_annotations,
    read_records,
    unwrapped,
)

COUNT = token_counter("o200k_base").count
TEXT = "The long meeting of the council, which began at noon, ended at 17:30 on 3 May."
SHORT = "meeting council began noon, ended 17:30 3 May"
FAST = AnnotationSettings(attempts=2, concurrency=4)
ONE_BY_ONE = AnnotationSettings(attempts=1, concurrency=1)


class FakeLLM(BaseChatModel):
    """Answers by a function of the chunk, counts its calls, and remembers how many were under way at a time."""

    model: str = "fake-1"
    temperature: float = 0.0
    answer: Callable[[str], str | AIMessage] = lambda chunk: " ".join(chunk.split()[::2])
    _calls: Counter[str] = PrivateAttr(default_factory=Counter)
    _systems: set[str] = PrivateAttr(default_factory=set)
    _under_way: int = PrivateAttr(default=0)
    _most: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        system, human = messages
        assert human.text.startswith(_LEAD)
        chunk = human.text.removeprefix(_LEAD)
        self._calls[chunk] += 1
        self._systems.add(system.text)
        answer = self.answer(chunk)
        usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
        message = answer if isinstance(answer, AIMessage) else AIMessage(answer, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self._under_way += 1
        self._most = max(self._most, self._under_way)
        try:
            await asyncio.sleep(0.001)
            return self._generate(messages)
        finally:
            self._under_way -= 1


def make_llm() -> BaseChatModel:
    """What `--model test_annotate:make_llm` calls."""
    return FakeLLM()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_core.runnables.retry.wait_exponential_jitter", lambda **_: wait_none())


def records(count: int) -> list[Record]:
    return [Record(f"r{index}", f"Report {index}: {TEXT}") for index in range(count)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, *items: Any) -> Path:
    path.write_text("".join(item if isinstance(item, str) else json.dumps(item) + "\n" for item in items), "utf-8")
    return path


# --- judging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compressed", "verdict"),
    [
        (SHORT, "ok"),
        ("MEETING “council” ended", "ok"),  # case and punctuation do not count
        ("", "empty"),
        (" ... ", "empty"),
        (TEXT, "unchanged"),
        (TEXT.replace(",", "").lower(), "unchanged"),
        ("Committee met until 17:30 on 3 May.", "added"),
        ("meeting meeting meeting meeting council", "added"),  # more often than the text has it
        ("3 May council meeting ended 17:30", "reordered"),
        ("I'm sorry, but I cannot help with that request.", "refusal"),
        ("Sure! Please provide me with your document first.", "refusal"),
        ("As an AI language model, I don't have access to files.", "refusal"),
    ],
)
def test_verdicts(compressed: str, verdict: str) -> None:
    assert judge(TEXT, compressed).verdict == verdict


def test_shares_by_hand_and_tolerances() -> None:
    source, one_new = "a b c d e f g h i j", "a b c d x"
    assert judge(source, one_new)[1:] == (0.2, 0.0)
    assert judge(source, one_new, max_added=0.2).verdict == "ok"
    # e stands too late; of the four words in the text, three can be matched in order.
    assert judge(source, "a e b c")[1:] == (0.0, 0.25)
    assert judge(source, "a e b c", max_moved=0.25).verdict == "ok"


def test_a_text_that_opens_like_a_refusal_is_none() -> None:
    assert judge("Sorry seems to be the hardest word, he sang again.", "Sorry hardest word, he sang").verdict == "ok"


def test_unspaced_scripts_are_judged_by_character() -> None:
    assert judge("東京は日本の首都です。", "東京日本首都").verdict == "ok"
    assert judge("東京は日本の首都です。", "首都東京").verdict == "reordered"


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "the", "17:30", "well-known", "don't"]), st.booleans()), min_size=1)
)
def test_every_deletion_passes(words: list[tuple[str, bool]]) -> None:
    text, kept = " ".join(word for word, _ in words), " ".join(word for word, keep in words if keep)
    judgement = judge(text, kept)
    assert judgement.verdict == ("empty" if not kept else "unchanged" if kept == text else "ok")
    assert judgement[1:] == (0.0, 0.0)


@pytest.mark.parametrize(
    "answer",
    [
        SHORT,
        f"  {SHORT}\n",
        f'"{SHORT}"',
        f"“{SHORT}”",
        f"```\n{SHORT}\n```",
        f"```text\n{SHORT}```",
        f"Compressed text: {SHORT}",
        f"**Shortened text:**\n{SHORT}",
        f'Here is the shortened text:\n\n"{SHORT}"',
        f"Sure! Here's the compressed version:\n```\n{SHORT}\n```",
        f"<think>The council, hm.\nThree words go.</think>\n{SHORT}",
    ],
)
def test_wrappers_are_taken_off(answer: str) -> None:
    assert unwrapped(answer, TEXT) == SHORT


@pytest.mark.parametrize(
    "text", ['"Go," he said. "Now, please, at once."', "Here is what we know: nothing at all.", "```\ncode\n```"]
)
def test_what_the_text_starts_with_is_no_wrapper(text: str) -> None:
    assert unwrapped(text, text) == text


# --- chunks and records ----------------------------------------------------------------------------------------------


def test_chunks_end_at_sentence_ends_and_keep_to_the_limit() -> None:
    text = "\n\n".join(" ".join([TEXT] * 5) for _ in range(4)) + "\n"
    spans = list(chunk_spans(text, COUNT, 60))
    assert len(spans) > 4
    for start, end in spans:
        assert text[start:end].startswith("The long")
        assert text[start:end].endswith("May.")
        assert COUNT(text[start:end]) <= 60
    assert " ".join(text[start:end] for start, end in spans).split() == text.split()


def test_long_sentences_are_cut_between_words_and_words_never() -> None:
    long = "Word " + "word " * 39 + "x" * 400 + " " + "word " * 40
    text = f"Short one. {long.strip()}. Short two."
    spans = list(chunk_spans(text, COUNT, 20))
    pieces = [text[start:end] for start, end in spans]
    assert pieces[0] == "Short one."
    assert [piece for piece in pieces if COUNT(piece) > 20] == ["x" * 400]
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("text", ["", " \n\t ", "\n\n"])
def test_blank_texts_have_no_chunks(text: str) -> None:
    assert list(chunk_spans(text, COUNT, 20)) == []


@given(st.text(alphabet="ab .\n東é", max_size=80))
def test_chunks_lose_nothing_but_white_space(text: str) -> None:
    spans = list(chunk_spans(text, len, 10))
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_records_of_a_file(tmp_path: Path) -> None:
    data = '{"text": "one", "id": 7}\n\n{"text": "two"}\n'
    expected = [Record("7", "one"), Record("3", "two")]
    (tmp_path / "a.jsonl").write_text(data)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data.encode()))
    assert read_records(tmp_path / "a.jsonl") == read_records(str(tmp_path / "a.jsonl.gz")) == (expected, [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected a JSON object ("),
        ("[1]", "expected a JSON object, got list"),
        ('{"body": "x"}', "expected a string in the field 'text', got the fields ['body']"),
        ('{"text": null}', "expected a string in the field 'text', got NoneType"),
    ],
)
def test_malformed_records_are_named_or_skipped(tmp_path: Path, line: str, message: str) -> None:
    path = write_lines(tmp_path / "in.jsonl", {"text": "good"}, line + "\n", {"text": "good too"})
    with pytest.raises(InputError) as caught:
        read_records(path)
    assert f"{path.name}, line 2: {message}" in str(caught.value)
    found, problems = read_records(path, skip_bad=True)
    assert [record.text for record in found] == ["good", "good too"]
    assert len(problems) == 1
    assert message in problems[0]


def test_unreadable_input(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl.gz").write_bytes(b"no gzip")
    for name in ("missing.jsonl", "bad.jsonl.gz"):
        with pytest.raises(InputError, match="cannot be read"):
            read_records(tmp_path / name)


# --- runs ------------------------------------------------------------------------------------------------------------


def test_misbehaviour_by_chunk(tmp_path: Path) -> None:
    answers: dict[str, Any] = {
        "good": SHORT,
        "wrapped": f"Compressed text:\n```\n{SHORT}\n```",
        "added": "The council's committee finally concluded its lengthy session.",
        "reordered": "May 3 17:30 ended noon began council meeting",
        "refusal": "I'm sorry, I can't assist with that request today.",
        "empty": "",
        "unchanged": None,
        "truncated": AIMessage("The long meeting", response_metadata={"finish_reason": "length"}),
        "failed": RuntimeError("503 overloaded"),
    }

    def answer(chunk: str) -> str | AIMessage:
        found = answers[chunk.split()[0]]
        if isinstance(found, Exception):
            raise found
        return chunk if found is None else found

    llm, output = FakeLLM(answer=answer), tmp_path / "out.jsonl"
    verdicts: list[str] = []
    report = annotate(
        [Record(kind, f"{kind} {TEXT}") for kind in answers], llm, output, settings=FAST, on_chunk=verdicts.append
    )
    expected = {kind: 1 for kind in answers if kind not in ("good", "wrapped")} | {"ok": 2}
    assert dict(report.verdicts) == expected == dict(Counter(verdicts))
    assert report.failed == 1
    assert report.last_error == "RuntimeError: 503 overloaded"
    assert (report.input_tokens, report.output_tokens) == (700, 70)  # of the seven answers with usage
    by_id = {line["id"]: line for line in lines(output)}
    assert by_id.keys() == answers.keys() - {"failed"}
    assert all(line["verdict"] == ("ok" if kind in ("good", "wrapped") else kind) for kind, line in by_id.items())
    assert by_id["good"]["model"] == "fake-1"
    assert by_id["good"]["usage"] == {"input_tokens": 100, "output_tokens": 10}
    assert by_id["truncated"]["usage"] is None
    assert read_annotations(output) == [(f"{kind} {TEXT}", SHORT) for kind in ("good", "wrapped")]
    assert llm._calls[f"failed {TEXT}"] == FAST.attempts
    # A rerun asks for the failed chunk alone, bad answers stay paid for.
    answers["failed"] = SHORT
    llm._calls.clear()
    report = annotate([Record(kind, f"{kind} {TEXT}") for kind in answers], llm, output, settings=FAST)
    assert dict(llm._calls) == {f"failed {TEXT}": 1}
    assert (report.done, dict(report.verdicts)) == (8, {"ok": 1})


def test_a_passing_error_is_retried(tmp_path: Path) -> None:
    seen: set[str] = set()

    def answer(chunk: str) -> str:
        if chunk not in seen:
            seen.add(chunk)
            raise TimeoutError
        return SHORT

    report = annotate(records(3), FakeLLM(answer=answer), tmp_path / "out.jsonl", settings=FAST)
    assert report.last_error is None
    assert dict(report.verdicts) == {"ok": 3}


def logging_llm(log: Path, *, dies_at: int = 0) -> FakeLLM:
    """Writes down each call; the process dies in the middle of call number `dies_at`."""

    def answer(chunk: str) -> str:
        with log.open("a", encoding="utf-8") as calls:
            calls.write(chunk + "\n")
        if llm._calls.total() == dies_at:
            os._exit(9)
        return SHORT

    llm = FakeLLM(answer=answer)
    return llm


def test_a_crash_is_resumed_without_paying_twice(tmp_path: Path) -> None:
    output, log = tmp_path / "out.jsonl", tmp_path / "calls.txt"
    code = (
        "import pathlib, sys, test_annotate as t\n"
        "llm = t.logging_llm(pathlib.Path(sys.argv[1]), dies_at=5)\n"
        "t.annotate(t.records(10), llm, sys.argv[2], settings=t.ONE_BY_ONE)"
    )
    died = subprocess.run([sys.executable, "-c", code, str(log), str(output)], cwd=Path(__file__).parent)
    assert died.returncode == 9
    assert [line["id"] for line in lines(output)] == ["r0", "r1", "r2", "r3"]
    report = annotate(records(10), logging_llm(log), output, settings=ONE_BY_ONE)
    assert (report.done, dict(report.verdicts)) == (4, {"ok": 6})
    # Each text was sent once, but for the one that was under way in the crash and had no answer.
    texts = [record.text for record in records(10)]
    assert log.read_text().splitlines() == [*texts[:5], *texts[4:]]
    assert [line["id"] for line in lines(output)] == [record.id for record in records(10)]
    assert annotate(records(10), logging_llm(log), output, settings=ONE_BY_ONE).done == 10
    assert len(log.read_text().splitlines()) == 11


def test_an_interruption_keeps_what_was_answered(tmp_path: Path) -> None:
    output, llm = tmp_path / "out.jsonl", FakeLLM()

    def stop(verdict: str) -> None:
        raise ValueError("the progress bar broke")

    with pytest.raises(ValueError, match="progress bar"):
        annotate(records(10), llm, output, settings=ONE_BY_ONE, on_chunk=stop)
    assert annotate(records(10), llm, output, settings=ONE_BY_ONE).done == 1
    assert set(llm._calls.values()) == {1}


def test_a_half_written_line_is_cut_off_and_asked_for_again(tmp_path: Path) -> None:
    output, llm = tmp_path / "out.jsonl", FakeLLM()
    annotate(records(3), llm, output, settings=ONE_BY_ONE)
    whole = output.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for kept in (1, len(last) // 2, len(last) - 2):
        output.write_bytes(whole[: len(whole) - len(last) + kept])
        assert len(read_annotations(output)) == 2
        assert estimate(records(3), llm, output).chunks == 1
        llm._calls.clear()
        annotate(records(3), llm, output, settings=ONE_BY_ONE)
        assert llm._calls.total() == 1
        assert output.read_bytes() == whole


def test_a_whole_last_line_without_its_end_counts(tmp_path: Path) -> None:
    output, llm = tmp_path / "out.jsonl", FakeLLM()
    annotate(records(2), llm, output, settings=ONE_BY_ONE)
    output.write_bytes(output.read_bytes()[:-1])
    assert annotate(records(3), llm, output, settings=ONE_BY_ONE).done == 2
    assert [line["id"] for line in lines(output)] == ["r0", "r1", "r2"]


@pytest.mark.parametrize(
    ("llm", "settings"),
    [
        (FakeLLM(model="fake-2"), FAST),
        (FakeLLM(temperature=1.0), FAST),
        (FakeLLM(), AnnotationSettings(instruction="Delete words.")),
    ],
    ids=["model", "setting", "instruction"],
)
def test_other_runs_are_not_mixed_in(tmp_path: Path, llm: FakeLLM, settings: AnnotationSettings) -> None:
    output, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    annotate(records(2), FakeLLM(), output, settings=FAST)
    before = output.read_bytes()
    for call in (annotate, estimate):
        with pytest.raises(ConfigError, match=r"answers of another run .line 1, model 'fake-1'"):
            call(records(2), llm, output, settings=settings)
    assert output.read_bytes() == before
    assert not llm._calls
    annotate(records(2), llm, other, settings=settings)
    assert not {line["key"] for line in lines(output)} & {line["key"] for line in lines(other)}
    assert llm._systems == {settings.instruction}


def test_repeated_texts_are_sent_once(tmp_path: Path) -> None:
    llm = FakeLLM()
    report = annotate([*records(2), *records(2)], llm, tmp_path / "out.jsonl", settings=FAST)
    assert (llm._calls.total(), report.done) == (2, 2)


def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    llm = FakeLLM()
    annotate(records(20), llm, tmp_path / "out.jsonl", settings=AnnotationSettings(concurrency=3))
    assert llm._most == 3


def test_each_answer_is_on_disk_before_the_next_is_asked_for(tmp_path: Path) -> None:
    output, llm = tmp_path / "out.jsonl", FakeLLM()

    def answer(chunk: str) -> str:
        assert len(lines(output)) == llm._calls.total() - 1
        return SHORT

    llm.answer = answer
    assert dict(annotate(records(4), llm, output, settings=ONE_BY_ONE).verdicts) == {"ok": 4}


def test_a_dead_provider_ends_the_run(tmp_path: Path) -> None:
    def answer(chunk: str) -> str:
        raise PermissionError("401 wrong key")

    llm = FakeLLM(answer=answer)
    settings = AnnotationSettings(attempts=1, concurrency=2, max_failures=5)
    with pytest.raises(ModelError, match=r"5 chunks in a row, last with PermissionError: 401 wrong key"):
        annotate(records(50), llm, tmp_path / "out.jsonl", settings=settings)
    assert llm._calls.total() <= 6
    assert lines(tmp_path / "out.jsonl") == []


async def test_sync_is_async(tmp_path: Path) -> None:
    awaited = await aannotate(records(3), FakeLLM(), tmp_path / "a.jsonl", settings=ONE_BY_ONE)
    called = await asyncio.to_thread(annotate, records(3), FakeLLM(), tmp_path / "b.jsonl", settings=ONE_BY_ONE)
    assert awaited == called
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


async def test_cancelling_stops_all_calls(tmp_path: Path) -> None:
    llm = FakeLLM()
    task = asyncio.create_task(aannotate(records(500), llm, tmp_path / "out.jsonl", settings=FAST))
    for _ in range(1000):
        if llm._calls:
            break
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    calls = llm._calls.total()
    await asyncio.sleep(0.02)
    assert 0 < calls < 500
    assert llm._calls.total() == calls


def test_offsets_lead_back_to_the_record(tmp_path: Path) -> None:
    text = "  " + " ".join([TEXT] * 6) + "\udcff"
    settings = AnnotationSettings(max_chunk_tokens=40)
    annotate([Record("a", text)], FakeLLM(), tmp_path / "out.jsonl", settings=settings)
    found = lines(tmp_path / "out.jsonl")
    assert len(found) > 1
    replaced = text.replace("\udcff", "\ufffd")
    assert all(replaced[line["start"] :].startswith(line["text"]) for line in found)


def test_estimate_by_hand(tmp_path: Path) -> None:
    settings = AnnotationSettings(tokenizer=lambda text: len(text.split()), instruction="Delete words.")
    texts = [Record("a", "one two three."), Record("b", "four five.")]
    found = estimate(texts, FakeLLM(), tmp_path / "o.jsonl", settings=settings, input_price=2.0, output_price=1e6)
    asked = 2 * len(f"Delete words.{_LEAD}".split()) + 5
    assert (found.chunks, found.done, found.input_tokens, found.output_tokens) == (2, 0, asked, 5)
    assert found.cost == pytest.approx(asked * 2 / 1e6 + 5)
    assert not (tmp_path / "o.jsonl").exists()
    annotate(texts[:1], FakeLLM(), tmp_path / "o.jsonl", settings=settings)
    rest = estimate(texts, FakeLLM(), tmp_path / "o.jsonl", settings=settings)
    assert (rest.chunks, rest.done, rest.output_tokens, rest.cost) == (1, 1, 2, None)
    with pytest.raises(ConfigError, match="both prices or none"):
        estimate(texts, FakeLLM(), tmp_path / "o.jsonl", input_price=1.0)


@pytest.mark.parametrize("setting", [{"max_chunk_tokens": 0}, {"concurrency": 0}, {"attempts": 1.5}, {"max_added": 2}])
def test_settings_are_checked(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=f"`{name}` must be"):
        AnnotationSettings(**setting)


def test_only_chat_models_and_only_annotations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected a LangChain chat model"):
        annotate(records(1), FakeLLM().with_retry(), tmp_path / "out.jsonl")  # type: ignore[arg-type]
    source = write_lines(tmp_path / "in.jsonl", {"text": TEXT})
    for call in (lambda: annotate(records(1), FakeLLM(), source), lambda: read_annotations(source)):
        with pytest.raises(InputError, match=r"in\.jsonl, line 1: expected an annotation"):
            call()
    with pytest.raises(InputError, match="cannot be written"):
        annotate(records(1), FakeLLM(), tmp_path / "no" / "folder.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_annotations(tmp_path / "missing.jsonl")


# --- models by name and the command ----------------------------------------------------------------------------------


def test_models_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load_chat_model(f"{__name__}:make_llm"), FakeLLM)
    for module in ("langchain", "langchain.chat_models"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in ("openai:gpt-4o-mini", "no.such.module:make", "gpt-4o-mini", ":x", ".a:b", f"{__name__}:nothing"):
        with pytest.raises(ConfigError, match="`langchain` must be installed; got"):
            load_chat_model(name)
    langchain, chat_models = ModuleType("langchain"), ModuleType("langchain.chat_models")
    chat_models.init_chat_model = lambda name: FakeLLM(model=name)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "langchain", langchain)
    monkeypatch.setitem(sys.modules, "langchain.chat_models", chat_models)
    assert load_chat_model("openai:gpt-4o-mini").model == "openai:gpt-4o-mini"  # type: ignore[attr-defined]


def test_factories_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("factories")
    module.no_model = dict  # type: ignore[attr-defined]
    module.no_key = lambda: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "factories", module)
    with pytest.raises(ConfigError, match="got dict"):
        load_chat_model("factories:no_model")
    with pytest.raises(ModelError, match="'factories:no_key' could not be built: division by zero"):
        load_chat_model("factories:no_key")


def test_without_langchain_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_core.language_models", None)
    with pytest.raises(MissingExtraError, match=r"moos-integrations\[langchain\]"):
        load_chat_model("test_annotate:make_llm")


def moos(*arguments: str | Path, answer: str | None = None) -> Any:
    return CliRunner().invoke(cli.app, ["annotate", *map(str, arguments)], input=answer)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "in.jsonl", *({"body": text, "id": name} for name, text in records(3)))


def test_command(tmp_path: Path, source: Path) -> None:
    output = tmp_path / "out.jsonl"
    common = (source, output, "--model", f"{__name__}:make_llm", "--text-field", "body")
    dry = moos(*common, "--dry-run", "--input-price", "1", "--output-price", "2")
    assert dry.exit_code == 0
    assert "3 records, 0 skipped; 3 chunks to annotate (0 done before)" in dry.stdout
    assert "cost about 0.00" in dry.stdout
    refused = moos(*common, answer="n\n")
    assert refused.exit_code == 1
    assert "Send them?" in refused.stderr
    assert not output.exists()
    done = moos(*common, answer="y\n")
    assert done.exit_code == 0, done.output
    assert "ok 3" in done.stdout
    assert len(read_annotations(output)) == 3
    again = moos(*common)  # nothing to send, so nothing to ask
    assert again.exit_code == 0
    assert "0 chunks to annotate (3 done before)" in again.stdout


def test_command_skips_bad_records_when_told_to(tmp_path: Path, source: Path) -> None:
    source.write_text(source.read_text() + '{"text": "other field"}\n')
    common = (source, tmp_path / "out.jsonl", "--model", f"{__name__}:make_llm", "--text-field", "body", "--yes")
    stopped = moos(*common)
    assert stopped.exit_code == cli.EXIT_FAILED
    assert "line 4: expected a string in the field 'body'" in stopped.stderr
    done = moos(*common, "--skip-bad")
    assert done.exit_code == 0
    assert "3 records, 1 skipped" in done.stdout
    assert "skipped: " in done.stderr


def failing_llm() -> BaseChatModel:
    def answer(chunk: str) -> str:
        if "Report 1" in chunk:
            raise RuntimeError("503")
        return SHORT

    return FakeLLM(answer=answer)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--model", "openai:gpt-4o-mini"], cli.EXIT_USAGE, "`langchain` must be installed"),
        (["--model", f"{__name__}:make_llm", "--concurrency", "0"], cli.EXIT_USAGE, "`concurrency` must be"),
        (["--model", f"{__name__}:make_llm", "--input-price", "1"], cli.EXIT_USAGE, "both prices or none"),
        (["--model", f"{__name__}:failing_llm", "--attempts", "1"], cli.EXIT_FAILED, "run the same command again"),
    ],
)
def test_exit_codes(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, message: str
) -> None:
    for module in ("langchain", "langchain.chat_models"):
        monkeypatch.setitem(sys.modules, module, None)
    result = moos(source, tmp_path / "out.jsonl", "--text-field", "body", "--yes", *options)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())


def test_the_command_has_the_defaults_of_the_library() -> None:
    options = inspect.signature(cli.annotate).parameters
    for name in ("max_chunk_tokens", "tokenizer", "concurrency", "attempts", "max_added", "max_moved"):
        assert options[name].default == getattr(AnnotationSettings(), name)
