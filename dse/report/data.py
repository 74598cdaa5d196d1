"""The numbers behind the pictures of a run: plain rows, written as CSV beside each picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from dse.cost.metrics import Direction
from dse.search.goals import better
from dse.search.quantities import quantity
from dse.search.space import with_values
from dse.units import FLOPS_PER_MAC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.campaign.view import Run
    from dse.search.trial import Design, TrialRecord

SCHEME: Final = "workload.attention"
ACCELERATOR: Final = "accelerator"
BANDWIDTH: Final = "bandwidth_gb_per_s"
PAIRS: Final = (("reuse", "recompute"), ("reuse_both", "recompute_both"))
"""Schemes (read stored products, form them again) whose crossover is drawn."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A design that its own trial's designs do not dominate."""

    accelerator: str
    scheme: str
    trial: int
    values: tuple[float, ...]
    """Objectives."""
    on_front: bool
    knee: bool
    label: str
    """All parameters, for the hover."""


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """The EDP-best design of a trial under its roofs; one MAC is two operations."""

    accelerator: str
    scheme: str
    trial: int
    operations_per_byte: float
    """Operations over the DRAM bytes that the mapping moves."""
    operations_per_s: float
    peak_operations_per_s: float
    dram_bytes_per_s: float
    bound: str


@dataclass(frozen=True, slots=True)
class SchemeBest:
    """The best value of one objective over all feasible designs of one scheme on one accelerator."""

    accelerator: str
    scheme: str
    objective: str
    value: float
    trial: int
    wins: bool
    """Best of all schemes on this accelerator."""


@dataclass(frozen=True, slots=True)
class CrossoverPoint:
    """Best throughput of two schemes at one DRAM bandwidth; x is the highest peak rate of the sweep over that bandwidth."""

    accelerator: str
    first: str
    second: str
    bandwidth: float
    ridge_operations_per_byte: float
    ratio: float
    """Value of `second` over value of `first`."""


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where two schemes meet, by the closed forms."""

    first: str
    second: str
    ridge_operations_per_byte: float
    """2 MACs(second) / compulsory bytes(first): below it the memory-bound `first` is slower than the compute-bound `second` is."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where the second of two schemes overtakes the first on one accelerator, over the ridges of the sweep."""

    accelerator: str
    first: str
    second: str
    faster_at_lowest_ridge: str
    faster_at_highest_ridge: str
    ridge_operations_per_byte: float | None
    """Ridge at which both are equally fast, between two priced points by straight line over its logarithm; None without one."""
    largest_ratio: float
    """Most that the second gains over the first."""


def accelerator_of(run: Run, record: TrialRecord) -> str:
    """The accelerator of a trial; the campaign's only one where it is no dimension."""
    given = run.header.space.choice(record.outer).get(ACCELERATOR)
    return str(given) if given is not None else _only_accelerator(run)


def scheme_of(run: Run, record: TrialRecord) -> str:
    """The attention scheme of a trial, where it is a dimension; else empty."""
    return str(run.header.space.choice(record.outer).get(SCHEME, ""))


def accelerators(run: Run) -> tuple[str, ...]:
    """Accelerators in the order of the campaign."""
    return _values(run, ACCELERATOR) or (_only_accelerator(run),)


def schemes(run: Run) -> tuple[str, ...]:
    """Schemes in the order of the campaign; one empty name where they are no dimension."""
    return _values(run, SCHEME) or ("",)


def front_points(run: Run) -> list[FrontPoint]:
    """All designs that are non-dominated within their trial, front members marked."""
    members = {(m.trial, m.design.inner) for m in run.archive.members}
    knee = run.archive.knee()
    points: list[FrontPoint] = []
    for record in run.records:
        accelerator, scheme = accelerator_of(run, record), scheme_of(run, record)
        points += [
            FrontPoint(
                accelerator,
                scheme,
                record.number,
                tuple(design.metrics[name] for name in run.header.goals.objectives),
                (record.number, design.inner) in members,
                knee is not None and (record.number, design.inner) == (knee.trial, knee.design.inner),
                with_values(run.header.space.parameters(record.outer, design.inner)),
            )
            for design in record.front
        ]
    return points


def roofline_points(run: Run) -> list[RooflinePoint]:
    """One point per accelerator and scheme: its EDP-best design over all trials."""
    best: dict[tuple[str, str], TrialRecord] = {}
    for record in run.records:
        if record.best is None or record.ceiling is None:
            continue
        key = (accelerator_of(run, record), scheme_of(run, record))
        if key not in best or record.best.metrics["edp_js"] < _edp(best[key]):
            best[key] = record
    return [_roofline_point(key, record) for key, record in best.items()]


def _edp(record: TrialRecord) -> float:
    assert record.best is not None
    return record.best.metrics["edp_js"]


def _roofline_point(key: tuple[str, str], record: TrialRecord) -> RooflinePoint:
    design, ceiling = record.best, record.ceiling
    assert design is not None
    assert ceiling is not None
    operations = FLOPS_PER_MAC * ceiling.macs
    return RooflinePoint(
        *key,
        record.number,
        operations / max(design.dram_bytes, 1.0),
        operations / design.metrics["latency_s"],
        FLOPS_PER_MAC * ceiling.peak_macs_per_s,
        ceiling.dram_bytes_per_s,
        design.bound,
    )


def scheme_bests(run: Run) -> list[SchemeBest]:
    """For each accelerator and objective the best of each scheme, and which wins; not where all schemes tie (area)."""
    found: dict[tuple[str, str, str], tuple[float, int]] = {}
    for record in run.records:
        key = (accelerator_of(run, record), scheme_of(run, record))
        for design in record.front:
            for name in run.header.goals.objectives:
                value = design.metrics[name]
                known = found.get((*key, name))
                if known is None or better(value, known[0], maximise=quantity(name).better is Direction.MAXIMIZE):
                    found[*key, name] = (value, record.number)
    rows = []
    for accelerator in accelerators(run):
        for name in run.header.goals.objectives:
            row = {s: found[accelerator, s, name] for s in schemes(run) if (accelerator, s, name) in found}
            up = quantity(name).better is Direction.MAXIMIZE
            top = (max if up else min)((value for value, _ in row.values()), default=None)
            if len(row) == 1 or any(value != top for value, _ in row.values()):
                rows += [SchemeBest(accelerator, s, name, value, trial, value == top) for s, (value, trial) in row.items()]
    return rows


def crossover_pair(run: Run) -> tuple[str, str] | None:
    """The two schemes whose crossover is drawn: the first of `PAIRS` that the campaign has; None without one."""
    known = {scheme_of(run, r) for r in run.records if r.ceiling is not None}
    return next((pair for pair in PAIRS if set(pair) <= known), None)


def crossover_points(run: Run, pair: tuple[str, str]) -> list[CrossoverPoint]:
    """Ratio of best throughputs over the DRAM bandwidth, where bandwidth is an inner dimension and throughput an objective."""
    path = next((d.path for d in run.header.space.inner if d.path.endswith(BANDWIDTH)), None)
    if path is None or "tokens_per_s" not in run.header.goals.objectives:
        return []
    values = next(d.values for d in run.header.space.inner if d.path == path)
    table: dict[tuple[str, str, int], tuple[float, float]] = {}
    for record in run.records:
        if scheme_of(run, record) not in pair:
            continue
        peak = max((m.peak_macs_per_s for m in record.marginals), default=0.0)
        for marginal in record.marginals:
            if marginal.path == path and marginal.objective == "tokens_per_s":
                key = (accelerator_of(run, record), scheme_of(run, record), marginal.position)
                table[key] = max(table.get(key, (0.0, 0.0)), (marginal.value, FLOPS_PER_MAC * peak / marginal.dram_bytes_per_s))
    points = []
    for accelerator in accelerators(run):
        for position, bandwidth in enumerate(values):
            first, second = (table.get((accelerator, scheme, position)) for scheme in pair)
            if first and second:
                points.append(CrossoverPoint(accelerator, *pair, float(str(bandwidth)), first[1], second[0] / first[0]))
    return points


def crossings(points: Sequence[CrossoverPoint]) -> list[Crossing]:
    """One row per accelerator, in the order of `points`: who is faster at either end of the sweep, and where they meet.

    Where they meet several times, the highest ridge.
    """
    rows = []
    for accelerator in dict.fromkeys(p.accelerator for p in points):
        mine = sorted((p for p in points if p.accelerator == accelerator), key=lambda p: p.ridge_operations_per_byte)
        meets = None
        for low, high in pairwise(mine):
            if (low.ratio < 1) != (high.ratio < 1):
                share = (1 - low.ratio) / (high.ratio - low.ratio)
                meets = low.ridge_operations_per_byte * (high.ridge_operations_per_byte / low.ridge_operations_per_byte) ** share
        names = [p.second if p.ratio >= 1 else p.first for p in (mine[0], mine[-1])]
        rows.append(Crossing(accelerator, mine[0].first, mine[0].second, names[0], names[1], meets, max(p.ratio for p in mine)))
    return rows


def crossover(run: Run, pair: tuple[str, str]) -> Crossover | None:
    """The closed-form crossover of two schemes, from the MACs and compulsory bytes of their lowerings.

    With compute and memory time overlapped, the first scheme is memory-bound with time bytes(first)/B and the second
    compute-bound with time 2 MACs(second)/P; they are equal at the ridge P/B = 2 MACs(second)/bytes(first). Derived here.
    Worked number: DeepSeek-V3 attention, bf16, L = 4,096: 2 x 13.66e9 / 486.7e6 = 56 operations per byte.
    """
    ceilings = {scheme_of(run, r): r.ceiling for r in run.records if r.ceiling is not None}
    first, second = (ceilings.get(scheme) for scheme in pair)
    workloads = [d for d in run.header.space.outer if d.path.startswith("workload.") and d.path != SCHEME]
    if first is None or second is None or first.compulsory_bytes <= second.compulsory_bytes or workloads:
        return None
    return Crossover(*pair, FLOPS_PER_MAC * second.macs / first.compulsory_bytes)


def named_designs(run: Run) -> list[tuple[str, int, Design]]:
    """(name, trial, design): the best of each objective, then the knee."""
    found = []
    for objective in run.header.goals.objectives:
        member = run.archive.best(objective)
        if member:
            word = "highest" if quantity(objective).better is Direction.MAXIMIZE else "lowest"
            found.append((f"{word} {objective}", member.trial, member.design))
    knee = run.archive.knee()
    if knee:
        found.append(("knee", knee.trial, knee.design))
    return found


def _values(run: Run, path: str) -> tuple[str, ...]:
    return next((tuple(map(str, d.values)) for d in run.header.space.outer if d.path == path), ())


def _only_accelerator(run: Run) -> str:
    return run.header.accelerators[0] if run.header.accelerators else ""
