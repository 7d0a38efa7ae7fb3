from __future__ import annotations

import gc
import hashlib
import json
import sys
import threading
import weakref
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import llama_index.core
import numpy as np
import pytest
import tiktoken
from hypothesis import given
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from layouts import HARD
from llama_index.core import Settings
from tiktoken_ext import openai_public
from tiny import TOKENIZERS, HashScorer, byte_bpe
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizer

from moos_integrations import CompressorConfig, ConfigError, ContextCompressor, TokenizerError, budget_for
from moos_integrations.core import tokens
from moos_integrations.core.tokens import _without_long_runs, token_counter
from moos_integrations.messages import forget_call_sites


@given(HARD)
def test_starts_of_tiktoken_are_offsets_of_characters(text: str) -> None:
    counter = token_counter("o200k_base")
    starts = counter.starts(text)
    assert len(starts) == counter.count(text)
    assert (starts >= 0).all()
    assert (starts < max(len(text), 1)).all()
    assert (starts[1:] >= starts[:-1]).all()


def test_starts_point_at_the_tokens() -> None:
    text = "Zürich costs 1,499 € — naïve 你好"
    encoding = token_counter("o200k_base").encoding
    pieces = [encoding.decode([token]) for token in encoding.encode_ordinary(text)]
    for start, piece in zip(token_counter("o200k_base").starts(text), pieces, strict=True):
        if "\ufffd" not in piece:
            assert text[start:].startswith(piece)


@pytest.mark.parametrize("tokenizer", ["cl100k_base", "gpt-4o", byte_bpe(), lambda text: len(text.split())])
def test_kinds_of_tokenizer(tokenizer: Any) -> None:
    counter = token_counter(tokenizer)
    assert counter.count("") == 0
    assert counter.count("one two three") >= 3
    assert len(counter.starts("one two three")) == counter.count("one two three")
    assert counter.name


def test_special_tokens_in_the_text_are_plain_text() -> None:
    assert token_counter("o200k_base").count("<|endoftext|>") > 1


def test_special_tokens_of_a_hugging_face_tokenizer_do_not_count() -> None:
    tokenizer = byte_bpe()
    assert token_counter(tokenizer).count("a") == len(tokenizer("a")["input_ids"]) - 2


@pytest.mark.parametrize("bad", [3.5, None, [], object()])
def test_other_types_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match="`tokenizer` must be a tiktoken encoding"):
        token_counter(bad)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"o200k_base.*got 'no_such_encoding'"):
        token_counter("no_such_encoding")


NO_COUNTS = [-1, 0, 2.5, 2.0, float("nan"), None, True, "3", [], np.float64(3), {"ids": 3}, np.ones((2, 3))]


@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
def test_what_counts_nothing_is_refused_when_it_is_set(value: Any) -> None:
    def counter_of_mine(text: str) -> Any:
        return value

    for build in (token_counter, lambda tokenizer: CompressorConfig(tokenizer=tokenizer)):
        with pytest.raises(ConfigError, match=r"counter_of_mine' must return a number of tokens .* it returned"):
            build(counter_of_mine)


@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
def test_what_counts_nothing_of_a_later_text_is_refused_when_it_counts(value: Any) -> None:
    answers = iter([7, value])
    counter = token_counter(lambda text: next(answers))
    with pytest.raises(TokenizerError, match="must return a number of tokens"):
        counter.count("a text of sixteen characters or more")


def test_few_characters_may_count_nothing() -> None:
    assert token_counter(lambda text: len(text) // 4).count("abc") == 0
    assert token_counter(lambda text: len(text.split())).count(" \n" * 20) == 0


BATCH = {"input_ids": [[1, 2, 3]]}


@pytest.mark.parametrize(
    "value",
    [3, np.int64(3), np.array(3), [1, 2, 3], (1, 2, 3), np.arange(3), np.ones((1, 3)), {"input_ids": [1, 2, 3]}, BATCH],
)
def test_callables_may_return_tokens_or_their_number(value: Any) -> None:
    count = token_counter(lambda text: value).count("one")
    assert (count, type(count)) == (3, int)


def test_a_failing_callable_is_named() -> None:
    def broken(text: str) -> int:
        raise RuntimeError("boom")

    with pytest.raises(TokenizerError, match=r"broken.* failed on a text: RuntimeError: boom"):
        token_counter(broken)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A machine without a network, where nothing was downloaded before: the empty cache folder of tiktoken."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "llama_index", None)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    tokens._tiktoken_counter.cache_clear()
    yield tmp_path
    tokens._tiktoken_counter.cache_clear()


@pytest.mark.parametrize(("name", "expected"), [("o200k_base", 11), ("gpt-oss-20b", 11), ("gpt-4", 12)])
def test_current_models_need_no_network(offline: Path, name: str, expected: int) -> None:
    assert token_counter(name).count("Zürich costs 1,499 € 你好") == expected
    assert not list(offline.iterdir())


@pytest.mark.usefixtures("offline")
def test_other_encodings_say_what_to_do_without_a_network() -> None:
    with pytest.raises(TokenizerError, match=r"'gpt2' could not be loaded.*o200k_base.*TIKTOKEN_CACHE_DIR"):
        token_counter("gpt2")


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base", "o200k_harmony"])
def test_the_shipped_encodings_are_those_of_tiktoken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected: list[str] = []

    def load(url: str, expected_hash: str) -> dict[bytes, int]:
        expected.append(expected_hash)
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", load)
    definition = openai_public.ENCODING_CONSTRUCTORS[name]()
    encoding = token_counter(name).encoding
    assert encoding._pat_str == definition["pat_str"]
    ranks = sorted(encoding._mergeable_ranks.items(), key=lambda item: item[1])
    file = b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ranks)
    assert hashlib.sha256(file).hexdigest() == expected[0]


def test_a_callable_says_nothing_of_places_so_those_of_a_known_encoding_serve() -> None:
    calls: list[str] = []
    counter = token_counter(lambda text: calls.append(text) or 4)
    del calls[:]
    assert not counter.locates
    assert counter.starts("one two three").tolist() == [0, 3, 7]
    assert not calls


def test_an_encoding_of_tiktoken_counts_as_its_name_does() -> None:
    by_name = token_counter("cl100k_base")
    by_value = token_counter(by_name.encoding)
    assert by_value.name == "cl100k_base"
    assert by_value.starts("one two three").tolist() == by_name.starts("one two three").tolist() == [0, 3, 7]


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u3000", "\t", "\n"])
def test_a_million_blanks_are_counted(blank: str) -> None:
    counter = token_counter("o200k_base")
    text = f"one{blank * 1_100_000}two"
    tokens = counter.count(text)
    assert 2 < tokens < len(text)
    starts = counter.starts(text)
    assert len(starts) == tokens
    assert starts[0] == 0
    assert (np.diff(starts) >= 0).all()


def test_only_very_long_runs_of_blanks_are_cut() -> None:
    run = " " * 99_999
    assert list(_without_long_runs(f"a{run}b{run}c")) == [f"a{run}b{run}c"]
    long = " " * 250_000
    pieces = list(_without_long_runs(f"a{long}b{run}c"))
    assert "".join(pieces) == f"a{long}b{run}c"
    assert [len(piece) for piece in pieces] == [100_001, 100_000, 50_000 + 1 + 99_999 + 1]
    assert list(_without_long_runs("")) == [""]


# --- tokenizers of the host application ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", TOKENIZERS)
def test_a_tokenizer_that_truncates_and_pads_counts_all_and_is_left_alone(family: str) -> None:
    tokenizer, text = TOKENIZERS[family](), "one two three 42 Zürich naïve " * 9
    expected = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(5)
    backend.enable_padding(length=700)
    state = backend.to_str()
    for same in (tokenizer, backend, tokenizer.encode, backend.encode, partial(tokenizer.encode, truncation=True)):
        counter = token_counter(same)
        assert counter.count(text) == len(counter.starts(text)) == expected
        assert counter.locates
    assert backend.to_str() == state


def test_tokens_that_were_added_count_as_in_the_original() -> None:
    tokenizer = byte_bpe()
    text = "one <tool> two foo bar three"
    before = token_counter(tokenizer).count(text)
    tokenizer.add_tokens(["foo bar"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    expected = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert token_counter(tokenizer).count(text) == expected < before


def test_a_thread_that_truncates_changes_no_count() -> None:
    tokenizer = byte_bpe()
    text = "one two three 42 Zürich naïve " * 40
    tokenizer("warm", truncation=True, max_length=4)
    counter = token_counter(tokenizer)
    expected, stop = counter.count(text), threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            tokenizer(text, truncation=True, max_length=4, padding="max_length")

    threads = [threading.Thread(target=disturb) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert {counter.count(text) for _ in range(200)} == {expected}
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class SlowWords(PreTrainedTokenizer):
    """A tokenizer written in Python."""

    def __init__(self, **settings: Any) -> None:
        self.words = {"<unk>": 0}
        super().__init__(unk_token="<unk>", **settings)

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.words)

    def _tokenize(self, text: str, **options: Any) -> list[str]:
        return text.split()

    def _convert_token_to_id(self, token: str) -> int:
        return 0

    def _convert_id_to_token(self, index: int) -> str:
        return "<unk>"


def test_tokenizers_written_in_python_count() -> None:
    tokenizer = SlowWords(model_max_length=2)
    for same in (tokenizer, tokenizer.encode):
        counter = token_counter(same)
        assert counter.count("one two three four") == 4
        assert not counter.locates
    tokenizer.lock = threading.Lock()  # cannot be copied
    assert token_counter(tokenizer).count("one two three four") == 4


def test_a_tokenizer_without_a_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="makes no tokens"):
        CompressorConfig(tokenizer=Tokenizer(models.BPE()))


def test_encoders_of_tiktoken_are_the_encoding() -> None:
    encoding = token_counter("cl100k_base").encoding
    for method in (encoding.encode, encoding.encode_ordinary, partial(encoding.encode, allowed_special="all")):
        assert token_counter(method).encoding is encoding


def test_the_tokenizer_of_llama_index_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_index.core, "global_tokenizer", None)
    assert token_counter(Settings.tokenizer).name == "cl100k_base"
    Settings.tokenizer = byte_bpe()
    assert token_counter(Settings.tokenizer).count("one two") == token_counter(byte_bpe()).count("one two")


class CountingModel(FakeListChatModel):
    def get_num_tokens(self, text: str) -> int:
        return len(text.split())


def test_models_of_langchain_count() -> None:
    for tokenizer in (CountingModel(responses=["yes"]), CountingModel(responses=["yes"]).get_num_tokens):
        counter = token_counter(tokenizer)
        assert counter.count("one two three") == 3
        assert counter.name.startswith("CountingModel")


def test_objects_that_encode_count() -> None:
    class Pieces:
        def encode(self, text: str) -> list[int]:
            return list(range(len(text.split())))

    assert token_counter(Pieces()).count("one two three") == 3


def test_a_callable_is_probed_once_and_counts_each_text_once() -> None:
    calls: list[str] = []

    def count(text: str) -> int:
        calls.append(text)
        return len(text)

    config = CompressorConfig(tokenizer=count)
    config.model_copy(update={"rate": 0.5})
    counter = token_counter(count)
    assert len(calls) == 1
    assert [counter.count("abc"), counter.count("abc"), counter.count("")] == [3, 3, 0]
    assert calls[1:] == ["abc"]


def test_what_was_probed_is_not_kept_alive() -> None:
    class Count:
        def __call__(self, text: str) -> int:
            return len(text)

    count = Count()
    token_counter(count)
    reference = weakref.ref(count)
    del count
    gc.collect()
    assert reference() is None


# --- by approximation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-3-5-sonnet-20241022", "Claude up to 4.6"),
        ("anthropic/claude-sonnet-4-20250514", "Claude up to 4.6"),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", "Claude up to 4.6"),
        ("claude-opus-4-7", "Claude"),
        ("claude-sonnet-5", "Claude"),
        ("models/gemini-2.5-flash", "Gemini"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama 3"),
        ("llama3.2:3b", "Llama 3"),
        ("Llama-2-7b-chat", "Llama 2"),
        ("mistral-nemo", "Mistral with Tekken"),
        ("open-mixtral-8x7b", "Mistral"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen"),
        ("deepseek-chat", "DeepSeek"),
        ("deepseek-r1-distill-llama-70b", "Llama 2"),
    ],
)
def test_names_of_other_models_are_known(model: str, family: str) -> None:
    counter = token_counter(CompressorConfig(tokenizer=model).tokenizer)
    assert counter.approximate.name == family
    assert counter.name == model


@pytest.mark.parametrize("model", ["claud", "minivan"])
def test_unknown_models_are_refused_when_they_are_set(model: str) -> None:
    with pytest.raises(ConfigError, match=r"Claude, Gemini, Llama, Mistral, Qwen, DeepSeek.*callable"):
        CompressorConfig(tokenizer=model)


@given(HARD)
def test_an_approximation_is_never_below_its_reference(text: str) -> None:
    reference = token_counter("o200k_base").count(text)
    for model in ("claude-sonnet-5", "llama-3"):
        counter = token_counter(model)
        assert counter.count(text) >= reference
        starts = counter.starts(text)
        assert (np.diff(starts) >= 0).all()
        assert ((starts >= 0) & (starts < max(len(text), 1))).all()


def test_digits_count_by_themselves_where_models_cut_numbers() -> None:
    number = "1234567890" * 3
    assert token_counter("gemini-2.5-pro").count(number) == 33
    assert token_counter("llama-3").count(number) < 20


def test_the_weights_are_above_what_was_measured() -> None:
    path = Path(__file__).parents[2] / "cookbook/benchmarks/results/token_ratios.json"
    if not path.exists():
        pytest.skip("an installed package has no benchmarks")
    found = json.loads(path.read_text(encoding="utf-8"))["covered"]
    assert found
    for family, kinds in found.items():
        for kind, shares in kinds.items():
            assert shares["no_fewer"] >= 0.97, (family, kind)


@pytest.mark.parametrize("on_error", ["raise", "passthrough"])
@pytest.mark.parametrize("text", ["The meeting was long. It ended at 17:30.", "Small."])
def test_results_say_that_their_counts_are_approximate(
    on_error: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    forget_call_sites()
    config = CompressorConfig(tokenizer="claude-sonnet-4-5", on_error=on_error, min_tokens=8)
    compressor = ContextCompressor(HashScorer(), config)
    for _ in range(2):
        results = [compressor.compress(text, "When?"), *compressor.compress_many([text, text], rate=0.5)]
    for result in results:
        assert [notice.kind for notice in result.warnings].count("approximate counts") == 1
        assert any("no tokenizer of Claude up to 4.6 ships" in notice for notice in result.warnings)
    assert sum("counted approximately" in record.message for record in caplog.records) == 1  # of one line
    exact = ContextCompressor(HashScorer(), CompressorConfig(tokenizer="gpt-4o", min_tokens=8)).compress(text)
    assert "approximate counts" not in [notice.kind for notice in exact.warnings]


def test_a_budget_from_approximate_counts_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    forget_call_sites()
    for _ in range(3):
        budget_for("gemini-2.5-pro", "Answer from the context.", 1_000)
    budget_for("gpt-4o", "Answer from the context.", 1_000)
    assert [record.message for record in caplog.records if "approximately: no tokenizer of Gemini" in record.message]
    assert len(caplog.records) == 1
