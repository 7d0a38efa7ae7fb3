from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moos_integrations import __version__
from moos_integrations.cli import EXIT_FAILED, EXIT_USAGE, app

TEXT = "The meeting on 3 May, which was long, ended at 17:30. Nobody knows why it was so long."
RUNNER = CliRunner()


def test_text_to_standard_output_and_statistics_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    result = RUNNER.invoke(app, ["compress", str(tmp_path / "a.txt"), "--rate", "0.5"])
    assert result.exit_code == 0
    assert 0 < len(result.stdout.strip()) < len(TEXT)
    assert "tokens" not in result.stdout
    assert "1 document" in result.stderr


def test_standard_input_json_and_protection() -> None:
    arguments = ["compress", "-", "--budget-tokens", "20", "--protect", "numbers", "--json", "-q", "--explain"]
    result = RUNNER.invoke(app, arguments, input=TEXT)
    values = json.loads(result.stdout)
    assert values["kept_tokens"] <= 20
    assert "17:30" in values["text"]
    (document,) = values["documents"]
    assert document["text"] == "".join(TEXT[start:end] for start, end in document["spans"])
    assert {word["text"] for word in values["words"] if word["kept"]} >= {"3 May", "17:30"}
    assert result.stderr == ""


def test_several_files_share_the_budget(tmp_path: Path) -> None:
    names = []
    for index in range(3):
        path = tmp_path / f"{index}.txt"
        path.write_text(TEXT, encoding="utf-8")
        names.append(str(path))
    result = RUNNER.invoke(app, ["compress", *names, "--budget-tokens", "30", "--json", "--separator", r"\n--\n"])
    values = json.loads(result.stdout)
    assert values["kept_tokens"] <= 30
    assert [document["file"] for document in values["documents"]] == names


def test_explain(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["explain", "--rate", "0.5"], input=TEXT)
    assert result.exit_code == 0
    assert "meeting" in result.stdout
    assert "kept" in result.stderr
    words = json.loads(RUNNER.invoke(app, ["explain", "--json"], input=TEXT).stdout)["words"]
    assert words[1]["text"] == "meeting"


def test_pages_show_what_was_kept(tmp_path: Path) -> None:
    for command, title in (("compress", "What was kept"), ("explain", "What was kept, and why")):
        page = tmp_path / f"{command}.html"
        arguments = [command, "--rate", "0.5", "--query", "When <did> it end?", "--html", str(page)]
        assert RUNNER.invoke(app, arguments, input=f"{TEXT} <script>").exit_code == 0
        markup = page.read_text(encoding="utf-8")
        assert f"<title>{title}</title>" in markup
        assert "When &lt;did&gt; it end?" in markup
        assert "<script>" not in markup
    result = RUNNER.invoke(app, ["compress", "--html", str(tmp_path / "none" / "page.html")], input=TEXT)
    assert result.exit_code == EXIT_FAILED
    assert "cannot be written" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["compress", "--rate", "2"], EXIT_USAGE, "`rate` must be a number in [0, 1], got 2.0"),
        (["compress", "--rate", "0.5", "--threshold", "0.5"], EXIT_USAGE, "exactly one of"),
        (["compress", "--tokenizer", "no_such"], EXIT_USAGE, "must name a tiktoken encoding"),
        (["compress", "--outlier-statistic", "x"], EXIT_USAGE, "class_diag"),
        (["compress", "-", "-"], EXIT_USAGE, "can be read only once"),
        (["compress", "no_such_file.txt"], EXIT_FAILED, "no_such_file.txt cannot be read"),
        (["compress", "--model", "./no_such_model"], EXIT_USAGE, "there is no such folder"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, message: str) -> None:
    result = RUNNER.invoke(app, arguments, input=TEXT)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    result = RUNNER.invoke(app, ["compress", str(tmp_path / "latin.txt")])
    assert result.exit_code == EXIT_FAILED
    assert "is not UTF-8 text (byte 3)" in " ".join(result.stderr.split())


def test_version_and_help() -> None:
    assert __version__ in RUNNER.invoke(app, ["--version"]).stdout
    assert "Exit codes" in RUNNER.invoke(app, ["--help"]).stdout
    assert RUNNER.invoke(app, []).exit_code == EXIT_USAGE
