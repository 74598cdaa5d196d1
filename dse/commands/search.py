"""`dse search`, `dse pareto`, `dse report` and `dse show`: run a campaign and look at what came of it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, SetOption, examples
from dse.errors import ExitCode, UsageError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.campaign.plan import Plan
    from dse.campaign.session import SessionResult
    from dse.campaign.view import Run
    from dse.report.output import Cell

TOP: int = 10
"""Rows of the front that `dse search` prints."""

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a folder of runs: then its latest.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    campaign = "experiments/mla_reuse_recompute/smoke.yaml"
    run = "runs/mla_smoke"
    app.command("search", epilog=examples(f"dse search {campaign} --dry-run", f"dse search {campaign} --run-dir {run}"))(search)
    app.command("pareto", epilog=examples(f"dse pareto {run}", f"dse pareto {run} --format json"))(pareto)
    app.command("report", epilog=examples(f"dse report {run}", f"dse report {run} -o report.html"))(report)
    app.command("show", epilog=examples(f"dse show {run} --trial 0", f"dse show {run} --trial 3 --format json"))(show)


def search(
    campaign: Annotated[Path, typer.Argument(metavar="CAMPAIGN.yaml", help="What to search.", show_default=False)],
    run_dir: Annotated[Path | None, typer.Option(help="Exactly this run folder; left out: under runs/<campaign>/.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes; results do not depend on it.")] = 1,
    trials: Annotated[int | None, typer.Option(min=1, help="Most outer trials, instead of the campaign's budget.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no new batch starts.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how large the space is and how long it would take.")] = False,
    storage: Annotated[str | None, typer.Option(help="optuna storage URL that gets a copy of the study.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new run.")] = False,
    new_if_changed: Annotated[bool, typer.Option("--new-if-changed", help="Go on where nothing changed, else a new run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on in a folder of another configuration or code version.")] = False,
    settings: SetOption = [],  # noqa: B006  typer copies it
    form: FormatOption = Format.TABLE,
) -> None:
    """Run a campaign, or go on where it was interrupted: the same command again.

    Without --run-dir the latest run under runs/<campaign>/ is gone on with, finished or not. A run of another
    configuration or code version is refused with the difference: --new starts another, --force goes on in it (results
    of another configuration are set aside). The budget may grow. Interrupt once to finish the batch, twice to stop.
    """
    from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
    from dse.campaign.plan import load_plan

    given = [*settings]
    if trials is not None:
        given.append(f"budget.trials={trials}")
    if timeout is not None:
        given.append(f"budget.timeout_s={float(timeout)}")
    plan = load_plan(campaign, CatalogueSources(str(campaign.parent)), given)
    factory = WorkloadEvaluatorFactory(plan)
    if dry_run:
        from dse.campaign.estimate import estimate

        _write_flat({"campaign": plan.form.name, **asdict(estimate(plan, factory, workers=workers))}, form)
        return
    result = _run(
        plan, run_dir=run_dir, workers=workers, storage=storage, choice={"new": new, "new_if_changed": new_if_changed, "force": force}
    )
    _finish(result, form)


def _run(plan: Plan, *, run_dir: Path | None, workers: int, storage: str | None, choice: dict[str, bool]) -> SessionResult:
    from rich.console import Console

    from dse.campaign.evaluator import WorkloadEvaluatorFactory
    from dse.campaign.folder import FolderRequest
    from dse.campaign.progress import SessionProgress
    from dse.campaign.session import SessionRequest, run_session
    from dse.campaign.version import input_hashes

    request = SessionRequest(
        folder=FolderRequest(run_dir=run_dir, **choice),
        workers=workers,
        storage=storage,
        command=("dse", *sys.argv[1:]),
        inputs=input_hashes(plan),
    )
    with SessionProgress(plan, Console(stderr=True)) as progress:
        return run_session(plan, WorkloadEvaluatorFactory(plan), request, start=progress.start, watch=progress.batch)


def _finish(result: SessionResult, form: Format) -> None:
    """Write the pictures and the page, print the front, say how it ended."""
    from dse.campaign.summary import diagnosis, winners

    run = result.run
    _write_report(run, run.folder / "report.html")
    if form is Format.JSON:
        from dse.campaign.tables import pareto_json

        write_json({"run": str(run.folder), "exact": run.exact, "winners": winners(run), **pareto_json(run)})
    else:
        _write_front(run, form, top=TOP if form is Format.TABLE else None)
        rows = winners(run)
        if rows and form is Format.TABLE:
            typer.echo("")
            write_records(rows, tuple(rows[0]), form, title="Which scheme wins where (lead: ratio to the next)")
        _write_crossings(run)
    typer.echo(f"run folder {run.folder}, page {run.folder / 'report.html'}", err=True)
    for record in run.failures:
        typer.echo(f"trial {record.number} failed: {record.error}", err=True)
    code = result.exit_code
    if code is ExitCode.INTERRUPTED:
        typer.echo("interrupted: the same command goes on from here", err=True)
    elif len(run.records) and not len(run.archive) and not run.failures:
        typer.echo(f"error: {diagnosis(run)}", err=True)
    elif result.stop.value == "timeout":
        typer.echo("the time is spent: the same command goes on from here", err=True)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def pareto(run: RunArgument, form: FormatOption = Format.TABLE) -> None:
    """Print the Pareto front of a run.

    JSON: objectives, hypervolume, reference_point (in the order of the objectives), points with their parameters,
    values and trial. CSV and table have all metrics; units are in the names or as `dse search --help` lists metrics.
    """
    from dse.campaign.tables import pareto_json
    from dse.campaign.view import load_run

    found = load_run(run)
    if form is Format.JSON:
        write_json(pareto_json(found))
    else:
        _write_front(found, form, top=None)


def report(
    run: RunArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The page; left out: report.html in the run folder.")] = None,
) -> None:
    """Write the pictures, their numbers and the page of a run anew."""
    from dse.campaign.view import load_run

    found = load_run(run)
    target = output or found.folder / "report.html"
    _write_report(found, target)
    typer.echo(str(target))


def show(
    run: RunArgument,
    trial: Annotated[int, typer.Option(help="Number of the trial.", show_default=False)],
    form: FormatOption = Format.TABLE,
) -> None:
    """Print all that is known of one trial."""
    from dse.campaign.record import records_to_json
    from dse.campaign.tables import trial_rows
    from dse.campaign.view import load_run

    found = load_run(run)
    if not 0 <= trial < len(found.records):
        raise UsageError(f"--trial {trial}: {found.folder} has trials 0 to {len(found.records) - 1}")
    if form is Format.JSON:
        space, record = found.header.space, found.records[trial]
        inner = {design.inner: space.parameters(record.outer, design.inner) for design in record.front}
        full = records_to_json([record])[0]
        write_json({**full, "parameters": space.choice(record.outer), "front_parameters": list(inner.values())})
        return
    _write_flat(trial_rows(found)[trial], form)


def _write_front(run: Run, form: Format, *, top: int | None) -> None:
    from dse.campaign.tables import pareto_rows

    rows = pareto_rows(run)
    columns = tuple(rows[0]) if rows else ("trial", *run.header.space.paths, *run.header.goals.objectives)
    if top is not None:
        columns = ("trial", *run.header.space.paths, *run.header.goals.objectives, "bound")
    shown = rows if top is None else _spread(rows, top)
    exact = "exact" if run.exact else "best found"
    title = f"Pareto front ({exact}): {len(rows)} designs out of {run.priced:,} priced"
    if len(shown) < len(rows):
        title += f"; {len(shown)} of them, evenly from first to last"
    write_records(shown, columns, form, title=title)  # type: ignore[arg-type]  # cells are plain by construction


def _write_crossings(run: Run) -> None:
    """Who wins of the two schemes that the question is about, where the campaign has both."""
    from dse.report.data import crossings, crossover_pair, crossover_points

    pair = crossover_pair(run)
    rows = crossings(crossover_points(run, pair)) if pair else []
    if not pair or not rows:
        return
    shown: list[dict[str, Cell]] = [
        {
            "accelerator": r.accelerator,
            "low_ridge": r.faster_at_lowest_ridge,
            "high_ridge": r.faster_at_highest_ridge,
            "equal_at_op_per_byte": r.ridge_operations_per_byte,
            f"most_{pair[1]}_gains": r.largest_ratio,
        }
        for r in rows
    ]
    typer.echo("")
    title = f"{pair[0]} or {pair[1]}: the faster of the two at low and high compute per DRAM bandwidth"
    write_records(shown, tuple(shown[0]), Format.TABLE, title=title)


def _spread(rows: list[dict[str, object]], count: int) -> list[dict[str, object]]:
    if len(rows) <= count:
        return rows
    return [rows[round(i * (len(rows) - 1) / (count - 1))] for i in range(count)]


def _write_report(run: Run, target: Path) -> None:
    from dse.files import atomic_write
    from dse.report.figures import pictures, write_pictures
    from dse.report.page import page

    drawn = pictures(run)
    write_pictures(run, drawn)
    resolved = run.folder / "config.resolved.yaml"
    atomic_write(target, page(run, drawn, config=resolved.read_text(encoding="utf-8") if resolved.is_file() else ""))


def _write_flat(row: dict[str, Cell] | dict[str, object], form: Format) -> None:
    """One record: name and value under each other in a table."""
    if form is Format.JSON:
        write_json(row)
    elif form is Format.CSV:
        write_records([row], tuple(row), form)  # type: ignore[list-item]
    else:
        pairs = [{"field": key, "value": str(value) if value is not None else ""} for key, value in row.items()]
        write_records(pairs, ("field", "value"), form)
