"""`moos`: compress and explain texts on the command line, annotate, train, evaluate."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from moos_integrations.errors import ConfigError, InputError, MissingExtraError, MoosError

try:
    import typer
    from rich.console import Console
except ImportError as error:
    raise MissingExtraError(str(error.name), extra="cli") from error

from moos_integrations import CompressorConfig, ContextCompressor, WordScores, __version__
from moos_integrations.cli_options import with_limit_options, with_setting_options
from moos_integrations.core.config import BUNDLED_MODEL, DEFAULT_TOKENIZER, without_effect

if TYPE_CHECKING:
    from moos_integrations import CompressionResult, SegmentedText
    from moos_integrations.core.explain import Explanation

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

app = typer.Typer(
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


Files = Annotated[
    list[str] | None, typer.Argument(metavar="FILE...", help="Text files, one document each; `-` is standard input.")
]
Query = Annotated[str | None, typer.Option(help="The question; query-aware models, as the bundled one, read it.")]
Tokenizer = Annotated[str, typer.Option(help="tiktoken encoding or model name of the target LLM.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Skip and count malformed records.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write a page for a browser that shows what was kept."),
]
Device = Annotated[str, typer.Option(help="`auto`, `cpu`, `cuda`, `mps`, ...")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"moos-integrations {__version__}")
        raise typer.Exit


@app.command()
@with_setting_options
def compress(
    settings: dict[str, Any],
    files: Files = None,
    query: Query = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show kept and dropped words, on standard error.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of text: documents, spans, counts.")
    ] = False,
    html: Html = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No statistics and no warnings.")] = False,
) -> None:
    """Compress FILE... (or standard input) together and write the kept text to standard output."""
    result, names, config = _run(files, query, settings)
    _write_page(html, result)
    if as_json:
        typer.echo(json.dumps(_as_dict(result, names, words=explain), ensure_ascii=False))
    else:
        sys.stdout.write(result.text + ("\n" if result.text else ""))
    errors = Console(stderr=True)
    if explain and not as_json:
        errors.print(result.explain())
    if not quiet:
        _statistics(errors, result, names, config)


@app.command()
@with_setting_options
def explain(
    settings: dict[str, Any],
    files: Files = None,
    query: Query = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every word with its scores as one JSON object.")] = False,
    html: Html = None,
) -> None:
    """Show FILE... (or standard input) sentence by sentence: kept green, dropped struck through, and why."""
    result, names, config = _run(files, query, settings)
    _write_page(html, result.explain())
    if as_json:
        typer.echo(json.dumps(_as_dict(result, names, words=True), ensure_ascii=False))
        return
    Console().print(result.explain())
    _statistics(Console(stderr=True), result, names, config)


@app.command()
@with_limit_options
@with_setting_options
def serve(
    settings: dict[str, Any],
    limits: dict[str, Any],
    host: Annotated[str, typer.Option(help="Address to listen at.", envvar="MOOS_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.", min=0, max=65535, envvar="MOOS_PORT")] = 8000,
) -> None:
    """Serve `/v1/compress` over HTTP, and a page to try it at `/`; `/docs` describes all of it.

    Requests with the same question that come together run together. The settings hold for requests without a target.
    """
    with _exit_codes():
        from moos_integrations.serving import Limits
        from moos_integrations.serving import serve as run

        config, checked = CompressorConfig.from_settings(settings), Limits(**limits)
        if checked.api_key is None and host not in ("127.0.0.1", "localhost", "::1"):
            typer.echo(f"moos: {host} can be reached from other machines, and no MOOS_API_KEY is set.", err=True)
        run(ContextCompressor.from_pretrained(config=config), checked, host=host, port=port)


@app.command()
@with_setting_options
def mcp(settings: dict[str, Any]) -> None:
    """Serve the tools `compress`, `explain` and `read_omitted` to an agent, over standard input and output (MCP)."""
    with _exit_codes():
        from moos_integrations.serving import create_mcp

        config = CompressorConfig.from_settings(settings)
        create_mcp(ContextCompressor.from_pretrained(lazy=True, config=config)).run()


@app.command()
def annotate(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="JSON lines, one text each; `.gz` is unpacked.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="JSON lines; answers in it are not sent again.")],
    model: Annotated[
        str, typer.Option(help="`provider:model` (needs the package `langchain`), or `module:factory` of your code.")
    ],
    text_field: Annotated[str, typer.Option(help="Field of a record with the text.")] = "text",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip and count malformed records.")] = False,
    max_chunk_tokens: Annotated[int, typer.Option(help="Longest chunk in tokens; chunks end at sentence ends.")] = 512,
    tokenizer: Tokenizer = DEFAULT_TOKENIZER,
    concurrency: Annotated[int, typer.Option(help="Most calls at the same time.")] = 8,
    attempts: Annotated[int, typer.Option(help="Calls per chunk before it counts as failed.")] = 4,
    max_added: Annotated[float, typer.Option(help="Largest share of an answer's words that the text lacks.")] = 0.05,
    max_moved: Annotated[float, typer.Option(help="Largest share of its other words out of order.")] = 0.05,
    input_price: Annotated[float | None, typer.Option(help="Per million input tokens, for the estimate.")] = None,
    output_price: Annotated[float | None, typer.Option(help="Per million output tokens, for the estimate.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate tokens and cost, send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send without a confirmation prompt.")] = False,
) -> None:
    """Label texts for training: an LLM deletes words from each text of INPUT.

    Answers that only delete are marked `ok`. After a crash or failures run the same command again: it sends only the
    chunks that OUTPUT lacks.
    """
    from rich.progress import Progress

    from moos_integrations.training import annotation

    sys.path.append(str(Path.cwd()))  # for the user's `module:factory`; scripts start without it
    try:
        settings = annotation.AnnotationSettings(
            max_chunk_tokens=max_chunk_tokens,
            tokenizer=tokenizer,
            max_added=max_added,
            max_moved=max_moved,
            concurrency=concurrency,
            attempts=attempts,
        )
        llm = annotation.load_chat_model(model)
        records, problems = annotation.read_records(source, text_field=text_field, skip_bad=skip_bad)
        for problem in problems:
            typer.echo(f"skipped: {problem}", err=True)
        expected = annotation.estimate(
            records, llm, output, settings=settings, input_price=input_price, output_price=output_price
        )
        typer.echo(f"{len(records)} records, {len(problems)} skipped; {expected}")
        if dry_run or not expected.chunks:
            return
        if not yes:
            typer.confirm("Send them?", abort=True, err=True)
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("annotating", total=expected.chunks)
            report = annotation.annotate(
                records, llm, output, settings=settings, on_chunk=lambda _: progress.advance(task)
            )
    except ConfigError as error:
        raise _stop(error, EXIT_USAGE) from error
    except MoosError as error:
        raise _stop(error, EXIT_FAILED) from error
    typer.echo(report)
    if report.failed:
        typer.echo("moos: some chunks got no answer; run the same command again to retry them.", err=True)
        raise typer.Exit(EXIT_FAILED)


@app.command()
def train(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for checkpoints and the finished `model`.")],
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="JSON file of training settings. Default: `{}`.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="JSON lines (`.gz` is unpacked), several forms mixed; repeatable."),
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Check in seconds that training works: learn eight examples.")
    ] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Train a token classifier on FILE; an interrupted run continues from its last checkpoint.

    A line of FILE is `{"question": ..., "documents": [...], "answers": [...]}`, or
    `{"original": ..., "compressed": ...}`, or output of `moos annotate`.
    """
    # Standard output is for the model's folder; the Trainer prints there.
    with _exit_codes(), redirect_stdout(sys.stderr):
        record = _train(recipe, data or [], output, tiny=tiny, skip_bad=skip_bad)
    shown = {"accuracy": record["accuracy"]} if tiny else record["downstream"]
    measured = "".join(f"; {name.replace('_', ' ')} {value:.3f}" for name, value in shown.items())
    typer.echo(f"{record['training_pieces']:,} pieces in {record['steps']:,} steps{measured}", err=True)
    typer.echo(str(output / "model"))


def _train(recipe: Path | None, data: list[Path], output: Path, *, tiny: bool, skip_bad: bool) -> Any:
    if tiny == bool(data):
        raise ConfigError("Expected `--data FILE` and `--output DIR`, or `--tiny` and `--output DIR`.")
    try:
        from moos_integrations.training import tiny as tiny_run
        from moos_integrations.training import trainer
    except MoosError:
        raise
    except ImportError as error:
        raise MissingExtraError(str(error.name), extra="train") from error
    if tiny:
        return tiny_run.train_tiny(output)
    settings = _settings_file(recipe) if recipe else "{}"
    log = Console(stderr=True)
    return trainer.train(data, output, trainer.Recipe.from_json(settings), skip_bad=skip_bad, log=log.print)


@app.command()
def evaluate(
    data: Annotated[list[Path], typer.Option(metavar="FILE", help="JSON lines (`.gz` is unpacked); repeatable.")],
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Bundled name, folder in Hugging Face layout, or hub id.")
    ] = BUNDLED_MODEL,
    rate: Annotated[
        list[float] | None, typer.Option(help="Share of tokens to keep; repeatable. Default: 0.5, 0.25 and 0.125.")
    ] = None,
    budget_tokens: Annotated[list[int] | None, typer.Option(help="Ceiling in tokens per question; repeatable.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for report.md, report.json and report.svg.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only this many questions.")] = None,
    tokenizer: Tokenizer = DEFAULT_TOKENIZER,
    device: Device = "auto",
    skip_bad: SkipBad = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Measure how many answers MODEL keeps on your questions; higher is better.

    It is compared with BM25 and the beginning of the text at equal tokens. The default target is measured too. A line
    of FILE is `{"question": ..., "documents": [...], "answers": [...]}`; a document is a string or an object with
    `text`.
    """
    from rich.progress import track

    with _exit_codes():
        from moos_integrations.evaluation import comparison, report
        from moos_integrations.records import read_questions

        records = read_questions(data, limit=limit, skip_bad=skip_bad)
        for problem in records.problems:
            typer.echo(f"skipped: {problem}", err=True)
        errors = Console(stderr=True)
        found = comparison.evaluate(
            ContextCompressor.from_pretrained(model, device=device, tokenizer=tokenizer),
            records.items,
            rates=comparison.RATES if rate is None and budget_tokens is None else rate or (),
            budgets=budget_tokens or (),
            model=model,
            watch=lambda rows: track(rows, "measuring", console=errors, disable=quiet),
        )
        files = (
            []
            if output is None
            else report.save(found, output, files=[path.name for path in data], skipped_records=records.skipped)
        )
    Console().print(report.table(found))
    counts = {
        "questions left out: no answer in their documents": found.left_out,
        "malformed records skipped": records.skipped,
    }
    for what, count in counts.items():
        if count:
            typer.echo(f"{count} {what}", err=True)
    for file in files:
        typer.echo(file)


comi_app = typer.Typer(no_args_is_help=True, help="Soft compression for a local LLM: train it, export its decoder.")
app.add_typer(comi_app, name="comi")


@comi_app.command("train")
def comi_train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="JSON file of training settings, with `base`.")],
    data: Annotated[list[Path], typer.Option(metavar="FILE", help="JSON lines (`.gz` is unpacked); repeatable.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the checkpoint and the finished `model`.")],
    stop_after: Annotated[int | None, typer.Option(min=1, help="Stop with a checkpoint after so many steps.")] = None,
    skip_bad: SkipBad = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Tune encoder, fusion layer and decoder of an LLM; an interrupted run continues from its checkpoint.

    A line of FILE is `{"question": ..., "contexts": [...], "answer": ...}`.
    """
    from rich.progress import Progress

    with _exit_codes():
        training = _comi("training")
        settings = training.Recipe.from_json(_settings_file(recipe))
        log = Console(stderr=True)
        with Progress(console=log, disable=quiet) as progress:
            task = progress.add_task("training", total=settings.all_steps)
            report = training.train(
                data,
                output,
                settings,
                skip_bad=skip_bad,
                stop_after=stop_after,
                watch=lambda step, stage, loss: progress.update(
                    task, completed=step, description=f"{stage} {loss:.3f}"
                ),
                log=log.print,
            )
    typer.echo(f"{report['training_tokens']:,} tokens in {report['steps']:,} steps", err=True)
    if report["steps"] == settings.all_steps:
        typer.echo(str(output / "model"))


@comi_app.command("save")
def comi_save(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of `moos comi train`, with a checkpoint.")],
    base: Annotated[str | None, typer.Option(help="The LLM, if it is not where it was at training.")] = None,
) -> None:
    """Save the model of an unfinished run, as it is at its last checkpoint."""
    with _exit_codes():
        typer.echo(str(_comi("training").save_so_far(run, base)))


@comi_app.command("export")
def comi_export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Saved by `moos comi train`.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="New folder for the decoder.")],
    base: Annotated[str | None, typer.Option(help="The LLM, if it is not where it was at training.")] = None,
    dtype: Annotated[str, typer.Option(help="Number type of the weights.")] = "bfloat16",
) -> None:
    """Write the tuned decoder as a plain model folder for a stock server, LoRA merged."""
    with _exit_codes():
        typer.echo(str(_comi("storage").export_decoder(folder, output, base=base, dtype=dtype)))


def _comi(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"moos_integrations.comi.{name}")
    except MoosError:
        raise
    except ImportError as error:
        raise MissingExtraError(str(error.name), extra="comi") from error


def _settings_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a JSON file of training settings: {error}.") from error


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn our errors into messages and exit codes."""
    try:
        yield
    except (ConfigError, InputError) as error:
        raise _stop(error, EXIT_USAGE) from error
    except MoosError as error:
        raise _stop(error, EXIT_FAILED) from error


def _run(
    files: list[str] | None, query: str | None, settings: dict[str, Any]
) -> tuple[CompressionResult, list[str], CompressorConfig]:
    """Read, compress, and turn our errors into messages and exit codes."""
    with _exit_codes():
        config = CompressorConfig.from_settings(settings)
        names, texts = _read(files)
        return _compressor(config, texts).compress(texts, query), names, config


def _compressor(config: CompressorConfig, texts: list[str]) -> ContextCompressor:
    """The compressor; its model, which takes seconds to load, is loaded only if there is a word to score."""
    if any(text.strip() for text in texts):
        return ContextCompressor.from_pretrained(lazy=True, config=config)
    return ContextCompressor(_NoWords(), config)


class _NoWords:
    """Scores documents without words."""

    def score(self, documents: Sequence[SegmentedText], query: str | None) -> list[WordScores]:
        return [WordScores.from_preserve([]) for _ in documents]


def _stop(error: Exception, code: int) -> typer.Exit:
    typer.echo(f"moos: {error}", err=True)
    return typer.Exit(code)


def _read(files: list[str] | None) -> tuple[list[str], list[str]]:
    names = files or (["-"] if not sys.stdin.isatty() else [])
    if not names:
        raise InputError("Name the files to read, or pipe text into standard input; see `moos --help`.")
    if names.count("-") > 1:
        raise InputError("Standard input (`-`) can be read only once; name it once.")
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


def _write_page(path: Path | None, shown: CompressionResult | Explanation) -> None:
    if path is None:
        return
    try:
        path.write_text(shown.to_html(), encoding="utf-8")
    except OSError as error:
        raise _stop(InputError(f"{path} cannot be written: {error.strerror or error}."), EXIT_FAILED) from error


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
                "marks": [asdict(mark) for mark in document.marks],
            }
            for name, document in zip(names, result.documents, strict=True)
        ],
    }
    if words:
        values["words"] = result.explain().to_dicts()
    return values


def _statistics(console: Console, result: CompressionResult, names: list[str], config: CompressorConfig) -> None:
    console.print(
        f"{result.original_tokens} -> {result.kept_tokens} tokens ({result.rate:.1%} kept), {len(names)} "
        f"document{'s' if len(names) != 1 else ''}, {1000 * result.seconds:.0f} ms",
        highlight=False,
        style="dim",
    )
    if result.left_alone:
        console.print(
            f"left alone: fewer than {config.min_tokens} tokens (`--min-tokens`)", style="dim", highlight=False
        )
    for warning in [*(message for _, message in without_effect(config)), *result.warnings]:
        console.print(f"warning: {warning}", style="yellow", highlight=False)


def main() -> None:
    """Entry point of the `moos` command."""
    app()


if __name__ == "__main__":
    main()
