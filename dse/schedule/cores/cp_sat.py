"""Placement by OR-Tools' CP-SAT: the solver proposes the assignment of the least bound, the simulation prices it, until none is left
that could be better. Logic-based Benders decomposition (Hooker, "Planning and scheduling by logic-based Benders decomposition",
Operations Research 55, 2007) with the plan's relaxation as its master problem."""

from __future__ import annotations

import importlib
from math import floor
from typing import TYPE_CHECKING, Any, Final

from dse.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dse.schedule.cores.relaxation import Relaxation

    FloatArray = NDArray[np.float64]

STEPS: Final = 1_000_000
"""Units of time (energy) in the best value known: bounds are rounded down to them."""
SOLVE_EFFORT: Final = 2.0
"""Deterministic time of one solve, about as many seconds, ..."""
ALL_EFFORT: Final = 20.0
"""... and of all of them together."""


def cp_model() -> Any:
    """The solver's module.

    Raises:
        UsageError: OR-Tools is not installed.
    """
    try:
        return importlib.import_module("ortools.sat.python.cp_model")
    except ImportError as error:
        raise UsageError(
            "--placement cp-sat: OR-Tools is not installed; install the extra 'solver' of attention-dse, or take search or exact"
        ) from error


class Proposals:
    """Assignments in the order of their bounds, each proposed once."""

    def __init__(self, relaxation: Relaxation, best: float, *, energy: bool, seed: int) -> None:
        self.relaxation, self.seed = relaxation, seed
        self.unit = best / STEPS
        self.spent = 0.0
        """Deterministic time so far."""
        self.module = cp_model()
        self.model = self.module.CpModel()
        self.takes = [[self.model.NewBoolVar(f"g{i}_{o}") for o in range(len(options))] for i, options in enumerate(relaxation.options)]
        for mine in self.takes:
            self.model.AddExactlyOne(mine)
        self.seconds = self.model.NewIntVar(0, 4 * STEPS, "seconds")
        if energy:
            self.joules = self.model.NewIntVar(0, 4 * STEPS, "joules")
            spends = [self._of(i, values) for i, values in enumerate(relaxation.spends_j)]
            self.model.Add(self.joules >= sum(spends))
            self.goal = self.joules
        else:
            self._times()
            self.goal = self.seconds
        self.model.Minimize(self.goal)

    def _of(self, group: int, values: FloatArray) -> Any:
        """The value of the option that a group takes, in units, rounded down."""
        return sum(floor(v / self.unit) * take for v, take in zip(values, self.takes[group], strict=True))

    def _times(self) -> None:
        relaxation, model = self.relaxation, self.model
        for resource in range(relaxation.works_s[0].shape[1]):
            model.Add(sum(self._of(i, works[:, resource]) for i, works in enumerate(relaxation.works_s)) <= self.seconds)
        ends = [model.NewIntVar(0, 4 * STEPS, f"end{i}") for i in range(len(self.takes))]
        for i, lasts in enumerate(relaxation.lasts_s):
            model.Add(ends[i] >= self._of(i, lasts))
            model.Add(self.seconds >= ends[i])
        for (writer, reader), table in relaxation.waits_s.items():
            least = table.min(axis=0)
            model.Add(ends[reader] >= ends[writer] + self._of(reader, least))
            for a, row in enumerate(table):
                late = [(b, floor(v / self.unit)) for b, v in enumerate(row) if v > least[b]]
                for b, wait in late:
                    model.Add(ends[reader] >= ends[writer] + wait).OnlyEnforceIf([self.takes[writer][a], self.takes[reader][b]])

    def next(self, best: float) -> tuple[list[int] | None, float]:
        """(options of the assignment of least bound that could be better than `best`, the bound of all that is left); None and
        `best` where nothing better is left, None and the bound proven so far where the solver gave up or has spent all its effort."""
        solver = self.module.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = self.seed
        solver.parameters.max_deterministic_time = SOLVE_EFFORT
        self.model.Add(self.goal <= floor(best / self.unit))
        status = solver.Solve(self.model)
        self.spent += solver.ResponseProto().deterministic_time
        if status == self.module.INFEASIBLE:
            return None, best
        bound = min(best, solver.BestObjectiveBound() * self.unit)
        if status not in (self.module.OPTIMAL, self.module.FEASIBLE) or self.spent > ALL_EFFORT:
            return None, bound
        chosen = [next(o for o, take in enumerate(mine) if solver.Value(take)) for mine in self.takes]
        self.model.AddBoolOr([self.takes[i][o].Not() for i, o in enumerate(chosen)])
        return chosen, bound
