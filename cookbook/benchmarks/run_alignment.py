"""Word error rates of aligners: whose preserve labels are right when an LLM's compressed text is traced back?

    python cookbook/benchmarks/run_alignment.py [--data DIR]

Compared are `moos_integrations.training.alignment.align`, Algorithm 1 of LLMLingua-2, and difflib's longest matching
blocks, plain and with gaps filled by similarity. Measured on:

* `cases`: hand-made, hand-labelled pairs that are easy to get wrong (`alignment_cases.py`). They were known while
  `align` was written;

and with `--data`, the folder of `google_compression_cased.jsonl.gz` (sentences with a mask of the words kept), on its
first 4,000 records; the points and prices of `align` were chosen on later ones:

* `pairs`: 2,000 of its records as they are. Where a compression fits its sentence in more than one way, the mask of the
  data set is itself the choice of some aligner, often the leftmost fit; and some masks lack the full stop that the
  compressed text has. Such records are counted as `uncertain`;
* `documents`: documents of 20 sentences, three in ten of them dropped whole, from the other records. There the mask is
  certain, while the document offers many places for every function word;
* `edited_documents`: the same, with the compressed text edited as LLMs do against their instruction: words inflected,
  put in capitals and inserted, commas dropped, phrases and sentences moved.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from alignment_cases import CASES, Case, error_rates, words_of
from common import write_result
from moos_benchmarks import command_line

from moos_integrations.training.labels import labels_from_token_mask

RECORDS = 4000  # that are read
PAIRS = 2000
SENTENCES = 20  # in a document
DROPPED = 0.3  # share of sentences of which nothing is kept
SEED = 0
_INSERTED = ("the", "a", "and", "of", "to", "is", "however", "also", "overall")


def read_pairs(data: Path) -> Iterator[Case]:
    """The records of the Google pairs that have a mask and spell their text."""
    with gzip.open(data / "google_compression_cased.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if "keep" not in record:
                continue
            mask = [bit == "1" for bit in record["keep"]]
            labelled = labels_from_token_mask(record["source_text"], record["source"].split(), mask)
            if labelled is not None:
                yield Case(record["id"], labelled.text, record["compressed_text"], labelled.targets > 0)


def fits_once(pair: Case) -> bool:
    """Whether the compressed words are a subsequence of the source's words in one way only, that of the mask."""
    source, target = ([word.lower() for word in words_of(side)] for side in (pair.text, pair.compressed))
    first = _leftmost(source, target)
    last = _leftmost(source[::-1], target[::-1])
    if first is None or last is None:
        return False
    return first == [len(source) - 1 - place for place in reversed(last)] == np.flatnonzero(pair.kept).tolist()


def _leftmost(source: Sequence[str], target: Sequence[str]) -> list[int] | None:
    places: list[int] = []
    for word in target:
        start = places[-1] + 1 if places else 0
        if word not in source[start:]:
            return None
        places.append(source.index(word, start))
    return places


def documents(pairs: Sequence[Case], *, edited: bool) -> Iterator[Case]:
    """Documents joined from pairs; `edited` ones have a compressed text that breaks the rules."""
    rng = random.Random(SEED)
    for start in range(0, len(pairs) - SENTENCES + 1, SENTENCES):
        masks, kept_texts = [], []
        run = pairs[start : start + SENTENCES]
        for pair in run:
            kept = pair.kept & (rng.random() >= DROPPED)
            kept_text = pair.compressed if kept.any() else ""
            if edited and kept_text:
                kept, kept_text = edit(pair, rng)
            masks.append(kept)
            kept_texts.append(kept_text)
        if edited:
            swap_neighbours(kept_texts, rng)
        text = " ".join(pair.text for pair in run)
        mask = np.concatenate(masks)
        if len(mask) == len(words_of(text)):  # a few words grow together where sentences meet ("5" and "in")
            yield Case(f"document {start}", text, " ".join(filter(None, kept_texts)), mask)


def edit(pair: Case, rng: random.Random) -> tuple[np.ndarray, str]:
    """A compressed sentence with an edit in one word of ten or so, and the mask of the words that are still there."""
    kept = pair.kept.copy()
    words = []
    for place, word in enumerate(words_of(pair.text)):
        if not kept[place]:
            continue
        if word == "," and rng.random() < 0.2:
            kept[place] = False
            continue
        if rng.random() < 0.03:
            words.append(rng.choice(_INSERTED))
        words.append(_edited_word(word, rng.random()))
    if len(words) > 8 and rng.random() < 0.1:  # "... on Friday." -> "On Friday ..."
        words = [*words[-4:-1], *words[:-4], words[-1]]
    return kept, " ".join(words)


def _edited_word(word: str, draw: float) -> str:
    if draw < 0.03 and word.isalpha() and len(word) > 4:
        return word[:-1] if word.endswith("s") else f"{word}s"
    return word.upper() if draw > 0.97 else word


def swap_neighbours(sentences: list[str], rng: random.Random) -> None:
    """Swap one pair of neighbours in ten, in place."""
    for place in range(1, len(sentences)):
        if rng.random() < 0.1:
            sentences[place - 1], sentences[place] = sentences[place], sentences[place - 1]


def run(data: Path | None) -> dict[str, Any]:
    """All error rates."""
    results: dict[str, Any] = {"cases": error_rates(CASES)}
    if data is not None:
        pairs = list(islice(read_pairs(data), RECORDS))
        certain = [pair for pair in pairs if fits_once(pair)]
        results["pairs"] = error_rates(pairs[:PAIRS])
        results["pairs"]["uncertain"] = sum(not fits_once(pair) for pair in pairs[:PAIRS])
        results["documents"] = error_rates(documents(certain, edited=False))
        results["edited_documents"] = error_rates(documents(certain, edited=True))
    return results


def main(
    data: Annotated[Path | None, typer.Option(help="Folder with google_compression_cased.jsonl.gz.")] = None,
) -> None:
    """Measure the aligner beside others."""
    results = run(data)
    for name, entry in results.items():
        print(f"{name}: {entry['cases']} texts, {entry['words']} words")
        for aligner, rates in entry["aligners"].items():
            print(
                f"  {aligner:18} {rates['word_error_rate']:.3%}, without punctuation "
                f"{rates['without_punctuation']:.3%}; texts with errors: {rates['cases_with_errors']}"
            )
    print(write_result("alignment", results))


if __name__ == "__main__":
    command_line.start(main)
