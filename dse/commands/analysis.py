"""`dse analyse` and `dse need`: which dimension of a run matters, and what it takes to reach a value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, examples
from dse.errors import ExitCode, UsageError
from dse.report.output import Format, write_records

if TYPE_CHECKING:
    from dse.campaign.view import Run

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a folder of runs: then its latest.", show_default=False)]
_TARGET = re.compile(r"^\s*([A-Za-z0-9_.,\[\]=:-]+?)\s*(>=|<=)\s*([0-9.eE+-]+)\s*$")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    run = "runs/mla_smoke"
    app.command("analyse", epilog=examples(f"dse analyse {run}", f"dse analyse {run} --by workload.attention --format csv"))(analyse)
    need_help = f"dse need {run} memories.dram.bandwidth_gb_per_s 'tokens_per_s>=5000'"
    app.command("need", epilog=examples(need_help, f"{need_help} --by workload.attention"))(need)


def analyse(
    run: RunArgument,
    by: Annotated[str | None, typer.Option(metavar="PATH", help="Fronts by the values of this outer dimension instead.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Say which dimension matters for which objective: ratio of the best designs at its best and at its worst value.

    All other dimensions are free at either. Ratio 1: every value does as well, and none is named.

    With --by the front of each value of one outer dimension alone: size, hypervolume, best of each objective.
    """
    from dse.campaign.analysis import importance_rows, marginal_fronts
    from dse.campaign.view import load_run

    found = load_run(run)
    rows = importance_rows(found) if by is None else marginal_fronts(found, by)
    title = f"What each dimension is worth ({sure(found)})" if by is None else f"Fronts by {by} ({sure(found)})"
    write_records(rows, tuple(rows[0]) if rows else (), form, title=title)


def sure(run: Run) -> str:
    """How far an answer can be trusted."""
    return "exact" if run.exact else "over the trials made"


def need(
    run: RunArgument,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Dimension whose least value is sought.", show_default=False)],
    target: Annotated[
        str, typer.Argument(metavar="OBJECTIVE>=VALUE", help="What is to be reached; <= where less is better.", show_default=False)
    ],
    by: Annotated[str | None, typer.Option(metavar="PATH", help="One answer for each value of this outer dimension.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Find the least value of a dimension with which a design reaches a target, all others free: the smallest bandwidth for X tokens/s.

    Exact where the run is. Where the target is not reached, the row has the nearest design; without any, exit code 4.
    """
    from dse.campaign.analysis import need_rows
    from dse.campaign.view import load_run
    from dse.search.quantities import maximise

    match = _TARGET.match(target)
    if match is None:
        raise UsageError(f"'{target}': write OBJECTIVE>=VALUE or OBJECTIVE<=VALUE, for example 'tokens_per_s>=5000'")
    objective, sign, value = match.groups()
    found = load_run(run)
    if objective in found.header.goals.objectives and (sign == ">=") != maximise(objective):
        raise UsageError(
            f"'{target}': of {objective} {'more' if maximise(objective) else 'less'} is better; write {'>=' if sign == '<=' else '<='}"
        )
    try:
        number = float(value)
    except ValueError as error:
        raise UsageError(f"'{target}': {value} is no number") from error
    rows = need_rows(found, path, objective, number, by=by)
    write_records(rows, tuple(rows[0]) if rows else (), form, title=f"Least {path} with {objective} {sign} {number:g} ({sure(found)})")
    if not any(row["reached"] for row in rows):
        typer.echo(f"error: no design of {found.folder} reaches {target}", err=True)
        raise typer.Exit(ExitCode.NOTHING_FEASIBLE)
