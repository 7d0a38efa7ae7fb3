"""The measure of truth finds what it should, and its texts are consistent."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tiny import UnitScorer

from moos_integrations import ContextCompressor

sys.path.insert(0, str(Path(__file__).parents[2] / "cookbook" / "benchmarks"))

import run_truth


def test_the_texts_have_what_is_looked_up_in_them() -> None:
    items = [item for group in run_truth.texts_of("exchanges") for item in group["items"]]
    assert len(items) >= 60
    assert all(item["key"] in item["answer"] for item in items)
    parts = [part for group in run_truth.texts_of("sections") for part in group["sections"]]
    assert all(part["key"] in " ".join(part["body"]) for part in parts)
    pairs = run_truth.texts_of("corrections")
    assert len(pairs) == 40
    assert all(pair["first"] != pair["second"] for pair in pairs)


def test_a_sentence_without_its_title_is_foreign() -> None:
    source = "## Node One\n\nIt has 3.\n\n## Node Two\n\nIt has 4.\n"
    places, bodies = run_truth._title_places(source, ["Node One", "Node Two"]), [["It has 3."], ["It has 4."]]
    kept = np.array([character != "~" for character in source] + [False])
    whole = run_truth.Output(source, kept, source)
    assert list(run_truth._foreign(whole, places, bodies)) == []
    torn = kept.copy()
    torn[slice(*places[1])] = False
    assert list(run_truth._foreign(run_truth.Output(source, torn, ""), places, bodies)) == ["Node Two: It has 4."]


def test_chunks_overlap_and_cover_the_text() -> None:
    text = "".join(f"line {number} of the text\n" for number in range(200))
    chunks = run_truth.chunks_of(text)
    assert all(chunk in text for chunk in chunks)
    assert set("".join(chunks).splitlines()) == set(text.splitlines())
    assert len("".join(chunks)) > len(text)


def test_parts_that_need_no_data_run() -> None:
    compressor = ContextCompressor(UnitScorer())
    atoms = run_truth.atoms(compressor, 2)
    assert sum(entry["parts"] for entry in atoms.values()) == 0
    assert sum(entry["outputs"] for entry in atoms.values()) > 0
    corrected = run_truth.corrections(compressor)
    assert all(way["pairs"] == 40 and way.get("taken for a repetition", 0) == 0 for way in corrected.values())
