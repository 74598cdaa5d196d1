"""What the search asks of a cost model: screen an outer choice cheaply, prepare it once, then price tables of inner points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dse.cost.capacity import Infeasibility
    from dse.cost.metrics import Priced
    from dse.search.space import Value

    Columns = Mapping[str, NDArray[np.float64]]
    """By inner path, each [size]."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Attainable roofs of D design points; both arrays are [D]."""

    peak_macs_per_s: NDArray[np.float64]
    dram_bytes_per_s: NDArray[np.float64]


class Screen(Protocol):
    """What is known of an outer choice before any mapping is sought."""

    def design(self, columns: Columns, size: int) -> Mapping[str, NDArray[np.float64]]:
        """Quantities of the design alone, each [size]: `area_mm2`, and `cost_usd` where the campaign has prices."""

    def fits(self, columns: Columns, size: int) -> NDArray[np.bool_]:
        """Which points may fit [size]: False only where DRAM certainly cannot hold weights and caches."""


@runtime_checkable
class Explains(Protocol):
    """A screen, or a prepared choice, that says what designs lack which do not fit."""

    def lacking(self, columns: Columns, size: int) -> tuple[int, Infeasibility] | None:
        """Of `size` points none of which fits: the row of the one that lacks least, and what; None where it is not room."""


class Prepared(Protocol):
    """One outer choice, ready to be priced."""

    @property
    def macs(self) -> float:
        """MACs of the step (of the first scenario)."""

    @property
    def compulsory_bytes(self) -> float:
        """DRAM bytes that the step cannot avoid (of the first scenario)."""

    @property
    def tokens_per_sequence(self) -> tuple[float, ...]:
        """New tokens per sequence of each scenario."""

    def price(self, columns: Columns, size: int) -> Sequence[Priced]:
        """Price `size` design points for every scenario; each column is [size]. No columns: `size` equal points."""

    def ceilings(self, columns: Columns, size: int) -> Ceilings:
        """Roofs of the same points (for the first scenario)."""


class Evaluator(Protocol):
    """A cost model seen from the search; may keep caches, must not keep anything that changes results."""

    def screen(self, choice: Mapping[str, Value]) -> Screen:
        """What is known of one outer choice without frontiers.

        Raises:
            DseError: the choice cannot be evaluated; the trial fails with this message.
        """

    def prepare(self, choice: Mapping[str, Value]) -> Prepared:
        """Lower, compile and build frontiers for one outer choice.

        Raises:
            DseError: the choice cannot be evaluated; the trial fails with this message.
        """

    def rough(self, choice: Mapping[str, Value]) -> Prepared:
        """A bound instead of a cost: prices without frontiers, for a first look at many choices.

        Raises:
            DseError: the choice cannot be evaluated.
        """


class EvaluatorFactory(Protocol):
    """Makes the evaluator of a worker process; picklable."""

    def __call__(self) -> Evaluator:
        """A new evaluator."""
