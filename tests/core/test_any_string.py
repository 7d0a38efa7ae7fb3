"""Any string gives a valid result."""

from __future__ import annotations

from random import Random

import pytest
from test_compressor import is_subsequence
from tiny import UnitScorer, WordCounter, byte_bpe

from moos_integrations import CompressorConfig, ContextCompressor
from moos_integrations.core.text import segment


def _binary(size: int) -> str:
    return bytes(Random(0).randrange(256) for _ in range(size)).decode("latin-1")


STRINGS = {
    "lone surrogates": "A first one. \ud800 A second \udfff one.\n\udc00\ud800\n" * 40,
    "controls": "".join(map(chr, range(32))) * 100 + "\x7f\x80\x85\u2028\u2029\ufeff\u200b" * 100,
    "nulls": "\x00" * 20_000,
    "blanks": "One." + " " * 200_000 + "Two.",
    "line breaks": "One." + "\n" * 50_000 + "Two.",
    "returns": "One.\r" * 3_000,
    "opening brackets": "{[(" * 5_000,
    "closing brackets": "}])" * 5_000,
    "brackets in lines": "{\n[\n(\n" * 2_000 + "}\n)\n]\n" * 1_500,
    "quotes": "\"'`" * 5_000,
    "fences": "```\n" * 3_001,
    "comments": "/*\n" * 2_000 + "*/\n" * 1_000,
    "tags": "<div>\n" * 2_000 + "</p>\n" * 1_000,
    "nested lines": "".join(f"{' ' * depth}if x:\n" for depth in range(600)),
    "nested lists": "".join(f"{'  ' * depth}- item\n" for depth in range(400)),
    "nested quotes": "".join(f"{'> ' * depth}said\n" for depth in range(1, 300)),
    "headings": "".join(f"{'#' * (1 + n % 6)} Title {n}\n" for n in range(2_000)),
    "questions": "Why?\n" * 2_000,
    "lead-ins": "This is so:\n" * 2_000,
    "a long line": "word " * 20_000,
    "a long word": "x" * 100_000,
    "pipes": "|" * 20_000,
    "commas": "," * 20_000,
    "marks": "a" + "\u0301" * 5_000 + "\u200d" * 5_000,
    "no spaces": "你好世界" * 5_000,
    "thai": "สวัสดีชาวโลก" * 2_000,
    "binary": _binary(20_000),
    "right to left": "\u202eשלום\u202c عالم " * 1_000,
}


def check(text: str, tokenizer: object = "o200k_base") -> None:
    compressor = ContextCompressor(UnitScorer(), CompressorConfig(tokenizer=tokenizer))
    for query in (None, "What is it?"):
        result = compressor.compress([text, "An ordinary sentence is beside it."], query, rate=0.5)
        assert result.kept_tokens == compressor.counter.count(result.text)
        assert result.kept_tokens <= 0.5 * result.original_tokens
        assert is_subsequence(result.documents[0].text, text)
        assert result.documents[0].text == "".join(text[start:end] for start, end in result.documents[0].spans)
    assert compressor.compress(text, rate=1.0).text == text


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS.keys())
def test_any_string_gives_a_valid_result(text: str) -> None:
    check(text)


@pytest.mark.parametrize("name", ["lone surrogates", "controls", "binary", "marks"])
def test_with_other_tokenizers(name: str) -> None:
    for tokenizer in (byte_bpe(), len, WordCounter().count):
        check(STRINGS[name], tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "One." + " " * 1_200_000 + "Two.",
        "\u3000" * 1_200_000,
        "word " * 200_000,
        "x" * 1_000_000,
        "".join(f"{' ' * min(depth, 100)}if x:\n" for depth in range(30_000)),
        "[" * 30_000 + "]" * 30_000,
        "<a>" * 30_000 + "</a>" * 30_000,
        "{\n" * 30_000 + "}\n" * 30_000,
    ],
    ids=["blanks", "wide blanks", "long line", "long word", "nested lines", "brackets", "tags", "braces"],
)
def test_very_long_strings_give_a_valid_result(text: str) -> None:
    check(text)


def test_units_of_a_deeply_nested_text_know_what_they_are_under() -> None:
    document = segment("".join(f"{' ' * depth}if x:\n" for depth in range(3_000)))
    assert document.unit_parents.tolist() == list(range(-1, 2_999))
