"""`dse trace`: what runs when, as a trace for Perfetto and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, SetOption, examples
from dse.commands.enums import ObjectiveName, PlacementName, ScheduleName
from dse.commands.evaluate import ObjectiveOption, PlacementOption, ScheduleOption
from dse.commands.workload_options import with_workload
from dse.errors import UsageError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.report.output import Cell
    from dse.schedule.timeline import Timeline
    from dse.workload import WorkloadOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse trace --eval --model deepseek_v3 --part attention --attention left_to_right --batch 128 -a tpu7x -o mla.json",
        "dse trace runs/mla_smoke -o mla_best.json --no-pictures",
    )
    app.command("trace", epilog=epilog)(with_workload(trace))


def trace(
    workload: WorkloadOptions,
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Run folder; left out: what --eval names.", show_default=False)
    ] = None,
    eval_: Annotated[bool, typer.Option("--eval", help="Trace one workload on one accelerator, with the options of dse eval.")] = False,
    accelerator: Annotated[
        str | None, typer.Option("-a", "--accelerator", help="Accelerator of the catalogue, or a YAML.", show_default=False)
    ] = None,
    settings: SetOption = [],  # noqa: B006  typer copies it
    objective: ObjectiveOption = ObjectiveName.LATENCY,
    schedule: ScheduleOption = ScheduleName.FUSED,
    placement: PlacementOption = PlacementName.AUTO,
    trial: Annotated[int | None, typer.Option(help="Of a run: the best design of this trial instead of the whole front.")] = None,
    number: Annotated[int, typer.Option("--workload", help="Of a run with several workloads: which one, from 0.")] = 0,
    output: Annotated[Path, typer.Option("-o", "--output", help="Trace; its pictures lie beside it.")] = Path("trace.json"),
    pictures: Annotated[bool, typer.Option(help="Draw <name>.gantt.svg and <name>.memory.svg as well.")] = True,
    form: FormatOption = Format.TABLE,
) -> None:
    """Write what runs when on which resource, and what lies in which memory, as a trace for ui.perfetto.dev and as pictures.

    Of a run the design with the best first objective is traced. Layers that repeat are drawn once with their number.
    """
    from dse.single_timeline import timeline_of_run, timeline_single

    if (run is None) == (accelerator is None):
        raise UsageError("give either a run folder, or --eval with a workload and -a ACCELERATOR, as for dse eval")
    if run is not None:
        if eval_:
            raise UsageError(f"--eval traces a workload on -a ACCELERATOR; leave it out to trace {run}")
        found = timeline_of_run(run, trial=trial, workload=number)
    else:
        assert accelerator is not None
        found = timeline_single(
            workload, accelerator, settings, objective=objective.value, schedule=schedule.value, placement=placement.value
        )
    written = _write(found, output, pictures=pictures)
    if form is Format.JSON:
        write_json({**_facts(found), "files": [str(path) for path in written]})
        return
    rows: list[dict[str, Cell]] = [
        {"resource": r, "busy_cycles": found.busy_s(r) * found.clock_hz, "busy_share": found.busy_s(r) / found.end_s}
        for r in found.resources
    ]
    cycles = found.latency_s * found.clock_hz
    write_records(rows, ("resource", "busy_cycles", "busy_share"), form, title=f"Busy in what is drawn; the step takes {cycles:.6g} cycles")
    for path in written:
        typer.echo(f"wrote {path}", err=True)


def _facts(timeline: Timeline) -> dict[str, object]:
    return {
        "latency_s": timeline.latency_s,
        "latency_cycles": timeline.latency_s * timeline.clock_hz,
        "drawn_s": timeline.end_s,
        "events": len(timeline.events),
        "busy_share": {r: timeline.busy_s(r) / timeline.end_s for r in timeline.resources},
        "repeats": {r.name: r.count for r in timeline.repeats},
        "memories": {m.name: {"peak_bytes": timeline.peak_bytes(m.name), "capacity_bytes": m.capacity_bytes} for m in timeline.memories},
    }


def _write(timeline: Timeline, output: Path, *, pictures: bool) -> list[Path]:
    from dse.files import atomic_write
    from dse.report.trace import perfetto_json

    atomic_write(output, perfetto_json(timeline))
    written = [output]
    if pictures:
        from dse.report.style import to_svg
        from dse.report.timeline_figure import gantt_figure, memory_figure

        for name, figure in (("gantt", gantt_figure(timeline)), ("memory", memory_figure(timeline))):
            path = output.with_name(f"{output.stem}.{name}.svg")
            atomic_write(path, to_svg(figure))
            written.append(path)
    return written
