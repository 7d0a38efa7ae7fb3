"""Every warning reaches the log once per kind and call site, the result, and the metadata."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny import HashScorer

from moos_integrations import (
    CompressorConfig,
    ContextCompressor,
    PassthroughWarning,
    SegmentedText,
    WordScores,
    messages,
)
from moos_integrations.messages import Notice, forget_call_sites, warn_once

PROTECTED = CompressorConfig(budget_tokens=3, protect=("numbers",))
TEXT = "In 1843 and 1844 and 1845, 12 bridges of 34 were built."


@pytest.fixture(autouse=True)
def _all_sites_are_new() -> Iterator[None]:
    forget_call_sites()
    yield
    forget_call_sites()


def test_the_package_is_silent_until_the_application_configures_logging() -> None:
    logger = logging.getLogger("moos_integrations")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
    assert logger.level == logging.NOTSET


def test_a_warning_is_logged_once_per_kind_and_call_site(caplog: pytest.LogCaptureFixture) -> None:
    compressor = ContextCompressor(HashScorer(), PROTECTED)
    for _ in range(3):
        result = compressor.compress(TEXT)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].name == "moos_integrations"
    assert "Protected text needs about" in caplog.text
    assert caplog.records[0].getMessage() == result.warnings[0]
    compressor.compress(TEXT)  # another line
    assert len(caplog.records) == 2


def test_many_threads_say_it_once(caplog: pytest.LogCaptureFixture) -> None:
    def say(_: int) -> None:
        warn_once(Notice("kind", "text"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(200)))
    assert len(caplog.records) == 1


def test_memory_of_call_sites_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(messages, "_MOST_SITES", 3)
    for number in range(10):
        warn_once(Notice(f"kind {number}", "text"))
    assert len(caplog.records) == 10
    assert len(messages._said) <= 3


def test_a_notice_is_a_string_that_knows_its_kind() -> None:
    notice = Notice("budget not filled", "9 of 40 tokens are unused.")
    for same in (notice, copy.deepcopy(notice), pickle.loads(pickle.dumps(notice))):
        assert same == "9 of 40 tokens are unused."
        assert same.kind == "budget not filled"


class Failing:
    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        raise RuntimeError("out of memory")


def test_what_was_passed_through_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(PassthroughWarning, match="out of memory"):
        result = ContextCompressor(Failing(), CompressorConfig(on_error="passthrough", min_tokens=0)).compress(TEXT)
    assert result.text == TEXT
    assert result.warnings[0].kind == "passed through"
    assert "out of memory" in caplog.text
