"""JSON lines: what is read, what is refused, and what an error says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from moos_integrations import InputError
from moos_integrations.records import Document, Pair, Question, parser, read_questions, read_records

GOOD = {"question": "Who?", "documents": ["It was Ada."], "answers": ["Ada"]}


def write(path: Path, *records: object) -> Path:
    lines = "".join((own if isinstance(own, str) else json.dumps(own, ensure_ascii=False)) + "\n" for own in records)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_question_has_strings_or_objects_as_documents(tmp_path: Path, name: str) -> None:
    record = {
        **GOOD,
        "id": 7,
        "documents": [
            "It was Ada.",
            {"text": "No.", "title": "t", "is_gold": False, "more": 1},
            {"page_content": "It was Ada.", "metadata": {}, "gold_spans": [[0, 11]]},
        ],
        "topic": "machines",
    }
    assert read_questions(write(tmp_path / name, record)).items == (
        Question(
            "Who?",
            ("Ada",),
            (
                Document("It was Ada."),
                Document("No.", "t", is_gold=False),
                Document("It was Ada.", evidence=((0, 11),)),
            ),
            id="7",
        ),
    )


def test_one_answer_may_be_a_string(tmp_path: Path) -> None:
    record = {"question": "Who?", "documents": ["Ada"], "answer": "Ada"}
    assert read_questions(write(tmp_path / "a.jsonl", record)).items[0].answers == ("Ada",)


def test_unicode_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = "Łódź — 東京\u2028 naïve"
    path = write(
        tmp_path / "a.jsonl",
        {**GOOD, "documents": [text]},
        "",
        "   ",
        r'{"question": "\ud800 who?", "documents": [], "answers": ["x"]}',
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    first, second = read_questions(path)
    assert first.documents[0].text == text
    assert second.question == "\ufffd who?"  # a lone surrogate, which no UTF-8 library takes


def test_several_files_an_empty_one_among_them(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.jsonl", GOOD), write(tmp_path / "b.jsonl"), write(tmp_path / "c.jsonl.gz", GOOD, GOOD)]
    assert len(read_questions(paths)) == 3
    assert len(read_questions(paths, limit=2)) == 2
    assert len(read_questions(paths[1])) == 0


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "expected a JSON object (Expecting property name"),
        ("[1]", "expected a JSON object, got list"),
        ("[" * 9000, "expected a JSON object ("),
        ({**GOOD, "question": None}, "`question`: input should be a valid string, got None"),
        ({**GOOD, "question": " "}, "`question`: expected text that is not blank"),
        ({"documents": ["x"], "answers": ["y"]}, "the field `question` is missing; there are `documents`, `answers`"),
        ({**GOOD, "documents": "x"}, "`documents`: input should be a valid list, got 'x'"),
        ({**GOOD, "documents": ["x", 3]}, "`documents[1]`: input should be a string or an object, got 3"),
        ({**GOOD, "documents": [{"title": "x"}]}, "the field `documents[0].text` is missing; there are `title`"),
        ({**GOOD, "documents": [{"text": 3}]}, "`documents[0].text`: input should be a valid string, got 3"),
        ({**GOOD, "documents": [{"text": "x", "is_gold": 1}]}, "`documents[0].is_gold`: input should"),
        ({**GOOD, "documents": [{"text": "x", "evidence": [[0, 2]]}]}, "`documents[0]`: expected `evidence` within 1"),
        ({**GOOD, "documents": [{"text": "x", "evidence": [["0", 1]]}]}, "`documents[0].evidence[0][0]`"),
        ({**GOOD, "answers": []}, "`answers`: value should have at least 1 item"),
        ({**GOOD, "answers": ["x", ""]}, "`answers[1]`: expected text that is not blank"),
        ({**GOOD, "answers": 3}, "`answers`: input should be a valid list, got 3"),
    ],
)  # fmt: skip
def test_a_malformed_record_is_named_or_counted(tmp_path: Path, record: object, message: str) -> None:
    path = write(tmp_path / "mine.jsonl", GOOD, record, GOOD)
    with pytest.raises(InputError) as error:
        read_questions(path)
    assert f"mine.jsonl, line 2: {message}" in str(error.value)
    assert "--skip-bad" in str(error.value)
    found = read_questions(path, skip_bad=True)
    assert (len(found), found.skipped) == (2, 1)
    assert message in found.problems[0]


def test_a_long_value_is_not_repeated_whole(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_questions(write(tmp_path / "a.jsonl", {**GOOD, "documents": "x" * 10_000}))
    assert len(str(error.value)) < 300


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "caf\xe9"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: expected UTF-8 text, got byte 0xe9"):
        read_questions(tmp_path / "a.jsonl")


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"{}\n" * 9000)[:-20], None])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jsonl\.gz cannot be read"):
        read_records(path, parser(Pair), skip_bad=content is not None and content.startswith(b"\x1f"))
