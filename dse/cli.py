"""The command `dse`: collects the commands, turns errors into messages and exit codes."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from dse import __version__
from dse.commands import (
    check,
    compare,
    evaluate,
    frontier,
    import_hardware,
    listing,
    lower,
    map,
    nest,
    schema,
    search,
    system,
    trace,
    validate,
)
from dse.errors import DseError, ExitCode, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WORD = 200
"""Characters that a message keeps of a longer word."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What writing to a full or broken disk ends with."""
_ENDLESS = re.compile(r"\S{500,}")
COMMANDS = (listing, check, schema, lower, evaluate, map, nest, frontier, compare, search, trace, import_hardware, system, validate)
"""In the order of `dse --help`; a new command is one module more."""


class _Group(TyperGroup):
    """Runs a command and ends with the exit code of what it raises."""

    def list_commands(self, ctx: Any) -> list[str]:  # Any: the context class is private to typer
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DseError as error:
            _tell(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted; what was written stays", err=True)
            raise typer.Exit(ExitCode.INTERRUPTED) from error
        except BrokenPipeError as error:  # `dse ... | head`: who reads has seen enough
            _listen_no_more()
            raise typer.Exit(ExitCode.DONE) from error
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            _listen_no_more()
            typer.echo(f"error: output cannot be written ({error.strerror}); make room where standard output or a run lies", err=True)
            raise typer.Exit(ExitCode.BAD_INPUT) from error


app = typer.Typer(name="dse", cls=_Group, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
for _command in COMMANDS:
    _command.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"dse {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on standard error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only errors on standard error.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor write frontiers on disk; results are the same.")] = False,
) -> None:
    """Design-space exploration of accelerators for attention and mixture-of-experts layers.

    Results go to standard output, all else to standard error. Exit codes: 0 done, 1 our bug, 2 usage, 3 bad input
    file, 4 nothing feasible, 5 finished with failed trials, 6 outside a validation band, 130 interrupted.
    """
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s: %(message)s")
    logging.captureWarnings(True)
    if no_cache:
        _without_cache(context)


def _without_cache(context: typer.Context) -> None:
    """Switch the cache off until the command ends; worker processes take it from the environment."""
    from dse.files import CACHE_FOLDER

    before = os.environ.get(CACHE_FOLDER)
    os.environ[CACHE_FOLDER] = ""

    def restore() -> None:
        if before is None:
            os.environ.pop(CACHE_FOLDER, None)
        else:
            os.environ[CACHE_FOLDER] = before

    context.call_on_close(restore)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dse` with `arguments` (those of the process unless given); the exit code."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # our matrices are small: more threads wait for each other, and round differently
    if sys.stdout is None:  # `dse ... >&-`: nobody listens
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  open until the process ends
    try:
        with _terminated_as_interrupted():
            app(args=None if arguments is None else list(arguments), prog_name="dse")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:  # noqa: BLE001  the last line of defence: a bug must not look like a wrong input
        traceback.print_exc()
        typer.echo(f"this is a bug of dse {__version__}, not of your input; please report it with the lines above", err=True)
        return ExitCode.BUG
    return ExitCode.DONE


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: with a word, and with exit code 130."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _listen_no_more() -> None:
    """Send what is still to be written nowhere, so that the end of the process does not meet the closed pipe again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _tell(error: DseError) -> None:
    """Problems of a file stand bare, as compilers write them; everything else says that it is an error."""
    told = str(error) if isinstance(error, InputError) else f"error: {error}"
    typer.echo(_ENDLESS.sub(lambda word: f"{word[0][:WORD]}... ({len(word[0])} characters)", told), err=True)
    for note in getattr(error, "__notes__", ()):
        typer.echo(note, err=True)


if __name__ == "__main__":
    sys.exit(main())
