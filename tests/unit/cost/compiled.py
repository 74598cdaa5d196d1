"""Compiled steps of the catalogue, each made once for all tests of a session."""

from __future__ import annotations

from functools import cache

from dse.cost.workload_pricing import CompiledWorkload
from dse.evaluate import Schedule, Step, compile_step
from dse.hw.read import AcceleratorDescription
from dse.ir.lowering import Part, Phase
from dse.plugins import load_accelerator
from dse.workload import Switch, WorkloadOptions, load_workload


@cache
def accelerator(name: str) -> AcceleratorDescription:
    return load_accelerator(name)


@cache
def step(
    model: str,
    scheme: str | None = None,
    *,
    part: Part = Part.ATTENTION,
    batch: int = 1,
    cache_len: int = 4096,
    rope: bool = True,
    phase: Phase = Phase.DECODE,
    all_layers: bool = False,
) -> Step:
    options = WorkloadOptions(
        model=model,
        attention=scheme,
        part=part,
        batch=batch,
        cache_len=cache_len,
        rope=Switch.ON if rope else Switch.OFF,
        phase=phase,
        all_layers=all_layers,
    )
    return load_workload(options).step


@cache
def compiled(given: Step, name: str, schedule: Schedule = Schedule.FUSED) -> CompiledWorkload:
    return compile_step(given, accelerator(name).geometry, schedule=schedule)
