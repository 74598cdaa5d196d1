"""Flat records on standard output: a table for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import json
import math
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Cell = str | int | float | bool | None
_WIDE: Final = 100_000
"""Columns of a console that is no terminal: nothing is cut in a file or a pipe."""


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def write_records(
    records: Sequence[Mapping[str, Cell]], columns: Sequence[str], form: Format, *, title: str = "", stream: TextIO | None = None
) -> None:
    """Write `records` with the keys `columns`, in this order; a key that a record lacks is empty (null in JSON).

    The title goes with the table only. Numbers have at most 6 digits in a table and all of them in JSON and CSV;
    what is not finite is null in JSON. `stream` is standard output unless given.
    """
    out = stream or sys.stdout
    if form is Format.JSON:
        write_json([{name: record.get(name) for name in columns} for record in records], stream=out)
    elif form is Format.CSV:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_plain(record.get(name)) for name in columns] for record in records)
    else:
        _write_table(records, columns, title, out)


def write_json(value: object, *, stream: TextIO | None = None) -> None:
    """Write plain data as JSON, two spaces deep; numbers that are not finite become null."""
    out = stream or sys.stdout
    json.dump(_finite(value), out, indent=2, allow_nan=False, ensure_ascii=False)
    out.write("\n")


def _write_table(records: Sequence[Mapping[str, Cell]], columns: Sequence[str], title: str, out: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    class Piped(Console):
        """Leaves a closed pipe to the command, where rich would end the process."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        numbers = all(isinstance(record.get(name), int | float | None) for record in records) and bool(records)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for record in records:
        table.add_row(*(Text(_shown(record.get(name))) for name in columns))
    Piped(file=out, width=None if out.isatty() else _WIDE, highlight=False).print(table)


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return str(cell)


def _plain(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return "" if cell is None else cell


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
