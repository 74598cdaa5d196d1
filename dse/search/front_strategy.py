"""Search around the front: a surrogate of what each outer choice would add to it, asked at a new balance of the objectives each time.

A trial of this project is not one point but the exact front of its inner sweep. So it is known for any direction of objective space
how far each trial reaches, and one set of trials gives the targets of as many surrogates as wanted. The hypervolume is the mean over all
directions of that reach to the power of the number of objectives, up to a constant (Zhang and Golovin, ICML 2020, lemma 5), so the expected
gain in reach stands for the gain in hypervolume. A new direction for every trial, and a Gaussian process behind, are ParEGO's (Knowles,
IEEE Transactions on Evolutionary Computation 10(1), 2006).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.search.gaussian import distance_tables, expected_improvement, fit
from dse.search.pareto import non_dominated
from dse.search.space import spread_order
from dse.search.strategy import Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.search.goals import Goals
    from dse.search.limits import OuterChoices
    from dse.search.trial import TrialRecord

BATCH: Final = 10
FIRST: Final = 20
"""Trials that are spread over the space before there is a surrogate."""
SEES: Final = 400
"""Trials that the surrogate sees at most."""
NEAR: Final = 2_500
RANDOM: Final = 500
"""Candidates of a batch: choices within a step or two of the front, and others."""
DIRECTIONS: Final = 24
BOLD: Final = 0.5
"""Share of the surrogate's deviation that counts one step from the front, where it is to be trusted."""
REFERENCE: Final = 1.1
"""Of the hypervolume that is improved: a tenth of the front's span beyond its worst, on logarithms of the objectives."""
WORST: Final = 1.0
"""How far a trial falls short of the reference point is cut here: how bad the bad is matters little."""


class FrontStrategy:
    """See the module; keeps nothing between calls but what it has worked out from the same trials."""

    looks_back = True
    batch_size = BATCH

    def __init__(self, choices: OuterChoices, goals: Goals, seed: int, seeds: tuple[int, ...] = ()) -> None:
        """`seeds`: outer choices asked first."""
        self._choices = choices
        self._space = choices.space
        self._goals = goals
        self._seed = seed
        self._seeds = tuple(dict.fromkeys(outer for outer in seeds if choices.allows(outer)))
        self._tables = distance_tables(self._space.outer)
        self._sizes = np.array([len(d.values) for d in self._space.outer], dtype=np.int64)

    def ask(self, history: Sequence[TrialRecord], batch: int, count: int, *, done: int | None = None) -> tuple[Asked, ...]:
        """See `Strategy`."""
        assert done is None or done == len(history), "this strategy looks back"
        if count <= 0:
            return ()
        seen = {record.outer for record in history}
        asked = [outer for outer in self._seeds if outer not in seen][:count]
        if not asked and sum(len(record.front) > 0 for record in history) >= FIRST:
            asked = self._around_the_front(history, batch, count, seen)
        asked += self._spread(batch, count - len(asked), seen | set(asked))
        return tuple(map(Asked, asked))

    def _around_the_front(self, history: Sequence[TrialRecord], batch: int, count: int, seen: set[int]) -> list[int]:
        """Half of the batch one step from the front, where most of the hypervolume is expected; half anywhere, each for one direction."""
        chance = np.random.default_rng(_number(self._seed, batch))
        dimension = len(self._goals.objectives)
        directions = np.abs(chance.standard_normal((max(DIRECTIONS, count), dimension)))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        reach, members = self._reach(history, directions)
        digits = self._digits(np.array([record.outer for record in history], dtype=np.int64))
        rows = _best_half(reach)
        fitted = fit(self._tables, digits[rows], reach[rows])
        candidates = self._candidates(chance, digits[members], seen)
        places = self._digits(candidates)
        near = np.zeros(len(candidates), dtype=np.bool_)
        for member in digits[members]:
            near |= (places != member).sum(axis=1) <= 1
        mean, deviation = fitted.predict(places)
        best = reach.max(axis=0)
        asked: list[int] = []
        left = np.ones(len(candidates), dtype=np.bool_)
        while len(asked) < count and left.any():
            turn = len(asked)
            if turn % 2 and (left & near).any():
                gain = expected_improvement(-mean, BOLD * deviation, -best) @ best ** (dimension - 1)
                allowed = left & near
            else:
                gain = expected_improvement(-mean[:, turn], deviation[:, turn], -best[turn])
                allowed = left
            row = int(np.where(allowed, gain, -1.0).argmax())
            asked.append(int(candidates[row]))
            left[row] = False
            best = np.maximum(best, mean[row])  # as if it turned out as expected: the next one should add something else
        return asked

    def _reach(self, history: Sequence[TrialRecord], directions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """How far each trial's front reaches from the reference point in each direction [N, Q]; trials that own a part of the front."""
        names, up = self._goals.objectives, self._goals.maximise
        owners = np.array([i for i, record in enumerate(history) for _ in range(len(record.front))], dtype=np.int64)
        columns = [np.concatenate([np.asarray(record.front.metrics[n]) for record in history if len(record.front)]) for n in names]
        signed = np.stack([(-1.0 if u else 1.0) * np.log(np.maximum(c, 1e-300)) for c, u in zip(columns, up, strict=True)], axis=1)
        front = non_dominated(signed, [False] * len(names))
        low, high = signed[front].min(axis=0), signed[front].max(axis=0)
        inside = REFERENCE - (signed - low) / np.where(high > low, high - low, 1.0)  # [P, M]
        length = (inside[:, None, :] / directions[None, :, :]).min(axis=2)  # [P, Q]
        found = np.full((len(history), len(directions)), -np.inf)
        np.maximum.at(found, owners, length)
        floor = np.where(np.isfinite(found), found, np.inf).min(axis=0)
        return np.maximum(np.where(np.isfinite(found), found, floor), -WORST), np.unique(owners[front])

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


def _best_half(reach: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of `reach` [N, Q] for the surrogate: those that come furthest in some direction; what is far from any front misleads it."""
    rank = np.argsort(np.argsort(-reach, axis=0, kind="stable"), axis=0, kind="stable").min(axis=1)
    most = min(SEES, max(3 * FIRST, len(reach) // 2))
    return np.sort(np.argsort(rank, kind="stable")[:most])


def _number(seed: int, batch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:8], "big")
