"""`dse search`, `dse pareto`, `dse report` and `dse show`: run a campaign and look at what came of it."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands import analysis
from dse.commands.common import FormatOption, SetOption, examples
from dse.errors import ExitCode, UsageError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.campaign.folder import FolderRequest
    from dse.campaign.plan import Plan
    from dse.campaign.session import SessionResult
    from dse.campaign.view import Run
    from dse.report.output import Cell

TOP: int = 10
"""Rows of the front that `dse search` prints."""
MOST_WORKERS: int = 256
MOST_SHARDS: int = 10_000

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or a folder of runs: then its latest.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    campaign = "experiments/mla_reuse_recompute/smoke.yaml"
    run = "runs/mla_smoke"
    app.command(
        "search",
        epilog=examples(
            f"dse search {campaign} --dry-run",
            f"dse search {campaign} --run-dir {run}",
            f"dse search {campaign} --run-dir runs/sharded --shard 1/2",
        ),
    )(search)
    app.command("pareto", epilog=examples(f"dse pareto {run}", f"dse pareto {run} --format json"))(pareto)
    app.command("report", epilog=examples(f"dse report {run}", f"dse report {run} -o report.html"))(report)
    app.command("show", epilog=examples(f"dse show {run} --trial 0", f"dse show {run} --trial 3 --format json"))(show)
    analysis.register(app)
    app.command("merge", epilog=examples("dse merge runs/sharded", "dse merge runs/sharded -o runs/whole --format json"))(merge)
    app.command("summary", epilog=examples(f"dse summary {run}", f"dse summary {run} --format csv"))(summary)


def search(
    campaign: Annotated[Path, typer.Argument(metavar="CAMPAIGN.yaml", help="What to search.", show_default=False)],
    run_dir: Annotated[Path | None, typer.Option(help="Exactly this run folder; left out: under runs/<campaign>/.")] = None,
    workers: Annotated[str, typer.Option(metavar="N|dask://…", help="Processes, or a dask cluster; results do not depend on it.")] = "1",
    trials: Annotated[int | None, typer.Option(min=1, help="Most outer trials, instead of the campaign's budget.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no new batch starts.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how large the space is and how long it would take.")] = False,
    storage: Annotated[str | None, typer.Option(help="optuna storage URL that gets a copy of the study.")] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Only the I-th of N shares of the space; see dse merge.")] = None,
    warm_start: Annotated[list[str], typer.Option(metavar="RUN", help="Evaluate the front of this earlier run first.")] = [],  # noqa: B006
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
    count, cluster = _workers(workers)
    if count > 1 and not dry_run:
        from dse.campaign.fork_server import fork_server

        fork_server("dse.campaign.warm", "dse.cli")  # its imports run beside ours; workers import the main program
    from dse.campaign.folder import FolderRequest

    given = [*settings]
    if trials is not None:
        given.append(f"budget.trials={trials}")
    if timeout is not None:
        given.append(f"budget.timeout_s={float(timeout)}")
    plans = _plans(campaign, given)
    if shard is not None:
        plans = tuple(replace(plan, shard=_shard(shard)) for plan in plans)
    request = FolderRequest(run_dir=run_dir, new=new, new_if_changed=new_if_changed, force=force)
    if dry_run:
        _write_estimates(plans, request, count, form)
        return
    results = []
    for plan in plans:
        result = _run(plan, request, count, cluster=cluster, storage=storage, warm_start=tuple(warm_start))
        _finish(result, form if len(plans) == 1 else None)
        results.append(result)
        if result.exit_code is ExitCode.INTERRUPTED:
            break
    if len(plans) > 1:
        _write_summary([result.run for result in results], form)
    code = next((code for code in _WORST_FIRST if any(result.exit_code is code for result in results)), ExitCode.DONE)
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def _plans(campaign: Path, settings: Sequence[str]) -> tuple[Plan, ...]:
    """The plans of a campaign file; doubtful values of its space are told."""
    from dse.campaign.evaluator import CatalogueSources
    from dse.campaign.plan import load_plans

    plans = load_plans(campaign, CatalogueSources(str(campaign.parent)), settings)
    for warning in dict.fromkeys(warning for plan in plans for warning in plan.warnings):
        typer.echo(f"warning: {warning}", err=True)
    return plans


_WORST_FIRST = (ExitCode.INTERRUPTED, ExitCode.FAILED_TRIALS, ExitCode.NOTHING_FEASIBLE)


def _workers(given: str) -> tuple[int, str | None]:
    """(processes, address of a cluster)."""
    if given.isdecimal() and 1 <= int(given) <= MOST_WORKERS:
        return int(given), None
    if "://" in given:
        return 1, given
    raise UsageError(f"--workers {given}: give a number from 1 to {MOST_WORKERS}, or dask://HOST:PORT, or dask://local?workers=N")


def _shard(given: str) -> tuple[int, int]:
    """(index from 0, count)."""
    index, _, count = given.partition("/")
    if index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= MOST_SHARDS:
        return int(index) - 1, int(count)
    raise UsageError(f"--shard {given}: give I/N with I from 1 to N and N at most {MOST_SHARDS}, for example 2/8")


def merge(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a campaign whose shards lie under it.", show_default=False)],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder to write; left out: FOLDER/merged.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Put the shards of a campaign together into one run with one front; print that front.

    Shards are made by `dse search CAMPAIGN --run-dir FOLDER --shard 1/4` and so on, on as many machines; copy their folders together.
    The front is exact where the shards enumerate all of the space.
    """
    from dse.campaign.merge import MERGED, shards_in
    from dse.campaign.merge import merge as put_together

    found = shards_in(folder)
    if not found:
        raise UsageError(f"{folder}: has no shards under it; make them with dse search CAMPAIGN --run-dir {folder} --shard 1/4, ...")
    run = put_together(found, output or folder / MERGED)
    _write_report(run, run.folder / "report.html")
    _write_front(run, form, top=None)
    shard = len(found), max(int(path.name.rpartition("-")[2]) for path in found)
    typer.echo(f"{shard[0]} of {shard[1]} shards, run folder {run.folder}", err=True)


def _write_estimates(plans: Sequence[Plan], request: FolderRequest, workers: int, form: Format) -> None:
    from dse.campaign.estimate import estimate
    from dse.campaign.evaluator import WorkloadEvaluatorFactory
    from dse.campaign.session import reusable_trials
    from dse.campaign.version import input_hashes

    rows: list[dict[str, object]] = []
    for plan in plans:
        reusable = reusable_trials(plan, request, input_hashes(plan))
        found = estimate(plan, WorkloadEvaluatorFactory(plan), workers=workers, reusable=reusable)
        rows.append({"campaign": plan.form.name, **({"cell": plan.cell} if plan.cell else {}), **asdict(found)})
    if len(rows) == 1:
        _write_flat(rows[0], form)
    else:
        write_records(rows, tuple(rows[0]), form, title=f"{len(rows)} runs")  # type: ignore[arg-type]  # cells are plain


def _run(
    plan: Plan, folder: FolderRequest, workers: int, *, cluster: str | None, storage: str | None, warm_start: tuple[str, ...]
) -> SessionResult:
    from rich.console import Console

    from dse.campaign.evaluator import WorkloadEvaluatorFactory
    from dse.campaign.progress import SessionProgress
    from dse.campaign.session import SessionRequest, run_session
    from dse.campaign.version import input_hashes

    request = SessionRequest(
        folder=folder,
        workers=workers,
        cluster=cluster,
        warm_start=warm_start,
        storage=storage,
        command=("dse", *sys.argv[1:]),
        inputs=input_hashes(plan),
    )
    with SessionProgress(plan, Console(stderr=True)) as progress:
        return run_session(plan, WorkloadEvaluatorFactory(plan), request, start=progress.start, watch=progress.batch)


def _write_summary(runs: Sequence[Run], form: Format) -> None:
    from dse.campaign.summary import run_rows

    rows = run_rows(runs)
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    write_records(rows, columns, form, title=f"{len(rows)} runs")


def summary(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a campaign: all runs under it.", show_default=False)],
    form: FormatOption = Format.TABLE,
) -> None:
    """Print one row for every run under a folder: trials, front, hypervolume, the best of each objective.

    Hypervolumes of runs with the same objectives share a reference point, the worst of all, so that they can be compared.
    """
    from dse.campaign.summary import all_runs

    _write_summary(all_runs(folder), form)


def _finish(result: SessionResult, form: Format | None) -> None:
    """Write the pictures and the page, print the front (unless `form` is None), say how it ended."""
    from dse.campaign.summary import diagnosis, winners

    run = result.run
    _write_report(run, run.folder / "report.html")
    if form is Format.JSON:
        from dse.campaign.tables import pareto_json

        sampler = {"sampler": str(run.header.sampler), "sampler_choice": run.manifest.get("sampler_choice")}
        write_json({"run": str(run.folder), "exact": run.exact, **sampler, "winners": winners(run), **pareto_json(run)})
    elif form is not None:
        _write_front(run, form, top=TOP if form is Format.TABLE else None)
        rows = winners(run)
        if rows and form is Format.TABLE:
            typer.echo("")
            write_records(rows, tuple(rows[0]), form, title="Which scheme wins where (lead: ratio to the next)")
        _write_crossings(run, form)
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
    elif result.stop.value == "stagnated":
        typer.echo("the hypervolume no longer grows: stopped by the campaign's stagnation rule", err=True)


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
        full: dict[str, object] = {
            **records_to_json([record])[0],
            "front": [asdict(design) for design in record.front],
            "marginals": [asdict(marginal) for marginal in record.marginals],
            "parameters": space.choice(record.outer),
            "front_parameters": [space.parameters(record.outer, design.inner) for design in record.front],
        }
        write_json(full)
        return
    _write_flat(trial_rows(found)[trial], form)


def _write_front(run: Run, form: Format, *, top: int | None) -> None:
    from dse.campaign.tables import pareto_rows

    rows = pareto_rows(run)
    columns = tuple(rows[0]) if rows else ("trial", *run.header.space.paths, *run.header.goals.objectives)
    shown = rows
    if top is not None:
        columns = ("trial", *run.header.space.paths, *run.header.goals.objectives, "bound")
        shown = pareto_rows(run, run.archive.thinned(top))
    exact = "exact" if run.exact else "best found"
    title = f"Pareto front ({exact}): {len(rows)} designs out of {run.designs:,}, {run.priced:,} of them priced"
    if len(shown) < len(rows):
        title += f"; {len(shown)} that stand for all"
    write_records(shown, columns, form, title=title)  # type: ignore[arg-type]  # cells are plain by construction


def _write_crossings(run: Run, form: Format) -> None:
    """Who wins of the two schemes that the question is about, where the campaign has both."""
    from dse.report.data import crossings, crossover_pair, crossover_points

    pair = crossover_pair(run)
    rows = crossings(crossover_points(run, pair)) if pair else []
    if not pair or not rows or form is not Format.TABLE:
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
        pairs: list[dict[str, Cell]] = [
            {"field": key, "value": value if isinstance(value, int | float | None) else str(value)} for key, value in row.items()
        ]
        write_records(pairs, ("field", "value"), form)
