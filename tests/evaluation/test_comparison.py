"""`evaluate` and its report on six questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import UnitScorer
from typer.testing import CliRunner

from moos_integrations import ConfigError, ContextCompressor, InputError
from moos_integrations.cli import EXIT_USAGE, app
from moos_integrations.core.tokens import token_counter
from moos_integrations.evaluation import Question, evaluate, report
from moos_integrations.evaluation.baselines import baseline, bm25
from moos_integrations.evaluation.comparison import WHOLE
from moos_integrations.evaluation.plot import COLOURS
from moos_integrations.records import Document

TEXTS = (
    "The bridge was built by Ada Byron. It is long. Nobody knows how long it is today.",
    "Bread is baked from flour and water. The baker of the town sells it warm in the morning.",
    "The ferry leaves the north pier at 7:45. Dogs travel free. Children pay half of the fare.",
)
ASKED = (
    ("Who built the bridge?", "Ada Byron"),
    ("What is bread baked from?", "flour and water"),
    ("When does the ferry leave?", "7:45"),
    ("Who sells bread?", "the baker"),
    ("Who travels free?", "dogs"),
    ("Who is the mayor?", "nobody in these texts"),
)
QUESTIONS = [Question(asked, (answer,), tuple(map(Document, TEXTS))) for asked, answer in ASKED]
COUNT = token_counter("o200k_base").count


def compressor() -> ContextCompressor:
    return ContextCompressor(UnitScorer())


def records(path: Path) -> Path:
    lines = [{"question": asked, "documents": TEXTS, "answers": [answer]} for asked, answer in ASKED]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_rows_tell_what_was_kept_beside_baselines_at_equal_tokens() -> None:
    found = evaluate(compressor(), QUESTIONS, rates=(0.25, 0.5, 0.5), budgets=(20,))
    assert (found.questions, found.left_out) == (5, 1)  # the mayor is nowhere
    assert [(row.target, row.method) for row in found.rows] == [
        ("", WHOLE),
        *[
            (target, method)
            for target in ("default", "rate 0.5", "rate 0.25", "20 tokens")
            for method in ("moos", "bm25", "lead")
        ],
    ]
    for ours, *others in (found.rows[start : start + 3] for start in range(1, 13, 3)):
        assert all(ours.tokens - 3 <= own.tokens <= ours.tokens for own in others)  # words are kept whole
    rows = {(row.target, row.method): row for row in found.rows}
    assert rows["20 tokens", "moos"].tokens <= 20
    assert rows["rate 0.25", "moos"].kept <= 0.25
    assert all(row.low <= row.answers <= row.high for row in found.rows)
    assert rows["rate 0.25", "lead"].answers == 0.2  # "Ada Byron" stands at the beginning
    assert rows["rate 0.25", "bm25"].answers > 0.5
    whole = rows["", WHOLE]
    assert (whole.answers, whole.kept, whole.seconds) == (1, 1, None)
    assert whole.tokens == COUNT("\n\n".join(TEXTS))


def test_the_numbers_are_the_compressors() -> None:
    (row,) = [
        own for own in evaluate(compressor(), QUESTIONS, rates=(0.4,), default=False).rows if own.method == "moos"
    ]
    results = [compressor().compress(list(TEXTS), own.question, rate=0.4) for own in QUESTIONS[:5]]
    kept = [own.answers[0].lower() in result.text.lower() for own, result in zip(QUESTIONS, results, strict=False)]
    assert row.answers == sum(kept) / 5
    assert row.tokens == pytest.approx(sum(result.kept_tokens for result in results) / 5)


def test_all_of_few_is_not_certain() -> None:
    rows = evaluate(compressor(), QUESTIONS, rates=(1.0,), default=False).rows
    assert [(own.answers, own.high) for own in rows] == [(1.0, 1.0)] * 4
    assert all(0.5 < own.low < 0.6 for own in rows)  # Wilson: 5 of 5


def test_baselines_keep_what_their_names_say() -> None:
    config = compressor().config
    documents, question = list(TEXTS), "Who sells bread?"
    lead = baseline("lead", config).compress(documents, question, budget_tokens=12).text
    assert TEXTS[0].startswith(lead)
    best = baseline("bm25", config).compress(documents, question, budget_tokens=20).text
    assert "Bread is baked" in best
    assert "The ferry" not in best
    assert bm25(["a", "b"], "of the").tolist() == [0, 0]
    assert baseline("bm25", config).compress(documents, "?", budget_tokens=8).text


@pytest.mark.slow
def test_the_report_has_a_table_a_plot_and_the_numbers(tmp_path: Path) -> None:
    found = evaluate(compressor(), QUESTIONS, rates=(0.25, 0.5), model="mine")
    page, values, picture = report.save(found, tmp_path / "out", files=["a.jsonl"])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# mine: answers kept, 5 questions\n")
    assert "1 more question was left out" in text
    assert text.count("\n| ") == 2 + len(found.rows)
    assert f"]({picture.name})" in text
    stored = json.loads(values.read_text(encoding="utf-8"))
    assert (stored["questions"], stored["files"]) == (5, ["a.jsonl"])
    assert [row["answers"] for row in stored["rows"]] == [row.answers for row in found.rows]
    assert picture.read_text(encoding="utf-8").startswith("<?xml")


def test_the_plot_has_intervals_a_colour_per_method_and_its_legend_outside() -> None:
    axes = report.plot(evaluate(compressor(), QUESTIONS, rates=(0.25, 0.5)))
    assert [bars.get_label() for bars in axes.containers] == ["moos", "bm25", "lead"]
    assert [bars.lines[0].get_color() for bars in axes.containers] == [COLOURS[name] for name in COLOURS]
    assert all(bars.has_yerr for bars in axes.containers)
    axes.figure.draw_without_rendering()
    assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rates": (0.0,)}, r"`rates` must be shares in \(0, 1\], got \[0.0\]"),
        ({"rates": (1.5,)}, r"got \[1.5\]"),
        ({"budgets": (0,)}, r"`budgets` must be whole numbers of tokens from 1 on, got \[0\]"),
        ({"rates": (), "default": False}, "at least one target"),
        ({"baselines": ("rake",)}, "Expected baselines out of bm25, lead; got rake"),
    ],
)
def test_impossible_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(compressor(), QUESTIONS, **settings)  # type: ignore[arg-type]


def test_what_is_no_question_is_refused() -> None:
    with pytest.raises(InputError, match=r"`questions` must hold `Question` values.*got \{'question': 'Who\?'\}"):
        evaluate(compressor(), [*QUESTIONS, {"question": "Who?"}])  # type: ignore[list-item]


def test_nothing_to_measure() -> None:
    for questions in ([], QUESTIONS[5:]):
        with pytest.raises(InputError, match=f"Nothing to measure: of {len(questions)} questions, none"):
            evaluate(compressor(), questions)


@pytest.mark.slow
def test_the_command(tmp_path: Path, aware_model: Path) -> None:
    data = records(tmp_path / "mine.jsonl")
    arguments = ["evaluate", str(aware_model), "--data", str(data), "--rate", "0.5", "--budget-tokens", "20"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    for expected in ("rate 0.5", "20 tokens", "default", "bm25", "lead", "to 100%", "report.md", "report.svg"):
        assert expected in result.stdout
    assert "1 questions left out: no answer in their documents" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "report.json", "report.svg"}
    stored = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (stored["files"], stored["skipped_records"], stored["tokenizer"]) == (["mine.jsonl"], 0, "o200k_base")


def test_the_command_names_what_is_malformed(tmp_path: Path, aware_model: Path) -> None:
    data = records(tmp_path / "mine.jsonl")
    data.write_text("{}\n" + data.read_text(encoding="utf-8"), encoding="utf-8")
    arguments = ["evaluate", str(aware_model), "--data", str(data), "--rate", "0.5", "-q"]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "mine.jsonl, line 1" in result.stderr) == (EXIT_USAGE, True)
    result = CliRunner().invoke(app, [*arguments, "--skip-bad"])
    assert (result.exit_code, "1 malformed records skipped" in result.stderr) == (0, True)
    result = CliRunner().invoke(app, ["evaluate", "--data", str(tmp_path / "none.jsonl")])
    assert (result.exit_code, "cannot be read" in result.stderr) == (EXIT_USAGE, True)
