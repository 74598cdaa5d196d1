"""Orders that paper A's figures 5 and 6 show, by pricing the whole flow: ONNX, mappings, fused schedule, prices of the template."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.evaluate import Objective, compile_step, price
from dse.plugins import load_accelerator
from dse.units import BITS_PER_BYTE, BYTES_PER_GB, FLOPS_PER_MAC, HZ_PER_MHZ
from dse.validation.counts import attention_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.cost.metrics import Priced
    from dse.cost.workload_pricing import CompiledWorkload

    FloatArray = NDArray[np.float64]

TEMPLATE: Final = "flat_cloud"
MODEL: Final = "deepseek_v3"
GB_PER_S: Final = 400.0  # arXiv 2506.02523, figure 5
DRAM_PJ_PER_BIT: Final = 8.0  # arXiv 2506.02523, figure 6
MLA: Final = ("reuse", "recompute")
FOUR: Final = ("mha_l", "mha_s", *MLA)


@lru_cache(maxsize=128)
def _compiled(chip: str, scheme: str, cache_len: int) -> CompiledWorkload:
    step = attention_layer(MODEL, scheme, cache_len).step
    return compile_step(step, load_accelerator(chip).geometry)


def priced(chip: str, scheme: str, cache_len: int, columns: Mapping[str, FloatArray], objective: Objective) -> Priced:
    """One layer, one token, on a chip over columns of prices."""
    return price(_compiled(chip, scheme, cache_len), load_accelerator(chip).table(columns), objective=objective)


def fastest(ridges: Sequence[float], schemes: Sequence[str], cache_len: int) -> list[str]:
    """The fastest scheme on the template at 400 GB/s for each ratio of operations per DRAM byte: its clock follows, and its buffer."""
    description = load_accelerator(TEMPLATE)
    name, buffer = description.file.buffer
    clock_mhz = np.array(ridges) * GB_PER_S * BYTES_PER_GB / (FLOPS_PER_MAC * description.geometry.array.elements) / HZ_PER_MHZ
    assert buffer.read_gb_per_s is not None
    rate = buffer.read_gb_per_s / description.file.clock_mhz * clock_mhz
    columns = {"clock_mhz": clock_mhz, f"memories.{description.file.dram[0]}.bandwidth_gb_per_s": np.full_like(clock_mhz, GB_PER_S)}
    columns |= {f"memories.{name}.{way}_gb_per_s": rate for way in ("read", "write")}
    times = np.array([priced(TEMPLATE, s, cache_len, columns, Objective.LATENCY).latency_s for s in schemes])  # [S, P]
    return [schemes[int(i)] for i in np.argmin(times, axis=0)]


def faster_on(chip: str, schemes: Sequence[str], cache_len: int) -> str:
    """The fastest scheme on a chip of the catalogue as it is."""
    times = [float(priced(chip, s, cache_len, {}, Objective.LATENCY).latency_s[0]) for s in schemes]
    return schemes[int(np.argmin(times))]


def energies(scheme: str, cache_len: int, factors: Sequence[float]) -> FloatArray:
    """Joules on the template with all on-chip energies multiplied by each factor."""
    description = load_accelerator(TEMPLATE)
    name, _ = description.file.buffer
    present = {p.path: p.value for p in description.paths()}
    paths = ["core.array.mac_energy_pj.bf16", "core.vector.energy_pj_per_op"]
    paths += [f"memories.{name}.{way}_energy_pj_per_byte" for way in ("read", "write")]
    columns = {p: float(str(present[p])) * np.array(factors) for p in paths}
    dram = np.full(len(factors), DRAM_PJ_PER_BIT * BITS_PER_BYTE)
    columns |= {f"memories.{description.file.dram[0]}.{way}_energy_pj_per_byte": dram for way in ("read", "write")}
    return priced(TEMPLATE, scheme, cache_len, columns, Objective.ENERGY).energy_j


def most_frugal(factors: Sequence[float], schemes: Sequence[str], cache_len: int) -> list[str]:
    """The scheme of least energy for each factor on the on-chip energies."""
    table = np.array([energies(s, cache_len, factors) for s in schemes])  # [S, P]
    return [schemes[int(i)] for i in np.argmin(table, axis=0)]


def swing(scheme: str, cache_len: int, factors: Sequence[float]) -> float:
    """Energy at the first factor over that at the last."""
    found = energies(scheme, cache_len, factors)
    return float(found[0] / found[-1])
