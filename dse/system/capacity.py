"""What one chip must hold: weights, caches, activations; the largest batch that fits; and why nothing does."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Final, TypeVar

from dse.cost.capacity import Infeasibility
from dse.system.chip_program import uses_dense_cut
from dse.system.chip_time import activation_bytes
from dse.system.kernels import Region
from dse.system.parallel import divisors_of
from dse.units import BYTES_PER_GIB

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dse.system.parallel import Parallel
    from dse.system.system import System
    from dse.system.work import KernelWork, ModelWork


LEVERS: Final = ("fewer sequences", "a shorter cache", "smaller formats", "higher ep, tp or pp", "more chips")
Number = TypeVar("Number", "float", "NDArray[np.float64]")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on the fullest chip: those that are always there, and per sequence of its data-parallel group."""

    weight_bytes: float
    expert_bytes: float
    cache_bytes_per_sequence: float
    activation_fixed_bytes: float
    activation_bytes_per_sequence: float
    capacity_bytes: float

    def used_bytes(self, sequences: Number) -> Number:
        """All terms for `sequences` of a group, a number or an array."""
        per = self.cache_bytes_per_sequence + self.activation_bytes_per_sequence
        return self.weight_bytes + self.expert_bytes + self.activation_fixed_bytes + per * sequences

    def batch_that_fits(self, plan: Parallel) -> float:
        """`largest_batch` before it is rounded to whole sequences of every group."""
        per = self.cache_bytes_per_sequence + self.activation_bytes_per_sequence
        return max(0.0, (self.capacity_bytes - self.used_bytes(0)) / per) * plan.dp if per > 0 else 0.0

    def largest_batch(self, plan: Parallel) -> int:
        """Most sequences of the whole system: a multiple of its data-parallel groups; 0 where not one per group fits."""
        return floor(self.batch_that_fits(plan) / plan.dp) * plan.dp

    def shortage(self, sequences: int, plan: Parallel) -> Infeasibility:
        """Demand against bound on the fullest chip with `sequences` of a group, its terms, the largest first, and what would help."""
        terms = {
            "weights": self.weight_bytes,
            "experts": self.expert_bytes,
            "cache": self.cache_bytes_per_sequence * sequences,
            "activations": self.activation_fixed_bytes + self.activation_bytes_per_sequence * sequences,
        }
        more = {"cache": f" ({sequences} sequences per group of chips)"}
        told = ", ".join(f"{name} {size / BYTES_PER_GIB:.1f}{more.get(name, '')}" for name, size in terms.items())
        most, need = self.largest_batch(plan), self.used_bytes(float(sequences))
        helping = LEVERS if most else LEVERS[1:] if self.used_bytes(0.0) <= self.capacity_bytes else LEVERS[2:]
        message = (
            f"needs {need / BYTES_PER_GIB:.1f} GiB per chip, has {self.capacity_bytes / BYTES_PER_GIB:.1f} GiB: {told}; "
            f"the largest batch that fits is {most}; {', '.join(helping[:-1])}, or {helping[-1]} would help"
        )
        levers = (f"a batch of at most {most}", *helping[1:]) if most else helping
        contributors = tuple(sorted(((n, s) for n, s in terms.items() if s), key=lambda item: -item[1]))
        return Infeasibility("memory", need, self.capacity_bytes, message, contributors, levers)


def memory_of(work: ModelWork, plan: Parallel, system: System) -> Memory:
    """Memory terms of the fullest chip.

    Layers are spread over stages as evenly as whole layers allow, the first stage has the most. Every chip holds
    (experts + redundant) / ep experts per layer. Activations: the largest kernel boundary, inputs and outputs at once.
    """
    weights = experts = cache = 0.0
    activation = (0.0, 0.0)
    slots = (work.experts + plan.redundant) // plan.ep if work.experts else 0
    for part in work.parts:
        by = divisors_of(plan, part.sizes)
        runs = ceil(part.count / plan.pp) if part.is_layer else part.count
        weights += runs * sum(a.divided(by)[0] for a in part.weights)
        experts += runs * slots * part.expert_weights.divided(by)[0] if part.has_experts else 0.0
        cache += runs * sum(a.divided(by)[1] for a in part.caches)
        for kernel in part.kernels:
            here = _per_sequence(activation_bytes(kernel, by), kernel, work, plan)
            activation = max(activation, here, key=lambda pair: pair[0] + pair[1])
    return Memory(weights, experts, cache, activation[0], activation[1], system.memory_bytes)


def _per_sequence(pair: tuple[float, float], kernel: KernelWork, work: ModelWork, plan: Parallel) -> tuple[float, float]:
    """Expert kernels count per row: rows of a chip per sequence of a group, at even load; dense ones may work for several groups."""
    if kernel.region is not Region.EXPERTS:
        return pair[0], pair[1] * (plan.dense_groups if uses_dense_cut(kernel) else 1)
    rows = work.tokens_per_sequence * work.experts_per_token * plan.moe_tp / (plan.tp * plan.cp)
    return 0.0, pair[1] * rows
