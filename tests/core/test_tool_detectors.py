"""Detectors for the output of tools: errors, tracebacks, exit codes, hunks."""

from __future__ import annotations

import time

import pytest

from moos_integrations import ContextCompressor
from moos_integrations.core.protection import DETECTORS, protected_words
from moos_integrations.core.text import segment


def protected(text: str, detector: str) -> list[str]:
    """The lines with protected words."""
    document = segment(text)
    starts = document.word_starts[protected_words(document, [detector])].tolist()
    lines = {text.count("\n", 0, start) for start in starts}
    return [line for number, line in enumerate(text.split("\n")) if number in lines]


ERRORS = [
    "ERROR: could not connect",
    "2024-05-01 10:00:00 [ERROR] disk is full",
    "fatal: not a git repository",
    "src/main.c:3:5: error: expected ';'",
    "E   AssertionError: assert 1 == 2",
    "ValueError: invalid literal",
    "npm ERR! missing script: build",
    "error[E0425]: cannot find value `x`",
    "make: *** [all] Error 2",
    "bash: foo: command not found",
    "Segmentation fault (core dumped)",
    "FAILED tests/test_a.py::test_b",
    "3 failed, 12 passed in 0.3s",
    "java.lang.NullPointerException: x is null",
    "level=fatal msg=stopped",
    "not ok 3 - adds numbers",
    "cp: cannot stat 'a': No such file or directory",
]
FINE = [
    "0 errors, 0 failures",
    "no errors found",
    "compiled errors.py and error_test.go",
    "src/error/handler.rs: 120 lines",
    "12 passed in 0.2s",
    "INFO started worker 3",
    "GET /errors/404.html 200",
    '        raise ValueError("the path must be absolute")',
    "    except (OSError, ValueError) as error_:",
    "from requests.exceptions import HTTPError, ProxyError",
    "class NotFoundError(Exception):",
    "    # the call may fail without a network",
    "    throw new IllegalStateException(name);",
    "    with pytest.raises(KeyError):",
]


@pytest.mark.parametrize("line", ERRORS)
def test_a_line_with_an_error_is_protected_whole(line: str) -> None:
    assert protected(f"INFO start\n{line}\nINFO end", "errors") == [line]


@pytest.mark.parametrize("line", FINE)
def test_a_line_that_only_names_errors_is_not(line: str) -> None:
    assert protected(f"INFO start\n{line}\nINFO end", "errors") == []


PYTHON = """Traceback (most recent call last):
  File "a.py", line 3, in <module>
    main()
  File "a.py", line 2, in main
    return 1 / 0
ZeroDivisionError: division by zero"""
JAVA = """Exception in thread "main" java.lang.IllegalStateException: closed
\tat a.b.C.run(C.java:12)
\tat a.b.Main.main(Main.java:3)
Caused by: java.io.IOException: gone
\tat a.b.D.read(D.java:7)
\t... 2 more"""
GO = """panic: runtime error: index out of range [5] with length 3
goroutine 1 [running]:
main.main()
\t/app/main.go:8 +0x1b"""
RUST = """thread 'main' panicked at src/main.rs:2:5:
index out of bounds: the len is 3 but the index is 99
note: run with `RUST_BACKTRACE=1`"""


@pytest.mark.parametrize("trace", [PYTHON, JAVA, GO, RUST], ids=["python", "java", "go", "rust"])
def test_a_traceback_is_protected_from_its_first_line_to_its_last(trace: str) -> None:
    text = f"starting the job\nreading 3 files\n\n{trace}\n\nbye"
    assert protected(text, "tracebacks") == trace.split("\n")


@pytest.mark.parametrize(
    "line",
    [
        "Process finished with exit code 1",
        "exit status 2",
        "Exit code: 137",
        "Command 'ls' returned non-zero exit status 2.",
        "The process exited with code 3",
        "killed by signal 9",
    ],
)
def test_exit_codes_are_protected(line: str) -> None:
    assert protected(f"one\n{line}\ntwo", "exit_codes") == [line]


def test_hunks_of_a_diff_are_protected_and_its_file_heads_are_not() -> None:
    hunk = "@@ -1,3 +1,3 @@ def f():\n a = 1\n-b = 2\n+b = 3\n c = 4"
    text = f"diff --git a/x.py b/x.py\nindex 1..2 100644\n--- a/x.py\n+++ b/x.py\n{hunk}\ndiff --git a/y b/y"
    assert protected(text, "diff_hunks") == hunk.split("\n")


def test_an_error_line_stays_whatever_the_model_thinks(compressor: ContextCompressor) -> None:
    lines = [f"INFO: worker {number} did its work and went to sleep again" for number in range(40)]
    lines[23] = "ERROR: worker 23 lost its lease (exit code 4)"
    shielding = ContextCompressor.from_pretrained(
        lazy=True, protect=["errors", "exit_codes", "tracebacks", "diff_hunks"], budget_tokens=40
    )
    shielding = ContextCompressor(compressor.scorer, shielding.config)
    assert lines[23] in shielding.compress("\n".join(lines)).text.split("\n")


@pytest.mark.parametrize("detector", ["errors", "tracebacks", "exit_codes", "diff_hunks"])
@pytest.mark.parametrize(
    "piece", ["error ", "no ", "exit code ", "Traceback (most recent call last):\n ", " at x\n", "@@ -1 +1 @@\n", "\n "]
)
def test_detectors_are_linear(detector: str, piece: str) -> None:
    start = time.process_time()
    sum(1 for _ in DETECTORS[detector].finditer(piece * 20_000))
    assert time.process_time() - start < 2
