"""One way to start every script: options from the signature of a function, our errors as messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from moos_integrations.core.config import BUNDLED_MODEL
from moos_integrations.errors import ConfigError, MoosError

EXIT_FAILED, EXIT_USAGE = 1, 2

Data = Annotated[Path, typer.Option(metavar="DIR", help="Folder with the data sets, JSON lines.")]
Model = Annotated[str, typer.Option(help="Bundled name, folder in Hugging Face layout, or hub id.")]
DEFAULT_MODEL = BUNDLED_MODEL


def start(command: Callable[..., Any], arguments: Sequence[str] | None = None) -> None:
    """Run a function with options read from the command line, as typer reads them from its signature.

    Args:
        command: The function; its docstring is the help text.
        arguments: The options; None for those of the process.

    Raises:
        SystemExit: With `EXIT_USAGE` on wrong usage and `EXIT_FAILED` on an error of the package.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        # Click's standalone mode would also end a successful run with an exception.
        code = typer.main.get_command(app).main(
            list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False
        )
    except MoosError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED) from error
    except typer.Abort as error:
        raise SystemExit(EXIT_FAILED) from error
    except Exception as error:
        if not hasattr(error, "format_message"):  # a click.UsageError; typer ships click under a name of its own
            raise
        typer.echo(f"error: {error.format_message()}", err=True)
        raise SystemExit(EXIT_USAGE) from error
    if isinstance(code, int) and code:
        raise SystemExit(code)


def chosen(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The names of an option that is given once per name; all known ones if it is not given.

    Raises:
        ConfigError: On an unknown name.
    """
    for name in names or ():
        if name not in known:
            raise ConfigError(f"Expected names out of {', '.join(known)}; got {name!r}.")
    return list(names or known)
