from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from moos_benchmarks import data

from moos_integrations.errors import InputError

QUESTION = {
    "id": "q1",
    "question": "Who?",
    "answers": ["Ada"],
    "documents": [
        {"title": "t", "text": "It was Ada.", "is_gold": True},
        {"title": "u", "text": "No.", "is_gold": False},
    ],
    "source": "made up",
}
ANSWER = {"text": "Ada", "answer_start": 7}
SQUAD = {
    "id": "p1",
    "title": "Machines",
    "context": "It was Ada.",
    "qas": [{"id": "p1-1", "question": "Who?", "answers": [ANSWER]}],
}
PAIR = {"id": "g1", "source": "It was Ada , then .", "source_text": "It was Ada, then.", "keep": "111001"}
LONG = {"id": "l1", "question": "Who?", "answers": ["Ada"], "text": "It was Ada."}
READERS: dict[str, tuple[Callable[..., data.Records[Any]], dict[str, Any]]] = {
    "question": (data.read_questions, QUESTION),
    "squad": (data.read_squad, SQUAD),
    "pair": (data.read_pairs, PAIR),
    "long": (data.read_long, LONG),
}


def write(path: Path, *records: object) -> Path:
    lines = "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    return path


def test_records_become_values(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl.gz"
    (question,) = data.read_questions(write(path, QUESTION))
    assert question.documents[0] == data.Document("It was Ada.", "t", is_gold=True)
    assert (question.answers, question.source) == (("Ada",), "made up")
    (passage,) = data.read_squad(write(path, SQUAD))
    assert passage.questions[0].answers == (data.Answer("Ada", 7, occurrences=1),)
    (pair,) = data.read_pairs(write(path, PAIR))
    assert pair == data.Pair(
        "g1", "It was Ada, then.", ("It", "was", "Ada", ",", "then", "."), tuple(map(bool, (1, 1, 1, 0, 0, 1)))
    )
    (long,) = data.read_long(write(path, LONG))
    assert long == data.LongText("l1", "Who?", ("Ada",), "It was Ada.")


@pytest.mark.parametrize(
    ("record", "text"), [(QUESTION, "It was Ada.\n\nNo."), (SQUAD, "It was Ada."), (LONG, "It was Ada.")]
)
def test_every_schema_gives_passages(tmp_path: Path, record: dict[str, Any], text: str) -> None:
    (passage,) = data.read_passages(write(tmp_path / "set.jsonl", record))
    assert passage == data.Passage(text, (("Ada",),))


def test_evidence_is_optional(tmp_path: Path) -> None:
    with_spans = {"title": "t", "text": "It was Ada.", "is_gold": True, "gold_spans": [[0, 11]]}
    without = {"title": "t", "text": "It was Ada.", "is_gold": True}
    (question,) = data.read_questions(write(tmp_path / "set.jsonl", {**QUESTION, "documents": [with_spans, without]}))
    assert [document.evidence for document in question.documents] == [((0, 11),), ()]


def test_optional_fields_may_lack(tmp_path: Path) -> None:
    (question,) = data.read_questions(write(tmp_path / "a.jsonl", {**QUESTION, "source": ""}))
    assert question.source == ""
    bare = {"id": "g2", "source": "so it is"}
    assert data.read_pairs(write(tmp_path / "b.jsonl", bare)).items == (
        data.Pair("g2", "so it is", ("so", "it", "is"), None),
    )


@pytest.mark.parametrize(
    ("reader", "change", "message"),
    [
        ("question", {"question": None}, "`question`: input should be a valid string, got None"),
        ("question", {"answers": []}, "`answers`: value should have at least 1 item"),
        ("question", {"documents": [{"text": "x", "gold_spans": [[0, 2]]}]}, "`documents[0]`: expected `evidence`"),
        ("squad", {"qas": "none"}, "`qas`: input should be a valid list, got 'none'"),
        ("squad", {"context": "Ada was it."}, "expected `answer_start` to be the offset of 'Ada' in `context`, got 7"),
        ("squad", {"qas": [{"id": "1", "question": "Who?"}]}, "the field `qas[0].answers` is missing; there are `id`"),
        ("pair", {"keep": "111"}, "expected 6 times 0 or 1 in `keep`, one per token of `source`, got '111'"),
        ("pair", {"keep": "11100x"}, "got '11100x'"),
        ("long", {"text": ["x"]}, "`text`: input should be a valid string, got ['x']"),
    ],
)
def test_malformed_records_are_named_or_counted(
    tmp_path: Path, reader: str, change: dict[str, Any], message: str
) -> None:
    read, good = READERS[reader]
    path = write(tmp_path / "set.jsonl.gz", good, {**good, **change}, good)
    with pytest.raises(InputError) as error:
        read(path)
    assert "set.jsonl.gz, line 2" in str(error.value)
    assert message in str(error.value)
    records = read(path, skip_bad=True)
    assert (len(records), records.skipped) == (2, 1)


@pytest.mark.parametrize("line", ["{", "[1]"])
def test_lines_that_are_no_object(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "set.jsonl", line, LONG)
    with pytest.raises(InputError, match="line 1: expected a JSON object"):
        data.read_long(path)
    assert data.read_long(path, skip_bad=True).skipped == 1


def test_the_limit_counts_records_that_were_read(tmp_path: Path) -> None:
    records = data.read_long(write(tmp_path / "set.jsonl", "{", LONG, LONG, "{"), limit=2, skip_bad=True)
    assert (len(records), records.skipped) == (2, 1)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected nothing\.jsonl\.gz or nothing\.jsonl"):
        data.data_file(tmp_path, "nothing")
    assert data.data_file(write(tmp_path / "set.jsonl").parent, "set").name == "set.jsonl"
    broken = tmp_path / "set.jsonl.gz"
    for content in (b"no gzip", gzip.compress(b"{}\n" * 9000)[:-20], gzip.compress(b"\xff\n")):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"set\.jsonl\.gz"):
            data.read_long(broken)


def test_what_is_held_out() -> None:
    ids = [f"id{index}" for index in range(1000)]
    chosen = data.hotpotqa_held_out(iter(ids))
    assert len(chosen) == 300
    limit = max(sha256(name.encode()).hexdigest() for name in chosen)
    assert all(sha256(name.encode()).hexdigest() > limit for name in ids if name not in chosen)
    assert data.hotpotqa_held_out(ids[:10]) == set(ids[:10])
    assert data.articles_held_out(f"{index:03}" for index in (*range(101), 0)) == {"000", "050", "100"}
    assert list(data.pairs_held_out(range(900))) == list(range(400, 900))
