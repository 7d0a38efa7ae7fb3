"""`moos`: compress texts from files or standard input, and show why each word was kept."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from moos_integrations.errors import ConfigError, InputError, MissingExtraError, MoosError

try:
    import typer
    from rich.console import Console
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="cli") from error

from moos_integrations import ContextCompressor, __version__
from moos_integrations.core.config import (
    BUNDLED_MODEL,
    DEFAULT_ALPHA,
    DEFAULT_STATISTIC,
    DEFAULT_TOKENIZER,
)

if TYPE_CHECKING:
    from moos_integrations import CompressionResult

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Prune texts before they reach an LLM: fewer tokens, every kept character from the source.\n\n"
        "Examples:\n\n"
        "* `moos compress notes.txt --rate 0.5`\n\n"
        "* `cat a.txt | moos compress - --budget-tokens 400 --protect numbers > short.txt`\n\n"
        "* `moos explain notes.txt --rate 0.33`\n\n"
        "Text goes to standard output, statistics to standard error. Exit codes: 0 done, 1 failed (model, tokenizer, "
        "unreadable file), 2 wrong usage."
    ),
)


class Statistic(str, Enum):
    """Choices of `--outlier-statistic`."""

    class_diag = "class_diag"
    class_dist = "class_dist"
    global_diag = "global_diag"


Files = Annotated[
    list[str] | None, typer.Argument(metavar="FILE...", help="Text files, each one document; `-` is standard input.")
]
Query = Annotated[str | None, typer.Option(help="The question; the bundled model scores without it so far.")]
Rate = Annotated[float | None, typer.Option(help="Share of tokens to keep over all files. Default: 0.5.")]
Budget = Annotated[int | None, typer.Option(help="Ceiling in tokens over all files, joined.")]
Threshold = Annotated[float | None, typer.Option(help="Keep words whose metric is at least this.")]
Protect = Annotated[
    list[str] | None,
    typer.Option(help="Detector name (`numbers`, `negations`, `urls`, ...) or literal text; repeatable."),
]
Model = Annotated[str, typer.Option(help="Bundled name, folder in Hugging Face layout, or hub id.")]
Tokenizer = Annotated[str, typer.Option(help="tiktoken encoding or model name of the target LLM.")]
Alpha = Annotated[float, typer.Option(help="Weight of the preserve probability against the outlier score.")]
OutlierStatistic = Annotated[Statistic, typer.Option(help="Which outlier score is used.")]
Separator = Annotated[
    str, typer.Option(help="What stands between the documents of the output; `\\n` and `\\t` are understood.")
]
Device = Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `mps`, ...")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"moos-integrations {__version__}")
        raise typer.Exit


@app.command()
def compress(
    files: Files = None,
    query: Query = None,
    rate: Rate = None,
    budget_tokens: Budget = None,
    threshold: Threshold = None,
    protect: Protect = None,
    model: Model = BUNDLED_MODEL,
    tokenizer: Tokenizer = DEFAULT_TOKENIZER,
    alpha: Alpha = DEFAULT_ALPHA,
    outlier_statistic: OutlierStatistic = Statistic(DEFAULT_STATISTIC),
    separator: Separator = r"\n\n",
    device: Device = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show kept and dropped words, on standard error.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of text: documents, spans, counts.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No statistics.")] = False,
) -> None:
    """Compress FILE... (or standard input) together and write the kept text to standard output."""
    result, names = _run(locals())
    if as_json:
        typer.echo(json.dumps(_as_dict(result, names, words=explain), ensure_ascii=False))
    else:
        sys.stdout.write(result.text + ("\n" if result.text else ""))
    errors = Console(stderr=True)
    if explain and not as_json:
        errors.print(result.explain())
    if not quiet:
        _statistics(errors, result, names)


@app.command()
def explain(
    files: Files = None,
    query: Query = None,
    rate: Rate = None,
    budget_tokens: Budget = None,
    threshold: Threshold = None,
    protect: Protect = None,
    model: Model = BUNDLED_MODEL,
    tokenizer: Tokenizer = DEFAULT_TOKENIZER,
    alpha: Alpha = DEFAULT_ALPHA,
    outlier_statistic: OutlierStatistic = Statistic(DEFAULT_STATISTIC),
    separator: Separator = r"\n\n",
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Every word with its scores as one JSON object.")] = False,
) -> None:
    """Show FILE... (or standard input) in colour: kept green, protected yellow, dropped struck through."""
    result, names = _run(locals())
    if as_json:
        typer.echo(json.dumps(_as_dict(result, names, words=True), ensure_ascii=False))
        return
    Console().print(result.explain())
    _statistics(Console(stderr=True), result, names)


def _run(options: dict[str, Any]) -> tuple[CompressionResult, list[str]]:
    """Read, compress, and turn our errors into messages and exit codes."""
    try:
        names, texts = _read(options["files"])
        compressor = ContextCompressor.from_pretrained(
            options["model"],
            device=options["device"],
            rate=options["rate"],
            budget_tokens=options["budget_tokens"],
            threshold=options["threshold"],
            protect=tuple(options["protect"] or ()),
            tokenizer=options["tokenizer"],
            alpha=options["alpha"],
            outlier_statistic=options["outlier_statistic"].value,
            separator=options["separator"].replace("\\n", "\n").replace("\\t", "\t"),
        )
        return compressor.compress(texts, options["query"]), names
    except (ConfigError, InputError) as error:
        raise _stop(error, EXIT_USAGE) from error
    except MoosError as error:
        raise _stop(error, EXIT_FAILED) from error


def _stop(error: Exception, code: int) -> typer.Exit:
    typer.echo(f"moos: {error}", err=True)
    return typer.Exit(code)


def _read(files: list[str] | None) -> tuple[list[str], list[str]]:
    names = files or (["-"] if not sys.stdin.isatty() else [])
    if not names:
        raise InputError("Name the files to read, or pipe text into standard input; see `moos --help`.")
    if names.count("-") > 1:
        raise InputError("Standard input (`-`) can be read once; it was named more often.")
    return names, [_read_one(name) for name in names]


def _read_one(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _stop(
            InputError(f"{name} is not UTF-8 text (byte {error.start}). Convert it first."), EXIT_FAILED
        ) from error
    except OSError as error:
        raise _stop(InputError(f"{name} cannot be read: {error.strerror or error}."), EXIT_FAILED) from error


def _as_dict(result: CompressionResult, names: list[str], *, words: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        **result.summary(),
        "text": result.text,
        "documents": [
            {
                "file": name,
                "text": document.text,
                "spans": document.spans,
                "original_tokens": document.original_tokens,
                "kept_tokens": document.kept_tokens,
                "dropped_units": document.dropped_units,
            }
            for name, document in zip(names, result.documents, strict=True)
        ],
    }
    if words:
        values["words"] = result.explain().to_dicts()
    return values


def _statistics(console: Console, result: CompressionResult, names: list[str]) -> None:
    console.print(
        f"{result.original_tokens} -> {result.kept_tokens} tokens ({result.rate:.1%} kept), {len(names)} "
        f"document{'s' if len(names) != 1 else ''}, {1000 * result.seconds:.0f} ms",
        highlight=False,
        style="dim",
    )
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False)


def main() -> None:
    """Entry point of the `moos` command."""
    app()


if __name__ == "__main__":
    main()
