"""What blocks of mappings of one operator on one array share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np
    from numpy.typing import NDArray

    from dse.mapping.crossings import Trips
    from dse.mapping.tilings import Tiling

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


MOST: Final = 4096
"""Lines that are kept."""


@dataclass(frozen=True)
class Lines:
    """What many blocks of one view share: an operand with one home moves the same in each that cuts the dimension that it lacks in the same
    way. Tilings are told by their identity, so those in keys are kept."""

    trips: dict[Hashable, Trips] = field(default_factory=dict)
    columns: dict[Hashable, FloatArray] = field(default_factory=dict)
    alike: dict[Hashable, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    _least: dict[tuple[int, bytes], Tiling] = field(default_factory=dict)
    _tilings: dict[int, Tiling] = field(default_factory=dict)

    def keep(self, *tilings: Tiling) -> None:
        """To be called before something is added that has the identity of these in its key."""
        if len(self._tilings) > MOST:
            for known in (self.trips, self.columns, self.alike, self._least, self._tilings):
                known.clear()
        self._tilings.update((id(tiling), tiling) for tiling in tilings)

    def least(self, tiling: Tiling, starts: IntArray) -> Tiling:
        """`Tiling.least`, one object for all blocks."""
        key = id(tiling), starts.tobytes()
        if key not in self._least:
            self.keep(tiling)
            self._least[key] = tiling.least(starts)
        return self._least[key]
