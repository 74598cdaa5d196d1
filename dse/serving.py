"""The metrics of a serving system: from a workload, a system and degrees of parallelism to TPOT, TTFT, throughput and shares."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from dse.ir.lowering import Phase
from dse.serving_case import DEFAULT_CHOICES, case_of, serving_case
from dse.system.chip_program import CollectiveWork, chip_program, uses_dense_cut
from dse.system.chip_time import kernel_time, system_rates
from dse.system.kernels import Region
from dse.system.parallel import divisors_of
from dse.units import FLOPS_PER_MAC

if TYPE_CHECKING:
    from dse.cost.capacity import Infeasibility
    from dse.serving_case import ServingCase, ServingChoices
    from dse.system.layer_time import OperatorTime
    from dse.system.parallel import Parallel
    from dse.system.step import StepTimes
    from dse.system.system import System
    from dse.system.work import ModelWork, PartWork
    from dse.workload import WorkloadOptions


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One kernel or collective of a layer, as one chip runs it once; of experts, the busiest chip."""

    part: str
    count: int
    """Times that the part runs in a step."""
    operator: str
    region: str
    """attention, ffn, experts, other or communication."""
    seconds: float
    flops: float
    bytes: float
    """Between chip and DRAM; of a collective what a chip puts on its links."""
    ranks: int
    """Chips that take part; 1 for kernels."""


@dataclass(frozen=True)
class ServingPoint:
    """One batch of one model on one system with one plan."""

    system: System
    plan: Parallel
    phase: Phase
    batch: int
    query_len: int
    cache_len: int
    step_s: float
    prefill_s: float | None
    """Seconds of a prompt as long as the cache, one per data-parallel group; None where it was not asked for."""
    max_batch: int
    shares: dict[str, float]
    joules: float
    gamma_chip: float
    gamma_expert: float
    ridge_batch: dict[str, float | None]
    memory_gib: dict[str, float]
    infeasibility: Infeasibility | None
    operators: tuple[OperatorRow, ...]
    """Every kernel and collective of every kind of layer, in order."""

    @property
    def feasible(self) -> bool:
        """Whether everything fits."""
        return self.infeasibility is None

    @property
    def tokens_per_s(self) -> float:
        """New tokens of the whole system per second."""
        return self.batch * self.query_len / self.step_s

    def to_json_dict(self) -> dict[str, object]:
        """The JSON of `dse system`; times, rates and energy are null where nothing fits."""
        ok = self.feasible
        decode = self.phase is Phase.DECODE
        tokens = self.tokens_per_s
        watts = self.system.power_w
        return {
            "system": self.system.name,
            "chips": self.system.chips,
            "parallel": {n: getattr(self.plan, n) for n in self.plan.__dataclass_fields__},
            "batch": self.batch,
            "cache_len": self.cache_len,
            "feasible": ok,
            "tpot_s": self.step_s if ok and decode else None,
            "ttft_s": (self.prefill_s if decode else self.step_s) if ok else None,
            "tokens_per_s": tokens if ok else None,
            "tokens_per_s_per_chip": tokens / self.system.chips if ok else None,
            "tokens_per_s_per_user": self.query_len / self.step_s if ok and decode else None,
            "tokens_per_joule": self.batch * self.query_len / self.joules if ok else None,
            "tokens_per_joule_rated": tokens / (watts * self.system.chips) if ok and watts else None,
            "energy_j": self.joules if ok else None,
            "max_batch": self.max_batch,
            "shares": self.shares if ok else None,
            "bottleneck": max(self.shares, key=lambda n: self.shares[n]) if ok else None,
            "ridge_batch": self.ridge_batch,
            "imbalance": {"chip": self.gamma_chip, "expert": self.gamma_expert},
            "memory_gib": self.memory_gib,
            "infeasibility": [] if self.infeasibility is None else [self.infeasibility.to_json_dict()],
            "operators": [asdict(o) for o in self.operators],
        }


def evaluate_serving(
    options: WorkloadOptions,
    system: System,
    parallel: str = "",
    *,
    choices: ServingChoices = DEFAULT_CHOICES,
    prefill: bool = True,
) -> ServingPoint:
    """One point: `options.batch` sequences of the whole system, each with `cache_len` positions (cut over cp chips).

    Raises:
        UsageError: the model, the degrees or the system do not go together; says why.
    """
    case = serving_case(options, system, parallel, choices=choices)
    times = case.times([case.request.batch])
    first = _prefill_s(case) if prefill and case.request.phase is Phase.DECODE else None
    return _point(times, case, first)


def _prefill_s(case: ServingCase) -> float:
    """Seconds of one prompt as long as the cache per data-parallel group, by the same degrees without overlap."""
    prompt = replace(case.request, phase=Phase.PREFILL, query_len=case.request.cache_len)
    before = case_of(case.model, prompt, case.routing, case.system, replace(case.plan, microbatches=1), case.choices)
    return float(before.times([case.plan.dp * case.plan.pp]).seconds[0])


def _point(times: StepTimes, case: ServingCase, prefill_s: float | None) -> ServingPoint:
    work, system, plan, request = case.work, case.system, case.plan, case.request
    memory, sequences = times.memory, int(times.sequences[0])
    gib = 2.0**30
    return ServingPoint(
        system=system,
        plan=plan,
        phase=request.phase,
        batch=int(times.batch[0]),
        query_len=request.query_len,
        cache_len=request.cache_len,
        step_s=float(times.seconds[0]),
        prefill_s=prefill_s,
        max_batch=case.largest_batch,
        shares=times.shares(0),
        joules=float(times.joules[0]),
        gamma_chip=float(times.gamma_chip[0]),
        gamma_expert=float(times.gamma_expert[0]),
        ridge_batch=ridge_batches(work, system, case.own_plan),
        memory_gib={
            "weights": memory.weight_bytes / gib,
            "experts": memory.expert_bytes / gib,
            "cache": memory.cache_bytes_per_sequence * sequences / gib,
            "activations": (memory.activation_fixed_bytes + memory.activation_bytes_per_sequence * sequences) / gib,
            "capacity": memory.capacity_bytes / gib,
        },
        operators=operator_rows(case, int(times.batch[0])),
        infeasibility=None if bool(times.feasible[0]) else memory.shortage(sequences, case.own_plan),
    )


def operator_rows(case: ServingCase, batch: int) -> tuple[OperatorRow, ...]:
    """Operators of every part for one micro-batch, those of a part in the order of `chip_program` where chips are timed by kernels."""
    run, rows = case.run(batch), []
    for part in case.work.parts:
        steps = chip_program(part, run.work, run.plan)
        order = {s.name: n for n, s in enumerate(steps)}
        ranks = {s.name: s.ranks for s in steps if isinstance(s, CollectiveWork)}
        times = sorted(run.operators(part), key=lambda o: order.get(o.name, 0))
        rows += [_row(part, o, ranks.get(o.name, 1)) for o in times]
    return tuple(rows)


def _row(part: PartWork, one: OperatorTime, ranks: int) -> OperatorRow:
    return OperatorRow(
        part=part.name,
        count=part.count,
        operator=one.name,
        region="communication" if one.region is None else one.region.value,
        seconds=float(one.seconds[0] + one.waiting_s[0]),
        flops=FLOPS_PER_MAC * float(one.macs[0]),
        bytes=float(one.moved_bytes[0]),
        ranks=ranks,
    )


def ridge_batches(work: ModelWork, system: System, plan: Parallel) -> dict[str, float | None]:
    """Sequences of the whole system from which a kernel's compute takes longer than its bytes, by `part/kernel`.

    For kernels with weights, at even load; None where it never does. Counts are a + b x for x sequences (rows of an expert),
    so the crossing is (a_bytes - a_compute) / (b_compute - b_bytes).
    """
    rates = system_rates(system)
    zero, one = np.zeros(1), np.ones(1)
    found: dict[str, float | None] = {}
    for part in work.parts:
        by = divisors_of(plan, part.sizes)
        for kernel in part.kernels:
            if not kernel.macs or not part.is_layer:
                continue
            fixed = kernel_time(kernel, by, rates.of_region(kernel.region), zero, one)
            both = kernel_time(kernel, by, rates.of_region(kernel.region), one, one)
            a = float(fixed.dram_s[0] - fixed.compute_s[0])
            b = float(both.compute_s[0] - fixed.compute_s[0] - both.dram_s[0] + fixed.dram_s[0])
            crossing = a / b if b > 0 else inf
            if kernel.region is Region.EXPERTS:  # rows of one expert; every token has k of E experts
                crossing *= work.experts / work.experts_per_token / work.tokens_per_sequence
                crossing *= plan.stage_chips / max(plan.ep * plan.moe_tp, plan.tp * plan.cp)
            else:
                crossing *= plan.dp / (plan.dense_groups if uses_dense_cut(kernel) else 1)
            found[f"{part.name}/{kernel.name}"] = crossing * plan.pp * plan.microbatches if 0 < crossing < inf else None
    return found
