from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from moos_benchmarks import hub

from moos_integrations.errors import ConfigError, InputError
from moos_integrations.records import Document, Question

HOTPOT = {
    "id": "5a7a",
    "question": "Who built the bridge of Gilmer?",
    "answer": "Ada",
    "type": "bridge",
    "level": "medium",
    "supporting_facts": {"title": ["Gilmer", "Ada", "Gilmer"], "sent_id": [1, 0, 7]},
    "context": {
        "title": ["Gilmer", "Fox", "Ada"],
        "sentences": [
            ["Gilmer is a town.", " It has a bridge.", " It is old."],
            ["A fox."],
            ["Ada built it.", "She did."],
        ],
    },
}
WIKI_ROWS = [["Gilmer", ["Gilmer is a town.", "It has a bridge."]], ["Ada", ["Ada built it."]]]
WIKI = {
    "_id": "8813",
    "type": "compositional",
    "question": "Who built it?",
    "answer": "Ada",
    "context": WIKI_ROWS,
    "supporting_facts": [["Ada", 0]],
    "evidences": [],
}
MUSIQUE = {
    "id": "2hop__1_2",
    "paragraphs": [
        {"idx": 1, "title": "Ada", "paragraph_text": "Ada built it.", "is_supporting": True},
        {"idx": 0, "title": "Fox", "paragraph_text": "A fox.", "is_supporting": False},
    ],
    "question": "Who?",
    "question_decomposition": [],
    "answer": "Ada",
    "answer_aliases": ["Ada L.", "Ada"],
    "answerable": True,
}
SQUAD = {
    "id": "56be",
    "title": "Gilmer",
    "context": "It was Ada, of course Ada.",
    "question": "Who?",
    "answers": {"text": ["Ada", "Ada", "of course Ada"], "answer_start": [7, 7, 12]},
}
LONGBENCH = {
    "input": "Who?",
    "context": "Long ago there was Ada.",
    "answers": ["Ada"],
    "length": 5,
    "dataset": "narrativeqa",
    "language": "en",
    "all_classes": None,
    "_id": "b0c1",
}
GSM8K = {"question": "How many?", "answer": "He has 2*600=<<2*600=1200>>1200.\n#### 1,200"}
BBH = {"input": "not ( True ) is", "target": "False"}
RECORDS: dict[str, dict[str, Any]] = {
    "hotpotqa/hotpot_qa": HOTPOT,
    "xanhho/2WikiMultihopQA": WIKI,
    "framolfese/2WikiMultihopQA": HOTPOT,
    "dgslibisey/MuSiQue": MUSIQUE,
    "rajpurkar/squad": SQUAD,
    "THUDM/LongBench": LONGBENCH,
    "Xnhyacinth/LongBench": LONGBENCH,
    "openai/gsm8k": GSM8K,
    "lukaemon/bbh": BBH,
    "SaylorTwift/bbh": BBH,
}


def one(name: str, record: dict[str, Any]) -> Question:
    (found,) = hub.convert(name, [record])
    return found


def evidence(document: Document) -> list[str]:
    return [document.text[start:end] for start, end in document.evidence]


def test_every_set_has_a_record_here() -> None:
    assert set(RECORDS) == set(hub.HUB_SETS)


def test_hotpotqa_gives_documents_with_their_supporting_sentences() -> None:
    found = one("hotpotqa/hotpot_qa", HOTPOT)
    assert (found.id, found.question, found.answers, found.source) == ("5a7a", HOTPOT["question"], ("Ada",), "bridge")
    gilmer, fox, ada = found.documents
    assert gilmer.text == "Gilmer is a town. It has a bridge. It is old."
    assert (gilmer.title, evidence(gilmer)) == ("Gilmer", ["It has a bridge."])  # of sentence 7 there is none
    assert fox == Document("A fox.", "Fox", is_gold=False)
    assert (ada.text, evidence(ada), ada.is_gold) == ("Ada built it. She did.", ["Ada built it."], True)


@pytest.mark.parametrize(
    ("context", "facts"),
    [
        (WIKI_ROWS, [["Ada", 0]]),
        (json.dumps(WIKI_ROWS), json.dumps([["Ada", 0]])),  # as in the Parquet files of the repository
        ([{"title": title, "sentences": lines} for title, lines in WIKI_ROWS], [{"title": "Ada", "sent_id": 0}]),
        (
            {"title": ["Gilmer", "Ada"], "sentences": [lines for _, lines in WIKI_ROWS]},
            {"title": ["Ada"], "sent_id": [0]},
        ),
    ],
)
def test_2wiki_in_all_its_forms(context: Any, facts: Any) -> None:
    found = one("xanhho/2WikiMultihopQA", {**WIKI, "context": context, "supporting_facts": facts})
    assert (found.id, found.source) == ("8813", "compositional")
    assert [document.text for document in found.documents] == ["Gilmer is a town. It has a bridge.", "Ada built it."]
    assert [evidence(document) for document in found.documents] == [[], ["Ada built it."]]


def test_musique_in_the_order_of_its_paragraphs() -> None:
    found = one("dgslibisey/MuSiQue", MUSIQUE)
    assert found.answers == ("Ada", "Ada L.")
    assert found.documents == (Document("A fox.", "Fox", False), Document("Ada built it.", "Ada", True))


def test_squad_has_its_answers_as_evidence() -> None:
    found = one("rajpurkar/squad", SQUAD)
    assert found.answers == ("Ada", "of course Ada")
    (document,) = found.documents
    assert (document.title, document.evidence) == ("Gilmer", ((7, 10), (12, 25)))


def test_longbench_is_one_long_text() -> None:
    assert one("THUDM/LongBench", LONGBENCH) == Question(
        "Who?", ("Ada",), (Document("Long ago there was Ada.", "", is_gold=True),), "b0c1", "narrativeqa"
    )
    assert one("THUDM/LongBench", {**LONGBENCH, "input": ""}).question == ""  # gov_report, multi_news


def test_problems_have_no_documents() -> None:
    assert one("openai/gsm8k", GSM8K) == Question("How many?", ("1,200", "1200"), (), "gsm8k-0")
    assert one("lukaemon/bbh", BBH) == Question("not ( True ) is", ("False",), (), "bbh-0")
    assert [found.id for found in hub.convert("lukaemon/bbh", [BBH, BBH])] == ["bbh-0", "bbh-1"]


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_another_schema_is_named(name: str) -> None:
    assert one(name, RECORDS[name]).question
    for field in ("question", "input"):
        if field in RECORDS[name]:
            broken = {**copy.deepcopy(RECORDS[name]), field: None}
            with pytest.raises(InputError, match=f"{name}, record 1: .*{field}"):
                hub.convert(name, [RECORDS[name], broken])
    with pytest.raises(InputError, match="record 0"):
        hub.convert(name, [{"nothing": 1}])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rajpurkar/squad", {"answers": {"text": ["Ada"], "answer_start": [6]}}),
        ("rajpurkar/squad", {"answers": {"text": ["Ada"], "answer_start": []}}),
        ("openai/gsm8k", {"answer": "1200"}),
        ("xanhho/2WikiMultihopQA", {"context": "no JSON"}),
        ("hotpotqa/hotpot_qa", {"context": {"title": ["a"], "sentences": []}}),
        ("dgslibisey/MuSiQue", {"paragraphs": [{"idx": 0, "title": "t"}]}),
    ],
)
def test_wrong_values_are_refused(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="record 0"):
        hub.convert(name, [{**RECORDS[name], **change}])


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a stand-in for `datasets` was asked for; it has three records of every set."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(path: str, name: str | None, *, split: str, streaming: bool) -> Iterator[dict[str, Any]]:
        asked.append((path, name, split, streaming))
        if split == "gone":
            raise ValueError("Unknown split")
        return iter([RECORDS[path]] * 3)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_reading_by_name(calls: list[tuple[Any, ...]]) -> None:
    assert len(hub.read_hub("hotpotqa/hotpot_qa")) == 3
    assert len(hub.read_hub("THUDM/LongBench:qmsum", limit=2)) == 2
    assert len(hub.read_hub("lukaemon/bbh", config="word_sorting")) == 3  # the hub knows more than we list
    assert hub.read_hub("openai/gsm8k", "train", limit=1).items == (one("openai/gsm8k", GSM8K),)
    assert calls == [
        ("hotpotqa/hotpot_qa", "distractor", "validation", False),
        ("THUDM/LongBench", "qmsum", "test", True),
        ("lukaemon/bbh", "word_sorting", "test", False),
        ("openai/gsm8k", "main", "train", True),
    ]


def test_unknown_names_and_configurations(calls: list[tuple[Any, ...]]) -> None:
    with pytest.raises(ConfigError, match=r"hotpotqa/hotpot_qa, .*lukaemon/bbh.*'squad'"):
        hub.read_hub("squad")
    with pytest.raises(ConfigError, match="squad"):
        hub.convert("squad", [])
    with pytest.raises(ConfigError, match=r"THUDM/LongBench:narrativeqa.*qmsum"):
        hub.read_hub("THUDM/LongBench")
    with pytest.raises(ConfigError, match="once"):
        hub.read_hub("THUDM/LongBench:qmsum", config="musique")
    assert not calls


def test_what_the_hub_says_is_passed_on(calls: list[tuple[Any, ...]]) -> None:
    with pytest.raises(InputError, match=r"rajpurkar/squad \(configuration default, split gone\).*Unknown split"):
        hub.read_hub("rajpurkar/squad", split="gone")
    assert calls


def test_without_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="pip install datasets"):
        hub.read_hub("rajpurkar/squad")
