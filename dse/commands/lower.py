"""`dse lower`: a workload as ONNX, and what it computes and moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, examples
from dse.commands.workload_options import with_workload
from dse.errors import UsageError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.ir.summary import Summary
    from dse.report.output import Cell
    from dse.workload import Workload, WorkloadOptions

COUNTS = ("macs", "vector_ops", "weight_bytes", "cache_bytes", "activation_bytes", "intensity_op_per_byte")


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse lower --model deepseek_v3 --part attention --attention reuse --rope off --cache-len 4096 --summary",
        "dse lower --model deepseek_v3 --phase prefill --query-len 512 -o layer.onnx",
    )
    app.command("lower", epilog=epilog)(with_workload(lower))


def lower(
    workload: WorkloadOptions,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the ONNX model here.")] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Print counts; what is printed anyway unless -o is given.")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Lower one layer, a part of it or a whole model to ONNX, and count its operations and bytes.

    Counts: MACs, elementary vector operations, bytes by role. Weights and caches count once per step, with the first
    operator that touches them; activations as often as operators read and write them. A row is one run of its operator.
    Intensity is operations per byte, two for a MAC.
    """
    from dse.workload import load_workload

    found = load_workload(workload)
    if output is not None:
        _write_onnx(found, output, say_on_stderr=summary)
    if summary or output is None:
        _write_summary(found, form)


def _write_onnx(found: Workload, output: Path, *, say_on_stderr: bool) -> None:
    from dse.files import atomic_write

    if not found.models:
        raise UsageError("-o writes a lowered model; --onnx is one already")
    for part, model, _ in found.models:
        target = output if len(found.models) == 1 else output.with_name(f"{output.stem}_{part}{output.suffix or '.onnx'}")
        atomic_write(target, model.SerializeToString(deterministic=True))
        typer.echo(str(target), err=say_on_stderr)


def _write_summary(found: Workload, form: Format) -> None:
    if form is Format.JSON:
        write_json(found.summary_json())
        return
    counted = found.summary()
    rows: list[dict[str, Cell]] = [
        {"name": o.name, "op_type": o.op_type, **o.counts.to_json_dict(), "count": o.count} for o in counted.operators
    ]
    if form is Format.TABLE:
        rows.append({"name": "total", "op_type": "", **counted.totals.to_json_dict(), "count": 1})
        title = f"{found.title}: {found.parameters_total:,} parameters, {_active(found)} active per token"
        write_records(rows, ("name", "op_type", *COUNTS, "count"), form, title=title)
        _write_roles(counted)
    else:
        write_records(rows, ("name", "op_type", *COUNTS, "score_bytes", "count"), form)


def _active(found: Workload) -> str:
    """Active parameters, in both readings where the embedding makes a difference."""
    plain = f"{found.parameters_active:,}"
    return f"{plain} ({found.parameters_active + found.embedding_parameters:,} with embedding)" if found.embedding_parameters else plain


def _write_roles(counted: Summary) -> None:
    """Operations and bytes by role, repetitions included."""
    columns = ("role", "macs", "vector_ops", "bytes", "intensity_op_per_byte")
    write_records([role.to_json_dict() for role in counted.roles], columns, Format.TABLE, title="By role of tensors, all repetitions")
