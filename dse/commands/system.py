"""`dse system`: a model served by many chips."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, SetOption, examples
from dse.commands.enums import ChipModelOption, EqualName, ExchangeName, PlacingName
from dse.commands.system_equal import EqualTexts, compare_systems
from dse.commands.system_pools import PoolTexts, serve_pools
from dse.commands.workload_options import with_workload
from dse.errors import InfeasibleError, UsageError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.report.output import Cell
    from dse.serving import ServingPoint
    from dse.serving_case import ServingChoices
    from dse.serving_grid import GridPoint
    from dse.system.system import System
    from dse.workload import WorkloadOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse system --model deepseek_r1 --system b200_x32 --batch 4096 --cache-len 4096",
        "dse system --model deepseek_r1 --system b200_x32 --parallel tp=2,ep=32 --batch 512 --format json",
        "dse system --model deepseek_r1 --system b200_x32 --batches 512,2048,8192 --tpot-limit-ms 30",
        "dse system --model deepseek_r1 --system h200_cluster --versus b200_cluster --equal power --batches 1024,4096",
        "dse system --model deepseek_r1 --system gb200_nvl72 --batch 1024 --precision fp8 --prefill-chips 24 --output-len 512",
    )
    app.command("system", epilog=epilog)(with_workload(system_))


def system_(
    workload: WorkloadOptions,
    system: Annotated[str, typer.Option("--system", "-s", help="System of the catalogue, or a system YAML.")],
    parallel: Annotated[
        str | None,
        typer.Option(help="Degrees: tp, cp, dp, pp, ep, moe_tp, dense_tp, redundant, slots, microbatches; a grid of them: tp=*,pp=1|2."),
    ] = None,
    placing: Annotated[PlacingName, typer.Option(help="How experts lie on chips.")] = PlacingName.RANDOM,
    exchange: Annotated[
        ExchangeName, typer.Option(help="Expert rows: direct at link rates, or by measured low_latency or normal kernels.")
    ] = ExchangeName.DIRECT,
    chip_model: Annotated[
        ChipModelOption, typer.Option(help="Time of a chip: roofline per kernel, calibrated by measured kernels, or mapped as dse eval.")
    ] = ChipModelOption.ROOFLINE,
    batches: Annotated[str | None, typer.Option(metavar="B1,B2,...", help="A grid: these batches instead of --batch.")] = None,
    cache_lens: Annotated[str | None, typer.Option(metavar="L1,L2,...", help="A grid: these cache lengths.")] = None,
    tpot_limit_ms: Annotated[
        float | None, typer.Option(help="With a grid or --prefill-chips auto: only the point of most throughput under this limit.")
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="With a grid: only the front of throughput per chip against TPOT.")] = False,
    prefill_chips: Annotated[
        str | None, typer.Option(metavar="N|auto", help="Two pools: N chips read prompts, the others decode; auto: the best split.")
    ] = None,
    prefill_system: Annotated[
        str | None, typer.Option(help="Two pools: prompts on this system (or its first --prefill-chips), tokens on all of --system.")
    ] = None,
    output_len: Annotated[int | None, typer.Option(help="With pools: tokens made per request.")] = None,
    prompt_len: Annotated[int | None, typer.Option(help="With pools: tokens read per request; left out: --cache-len.")] = None,
    prefill_batch: Annotated[int | None, typer.Option(help="With pools: prompts per step; left out: one per data-parallel group.")] = None,
    prefill_parallel: Annotated[str, typer.Option(help="With pools: degrees of the prefill pool, as --parallel.")] = "",
    versus: Annotated[
        str | None, typer.Option(metavar="S1,S2,...", help="Compare with these systems at equal cost, each at its best batch and degrees.")
    ] = None,
    equal: Annotated[EqualName, typer.Option(help="With --versus: what is spent alike.")] = EqualName.POWER,
    budget: Annotated[float | None, typer.Option(help="With --versus: mm2, W or money to spend; left out: what --system costs.")] = None,
    prices: Annotated[str | None, typer.Option(metavar="FILE", help="With --equal price: a price table, see docs/systems.md.")] = None,
    degrees: Annotated[bool, typer.Option("--degrees", help="Only list the combinations of --parallel: legal, or why not.")] = False,
    operators: Annotated[bool, typer.Option("--operators", help="Every kernel and collective of a layer on one chip.")] = False,
    settings: SetOption = [],  # noqa: B006  typer copies it
    form: FormatOption = Format.TABLE,
) -> None:
    """Serve a model on many chips: TPOT, TTFT, throughput, largest batch, and where the time goes.

    --batch counts the sequences of the whole system. Without --parallel attention is data-parallel over all chips and
    experts are spread over all chips. A grid without --parallel tries all legal combinations of tp, dp, ep and moe_tp;
    tp=*,pp=1|2 those of a pattern.
    With --prefill-chips the system is two pools, and --batch and --parallel are of the one that decodes.
    Exit code 4 where nothing fits in memory or meets the limit.
    """
    from dse.serving_case import ChipModelName, ServingChoices
    from dse.system.layer_time import ExchangeChoice
    from dse.system.placement import Placing

    pools = PoolTexts(
        prefill_chips or "", output_len, prompt_len, prefill_batch, prefill_parallel, parallel or "", tpot_limit_ms, prefill_system
    )
    asked = EqualTexts(versus or "", equal.value, budget, prices, parallel, tpot_limit_ms)
    grid = batches is not None or cache_lens is not None
    pattern = grid or "*" in (parallel or "") or "|" in (parallel or "")
    _refuse_strays(pools, asked, {"--degrees": degrees, "--operators": operators, "--front": front}, grid=grid, pattern=pattern)
    described = _system(system, settings)
    choices = ServingChoices(Placing(placing.value), ExchangeChoice(exchange.value), ChipModelName(chip_model.value))
    if degrees:
        _list_degrees(workload, described, parallel, form)
    elif prefill_chips is not None or prefill_system is not None:
        serve_pools(workload, described, pools, choices, form)
    elif versus is not None:
        compare_systems(workload, described, asked, choices, *_axes(workload, batches, cache_lens), form)
    elif pattern:
        _grid(workload, described, parallel, choices, batches, cache_lens, tpot_limit_ms, form, front=front)
    else:
        _point(workload, described, parallel or "", choices, form, operators=operators)


def _refuse_strays(pools: PoolTexts, asked: EqualTexts, flags: dict[str, bool], *, grid: bool, pattern: bool) -> None:
    """Options that would have no effect, or that ask for two things at once."""
    pooled = bool(pools.prefill_chips or pools.prefill_system)
    modes = {"--prefill-chips": pooled, "--versus": bool(asked.versus), **flags}
    given = [name for name, there in modes.items() if there]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other; give one")
    if grid and given and given[0] not in ("--versus", "--front"):
        raise UsageError(f"{given[0]} is not of a grid: leave out --batches and --cache-lens")
    if not pooled and (pools.prefill_parallel or {pools.output_len, pools.prompt_len, pools.prefill_batch} != {None}):
        raise UsageError(
            "--output-len, --prompt-len, --prefill-batch and --prefill-parallel belong to pools: give --prefill-chips or --prefill-system"
        )
    if not asked.versus and (asked.budget is not None or asked.prices is not None):
        raise UsageError("--budget and --prices belong to a comparison: give --versus SYSTEM")
    for option, number in (("--tpot-limit-ms", asked.tpot_limit_ms), ("--budget", asked.budget)):
        if number is not None and not 0 < number < float("inf"):
            raise UsageError(f"{option} {number:g}: give a number above 0")
    limit = asked.tpot_limit_ms is not None and not pooled and not asked.versus
    if (limit or flags["--front"]) and not pattern:
        raise UsageError("--tpot-limit-ms and --front need a grid: give --batches, --cache-lens or a pattern as --parallel")
    if flags["--operators"] and pattern:
        raise UsageError("--operators lists one point; give degrees without * and |")


def _system(name: str, settings: list[str]) -> System:
    from dse.overrides import laid_over
    from dse.plugins import load_system

    return laid_over(load_system(name), settings).system


def _point(workload: WorkloadOptions, system: System, parallel: str, choices: ServingChoices, form: Format, *, operators: bool) -> None:
    from dse.serving import evaluate_serving

    found = evaluate_serving(workload, system, parallel, choices=choices)
    if operators:
        rows = [asdict(o) for o in found.operators]
        write_records(rows, tuple(rows[0]), form, title=f"one chip of {found.system.name}: {found.plan}")
    else:
        _write_point(found, form)
    if found.infeasibility is not None:
        raise InfeasibleError(str(found.infeasibility))


def _numbers(option: str, text: str) -> list[int]:
    values = [v.strip() for v in text.split(",")]
    if not all(v.isdecimal() and int(v) >= 1 for v in values):
        raise UsageError(f"{option} {text}: give whole numbers of at least 1 with commas between, for example {option} 32,64")
    return [int(v) for v in values]


def _list_degrees(workload: WorkloadOptions, system: System, parallel: str | None, form: Format) -> None:
    """Legal combinations first, in the order of the pattern."""
    from dse.serving_case import serving_request
    from dse.system.patterns import EVERYTHING, plans_of
    from dse.system.work import model_work

    model, request, _ = serving_request(workload)
    found = plans_of(parallel or EVERYTHING, model_work(model, request), system.chips)
    rows: list[dict[str, Cell]] = [{"parallel": str(p), "legal": True, "reason": ""} for p in found.legal]
    rows += [{"parallel": text, "legal": False, "reason": reason} for text, reason in found.refused]
    write_records(rows, ("parallel", "legal", "reason"), form, title=f"{system.name}: {len(found.legal)} of {len(rows)} are legal")


def _axes(workload: WorkloadOptions, batches: str | None, cache_lens: str | None) -> tuple[list[int], list[int]]:
    """Batches and cache lengths of a grid; those of the workload where none are given."""
    from dse.serving_case import serving_request

    _, request, _ = serving_request(workload)
    return (
        _numbers("--batches", batches) if batches is not None else [request.batch],
        _numbers("--cache-lens", cache_lens) if cache_lens is not None else [request.cache_len],
    )


def _grid(
    workload: WorkloadOptions,
    system: System,
    parallel: str | None,
    choices: ServingChoices,
    batches: str | None,
    cache_lens: str | None,
    limit_ms: float | None,
    form: Format,
    *,
    front: bool,
) -> None:
    from dse.serving_grid import best_under, pareto, serving_grid

    grid_batches, lengths = _axes(workload, batches, cache_lens)
    points = serving_grid(
        workload,
        system,
        batches=grid_batches,
        cache_lens=lengths,
        parallels=None if parallel is None else [parallel],
        choices=choices,
    )
    if limit_ms is not None:
        best = best_under(points, limit_ms / 1e3)
        points = [] if best is None else [best]
    elif front:
        points = pareto(points)
    rows = [_row(p) for p in points]
    columns = ("parallel", "cache_len", "batch", "feasible", "tpot_s", "tokens_per_s_per_chip", "tokens_per_joule", *_SHARES)
    write_records(rows, columns, form, title=f"{system.name}: {len(rows)} points")
    if not any(p.feasible for p in points):
        raise InfeasibleError(
            "no point of the grid fits in memory and meets the limit; try smaller batches, more chips or other degrees; one point alone "
            "(--batch, --cache-len and degrees without * and |) says what it lacks"
        )


_SHARES = ("attention_share", "ffn_share", "communication_share", "idle_share", "other_share")


def _row(point: GridPoint) -> dict[str, Cell]:
    return {
        "parallel": str(point.plan),
        "cache_len": point.cache_len,
        "batch": point.batch,
        "feasible": point.feasible,
        "tpot_s": point.tpot_s,
        "tokens_per_s_per_chip": point.tokens_per_s_per_chip,
        "tokens_per_joule": point.tokens_per_joule,
        **{f"{name}_share": share for name, share in point.shares.items()},
    }


def _write_point(found: ServingPoint, form: Format) -> None:
    values = found.to_json_dict()
    if form is Format.JSON:
        write_json(values)
        return
    rows: list[dict[str, Cell]] = [{"quantity": n, "value": v} for n, v in values.items() if isinstance(v, str | int | float)]
    rows += [{"quantity": f"shares.{n}", "value": v} for n, v in found.shares.items() if found.feasible]
    rows += [{"quantity": f"memory_gib.{n}", "value": v} for n, v in found.memory_gib.items()]
    rows += [{"quantity": f"imbalance.{n}", "value": v} for n, v in (("chip", found.gamma_chip), ("expert", found.gamma_expert))]
    write_records(rows, ("quantity", "value"), form, title=f"{found.plan} on {found.system.name}")
