"""Disaggregated serving: one pool of chips reads prompts, another makes tokens, caches go from the first to the second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dse.errors import UsageError
from dse.ir.lowering import Phase
from dse.serving_case import DEFAULT_CHOICES, ServingCase, serving_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.cost.capacity import Infeasibility
    from dse.serving_case import ServingChoices
    from dse.system.system import System
    from dse.workload import WorkloadOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """How the chips of a system are split, and what a request is."""

    prefill_chips: int | None
    """Chips that read prompts; None tries all splits, or takes all of a prefill system. The others make tokens."""
    output_len: int
    """Tokens made per request."""
    prompt_len: int | None = None
    """Tokens read per request; None for the cache length of the workload."""
    prefill_batch: int | None = None
    """Prompts in one step of the prefill pool; None for one per data-parallel group and pipeline stage."""
    prefill_parallel: str = ""
    decode_parallel: str = ""
    prefill_system: System | None = None
    """A system of its own for prompts; all of the other one then makes tokens."""


@dataclass(frozen=True)
class Pool:
    """One pool at work."""

    case: ServingCase
    batch: int
    step_s: float
    requests_per_s: float
    """That it could serve."""
    energy_per_request_j: float
    infeasibility: Infeasibility | None

    def to_json_dict(self, served_per_s: float) -> dict[str, object]:
        """The keys of a pool; `served_per_s` is what the slowest part of the system lets through."""
        ok = self.infeasibility is None
        return {
            "system": self.case.system.name,
            "chips": self.case.system.chips,
            "parallel": str(self.case.plan),
            "batch": self.batch,
            "step_s": self.step_s if ok else None,
            "requests_per_s": self.requests_per_s if ok else None,
            "utilisation": served_per_s / self.requests_per_s if ok else None,
            "max_batch": self.case.largest_batch,
        }


@dataclass(frozen=True)
class PooledPoint:
    """Two pools, and the requests that pass through both."""

    system: System
    prefill: Pool
    decode: Pool
    output_len: int
    cache_bytes: float
    """Of one request, all layers."""
    transfer_s: float
    """Seconds in which the cache of one request goes from pool to pool."""
    transfers_per_s: float
    """Caches per second that the links between the pools can carry."""

    @property
    def infeasibility(self) -> tuple[Infeasibility, ...]:
        """Why pools cannot run; none where both can."""
        pools = (("prefill", self.prefill.infeasibility), ("decode", self.decode.infeasibility))
        return tuple(replace(why, message=f"{name} pool: {why.message}") for name, why in pools if why is not None)

    @property
    def rates(self) -> dict[str, float]:
        """Requests per second by what could limit them."""
        return {"prefill": self.prefill.requests_per_s, "transfer": self.transfers_per_s, "decode": self.decode.requests_per_s}

    @property
    def requests_per_s(self) -> float:
        """Requests per second of the whole system."""
        return min(self.rates.values())

    @property
    def chips(self) -> int:
        """Of both pools."""
        return self.prefill.case.system.chips + self.decode.case.system.chips

    @property
    def tokens_per_s_per_chip(self) -> float:
        """Made tokens per second over the chips of both pools."""
        return self.requests_per_s * self.output_len / self.chips

    def to_json_dict(self) -> dict[str, object]:
        """The JSON of `dse system` with pools; null where a pool cannot run."""
        ok = not self.infeasibility
        served = self.requests_per_s
        joules = self.prefill.energy_per_request_j + self.decode.energy_per_request_j
        return {
            "system": self.system.name,
            "chips": self.chips,
            "feasible": ok,
            "tpot_s": self.decode.step_s if ok else None,
            "ttft_s": self.prefill.step_s if ok else None,
            "kv_transfer_s": self.transfer_s,
            "kv_bytes_per_request": self.cache_bytes,
            "requests_per_s": served if ok else None,
            "tokens_per_s": served * self.output_len if ok else None,
            "tokens_per_s_per_chip": self.tokens_per_s_per_chip if ok else None,
            "tokens_per_joule": self.output_len / joules if ok else None,
            "bottleneck": min(self.rates, key=lambda n: self.rates[n]) if ok else None,
            "prefill": self.prefill.to_json_dict(served),
            "decode": self.decode.to_json_dict(served),
            "infeasibility": [why.to_json_dict() for why in self.infeasibility],
        }


def evaluate_pools(
    options: WorkloadOptions, system: System, pools: PoolOptions, *, choices: ServingChoices = DEFAULT_CHOICES
) -> list[PooledPoint]:
    """The split asked for, or all that the system's domains allow, by rising chips of the prefill pool.

    `options.batch` sequences run in the decode pool with `cache_len` positions each. In the steady state a pool serves
    batch / step requests (over the output length in decode), and the slowest of prefill, transfer and decode decides.
    TTFT is a step of the prefill pool, without waiting for its turn; the cache follows before the second token. Its bytes go
    from the chips that hold it (a group: tp x cp x pp) to those that will, at the rate of the level that joins
    the pools (of two systems, the slower of their outermost levels), which is not shared with collectives here.

    Raises:
        UsageError: a pool with no chips, degrees that do not fit it, or lengths below 1.
    """
    if pools.output_len < 1 or (pools.prompt_len is not None and pools.prompt_len < 1):
        raise UsageError(f"--output-len and --prompt-len count tokens: at least 1; given: {pools.output_len} and {pools.prompt_len}")
    if options.phase is not Phase.DECODE:
        raise UsageError("pools have both phases: leave out --phase prefill, and give --prompt-len for the prompt")
    if pools.prefill_chips is not None or pools.prefill_system is not None:
        return [_point(options, system, pools, pools.prefill_chips, choices)]
    found = list(_splits(options, system, pools, choices))
    if not found:
        raise UsageError(f"--prefill-chips auto: no split of the {system.chips} chips of {system.name} takes these degrees")
    return found


def _splits(options: WorkloadOptions, system: System, pools: PoolOptions, choices: ServingChoices) -> Iterator[PooledPoint]:
    for chips in range(1, system.chips):
        try:
            yield _point(options, system, pools, chips, choices)
        except UsageError:  # this split does not divide; the caller is told where none does
            continue


def _split(system: System, pools: PoolOptions, prefill_chips: int | None) -> tuple[System, System]:
    """Chips for prompts and chips for tokens."""
    if pools.prefill_system is not None:
        own = pools.prefill_system
        return own.part(own.chips if prefill_chips is None else prefill_chips), system
    assert prefill_chips is not None
    if not 1 <= prefill_chips < system.chips:
        idle = "prefill" if prefill_chips < 1 else "decode"
        raise UsageError(f"--prefill-chips {prefill_chips}: the {idle} pool has no chips; allowed: 1 to {system.chips - 1}")
    return system.part(prefill_chips), system.part(system.chips - prefill_chips)


def _point(options: WorkloadOptions, system: System, pools: PoolOptions, prefill_chips: int | None, choices: ServingChoices) -> PooledPoint:
    first, second = _split(system, pools, prefill_chips)
    decode = serving_case(options, second, pools.decode_parallel, choices=choices)
    length = pools.prompt_len if pools.prompt_len is not None else decode.request.cache_len
    prompt = replace(options, phase=Phase.PREFILL, query_len=length, cache_len=length)
    prefill = serving_case(prompt, first, pools.prefill_parallel, choices=choices)
    reading = _pool(prefill, pools.prefill_batch or prefill.plan.dp * prefill.plan.pp, 1)
    making = _pool(decode, options.batch, pools.output_len)
    size = sum(p.count * sum(a.slope for a in p.caches) for p in prefill.work.parts)
    ends = [s.level(s.chips) for s in ((system,) if pools.prefill_system is None else (first, second))]
    rate = min(link.bytes_per_s * link.sustained_fraction for link in ends)
    ports = min(c.plan.tp * c.plan.cp * c.plan.pp for c in (prefill, decode))
    return PooledPoint(
        system=system,
        prefill=reading,
        decode=making,
        output_len=pools.output_len,
        cache_bytes=size,
        transfer_s=max(link.latency_s for link in ends) + size / (ports * rate),
        transfers_per_s=min(first.chips, second.chips) * rate / size if size else float("inf"),
    )


def _pool(case: ServingCase, batch: int, steps: int) -> Pool:
    times = case.times([batch])
    step_s = float(times.seconds[0])
    sequences = int(times.sequences[0])
    why = None if bool(times.feasible[0]) else times.memory.shortage(sequences, case.own_plan)
    return Pool(case, batch, step_s, batch / (step_s * steps), float(times.joules[0]) * steps / batch, why)


def best_split(points: list[PooledPoint], tpot_limit_s: float | None = None, ttft_limit_s: float | None = None) -> PooledPoint | None:
    """The feasible split of most tokens per second and chip within the limits; None where there is none."""
    fit = [
        p
        for p in points
        if not p.infeasibility
        and (tpot_limit_s is None or p.decode.step_s <= tpot_limit_s)
        and (ttft_limit_s is None or p.prefill.step_s <= ttft_limit_s)
    ]
    return max(fit, key=lambda p: p.tokens_per_s_per_chip, default=None)
