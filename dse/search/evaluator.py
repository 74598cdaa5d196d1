"""What the search asks of a cost model: prepare an outer choice once, then price tables of inner points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dse.cost.metrics import Priced
    from dse.search.space import Value


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Attainable roofs of D design points; both arrays are [D]."""

    peak_macs_per_s: NDArray[np.float64]
    dram_bytes_per_s: NDArray[np.float64]


class Prepared(Protocol):
    """One outer choice, ready to be priced."""

    @property
    def macs(self) -> float:
        """MACs of the step."""

    @property
    def compulsory_bytes(self) -> float:
        """DRAM bytes that the step cannot avoid."""

    def price(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Priced:
        """Price `size` design points; each column is [size], by inner path. No columns: `size` equal points."""

    def ceilings(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Ceilings:
        """Roofs of the same points."""


class Evaluator(Protocol):
    """A cost model seen from the search; may keep caches, must not keep anything that changes results."""

    def prepare(self, choice: Mapping[str, Value]) -> Prepared:
        """Lower, compile and build frontiers for one outer choice.

        Raises:
            DseError: the choice cannot be evaluated; the trial fails with this message.
        """


class EvaluatorFactory(Protocol):
    """Makes the evaluator of a worker process; picklable."""

    def __call__(self) -> Evaluator:
        """A new evaluator."""
