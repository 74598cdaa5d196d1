"""Counts of lowered attention that claims are checked with: the model goes through ONNX and the operator graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dse.ir.lowering import Masked, Part, Phase
from dse.units import FLOPS_PER_MAC
from dse.workload import Switch, Workload, WorkloadOptions, load_workload


@dataclass(frozen=True)
class AttentionCounts:
    """One layer's attention: MACs, and elements that must be read once."""

    macs: int
    weights: float
    """Weight elements."""
    cache: float
    """Cache elements."""
    parameters: int
    operator_macs: dict[str, int]

    @property
    def elements(self) -> float:
        """Weights and cache, once each."""
        return self.weights + self.cache

    def ops_per_byte(self, width_bytes: int) -> float:
        """Operations (two per MAC) over compulsory bytes."""
        return FLOPS_PER_MAC * self.macs / (self.elements * width_bytes)


@lru_cache(maxsize=256)
def attention_layer(
    model: str, scheme: str, cache_len: int, *, prefill: bool = False, rope: bool = False, precision: str = "bf16"
) -> Workload:
    """One attention layer of batch 1 without norms; one new token, or the whole length in prefill. Masked scores count."""
    options = WorkloadOptions(
        model=model,
        phase=Phase.PREFILL if prefill else Phase.DECODE,
        query_len=cache_len if prefill else 1,
        cache_len=cache_len,
        attention=scheme,
        precision=precision,
        rope=Switch.ON if rope else Switch.OFF,
        norms=Switch.OFF,
        part=Part.ATTENTION,
        masked=Masked.COMPUTED,
    )
    return load_workload(options)


@lru_cache(maxsize=256)
def attention_counts(model: str, scheme: str, cache_len: int, *, prefill: bool = False, rope: bool = False) -> AttentionCounts:
    """Counts of `attention_layer` in bf16."""
    workload = attention_layer(model, scheme, cache_len, prefill=prefill, rope=rope)
    summary = workload.summary_json()
    totals, operators = summary["totals"], summary["operators"]
    assert isinstance(totals, dict) and isinstance(operators, list)
    width = 2
    return AttentionCounts(
        macs=int(totals["macs"]),
        weights=totals["weight_bytes"] / width,
        cache=totals["cache_bytes"] / width,
        parameters=workload.parameters_total,
        operator_macs={o["name"]: int(o["macs"]) for o in operators},
    )


def peak_macs_per_s(accelerator: str, dtype: str = "bf16") -> float:
    """Peak MACs per second of a catalogue entry."""
    from dse.plugins import load_accelerator

    description = load_accelerator(accelerator)
    array = description.geometry.array
    rate = array.rate(dtype)
    assert rate is not None, accelerator
    return array.elements * rate * description.table().prices().clock_hz


def ridge_ops_per_byte(accelerator: str, dtype: str = "bf16") -> float:
    """Peak operations per second over DRAM bytes per second of a catalogue entry."""
    from dse.plugins import load_accelerator

    prices = load_accelerator(accelerator).table().prices()
    return FLOPS_PER_MAC * peak_macs_per_s(accelerator, dtype) / prices.dram_bytes_per_s
