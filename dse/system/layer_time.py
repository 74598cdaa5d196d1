"""The operators of a layer timed on the busiest chip: kernels by a model of the chip, collectives by the links."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dse.system.chip_program import chip_program, uses_dense_cut
from dse.system.chip_time import kernel_time
from dse.system.collectives import collective_cost
from dse.system.exchange import RoutedMessages, exchange_s
from dse.system.kernels import Region
from dse.system.parallel import divisors_of
from dse.system.work import KernelWork

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.system.axes import Cut
    from dse.system.chip_program import CollectiveWork
    from dse.system.chip_time import ChipRates
    from dse.system.parallel import Parallel
    from dse.system.placement import GroupLoad
    from dse.system.system import System
    from dse.system.work import ModelWork, PartWork

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class OperatorTime:
    """One operator over P points; all arrays [P]."""

    name: str
    region: Region | None
    """None for a collective."""
    core: bool
    """Whether it touches the scores of attention."""
    seconds: FloatArray
    """At mean load where it works on experts."""
    waiting_s: FloatArray
    """What the busiest chip takes longer than the mean one; others wait for it."""
    compute_s: FloatArray
    """Of the matrix unit; 0 for collectives."""
    dram_s: FloatArray
    macs: FloatArray
    """Of one chip."""
    moved_bytes: FloatArray
    """Of one chip, between chip and DRAM; of a collective what a chip puts on its links."""
    joules: FloatArray
    """Of one chip; of a collective, of all chips of a stage."""

    def at(self, points: NDArray[np.intp]) -> OperatorTime:
        """The same for some of the points."""
        arrays = ("seconds", "waiting_s", "compute_s", "dram_s", "macs", "moved_bytes", "joules")
        return replace(self, **{name: getattr(self, name)[points] for name in arrays})


class ChipModel(Protocol):
    """What a chip needs for the kernels of a part."""

    def times(self, part: PartWork, work: ModelWork, plan: Parallel, piece: FloatArray, load: GroupLoad | None) -> tuple[OperatorTime, ...]:
        """Kernels of one run of a part for `piece` sequences of a data-parallel group, [P]; expert kernels for `load`."""

    @property
    def leakage_w(self) -> float | FloatArray:
        """Leakage of one chip."""


@dataclass(frozen=True)
class RooflineChip:
    """Each kernel by the larger of compute, vector work and bytes: `chip_time.kernel_time`."""

    rates: ChipRates

    @property
    def leakage_w(self) -> float | FloatArray:
        """Leakage of one chip."""
        return self.rates.leakage_w

    def times(self, part: PartWork, work: ModelWork, plan: Parallel, piece: FloatArray, load: GroupLoad | None) -> tuple[OperatorTime, ...]:
        """As `ChipModel.times`."""
        del work
        by = divisors_of(plan, part.sizes)
        return tuple(timed_kernel(k, by, plan, piece, load, self.rates.of_region(k.region)) for k in part.kernels)


def timed_kernel(
    kernel: KernelWork, by: dict[Cut, float], plan: Parallel, piece: FloatArray, load: GroupLoad | None, rates: ChipRates
) -> OperatorTime:
    """A kernel on the busiest chip at the given rates: `chip_time.kernel_time` for its sequences, or for the rows of its experts."""
    late = np.zeros_like(piece)
    if kernel.region is Region.EXPERTS:
        assert load is not None
        one = kernel_time(kernel, by, rates, load.mean_rows, load.active_experts)
        late = kernel_time(kernel, by, rates, load.largest_rows, load.active_experts).seconds - one.seconds
    else:
        one = kernel_time(kernel, by, rates, piece * plan.dense_groups if uses_dense_cut(kernel) else piece)
    return OperatorTime(
        name=kernel.name,
        region=kernel.region,
        core=kernel.core,
        seconds=one.seconds,
        waiting_s=late,
        compute_s=one.compute_s,
        dram_s=one.dram_s,
        macs=one.macs,
        moved_bytes=one.moved_bytes,
        joules=one.joules,
    )


@dataclass(frozen=True, slots=True)
class ExchangeChoice:
    """How expert rows travel: straight messages at the rates of the links, or the measured kernels of the system."""

    mode: str = "direct"
    """direct, or low_latency or normal, whose constants the system's file has."""
    workers: int = 24
    """Workers (SMs) that copy, normal mode only. Default: what the measured library takes unless told otherwise."""


DIRECT = ExchangeChoice()


def layer_operators(
    part: PartWork,
    work: ModelWork,
    system: System,
    plan: Parallel,
    chip: ChipModel,
    piece: FloatArray,
    load: GroupLoad | None,
    exchange: ExchangeChoice = DIRECT,
) -> tuple[OperatorTime, ...]:
    """All operators of one run of a part, kernels first in their order, then collectives in theirs.

    Raises:
        UsageError: measured exchange kernels that the system's links do not have.
        InputError: a format that the chip cannot multiply.
    """
    kernels = chip.times(part, work, plan, piece, load)
    steps = [s for s in chip_program(part, work, plan) if not isinstance(s, KernelWork)]
    return kernels + tuple(_collective(s, part, work, system, plan, piece, load, exchange) for s in steps)


def _collective(
    step: CollectiveWork,
    part: PartWork,
    work: ModelWork,
    system: System,
    plan: Parallel,
    piece: FloatArray,
    load: GroupLoad | None,
    exchange: ExchangeChoice,
) -> OperatorTime:
    """The busiest destination of a dispatch or combine gets Gamma times the mean."""
    slower = load.gamma_chip if step.by_load and load is not None else np.ones_like(piece)
    loaded, at = np.unique(piece * slower, return_inverse=True)  # many points of a search have the same batch
    costs = [collective_cost(system, step.operation, float(n) * step.bytes_per_sequence, step.ranks) for n in loaded]
    if step.by_load and exchange.mode != DIRECT.mode:
        seconds = _measured(step, part, work, system, plan, loaded, exchange)[at]
    else:
        seconds = np.array([c.seconds for c in costs])[at]
    zero = np.zeros_like(piece)
    return OperatorTime(
        name=step.name,
        region=None,
        core=False,
        seconds=seconds,
        waiting_s=zero,
        compute_s=zero,
        dram_s=zero,
        macs=zero,
        moved_bytes=np.array([c.wire_bytes for c in costs])[at] / slower,
        joules=np.array([c.energy_j for c in costs])[at] / slower * plan.stage_chips / step.ranks,
    )


def _measured(
    step: CollectiveWork, part: PartWork, work: ModelWork, system: System, plan: Parallel, loaded: FloatArray, exchange: ExchangeChoice
) -> FloatArray:
    """Seconds of the measured dispatch or combine kernel for `loaded` sequences, [P]."""
    tokens = loaded * work.tokens_per_sequence / (plan.tp * plan.cp)
    nodes = max(1, step.ranks // system.links[0].chips)
    each = part.stream_bytes / work.tokens_per_sequence
    return np.array(
        [
            exchange_s(
                system,
                RoutedMessages(float(t), work.experts_per_token * plan.moe_tp, each),
                mode=exchange.mode,
                phase=step.name,
                ranks=step.ranks,
                nodes=nodes,
                workers=exchange.workers,
            )
            for t in tokens
        ]
    )
