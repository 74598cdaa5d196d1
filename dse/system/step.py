"""One step of a system: compute on the busiest chip, collectives between chips, and where the time goes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.ir.expert_load import UNIFORM
from dse.system.capacity import memory_of
from dse.system.chip_time import chip_rates, kernel_time
from dse.system.collectives import collective_cost
from dse.system.kernels import Region
from dse.system.parallel import checked, divisors_of
from dse.system.placement import Placing, cached_placement, group_load
from dse.system.system import Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.ir.expert_load import Routing
    from dse.system.capacity import Memory
    from dse.system.chip_time import ChipRates
    from dse.system.parallel import Parallel
    from dse.system.placement import GroupLoad
    from dse.system.system import System
    from dse.system.work import ModelWork, PartWork

    FloatArray = NDArray[np.float64]

SHARES: Final = ("attention", "ffn", "communication", "idle", "other")
"""Where the time of a step goes; `ffn` has experts in it, `other` embedding and output head."""


@dataclass(frozen=True)
class StepTimes:
    """A step over P batches; all arrays [P]. Parts of the time add up to `seconds`."""

    batch: FloatArray
    """Sequences of the whole system."""
    seconds: FloatArray
    attention_s: FloatArray
    ffn_s: FloatArray
    communication_s: FloatArray
    """Not hidden behind compute."""
    idle_s: FloatArray
    """Chips waiting on average: for the busiest expert group member, and in pipelines for the longest stage."""
    other_s: FloatArray
    joules: FloatArray
    """Of all chips: MACs, vector operations, DRAM, links, leakage."""
    gamma_chip: FloatArray
    """Largest over mean load of chips with experts; 1 without experts."""
    gamma_expert: FloatArray
    memory: Memory
    sequences: NDArray[np.int64]
    """Of one data-parallel group, the fullest."""

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Whether weights, caches and activations fit."""
        used = np.array([self.memory.used_bytes(float(n)) for n in self.sequences])
        return used <= self.memory.capacity_bytes

    def shares(self, index: int) -> dict[str, float]:
        """Parts of the time of point `index`; they sum to 1."""
        total = float(self.seconds[index])
        return {name: float(getattr(self, f"{name}_s")[index]) / total for name in SHARES}


@dataclass(frozen=True)
class _Layer:
    """One run of a part over P points."""

    attention_s: FloatArray
    ffn_s: FloatArray
    other_s: FloatArray
    waiting_s: FloatArray
    communication_s: FloatArray
    joules: FloatArray
    """Of one chip, links not in it."""
    link_joules: FloatArray
    """Of all chips of a stage."""

    @property
    def compute_s(self) -> FloatArray:
        return self.attention_s + self.ffn_s + self.other_s + self.waiting_s


def step_times(
    work: ModelWork,
    system: System,
    plan: Parallel,
    batches: Sequence[int] | NDArray[np.int64],
    *,
    routing: Routing = UNIFORM,
    placing: Placing = Placing.RANDOM,
    rates: ChipRates | None = None,
) -> StepTimes:
    """Times of a step for each number of sequences in `batches` (of the whole system), [P].

    The fullest data-parallel group has ceil(batch / dp) sequences and decides. With pp stages these run as pp micro-batches, so
    that each stage always has one; a token passes all stages: step = pp x (longest stage + hand-over). With two micro-batches each
    layer takes 2 max(compute, communication) of half the batch, plus the smaller of both once. Without, compute and communication follow
    each other.

    Raises:
        UsageError: a plan that is not legal for the model and system, or a batch below 1.
    """
    checked(plan, work, system.chips)
    batch = np.asarray(batches, dtype=np.int64)
    rates = rates or chip_rates(system.chip)
    groups = -(-batch // plan.dp)  # [P] sequences of the fullest group
    pieces = plan.pp * plan.microbatches
    piece = np.maximum(1, -(-groups // pieces)).astype(np.float64)  # [P] sequences in one micro-batch
    load = _load(work, plan, routing, placing, piece)
    sums = {name: np.zeros(len(batch)) for name in (*SHARES, "hidden")}
    joules = np.zeros(len(batch))
    for part in work.parts:
        layer = _layer(part, work, system, plan, rates, piece, load, routing)
        runs = ceil(part.count / plan.pp) * plan.pp if part.is_layer else part.count
        over = runs * plan.microbatches  # micro-batches of a pipeline overlap: each stage works on one at a time
        exposed = layer.communication_s
        if plan.microbatches == 2:
            exposed = np.maximum(0.0, layer.communication_s - layer.compute_s)
            sums["hidden"] += np.minimum(layer.communication_s, layer.compute_s) if part.is_layer else 0.0
        late = (runs - part.count) / runs if part.is_layer else 0.0
        sums["attention"] += part.count * plan.microbatches * layer.attention_s
        sums["ffn"] += part.count * plan.microbatches * layer.ffn_s
        sums["other"] += over * layer.other_s
        sums["idle"] += over * layer.waiting_s + over * late * (layer.attention_s + layer.ffn_s)
        sums["communication"] += over * exposed
        joules += part.count * pieces * (layer.joules * plan.stage_chips + layer.link_joules)
    sums["communication"] += sums.pop("hidden") + _hand_over(work, system, plan, piece)
    seconds = sum(sums.values(), start=np.zeros(len(batch)))
    joules = joules + rates.leakage_w * seconds * system.chips
    return StepTimes(
        batch=batch.astype(np.float64),
        seconds=seconds,
        attention_s=sums["attention"],
        ffn_s=sums["ffn"],
        communication_s=sums["communication"],
        idle_s=sums["idle"],
        other_s=sums["other"],
        joules=joules,
        gamma_chip=load.gamma_chip if load else np.ones(len(batch)),
        gamma_expert=load.gamma_expert if load else np.ones(len(batch)),
        memory=memory_of(work, plan, system),
        sequences=groups,
    )


def _load(work: ModelWork, plan: Parallel, routing: Routing, placing: Placing, piece: FloatArray) -> GroupLoad | None:
    """Loads of an expert group: the tokens of all its data-parallel groups."""
    if not work.experts:
        return None
    placement = cached_placement(routing, work.experts, work.experts_per_token, plan.ep, plan.redundant, placing)
    sharing = max(1, plan.ep * plan.moe_tp // (plan.tp * plan.cp))
    return group_load(placement, routing, work.experts_per_token, np.maximum(1, piece * work.tokens_per_sequence * sharing))


def _layer(
    part: PartWork,
    work: ModelWork,
    system: System,
    plan: Parallel,
    rates: ChipRates,
    piece: FloatArray,
    load: GroupLoad | None,
    routing: Routing,
) -> _Layer:
    by = divisors_of(plan, part.sizes)
    times = {region: np.zeros(len(piece)) for region in Region}
    waiting, joules = np.zeros(len(piece)), np.zeros(len(piece))
    for kernel in part.kernels:
        if kernel.region is Region.EXPERTS:
            assert load is not None
            slow = kernel_time(kernel, by, rates, load.largest_rows, load.active_experts)
            mean = kernel_time(kernel, by, rates, load.mean_rows, load.active_experts)
            times[Region.FFN] += mean.seconds
            waiting += slow.seconds - mean.seconds
            joules += mean.joules
        else:
            one = kernel_time(kernel, by, rates, piece)
            times[kernel.region] += one.seconds
            joules += one.joules
    communication, links = _communication(part, work, system, plan, piece, load)
    return _Layer(times[Region.ATTENTION], times[Region.FFN], times[Region.OTHER], waiting, communication, joules, links)


def _communication(
    part: PartWork, work: ModelWork, system: System, plan: Parallel, piece: FloatArray, load: GroupLoad | None
) -> tuple[FloatArray, FloatArray]:
    """Seconds of a layer's collectives and joules of its stage, [P].

    Tensor groups add up after attention and after the feed-forward part (all-reduce over tp). Context groups add up the partial results
    of the core. Experts over more chips than a tensor group: dispatch and combine, in which the busiest member receives Gamma times
    the mean; every member of a tensor group sends its share of the tokens.
    """
    seconds, joules = np.zeros(len(piece)), np.zeros(len(piece))
    if not part.is_layer:
        return seconds, joules
    stream = part.stream_bytes  # of one sequence
    core = [k for k in part.kernels if k.core]
    calls: list[tuple[Operation, FloatArray, int, int, FloatArray | float]] = []  # operation, bytes, ranks, how often, slow-down
    if plan.tp > 1:
        calls.append((Operation.ALL_REDUCE, piece * stream, plan.tp, 2 if core else 1, 1.0))
    if plan.cp > 1 and core:
        calls.append((Operation.ALL_REDUCE, piece * _core_output(part, plan), plan.cp * plan.tp, 1, 1.0))
    group = plan.ep * plan.moe_tp
    if part.has_experts and load is not None and group > plan.tp:
        sent = piece * stream * work.experts_per_token * plan.moe_tp / (plan.tp * plan.cp)
        calls.append((Operation.ALL_TO_ALL, sent, group, 2, load.gamma_chip))
    for operation, size, ranks, times, slower in calls:
        costs = [collective_cost(system, operation, float(s), ranks) for s in size * slower]
        seconds += times * np.array([c.seconds for c in costs])
        share = plan.stage_chips / ranks
        joules += times * share * np.array([c.energy_j for c in costs]) / slower
    return seconds, joules


def _core_output(part: PartWork, plan: Parallel) -> float:
    """Bytes of one sequence that leave the core of attention on one chip: activations across its boundary, half of them out."""
    from dse.system.chip_time import activation_bytes

    by = divisors_of(plan, part.sizes)
    return sum(sum(activation_bytes(k, by)) for k in part.kernels if k.core) / 2


def _hand_over(work: ModelWork, system: System, plan: Parallel, piece: FloatArray) -> FloatArray:
    """Seconds in which activations pass from stage to stage, once per stage boundary and round."""
    if plan.pp == 1:
        return np.zeros(len(piece))
    stream = max(p.stream_bytes for p in work.parts if p.is_layer)
    link = system.level(min(system.chips, plan.stage_chips * 2))
    return plan.pp * (link.latency_s + piece * stream / plan.tp / (link.bytes_per_s * link.sustained_fraction))
