"""The metrics of a serving system: from a workload, a system and degrees of parallelism to TPOT, TTFT, throughput and shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import UsageError
from dse.ir.expert_load import UNIFORM
from dse.ir.lowering import Phase
from dse.plugins import load_model
from dse.system.chip_time import chip_rates, kernel_time
from dse.system.kernels import Region
from dse.system.parallel import divisors_of, legal_plans, parse_parallel
from dse.system.placement import Placing
from dse.system.step import step_times
from dse.system.work import model_work
from dse.workload import Switch, lowering_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.ir.expert_load import Routing
    from dse.ir.lowering import LoweringRequest, Model
    from dse.system.parallel import Parallel
    from dse.system.step import StepTimes
    from dse.system.system import System
    from dse.system.work import ModelWork
    from dse.workload import WorkloadOptions


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
    infeasibility: str | None

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
            "infeasibility": [] if ok else [{"resource": "memory", "message": self.infeasibility}],
        }


def serving_request(options: WorkloadOptions) -> tuple[Model, LoweringRequest]:
    """The model and the request for one sequence; all layers unless one is named.

    Raises:
        UsageError: not exactly one of model and config, or an ONNX file, whose layers and batch are fixed.
    """
    if options.onnx is not None or (options.model is None) == (options.config is None):
        raise UsageError("dse system needs one of --model NAME and --config config.json; an ONNX file has one batch and no layers")
    name = options.model if options.model is not None else f"./{options.config}" if "/" not in str(options.config) else options.config
    model = load_model(str(name))
    if options.layer is None and not options.all_layers:
        options = replace(options, all_layers=True)
    given = replace(options, norms=Switch.ON if options.norms is Switch.AUTO else options.norms)
    request = lowering_request(given, default_scheme=model.attention_schemes[0], last_layer=model.layers - 1)
    return model, replace(request, routing=UNIFORM)


def evaluate_serving(
    options: WorkloadOptions,
    system: System,
    parallel: str = "",
    *,
    routing: Routing = UNIFORM,
    placing: Placing = Placing.RANDOM,
    prefill: bool = True,
) -> ServingPoint:
    """One point: `options.batch` sequences of the whole system, each with `cache_len` positions (cut over cp chips).

    Raises:
        UsageError: the model, the degrees or the system do not go together; says why.
    """
    model, request = serving_request(options)
    if request.batch < 1:
        raise UsageError(f"--batch is {request.batch}; allowed: at least 1")
    work, plan = _work_and_plan(model, request, system, parallel)
    times = step_times(work, system, plan, [request.batch], routing=routing, placing=placing)
    first = _prefill_s(model, request, system, plan, routing, placing) if prefill and request.phase is Phase.DECODE else None
    return _point(times, work, system, plan, request, first)


def _work_and_plan(model: Model, request: LoweringRequest, system: System, parallel: str) -> tuple[ModelWork, Parallel]:
    work = model_work(model, request)
    plan = parse_parallel(parallel, chips=system.chips, experts=work.experts)
    return model_work(model, local_request(request, plan)), plan


def local_request(request: LoweringRequest, plan: Parallel) -> LoweringRequest:
    """What one chip of a context group sees: its part of the positions, rounded up, and at least the new ones.

    Raises:
        UsageError: context parallelism in prefill, which is not modelled.
    """
    if plan.cp == 1:
        return request
    if request.phase is Phase.PREFILL:
        raise UsageError(f"cp={plan.cp}: context parallelism is modelled for decode only; use cp=1 in prefill")
    return replace(request, cache_len=max(request.query_len, -(-request.cache_len // plan.cp)))


def _prefill_s(model: Model, request: LoweringRequest, system: System, plan: Parallel, routing: Routing, placing: Placing) -> float:
    prompt = replace(request, phase=Phase.PREFILL, query_len=request.cache_len)
    work = model_work(model, prompt)
    alone = replace(plan, cp=1, dp=plan.dp * plan.cp, microbatches=1)
    return float(step_times(work, system, alone, [alone.dp * alone.pp], routing=routing, placing=placing).seconds[0])


def _point(
    times: StepTimes, work: ModelWork, system: System, plan: Parallel, request: LoweringRequest, prefill_s: float | None
) -> ServingPoint:
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
        max_batch=memory.largest_batch(plan),
        shares=times.shares(0),
        joules=float(times.joules[0]),
        gamma_chip=float(times.gamma_chip[0]),
        gamma_expert=float(times.gamma_expert[0]),
        ridge_batch=ridge_batches(work, system, plan),
        memory_gib={
            "weights": memory.weight_bytes / gib,
            "experts": memory.expert_bytes / gib,
            "cache": memory.cache_bytes_per_sequence * sequences / gib,
            "activations": (memory.activation_fixed_bytes + memory.activation_bytes_per_sequence * sequences) / gib,
            "capacity": memory.capacity_bytes / gib,
        },
        infeasibility=None if bool(times.feasible[0]) else memory.message(sequences, plan),
    )


def ridge_batches(work: ModelWork, system: System, plan: Parallel) -> dict[str, float | None]:
    """Sequences of the whole system from which a kernel's compute takes longer than its bytes, by `part/kernel`.

    For kernels with weights, at even load; None where it never does. Counts are a + b x for x sequences (rows of an expert),
    so the crossing is (a_bytes - a_compute) / (b_compute - b_bytes).
    """
    rates = chip_rates(system.chip)
    zero, one = np.zeros(1), np.ones(1)
    found: dict[str, float | None] = {}
    for part in work.parts:
        by = divisors_of(plan, part.sizes)
        for kernel in part.kernels:
            if not kernel.macs or not part.is_layer:
                continue
            fixed = kernel_time(kernel, by, rates, zero, one)
            both = kernel_time(kernel, by, rates, one, one)
            a = float(fixed.dram_s[0] - fixed.compute_s[0])
            b = float(both.compute_s[0] - fixed.compute_s[0] - both.dram_s[0] + fixed.dram_s[0])
            crossing = a / b if b > 0 else inf
            if kernel.region is Region.EXPERTS:  # rows of one expert; every token has k of E experts
                crossing *= work.experts / work.experts_per_token / work.tokens_per_sequence
                crossing *= plan.stage_chips / max(plan.ep * plan.moe_tp, plan.tp * plan.cp)
            else:
                crossing *= plan.dp
            found[f"{part.name}/{kernel.name}"] = crossing * plan.pp * plan.microbatches if 0 < crossing < inf else None
    return found


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One point of a grid."""

    plan: Parallel
    cache_len: int
    batch: int
    tpot_s: float
    tokens_per_s_per_chip: float
    tokens_per_joule: float
    shares: dict[str, float]
    feasible: bool


def serving_grid(
    options: WorkloadOptions,
    system: System,
    *,
    batches: Sequence[int],
    cache_lens: Sequence[int],
    parallels: Sequence[str] | None = None,
    routing: Routing = UNIFORM,
    placing: Placing = Placing.RANDOM,
) -> list[GridPoint]:
    """All combinations of batch, cache length and degrees (all legal ones where None), in this order from the inside out.

    Raises:
        UsageError: as `evaluate_serving`.
    """
    model, request = serving_request(options)
    rates = chip_rates(system.chip)
    first = model_work(model, request)
    if parallels is None:
        plans = list(legal_plans(first, system.chips))
    else:
        plans = [parse_parallel(text, chips=system.chips, experts=first.experts) for text in parallels]
    points: list[GridPoint] = []
    for plan in plans:
        for cache_len in cache_lens:
            work = model_work(model, local_request(replace(request, cache_len=cache_len), plan))
            times = step_times(work, system, plan, list(batches), routing=routing, placing=placing, rates=rates)
            fit = times.feasible
            for n, batch in enumerate(batches):
                seconds = float(times.seconds[n])
                tokens = batch * request.query_len
                rate, per_joule = tokens / seconds / system.chips, tokens / float(times.joules[n])
                points.append(GridPoint(plan, cache_len, batch, seconds, rate, per_joule, times.shares(n), bool(fit[n])))
    return points


def pareto(points: Sequence[GridPoint]) -> list[GridPoint]:
    """Feasible points that no other beats in both throughput per chip and TPOT, by rising TPOT."""
    best: list[GridPoint] = []
    for p in sorted((p for p in points if p.feasible), key=lambda p: (p.tpot_s, -p.tokens_per_s_per_chip)):
        if not best or p.tokens_per_s_per_chip > best[-1].tokens_per_s_per_chip:
            best.append(p)
    return best


def best_under(points: Sequence[GridPoint], tpot_limit_s: float) -> GridPoint | None:
    """The feasible point of the most throughput per chip with a TPOT of at most the limit; None where there is none."""
    return max((p for p in points if p.feasible and p.tpot_s <= tpot_limit_s), key=lambda p: p.tokens_per_s_per_chip, default=None)
