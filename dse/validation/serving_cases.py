"""The systems of arXiv 2507.15465v3 as serving cases: 32 B200 in one NVLink domain, bf16, degrees of its table IV."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dse.ir.lowering import Phase
from dse.plugins import load_system
from dse.serving_case import serving_case
from dse.system.kernels import Region
from dse.workload import Switch, WorkloadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dse.serving_case import ServingCase
    from dse.system.layer_time import OperatorTime

DEEPSEEK, LLAMA, GPT3 = "deepseek_r1", "llama4_maverick", "gpt3_175b"
PLANS: Final = {DEEPSEEK: "dp=32,ep=32", LLAMA: "tp=8,dp=4,ep=32", GPT3: "tp=8,dp=4"}
"""Degrees of the paper's table IV."""
SPREAD: Final = {DEEPSEEK: "dp=32,ep=32,dense_tp=32", LLAMA: "tp=8,dp=4,ep=32,dense_tp=32", GPT3: "tp=8,dp=4"}
"""The same with dense layers and shared experts held once per system, as the paper's equation 11 counts memory."""
GPT3_LENGTH: Final = 2048
"""Longest context of GPT-3; beyond it its linear growth is continued, as the paper does."""
CHIPS: Final = 32


@dataclass(frozen=True)
class Setting:
    """One point of the paper's grids."""

    model: str = DEEPSEEK
    cache_len: int = 4096
    scheme: str | None = None
    parallel: str | None = None
    """The paper's degrees where None."""
    precision: str = "bf16"
    skew: float = 0.0
    system: str = "b200_x32"
    overrides: tuple[tuple[str, object], ...] = ()
    """Settings of the system, for example link rates."""
    prefill: bool = False
    norms: bool = True
    rope: bool = True
    layers: int | None = None
    """Decoder layers of the last kind are added or taken away until there are so many."""


@lru_cache(maxsize=1024)
def case_of(setting: Setting) -> ServingCase:
    """The serving case of a setting."""
    s = setting
    description = load_system(s.system)
    if s.overrides:
        description = description.with_overrides(dict(s.overrides))
    options = WorkloadOptions(
        model=s.model,
        phase=Phase.PREFILL if s.prefill else Phase.DECODE,
        cache_len=s.cache_len,
        attention=s.scheme,
        precision=s.precision,
        rope=Switch.ON if s.rope else Switch.OFF,
        norms=Switch.ON if s.norms else Switch.OFF,
        routing=f"zipf:{s.skew:g}" if s.skew else "uniform",
    )
    case = serving_case(options, description.system, s.parallel or PLANS[s.model])
    return case if s.layers is None else _with_layers(case, s.layers)


def _with_layers(case: ServingCase, layers: int) -> ServingCase:
    last = max(i for i, p in enumerate(case.work.parts) if p.is_layer)
    changed = tuple(replace(p, count=p.count + layers - case.work.layers) if i == last else p for i, p in enumerate(case.work.parts))
    return replace(case, work=replace(case.work, parts=changed))


def largest_batch(setting: Setting) -> float:
    """Sequences of the whole system that fit (B_cap), before rounding; GPT-3's cache continued beyond its context."""
    if setting.model == GPT3 and setting.cache_len > GPT3_LENGTH:
        case = case_of(replace(setting, cache_len=GPT3_LENGTH))
        memory = case.memory()
        longer = memory.cache_bytes_per_sequence * setting.cache_len / GPT3_LENGTH
        return replace(memory, cache_bytes_per_sequence=longer).batch_that_fits(case.plan)
    case = case_of(setting)
    return case.memory().batch_that_fits(case.plan)


def step_seconds(setting: Setting, batches: Sequence[int]) -> NDArray[np.float64]:
    """TPOT for each number of sequences of the whole system; GPT-3's linear growth continued beyond its context."""
    if setting.model == GPT3 and setting.cache_len > GPT3_LENGTH:
        half, full = (case_of(replace(setting, cache_len=n)).times(batches).seconds for n in (GPT3_LENGTH // 2, GPT3_LENGTH))
        return full + (full - half) * (setting.cache_len - GPT3_LENGTH) / (GPT3_LENGTH // 2)
    return case_of(setting).times(batches).seconds


def attention_operators(setting: Setting, sequences_per_chip: int) -> dict[str, OperatorTime]:
    """Operators of the attention block of one layer with experts, by name."""
    case = case_of(setting)
    part = next(p for p in case.work.parts if p.has_experts)
    operators = case.run(case.system.chips * sequences_per_chip).operators(part)
    return {o.name: o for o in operators if o.region is Region.ATTENTION}


def attention_seconds(setting: Setting, sequences_per_chip: int) -> dict[str, float]:
    """Seconds of each of them."""
    return {name: float(o.seconds[0]) for name, o in attention_operators(setting, sequences_per_chip).items()}
