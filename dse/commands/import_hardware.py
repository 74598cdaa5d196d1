"""`dse import`: hardware files of other tools as accelerator files."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import examples
from dse.errors import UsageError
from dse.hw.importers.levels import Buffering, Levels

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.files import Document, Value
    from dse.hw.importers.report import Report


class Tool(StrEnum):
    """Whose file it is."""

    ZIGZAG = "zigzag"
    STREAM = "stream"


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse import zigzag tests/data/hardware/systolic.yaml",
        "dse import stream tests/data/hardware/two_cores.yaml --core 0",
        "dse import stream tests/data/hardware/unlike_cores.yaml --chip",
    )
    app.command("import", epilog=epilog)(import_hardware)


def import_hardware(
    tool: Annotated[Tool, typer.Argument(help="Whose file it is.", show_default=False)],
    file: Annotated[str, typer.Argument(metavar="FILE", help="Hardware YAML of that tool.", show_default=False)],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Accelerator file; standard output if left out.")
    ] = None,
    core: Annotated[str | None, typer.Option("--core", metavar="NUMBER", help="Only this core of a chip of several.")] = None,
    chip: Annotated[bool, typer.Option("--chip", help="Keep the cores of a Stream file apart: a chip of many cores.")] = False,
    clock_mhz: Annotated[float, typer.Option("--clock-mhz", min=1e-3, help="Clock; the source counts in cycles.")] = 1000.0,
    technology: Annotated[str, typer.Option("--technology", help="Technology for what the source leaves out.")] = "generic_7nm",
    data_type: Annotated[str | None, typer.Option("--data-type", help="Data type of the MACs, where the source does not say it.")] = None,
    memories: Annotated[Levels, typer.Option("--memories", help="One buffer before DRAM, or all memories as they are.")] = Levels.ONE,
    buffers: Annotated[Buffering, typer.Option("--buffers", help="Two copies of tiles in every buffer, or one as ZigZag counts.")] = (
        Buffering.DOUBLE
    ),
    name: Annotated[str | None, typer.Option("--name", help="Name of the accelerator; the source's if left out.")] = None,
) -> None:
    """Read a hardware file of ZigZag or Stream as an accelerator file.

    What was read, assumed, lost and is doubtful goes to standard error and to the head of the file. What our form cannot
    say is refused or listed as lost, never left out in silence.
    """
    from dse.hw.importers.convert import Assumptions, accelerator_values
    from dse.hw.importers.report import Report
    from dse.hw.importers.stream import ChipSource, read_chip
    from dse.hw.importers.stream_chip import chip_values
    from dse.hw.importers.zigzag import read_core

    report = Report()
    assumed = Assumptions(clock_mhz, technology, data_type, memories, buffers)
    if chip:
        if tool is not Tool.STREAM or core is not None:
            raise UsageError("--chip belongs to files of stream, and not together with --core")
        _write(chip_values(file, name, assumed, report), f"stream's {file}", report, output, _check_chip)
        return
    if tool is Tool.ZIGZAG:
        source = read_core(file)
        found = ChipSource(source.machine.name, source, 1, 1, None)
    else:
        found = read_chip(file, report, core=core)
    values = accelerator_values(found.core, name or found.name, assumed, report, cores=found.cores, pools=found.pools, vector=found.vector)
    _write(values, f"{tool.value}'s {found.name}", report, output, _check_accelerator)


def _check_accelerator(document: Document) -> None:
    from dse.files import validate
    from dse.hw.file_form import AcceleratorFile

    validate(document, AcceleratorFile)


def _check_chip(document: Document) -> None:
    """The form, and that the memory off chip is reached from everywhere."""
    from dse.files import validate
    from dse.hw.many_core_form import ChipFile
    from dse.hw.topology import interconnect_of

    interconnect_of(validate(document, ChipFile), document)


def _write(values: dict[str, Value], source: str, report: Report, output: str | None, check: Callable[[Document], None]) -> None:
    """Write the file with what is said of it on top, once it is checked."""
    from dse.files import atomic_write, dump_yaml, parse_yaml

    head = "".join(f"# {line}\n" for line in (f"imported from {source}", *report.text()))
    text = head + dump_yaml(values)
    check(parse_yaml(text, f"{source}, as imported"))
    for line in report.text():
        typer.echo(line, err=True)
    if output is None:
        typer.echo(text, nl=False)
    else:
        atomic_write(output, text)
