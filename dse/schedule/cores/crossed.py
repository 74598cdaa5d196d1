"""Groups divided along two streams at once: on a grid of cores each part reads a share of either operand instead of all of one."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Final

from dse.cost.frontier_pricing import TIE_TOLERANCE
from dse.schedule.cores.shapes import Shape, kinds_for, numbers_of_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.hw.many_core import Chip
    from dse.schedule.cores.estimate import Estimator
    from dse.schedule.cores.groups import Group, Work

MOST_GROUPS: Final = 64
"""All grids are offered to all groups of plans of so many groups: a chain of groups on one grid passes on what it has in place; ..."""
WORTHWHILE_SHARE: Final = 0.02
"""... of longer ones, and of those that are at their bound, to groups whose estimate is at least this part of the plan's ..."""
MOST_GRIDS: Final = 2
"""... so many that cost them least."""
GAIN: Final = 0.999
"""They are tried where the estimate of the plan is at most so many times that without them."""


def crossed(group: Group, chip: Chip, work: Work) -> Iterator[Shape]:
    """The two largest numbers of cores of each kind that may run a group, in the squarest grids, and each pair of streams over rows and
    columns of these."""
    common = sorted(frozenset.intersection(*(work.streams.sliceable(o) for o in group.operators)))
    loops, sizes = [work.streams.loops[o.name] for o in group.operators], work.streams.sizes
    pairs = [(a, b) for a, b in permutations(common, 2) if all(a in of and b in of and of[a] != of[b] for of in loops)]
    for kind in kinds_for(group, chip, work):
        for ways in numbers_of_parts(len(chip.of_kind(kind)))[-2:]:
            for columns in squarest(ways):
                for a, b in pairs:
                    if ways // columns <= sizes[a] and columns <= sizes[b]:
                        yield Shape(kind, a, ways, second=b, second_ways=columns)


def squarest(ways: int) -> tuple[int, ...]:
    """Columns of the squarest grids of so many cores, at least two each way; none for a prime number."""
    found = [n for n in range(2, ways // 2 + 1) if ways % n == 0]
    least = min((max(n, ways // n) for n in found), default=0)
    return tuple(n for n in found if max(n, ways // n) == least)


def with_crossed(
    groups: Sequence[Group], offered: Sequence[Sequence[Shape]], by: Estimator, spends: Estimator, *, few: bool
) -> list[list[Shape]] | None:
    """The shapes of `offered` and those along two streams that cost a group no more; None where there are none.

    `few`: the plan is at its bound, and only energy is to be gained: of groups that matter alone, of long plans none. `spends`
    estimates energy, which decides between grids of equal time: it follows what crosses the links.
    """
    if few and len(groups) > MOST_GROUPS:
        return None
    least = [min((by.own(g, s) for s in options), default=float("inf")) for g, options in zip(groups, offered, strict=True)]
    total, wide = sum(least), [list(options) for options in offered]
    few = few or len(groups) > MOST_GROUPS
    for i, group in enumerate(groups):
        if few and least[i] < WORTHWHILE_SHARE * total:
            continue
        fitting = (s for s in crossed(group, by.chip, by.work) if by.slices.fits(group, s))
        if not few:
            wide[i] += fitting
            continue
        equal = [s for s in fitting if by.own(group, s) <= least[i] * (1 + TIE_TOLERANCE)]
        wide[i] += sorted(equal, key=lambda s: (by.own(group, s), spends.own(group, s)))[:MOST_GRIDS]
    return wide if any(len(w) > len(o) for w, o in zip(wide, offered, strict=True)) else None
