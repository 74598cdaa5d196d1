"""Search around the front: where the next choices are expected to add most to the hypervolume.

A trial of this project is not one point but the exact front of its inner sweep. It keeps what a few fixed inner points cost, its probes,
and what they cost by the evaluator's bound. Processes through the probes of all trials predict what an untried choice costs at the inner
points of the front, so its front; of the most promising the bounds are looked at, and processes through what lies above them correct it.
What a predicted front adds is counted in random directions of objective space: the hypervolume is the mean over all directions of how
far the front reaches, to the power of the number of objectives, up to a constant (Zhang and Golovin, ICML 2020, lemma 5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.search.front_model import SMALLEST, ModelData, fit_model, logs, model_columns, probed, scales_of
from dse.search.gaussian import distance_tables
from dse.search.pareto import non_dominated
from dse.search.probes import probe_points
from dse.search.space import spread_order
from dse.search.strategy import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.search.front_model import FrontModel
    from dse.search.gaussian import Scales
    from dse.search.goals import Goals
    from dse.search.limits import OuterChoices
    from dse.search.strategy import Look
    from dse.search.trial import TrialRecord

BATCH: Final = 10
FIRST: Final = 20
"""Trials that are spread over the space before there is a surrogate."""
SEES: Final = 250
"""Trials that the processes see at most: those that come furthest in some direction."""
HOPELESS: Final = 100
"""Latest infeasible trials by which they learn what fits."""
REFIT: Final = 50
"""Scales are chosen anew after so many trials."""
NEAR: Final = 3_000
RANDOM: Final = 500
"""Candidates of a batch: choices within a step or two of the front, and others."""
SHORT: Final = 200
"""Candidates that are looked at closely."""
DIRECTIONS: Final = 128
FEW: Final = 24
"""Directions in which gains are counted; the first of them for the choice of those that are looked at closely."""
POINTS: Final = 40
"""Inner points at which a front is predicted: those of the archive's front that are best in one of the directions."""
BOLD: Final = (0.0, 0.5)
"""Standard deviations by which predictions are taken to be better than expected, in turn."""
REFERENCE: Final = 1.1
"""Of the hypervolume that is improved: a tenth of the front's span beyond its worst, on logarithms of the objectives."""
WIDE: Final = 2.5
WIDENS: Final = 6
"""One batch in so many takes a reference point this far where nothing is asked first: beyond the ends of the front all counts for nothing
otherwise, and a run that began by chance may stay where it began."""


@dataclass(frozen=True, slots=True)
class _Front:
    """The front of a history, as logarithms that are minimised."""

    low: NDArray[np.float64]
    span: NDArray[np.float64]
    signed: NDArray[np.float64]
    """All designs of the trials' fronts [D, M]."""
    trials: NDArray[np.int64]
    """Row of the history of each [D]."""
    inner: NDArray[np.int64]
    own: NDArray[np.bool_]
    """Which of them are on the front of all [D]."""
    reference: float

    @classmethod
    def of(cls, history: Sequence[TrialRecord], goals: Goals, reference: float) -> _Front:
        full = [i for i, record in enumerate(history) if len(record.front)]
        columns = [np.concatenate([np.asarray(history[i].front.metrics[n]) for i in full]) for n in goals.objectives]
        signed = np.stack([s * np.log(np.maximum(c, SMALLEST)) for c, s in zip(columns, _signs(goals), strict=True)], axis=1)
        trials = np.repeat(np.array(full, dtype=np.int64), [len(history[i].front) for i in full])
        inner = np.concatenate([np.array(history[i].front.inner, dtype=np.int64) for i in full])
        own = non_dominated(signed, [False] * len(columns))
        low, high = signed[own].min(axis=0), signed[own].max(axis=0)
        return cls(low, np.where(high > low, high - low, 1.0), signed, trials, inner, own, reference)

    def inside(self, signed: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far designs [..., M] are from the reference point, in spans of the front."""
        found: NDArray[np.float64] = self.reference - (signed - self.low) / self.span
        return found


class FrontStrategy:
    """See the module; keeps nothing between calls but what it has worked out from the same trials."""

    looks_back = True
    batch_size = BATCH

    def __init__(self, choices: OuterChoices, goals: Goals, seed: int, seeds: tuple[int, ...] = (), look: Look | None = None) -> None:
        """`seeds`: outer choices asked first; `look`: bounds of an outer choice at the probes."""
        self._choices = choices
        self._space = choices.space
        self._goals = goals
        self._seed = seed
        self._seeds = tuple(dict.fromkeys(outer for outer in seeds if choices.allows(outer)))
        self._tables = distance_tables(self._space.outer)
        self._sizes = np.array([len(d.values) for d in self._space.outer], dtype=np.int64)
        self._columns = model_columns(goals)
        self._points = len(probe_points(self._space))
        self._look = look
        self._scales: dict[tuple[int, bool], Mapping[str, Scales]] = {}

    def ask(self, history: Sequence[TrialRecord], batch: int, count: int, *, done: int | None = None) -> tuple[Asked, ...]:
        """See `Strategy`."""
        assert done is None or done == len(history), "this strategy looks back"
        if count <= 0:
            return ()
        seen = {record.outer for record in history}
        asked = [outer for outer in self._seeds if outer not in seen][:count]
        if not asked and sum(len(record.front) > 0 and probed(record) for record in history) >= FIRST:
            asked = self._around_the_front(history, batch, count, seen)
        asked += self._spread(batch, count - len(asked), seen | set(asked))
        return tuple(map(Asked, asked))

    def _around_the_front(self, history: Sequence[TrialRecord], batch: int, count: int, seen: set[int]) -> list[int]:
        """One after the other the choice that should add most; each as if those before it had turned out as expected."""
        chance = np.random.default_rng(_number(self._seed, batch))
        wide = not self._seeds and batch % WIDENS == WIDENS - 1
        front = _Front.of(history, self._goals, WIDE if wide else REFERENCE)
        directions = np.abs(chance.standard_normal((DIRECTIONS, len(self._goals.objectives))))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        reach = _length(front.inside(front.signed[front.own]), directions)  # [A, Q]
        best = np.maximum(reach.max(axis=0), 0.0)
        inner = np.unique(front.inner[front.own][reach.argmax(axis=0)[:POINTS]])
        ranks = _ranks(_by_trial(_length(front.inside(front.signed), directions[:FEW]), front.trials, len(history)))
        members = self._digits(np.array([history[i].outer for i in np.unique(front.trials[front.own])], dtype=np.int64))
        candidates = self._candidates(chance, members, seen)
        short, hopes = self._view(front, history, ranks, candidates, inner, directions, best)
        asked: list[int] = []
        left = np.ones(len(short), dtype=np.bool_)
        power = len(self._goals.objectives)
        while len(asked) < min(count, len(short)):
            gain = (np.maximum(hopes[len(asked) % len(hopes)], best) ** power - best**power).sum(axis=1)
            row = int(np.where(left, gain, -1.0).argmax())
            asked.append(int(short[row]))
            left[row] = False
            best = np.maximum(best, hopes[0][row])
        return asked

    def _view(
        self,
        front: _Front,
        history: Sequence[TrialRecord],
        ranks: NDArray[np.int64],
        candidates: NDArray[np.int64],
        inner: NDArray[np.int64],
        directions: NDArray[np.float64],
        best: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
        """The most promising candidates [S], and how far they should reach in each direction [S, Q] for each of `BOLD`."""
        rows = _best_rows(history, ranks)
        model = self._model(history, rows, above=False)
        places = self._digits(candidates)
        means = model.means(self._columns, places, inner)
        rough = self._gain(front, means, model.fits(places, inner) & self._met(means), directions[:FEW], best[:FEW])
        short = np.argsort(-rough, kind="stable")[:SHORT]
        places, means = places[short], means[short]
        if self._look is not None and all(history[i].bounds for i in rows):
            looks = [self._look(outer) for outer in candidates[short].tolist()]
            bounds = {name: logs(looks, name, self._points)[0] for name in self._columns}
            model = self._model(history, rows, above=True)
            means = model.means(self._columns, places, inner, bounds)
        allowed = model.fits(places, inner) & self._met(means)
        deviations = model.deviations(self._goals.objectives, places, inner)
        hopes = []
        for bold in BOLD:
            shifted = means.copy()
            shifted[:, :, : len(self._goals.objectives)] -= bold * deviations * _signs(self._goals)
            hopes.append(self._reach(front, shifted, allowed, directions))
        return candidates[short], hopes

    def _gain(
        self,
        front: _Front,
        means: NDArray[np.float64],
        allowed: NDArray[np.bool_],
        directions: NDArray[np.float64],
        best: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """What each candidate should add; of those that should add nothing, how near they come [C], below 0."""
        reach = self._reach(front, means, allowed, directions)
        power = directions.shape[1]
        gain = (np.maximum(reach, best) ** power - best**power).sum(axis=1)
        found: NDArray[np.float64] = np.where(gain > 0, gain, (reach - best).max(axis=1))
        return found

    def _reach(
        self, front: _Front, means: NDArray[np.float64], allowed: NDArray[np.bool_], directions: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far predicted fronts [C, P, columns] reach in each direction [C, Q]; 0 where nothing fits."""
        inside = front.inside(means[:, :, : directions.shape[1]] * _signs(self._goals))
        found: NDArray[np.float64] = np.where(allowed[:, :, None], _length(inside, directions), 0.0).max(axis=1)
        return np.maximum(found, 0.0)

    def _met(self, means: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which predicted designs [C, P, columns] meet every constraint [C, P]."""
        met = np.ones(means.shape[:2], dtype=np.bool_)
        for constraint in self._goals.constraints:
            met &= constraint.violation(np.exp(means[:, :, self._columns.index(constraint.metric)])) <= 0
        return met

    def _model(self, history: Sequence[TrialRecord], rows: Sequence[int], *, above: bool) -> FrontModel:
        """The processes through the trials `rows`, or what lies `above` their bounds; scales are of the last round number of trials."""
        data = self._data(history, rows, above=above)
        step = len(history) // REFIT * REFIT
        early = [i for i in range(step) if probed(history[i])]
        if len(early) < FIRST or (above and not all(history[i].bounds for i in early)):
            return fit_model(self._space, self._tables, data, scales_of(self._tables, data))
        if (step, above) not in self._scales:
            self._scales[step, above] = scales_of(self._tables, self._data(history[:step], early, above=above))
        return fit_model(self._space, self._tables, data, self._scales[step, above])

    def _data(self, history: Sequence[TrialRecord], rows: Sequence[int], *, above: bool) -> ModelData:
        known = [history[i] for i in rows]
        hopeless = [record for record in history if not probed(record)][-HOPELESS:]
        digits = self._digits(np.array([record.outer for record in (*known, *hopeless)], dtype=np.int64))
        return ModelData.of(known, hopeless, digits, self._columns, above=above)

    def _candidates(self, chance: np.random.Generator, front: NDArray[np.int64], seen: set[int]) -> NDArray[np.int64]:
        """Allowed choices that were not tried: one step from the front in any dimension, two at once, and anywhere."""
        steps = []
        for d, size in enumerate(self._sizes.tolist()):
            for value in range(size):
                moved = front.copy()
                moved[:, d] = value
                steps.append(moved)
        near = np.concatenate(steps)
        if len(near) > NEAR:
            near = near[chance.choice(len(near), NEAR, replace=False)]
        twice = near.copy()
        which = chance.integers(0, len(self._sizes), size=len(twice))
        twice[np.arange(len(twice)), which] = chance.integers(0, self._sizes[which])
        anywhere = chance.integers(0, self._sizes, size=(RANDOM, len(self._sizes)))
        found = np.unique(self._indices(np.concatenate([near, twice, anywhere])))
        found = found[~np.isin(found, np.array(sorted(seen), dtype=np.int64))]
        return found[self._choices.mask(found)]

    def _spread(self, batch: int, count: int, taken: set[int]) -> list[int]:
        """Choices all over the space, each at most once."""
        size = self._choices.count
        _, step = spread_order(size)
        start = _number(self._seed, batch) % size
        found: list[int] = []
        for i in range(size):
            if len(found) == count:
                break
            outer = self._choices.at((start + i * step) % size)
            if outer not in taken and self._choices.allows(outer):
                found.append(outer)
        return found

    def _digits(self, outers: NDArray[np.int64]) -> NDArray[np.int64]:
        digits = np.empty((len(outers), len(self._sizes)), dtype=np.int64)
        rest = outers
        for d in range(len(self._sizes) - 1, -1, -1):
            rest, digits[:, d] = np.divmod(rest, self._sizes[d])
        return digits

    def _indices(self, digits: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.zeros(len(digits), dtype=np.int64)
        for d, size in enumerate(self._sizes.tolist()):
            found = found * size + digits[:, d]
        return found


def _length(inside: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far designs, `inside` [..., M] of the reference point, reach in each direction [Q, M]: [..., Q]."""
    factors = 1.0 / directions
    found: NDArray[np.float64] = inside[..., 0, None] * factors[:, 0]
    for objective in range(1, directions.shape[1]):
        np.minimum(found, inside[..., objective, None] * factors[:, objective], out=found)
    return found


def _by_trial(reach: NDArray[np.float64], trials: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """How far each of `count` trials comes, from how far its designs come [D, Q]: [N, Q], minus infinity without designs."""
    found = np.full((count, reach.shape[1]), -np.inf)
    np.maximum.at(found, trials, reach)
    return found


def _best_rows(history: Sequence[TrialRecord], ranks: NDArray[np.int64]) -> list[int]:
    """The trials that the processes see."""
    rows = [i for i, record in enumerate(history) if probed(record)]
    return sorted(sorted(rows, key=lambda i: (int(ranks[i]), i))[:SEES])


def _ranks(reach: NDArray[np.float64]) -> NDArray[np.int64]:
    """The best rank of each trial in any direction [N], 0 the best."""
    found: NDArray[np.int64] = np.argsort(np.argsort(-reach, axis=0, kind="stable"), axis=0, kind="stable").min(axis=1)
    return found


def _signs(goals: Goals) -> NDArray[np.float64]:
    """Factors by which all objectives are minimised [M]."""
    return np.where(goals.maximise, -1.0, 1.0)


def _number(seed: int, batch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:8], "big")
