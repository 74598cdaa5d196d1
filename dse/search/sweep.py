"""The inner level: decide every inner point of one outer choice in chunks and keep the exact non-dominated set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import RESOURCES
from dse.search.evaluator import Explains
from dse.search.front_model import model_columns
from dse.search.limits import Limits
from dse.search.marginals import MarginalTable
from dse.search.pareto import non_dominated
from dse.search.quantities import column, maximise
from dse.search.trial import Ceiling, Design, Front, Lacking, Miss, Sweep, TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.cost.metrics import Priced
    from dse.search.evaluator import Evaluator, Prepared, Screen
    from dse.search.goals import Goals
    from dse.search.space import Space, Value

CHUNK: Final = 16_384
"""Design points priced in one call: bounds memory, far above the fixed cost of a call. Never depends on the workers."""


def sweep(
    evaluator: Evaluator,
    choice: Mapping[str, Value],
    space: Space,
    goals: Goals,
    limits: Limits | None = None,
    *,
    rough: bool = False,
    probes: tuple[int, ...] = (),
) -> Sweep:
    """Decide all inner points of `space` for one outer choice; exact, memory bounded by the chunk and the front.

    Limits, DRAM capacity and constraints on area and cost come first; frontiers are sought only where a point is left.
    `rough` prices by the evaluator's bound. `probes` are inner indices whose values the sweep keeps, also where a constraint on area or
    cost is not met.
    """
    limits = limits or Limits()
    state = _State(space, goals, limits, choice)
    screen = evaluator.screen(choice)
    prepared: Prepared | None = None
    for start in range(0, space.inner_size, CHUNK):
        indices = state.screened(screen, np.arange(start, min(start + CHUNK, space.inner_size), dtype=np.int64))
        if len(indices) == 0:
            continue
        if prepared is None:
            prepared = evaluator.rough(choice) if rough else evaluator.prepare(choice)
        columns = space.columns(indices)
        table = _Table(goals, prepared.price(columns, len(indices)), prepared, screen.design(columns, len(indices)), indices)
        state.take(table)
        state.note_lacking(prepared, indices)
    found = state.result(prepared)
    if prepared is None or not probes:
        return found
    own = probe_values(screen, prepared, choice, space, goals, limits, probes)
    bounds = probe_values(screen, evaluator.rough(choice), choice, space, goals, limits, probes)
    return replace(found, probes=own, bounds=bounds)


def probe_values(
    screen: Screen, prepared: Prepared, choice: Mapping[str, Value], space: Space, goals: Goals, limits: Limits, probes: tuple[int, ...]
) -> dict[str, tuple[float | None, ...]]:
    """Values of what a model predicts at the inner indices `probes`; empty where none fits."""
    indices = np.array(probes, dtype=np.int64)
    columns = space.columns(indices)
    design = screen.design(columns, len(indices))
    allowed = limits.inner_mask(space, choice, {**columns, **design}, len(indices))
    indices = indices[allowed & screen.fits(columns, len(indices))]
    if len(indices) == 0:
        return {}
    columns = space.columns(indices)
    table = _Table(goals, prepared.price(columns, len(indices)), prepared, screen.design(columns, len(indices)), indices)
    row_of = {inner: row for row, inner in enumerate(indices[table.rows].tolist())}
    return {
        name: tuple(float(table.metrics[name][row_of[inner]]) if inner in row_of else None for inner in probes)
        for name in model_columns(goals)
    }


class _State:
    """What a sweep keeps from chunk to chunk."""

    def __init__(self, space: Space, goals: Goals, limits: Limits, choice: Mapping[str, Value]) -> None:
        self._space = space
        self._goals = goals
        self._limits = limits
        self._choice = choice
        self._excluded = self._screened = self._priced = self._fitting = self._feasible = 0
        self._violated = np.zeros(len(goals.constraints), dtype=np.int64)
        self._attained: list[float | None] = [None] * len(goals.constraints)
        self._front: list[Design] = []
        self._values = np.zeros((0, len(goals.objectives)))
        self._best: Design | None = None
        self._miss: tuple[float, Miss] | None = None
        self._screen_miss: tuple[float, Miss] | None = None
        self._lacking: tuple[bool, Lacking] | None = None
        """Whether it was priced, and the design."""
        self._worst: NDArray[np.float64] | None = None
        self._marginals = MarginalTable(space, goals.maximise)
        self._needs_area = limits.needs_area(space)
        self._of_design = [i for i, c in enumerate(goals.constraints) if c.of_design]

    def screened(self, screen: Screen, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The inner `indices` that are left to price; the others are counted."""
        columns = self._space.columns(indices)
        size = len(indices)
        design = screen.design(columns, size) if self._needs_area or self._of_design else {}
        allowed = self._limits.inner_mask(self._space, self._choice, {**columns, **design}, size)
        self._excluded += size - int(allowed.sum())
        keep = allowed & screen.fits(columns, size)
        if not self._priced and not keep.any():
            self.note_lacking(screen, indices[allowed])
        met: NDArray[np.bool_] = np.ones(size, dtype=np.bool_)
        if self._of_design and allowed.any():
            violations = np.stack(
                [self._goals.constraints[i].violation(design[self._goals.constraints[i].metric]) for i in self._of_design]
            )
            self._note(self._of_design, violations[:, allowed].T, {n: c[allowed] for n, c in design.items()})
            met = np.asarray((violations <= 0).all(axis=0))
            if not (keep & met).any() and keep.any():
                self._note_screen_miss(violations, keep, design, indices)
        left: NDArray[np.int64] = indices[keep & met]
        self._screened += int(allowed.sum()) - len(left)
        self._priced += len(left)
        return left

    def note_lacking(self, stage: object, indices: NDArray[np.int64]) -> None:
        """What the nearest of designs lacks none of which fits, where `stage` can say it; what is priced counts more than what is not."""
        if self._fitting or len(indices) == 0 or not isinstance(stage, Explains):
            return
        found = stage.lacking(self._space.columns(indices), len(indices))
        if found is None:
            return
        row, why = found
        priced, known = self._lacking or (False, None)
        nearer = known is None or why.demand_bytes / why.bound_bytes < known.why.demand_bytes / known.why.bound_bytes
        if nearer or priced < bool(self._priced):
            self._lacking = bool(self._priced), Lacking(int(indices[row]), why)

    def take(self, table: _Table) -> None:
        """Add one priced chunk."""
        self._fitting += len(table.rows)
        if len(table.rows) == 0:
            return
        violations = self._goals.violations(table.metrics, len(table.rows))  # [F, C]
        others = [i for i in range(len(self._goals.constraints)) if i not in self._of_design]
        self._note(others, violations[:, others], table.metrics)
        self._note_miss(table, violations)
        met = np.flatnonzero((violations <= 0).all(axis=1))
        self._feasible += len(met)
        if len(met):
            self._take_feasible(table, met)

    def result(self, prepared: Prepared | None) -> Sweep:
        """The sweep's outcome."""
        miss = self._miss or self._screen_miss
        single = self._best is not None and len(self._goals.scenarios) == 1 and "latency_s" in self._best.metrics
        return Sweep(
            state=TrialState.COMPLETE if self._feasible else TrialState.INFEASIBLE,
            designs=self._space.inner_size,
            excluded=self._excluded,
            screened=self._screened,
            priced=self._priced,
            fitting=self._fitting,
            feasible=self._feasible,
            violated=tuple(self._violated.tolist()),
            attained=tuple(self._attained),
            front=_as_front(self._front),
            best=self._best,
            ceiling=self._ceiling(prepared, self._best.inner) if prepared and self._best and single else None,
            miss=miss[1] if miss and not self._feasible else None,
            lacking=self._lacking[1] if self._lacking and not self._fitting else None,
            worst=() if self._worst is None else tuple(self._worst.tolist()),
            marginals=self._marginals.result(self._goals.objectives, prepared),
        )

    def _note(self, which: Sequence[int], violations: NDArray[np.float64], metrics: Mapping[str, NDArray[np.float64]]) -> None:
        """Count violations [F, len(which)] and keep the nearest values of the constraints `which`."""
        for column_, position in enumerate(which):
            constraint = self._goals.constraints[position]
            own = violations[:, column_]
            self._violated[position] += int((own > 0).sum())
            value = float(metrics[constraint.metric][own.argmin()])
            known = self._attained[position]
            if known is None or (value > known if constraint.at_least else value < known):
                self._attained[position] = value

    def _note_screen_miss(
        self,
        violations: NDArray[np.float64],
        keep: NDArray[np.bool_],
        design: Mapping[str, NDArray[np.float64]],
        indices: NDArray[np.int64],
    ) -> None:
        """The nearest of designs that no pricing could save."""
        total = np.where(keep, np.maximum(violations, 0).sum(axis=0), np.inf)
        row = int(total.argmin())
        if self._screen_miss is None or total[row] < self._screen_miss[0]:
            off = dict(zip(self._of_design, violations[:, row].tolist(), strict=True))
            metrics = {name: float(values[row]) for name, values in design.items()}
            found = Miss(Design(int(indices[row]), metrics, "", 0.0), tuple(off.get(i, 0.0) for i in range(len(self._goals.constraints))))
            self._screen_miss = (float(total[row]), found)

    def _note_miss(self, table: _Table, violations: NDArray[np.float64]) -> None:
        if not self._goals.constraints or self._feasible:
            return
        total = np.maximum(violations, 0).sum(axis=1)
        row = int(total.argmin())
        if self._miss is None or total[row] < self._miss[0]:
            self._miss = (float(total[row]), Miss(table.design(row), tuple(violations[row].tolist())))

    def _take_feasible(self, table: _Table, met: NDArray[np.int64]) -> None:
        up = self._goals.maximise
        values = self._goals.values(table.metrics)[met]  # [F, M]
        worst = np.where(up, values.min(axis=0), values.max(axis=0))
        if self._worst is not None:
            worst = np.where(up, np.minimum(worst, self._worst), np.maximum(worst, self._worst))
        self._worst = worst

        name = self._goals.report
        scalar = table.metrics[name][met]
        row = int(met[scalar.argmax() if maximise(name) else scalar.argmin()])
        new = float(table.metrics[name][row])
        if self._best is None or (new > self._best.metrics[name] if maximise(name) else new < self._best.metrics[name]):
            self._best = table.design(row)

        own = np.flatnonzero(non_dominated(values, up))
        merged = np.concatenate([self._values, values[own]])
        keep = non_dominated(merged, up)
        old = len(self._front)
        self._front = [design for design, kept in zip(self._front, keep[:old], strict=True) if kept]
        self._front += [table.design(int(met[own[i]])) for i in np.flatnonzero(keep[old:])]
        self._values = merged[keep]
        self._marginals.take(table.indices[table.rows[met]], values)

    def _ceiling(self, prepared: Prepared, inner: int) -> Ceiling:
        roofs = prepared.ceilings(self._space.columns(np.array([inner], dtype=np.int64)), 1)
        return Ceiling(
            macs=float(prepared.macs),
            compulsory_bytes=float(prepared.compulsory_bytes),
            peak_macs_per_s=float(roofs.peak_macs_per_s[0]),
            dram_bytes_per_s=float(roofs.dram_bytes_per_s[0]),
        )


class _Table:
    """The fitting rows of a priced chunk with all their columns."""

    def __init__(
        self,
        goals: Goals,
        priced: Sequence[Priced],
        prepared: Prepared,
        design: Mapping[str, NDArray[np.float64]],
        indices: NDArray[np.int64],
    ) -> None:
        size = len(indices)
        self.indices = indices
        self.rows = np.flatnonzero(np.logical_and.reduce([np.broadcast_to(p.feasible, (size,)) for p in priced]))
        share = np.array([s.weight for s in goals.scenarios]) / sum(s.weight for s in goals.scenarios)
        with np.errstate(invalid="ignore", divide="ignore"):  # rows that do not fit are infinite
            longest = np.argmax([w * np.broadcast_to(p.latency_s, (size,)) for w, p in zip(share, priced, strict=True)], axis=0)
            bounds = np.stack([np.broadcast_to(p.bound, (size,)) for p in priced])
            self._bound = bounds[longest, np.arange(size)][self.rows]
            moved = sum(w * np.broadcast_to(p.dram_bytes, (size,)) for w, p in zip(share, priced, strict=True))
            self._dram_bytes = np.asarray(moved)[self.rows]
            columns = {n: column(n, goals.scenarios, priced, prepared.tokens_per_sequence, design) for n in goals.columns}
            self.metrics = {name: np.broadcast_to(values, (size,))[self.rows] for name, values in columns.items()}

    def design(self, row: int) -> Design:
        """Fitting row `row` as a value."""
        bound = int(self._bound[row])
        return Design(
            inner=int(self.indices[self.rows[row]]),
            metrics={name: float(values[row]) for name, values in self.metrics.items()},
            bound=str(RESOURCES[bound]) if bound >= 0 else "",
            dram_bytes=float(self._dram_bytes[row]),
        )


def _as_front(designs: Sequence[Design]) -> Front:
    names = designs[0].metrics if designs else {}
    return Front(
        inner=tuple(d.inner for d in designs),
        metrics={name: tuple(d.metrics[name] for d in designs) for name in names},
        bound=tuple(d.bound for d in designs),
        dram_bytes=tuple(d.dram_bytes for d in designs),
    )
