"""One step of a system: compute on the busiest chip, collectives between chips, and where the time goes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.ir.expert_load import UNIFORM
from dse.system.capacity import memory_of
from dse.system.chip_time import system_rates
from dse.system.kernels import Region
from dse.system.layer_time import DIRECT, RooflineChip, layer_operators
from dse.system.parallel import OVERLAPPED, checked
from dse.system.placement import Placing, cached_load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.ir.expert_load import Routing
    from dse.system.capacity import Memory
    from dse.system.layer_time import ChipModel, ExchangeChoice, OperatorTime
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
    compute_s: FloatArray
    """Of a chip's matrix unit, were it never to wait."""
    dram_s: FloatArray
    dram_bytes: FloatArray
    """Of all chips."""
    memory: Memory
    sequences: NDArray[np.int64]
    """Of one data-parallel group, the fullest."""

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Whether weights, caches and activations fit."""
        return np.asarray(self.memory.used_bytes(self.sequences.astype(np.float64)) <= self.memory.capacity_bytes)

    def shares(self, index: int) -> dict[str, float]:
        """Parts of the time of point `index`; they sum to 1."""
        total = float(self.seconds[index])
        return {name: float(getattr(self, f"{name}_s")[index]) / total for name in SHARES}


def step_times(
    work: ModelWork,
    system: System,
    plan: Parallel,
    batches: Sequence[int] | NDArray[np.int64],
    *,
    routing: Routing = UNIFORM,
    placing: Placing = Placing.RANDOM,
    chip: ChipModel | None = None,
    exchange: ExchangeChoice = DIRECT,
) -> StepTimes:
    """Times of a step for each number of sequences in `batches` (of the whole system), [P].

    The fullest data-parallel group has ceil(batch / dp) sequences and decides. With pp stages these run as pp micro-batches, so
    that each stage always has one; a token passes all stages: step = pp x (longest stage + hand-over). With two micro-batches each
    layer takes 2 max(compute, communication) of half the batch, plus the smaller of both once. Without, compute and communication follow
    each other.

    Raises:
        UsageError: a plan that is not legal for the model and system, or a batch below 1.
    """
    batch = np.asarray(batches, dtype=np.int64)
    return times_of(run_of(work, system, plan, batch, routing=routing, placing=placing, chip=chip, exchange=exchange))


def times_of(run: Run) -> StepTimes:
    """Times of a step whose batch is cut and whose loads are known, see `step_times`."""
    work, system, plan, batch = run.work, run.system, run.plan, run.batch
    total = _Total(plan, len(batch))
    for part in work.parts:
        total.add(part, run.operators(part))
    communication = total.sums["communication"] + total.hidden + _hand_over(work, system, plan, run.piece)
    sums = {**total.sums, "communication": communication}
    seconds = sum(sums.values(), start=np.zeros(len(batch)))
    return StepTimes(
        batch=batch.astype(np.float64),
        seconds=seconds,
        attention_s=sums["attention"],
        ffn_s=sums["ffn"],
        communication_s=sums["communication"],
        idle_s=sums["idle"],
        other_s=sums["other"],
        joules=total.joules + run.chip.leakage_w * seconds * system.chips,
        gamma_chip=run.load.gamma_chip if run.load else np.ones(len(batch)),
        gamma_expert=run.load.gamma_expert if run.load else np.ones(len(batch)),
        compute_s=total.compute_s,
        dram_s=total.dram_s,
        dram_bytes=total.dram_bytes * system.chips / plan.pp,
        memory=memory_of(work, plan, system),
        sequences=run.groups,
    )


@dataclass(frozen=True)
class Run:
    """What a step needs to time any of its parts."""

    work: ModelWork
    system: System
    plan: Parallel
    chip: ChipModel
    exchange: ExchangeChoice
    batch: NDArray[np.int64]
    """Sequences of the whole system, [P]."""
    groups: NDArray[np.int64]
    """Sequences of the fullest data-parallel group, [P]."""
    piece: FloatArray
    """Sequences of one of its micro-batches, [P]."""
    load: GroupLoad | None

    def operators(self, part: PartWork) -> tuple[OperatorTime, ...]:
        """Operators of one run of a part for one micro-batch."""
        return layer_operators(part, self.work, self.system, self.plan, self.chip, self.piece, self.load, self.exchange)


def run_of(
    work: ModelWork,
    system: System,
    plan: Parallel,
    batch: NDArray[np.int64],
    *,
    routing: Routing = UNIFORM,
    placing: Placing = Placing.RANDOM,
    chip: ChipModel | None = None,
    exchange: ExchangeChoice = DIRECT,
) -> Run:
    """Check the plan, cut the batch and find the loads of the experts.

    Raises:
        UsageError: as `step_times`.
    """
    checked(plan, work, system.chips)
    groups = -(-batch // plan.dp)
    piece = np.maximum(1, -(-groups // (plan.pp * plan.microbatches))).astype(np.float64)
    load = _load(work, plan, routing, placing, piece)
    return Run(work, system, plan, chip or RooflineChip(system_rates(system)), exchange, batch, groups, piece, load)


class _Total:
    """Sums over parts, each [P]."""

    def __init__(self, plan: Parallel, size: int) -> None:
        self.plan = plan
        self.sums = {name: np.zeros(size) for name in SHARES}
        self.hidden = np.zeros(size)
        self.joules = np.zeros(size)
        self.compute_s = np.zeros(size)
        self.dram_s = np.zeros(size)
        self.dram_bytes = np.zeros(size)

    def add(self, part: PartWork, operators: tuple[OperatorTime, ...]) -> None:
        """All runs of a part; micro-batches of a pipeline overlap, as each stage works on one at a time."""
        plan, zero = self.plan, np.zeros_like(self.hidden)

        def total(*regions: Region | None) -> FloatArray:
            return sum((o.seconds for o in operators if o.region in regions), start=zero)

        attention, ffn, other = total(Region.ATTENTION), total(Region.FFN, Region.EXPERTS), total(Region.OTHER)
        waiting = sum((o.waiting_s for o in operators), start=zero)
        communication, compute = total(None), attention + ffn + other + waiting
        runs = ceil(part.count / plan.pp) * plan.pp if part.is_layer else part.count
        over = runs * plan.microbatches
        exposed = communication
        if plan.microbatches == OVERLAPPED:
            exposed = np.maximum(0.0, communication - compute)
            self.hidden += np.minimum(communication, compute) if part.is_layer else 0.0
        late = (runs - part.count) / runs if part.is_layer else 0.0
        self.sums["attention"] += part.count * plan.microbatches * attention
        self.sums["ffn"] += part.count * plan.microbatches * ffn
        self.sums["other"] += over * other
        self.sums["idle"] += over * waiting + over * late * (attention + ffn)
        self.sums["communication"] += over * exposed
        runs_of_chip = part.count * plan.microbatches
        kernels = [o for o in operators if o.region is not None]
        self.compute_s += runs_of_chip * sum((o.compute_s for o in kernels), start=zero)
        self.dram_s += runs_of_chip * sum((o.dram_s for o in kernels), start=zero)
        self.dram_bytes += runs_of_chip * plan.pp * sum((o.moved_bytes for o in kernels), start=zero)
        of_chip = sum((o.joules for o in operators if o.region is not None), start=zero)
        of_links = sum((o.joules for o in operators if o.region is None), start=zero)
        self.joules += part.count * plan.pp * plan.microbatches * (of_chip * plan.stage_chips + of_links)


def _load(work: ModelWork, plan: Parallel, routing: Routing, placing: Placing, piece: FloatArray) -> GroupLoad | None:
    """Loads of an expert group: the tokens of all its data-parallel groups."""
    if not work.experts:
        return None
    sharing = max(1, plan.ep * plan.moe_tp // (plan.tp * plan.cp))
    tokens, at = np.unique(np.maximum(1, piece * work.tokens_per_sequence * sharing), return_inverse=True)
    found = cached_load(routing, work.experts, work.experts_per_token, plan.ep, plan.redundant, placing, tuple(tokens.tolist()))
    return found.at(at)


def _hand_over(work: ModelWork, system: System, plan: Parallel, piece: FloatArray) -> FloatArray:
    """Seconds in which activations pass from stage to stage, once per stage boundary and round."""
    if plan.pp == 1:
        return np.zeros(len(piece))
    stream = work.stream_bytes
    link = system.level(min(system.chips, plan.stage_chips * 2))
    return plan.pp * (link.latency_s + piece * stream / plan.tp / (link.bytes_per_s * link.sustained_fraction))
