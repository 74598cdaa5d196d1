"""The inner level: price every inner point of one outer choice in chunks and keep the exact non-dominated set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import METRICS, RESOURCES
from dse.search.pareto import non_dominated
from dse.search.trial import Ceiling, Design, Marginal, Miss, Sweep, TrialState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.cost.metrics import Priced
    from dse.search.evaluator import Prepared
    from dse.search.goals import Goals
    from dse.search.space import Space

CHUNK: Final = 16_384
"""Design points priced in one call: bounds memory, far above the fixed cost of a call. Never depends on the workers."""


def sweep(prepared: Prepared, space: Space, goals: Goals) -> Sweep:
    """Price all inner points of `space` for one prepared outer choice; exact, memory bounded by the chunk and the front."""
    state = _State(space, goals)
    for start in range(0, space.inner_size, CHUNK):
        indices = np.arange(start, min(start + CHUNK, space.inner_size), dtype=np.int64)
        state.take(prepared.price(space.columns(indices), len(indices)), indices)
    return state.result(prepared)


class _State:
    """What a sweep keeps from chunk to chunk."""

    def __init__(self, space: Space, goals: Goals) -> None:
        self._space = space
        self._goals = goals
        self._fitting = 0
        self._feasible = 0
        self._violated = np.zeros(len(goals.constraints), dtype=np.int64)
        self._attained: NDArray[np.float64] | None = None
        self._front: list[Design] = []
        self._values = np.zeros((0, len(goals.objectives)))
        self._best: Design | None = None
        self._miss: Miss | None = None
        self._worst: NDArray[np.float64] | None = None
        self._marginals: dict[tuple[int, int, int], tuple[float, int]] = {}

    def take(self, priced: Priced, indices: NDArray[np.int64]) -> None:
        """Add one priced chunk; `indices` [D] are its inner indices."""
        rows = np.flatnonzero(priced.feasible)
        self._fitting += len(rows)
        if len(rows) == 0:
            return
        table = _Table(priced, indices, rows)
        violations = self._goals.violations(table.metrics, len(rows))  # [F, C]
        self._note_constraints(table, violations)
        met = np.flatnonzero((violations <= 0).all(axis=1))
        self._feasible += len(met)
        if len(met):
            self._take_feasible(table, met)

    def result(self, prepared: Prepared) -> Sweep:
        """The sweep's outcome."""
        return Sweep(
            state=TrialState.COMPLETE if self._feasible else TrialState.INFEASIBLE,
            priced=self._space.inner_size,
            fitting=self._fitting,
            feasible=self._feasible,
            violated=tuple(self._violated.tolist()),
            attained=() if self._attained is None else tuple(self._attained.tolist()),
            front=tuple(self._front),
            best=self._best,
            ceiling=None if self._best is None else self._ceiling(prepared, self._best.inner),
            miss=None if self._feasible else self._miss,
            worst=() if self._worst is None else tuple(self._worst.tolist()),
            marginals=self._priced_marginals(prepared),
        )

    def _note_constraints(self, table: _Table, violations: NDArray[np.float64]) -> None:
        if not self._goals.constraints:
            return
        self._violated += (violations > 0).sum(axis=0)
        nearest = violations.argmin(axis=0)  # [C]
        attained = np.array([table.metrics[c.metric][row] for c, row in zip(self._goals.constraints, nearest, strict=True)])
        if self._attained is not None:
            keep = [
                c.violation(old.reshape(1))[0] <= c.violation(new.reshape(1))[0]
                for c, old, new in zip(self._goals.constraints, self._attained, attained, strict=True)
            ]
            attained = np.where(keep, self._attained, attained)
        self._attained = attained
        total = np.maximum(violations, 0).sum(axis=1)
        row = int(total.argmin())
        if self._miss is None or total[row] < sum(max(v, 0.0) for v in self._miss.violations):
            self._miss = Miss(table.design(row), tuple(violations[row].tolist()))

    def _take_feasible(self, table: _Table, met: NDArray[np.int64]) -> None:
        maximise = self._goals.maximise
        values = self._goals.values(table.metrics)[met]  # [F, M]
        worst = np.where(maximise, values.min(axis=0), values.max(axis=0))
        if self._worst is not None:
            worst = np.where(maximise, np.minimum(worst, self._worst), np.maximum(worst, self._worst))
        self._worst = worst

        row = int(met[table.metrics["edp_js"][met].argmin()])
        if self._best is None or table.metrics["edp_js"][row] < self._best.metrics["edp_js"]:
            self._best = table.design(row)

        own = np.flatnonzero(non_dominated(values, maximise))
        merged = np.concatenate([self._values, values[own]])
        keep = non_dominated(merged, maximise)
        old = len(self._front)
        self._front = [design for design, kept in zip(self._front, keep[:old], strict=True) if kept]
        self._front += [table.design(int(met[own[i]])) for i in np.flatnonzero(keep[old:])]
        self._values = merged[keep]
        self._note_marginals(table.indices[table.rows[met]], values)

    def _note_marginals(self, inner: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        for d, digits in enumerate(self._space.inner_digits(inner)):
            for position in range(len(self._space.inner[d].values)):
                rows = np.flatnonzero(digits == position)
                if len(rows) == 0:
                    continue
                for o, up in enumerate(self._goals.maximise):
                    column = values[rows, o]
                    row = int(column.argmax() if up else column.argmin())
                    value = float(column[row])
                    known = self._marginals.get((d, position, o))
                    if known is None or (value > known[0] if up else value < known[0]):
                        self._marginals[d, position, o] = (value, int(inner[rows[row]]))

    def _priced_marginals(self, prepared: Prepared) -> tuple[Marginal, ...]:
        keys = sorted(self._marginals)
        if not keys:
            return ()
        inner = np.array([self._marginals[key][1] for key in keys], dtype=np.int64)
        roofs = prepared.ceilings(self._space.columns(inner), len(inner))
        return tuple(
            Marginal(
                path=self._space.inner[d].path,
                position=position,
                objective=self._goals.objectives[o],
                value=self._marginals[d, position, o][0],
                inner=int(inner[i]),
                peak_macs_per_s=float(roofs.peak_macs_per_s[i]),
                dram_bytes_per_s=float(roofs.dram_bytes_per_s[i]),
            )
            for i, (d, position, o) in enumerate(keys)
        )

    def _ceiling(self, prepared: Prepared, inner: int) -> Ceiling:
        roofs = prepared.ceilings(self._space.columns(np.array([inner], dtype=np.int64)), 1)
        return Ceiling(
            macs=float(prepared.macs),
            compulsory_bytes=float(prepared.compulsory_bytes),
            peak_macs_per_s=float(roofs.peak_macs_per_s[0]),
            dram_bytes_per_s=float(roofs.dram_bytes_per_s[0]),
        )


class _Table:
    """The fitting rows of a priced chunk with all their metrics."""

    def __init__(self, priced: Priced, indices: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        self.indices = indices
        self.rows = rows
        self._bound = priced.bound[rows]
        self._dram_bytes = priced.dram_bytes[rows]
        with np.errstate(invalid="ignore", divide="ignore"):  # rows that do not fit are infinite
            self.metrics = {name: np.asarray(priced.metric(name), dtype=np.float64)[rows] for name in METRICS}

    def design(self, row: int) -> Design:
        """Fitting row `row` as a value."""
        bound = int(self._bound[row])
        return Design(
            inner=int(self.indices[self.rows[row]]),
            metrics={name: float(column[row]) for name, column in self.metrics.items()},
            bound=str(RESOURCES[bound]) if bound >= 0 else "",
            dram_bytes=float(self._dram_bytes[row]),
        )
