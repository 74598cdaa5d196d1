"""What all commands share: the options that mean the same everywhere, and the examples under `--help`."""

from __future__ import annotations

from typing import Annotated

import typer

from dse.report.output import Format

FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to write the result on standard output.")]
SetOption = Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="Override one field; may be given several times.")]


def examples(*commands: str) -> str:
    """The end of a command's help; a test runs every line of it."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
