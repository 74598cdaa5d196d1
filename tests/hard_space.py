"""A space of 6.4 million designs whose front is hard to find by chance: a transformer step on tiled arrays, in closed form.

The model is made for the benchmark and claims no chip: products of a layer on `cores` arrays of rows x columns, ragged utilisation, traffic by
dataflow and buffer, schemes of attention that trade arithmetic for traffic, precision, batch under a latency that pays for weights once. All
choices interact, and only some hundred of 30,240 outer choices touch the front.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.metrics import Priced
from dse.search.evaluator import Ceilings
from dse.search.goals import Constraint, Goals
from dse.search.pareto import non_dominated
from dse.search.space import Dimension, Scale, Space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.search.space import Value

    Array = NDArray[np.float64]

SCHEMES = ("plain", "reuse", "recompute_1", "recompute_2", "recompute_4", "cache_half", "cache_quarter")
_MACS = np.array([1.0, 0.62, 1.25, 1.6, 2.4, 1.1, 1.3])
_WEIGHTS = np.array([1.0, 1.7, 0.72, 0.6, 0.5, 1.0, 1.05])
_CACHE = np.array([1.0, 0.55, 0.5, 0.42, 0.36, 0.6, 0.42])
DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")
PRECISIONS = ("bf16", "fp8")
PRODUCTS = ((7168, 1536), (1536, 24576), (7168, 576), (512, 32768), (16384, 7168), (7168, 18432), (9216, 7168), (7168, 256))
"""(inner, outer) width of each product of the layer, near those of a large mixture-of-experts layer."""
ATTENTION_PRODUCTS = 5
"""The first of them belong to attention."""
CACHE_BYTES_PER_SEQUENCE = 9.4e6

SPACE = Space(
    (
        Dimension("core.array.rows", tuple(2**e for e in range(3, 9)), Scale.POWER_OF_TWO),
        Dimension("core.array.columns", tuple(2**e for e in range(3, 9)), Scale.POWER_OF_TWO),
        Dimension("core.array.count", (1, 4, 16, 64), Scale.ORDERED),
        Dimension("core.array.dataflow", DATAFLOWS, Scale.CATEGORICAL),
        Dimension("workload.attention", SCHEMES, Scale.CATEGORICAL),
        Dimension("workload.precision", PRECISIONS, Scale.CATEGORICAL),
        Dimension("workload.batch", (1, 6, 24, 96, 200), Scale.ORDERED),
    ),
    (
        Dimension(
            "memories.dram.bandwidth_gb_per_s", (50.0, 100.0, 200.0, 400.0, 700.0, 1200.0, 2000.0, 3200.0, 4800.0, 8000.0), Scale.ORDERED
        ),
        Dimension("memories.buffer.capacity_kib", tuple(2.0**e for e in range(9, 16)), Scale.POWER_OF_TWO),
        Dimension("clock_mhz", (500.0, 900.0, 1500.0), Scale.ORDERED),
    ),
)
LIMIT = Constraint("area_mm2", 400.0, at_least=False)
TWO = Goals(("tpot_s", "joules_per_token"), (LIMIT,))
THREE = Goals(("tpot_s", "joules_per_token", "area_mm2"), (LIMIT,))


def cost(outer: Mapping[str, Array], inner: Mapping[str, Array]) -> dict[str, Array]:
    """Latency, energy, area over broadcast outer choices (values; words as their positions) and inner points."""
    rows, columns, count = outer["core.array.rows"], outer["core.array.columns"], outer["core.array.count"]
    dataflow, scheme = outer["core.array.dataflow"].astype(np.int64), outer["workload.attention"].astype(np.int64)
    narrow, batch = outer["workload.precision"], outer["workload.batch"]
    bandwidth, buffer, clock = (
        inner["memories.dram.bandwidth_gb_per_s"] * 1e9,
        inner["memories.buffer.capacity_kib"] * 1024,
        inner["clock_mhz"],
    )
    element = np.where(narrow > 0, 1.0, 2.0)
    rate = np.where(narrow > 0, 2.0, 1.0)
    cycles, moved, reads = np.zeros(np.broadcast_shapes(rows.shape, clock.shape)), 0.0, 0.0
    macs = 0.0
    for position, (k, n) in enumerate(PRODUCTS):
        attention = position < ATTENTION_PRODUCTS
        factor = np.where(attention, _MACS[scheme], 1.0)
        work = factor * batch * k * n
        spread = [(k, n), (batch, n), (k, batch)]
        first, second = (np.choose(dataflow, [np.asarray(s[i], dtype=np.float64) + 0 * batch for s in spread]) for i in (0, 1))
        per_core = np.maximum(second / count, 1.0)
        steps = np.ceil(first / rows) * np.ceil(per_core / columns)
        streamed = np.choose(dataflow, [batch + 0.0 * k, 0 * batch + k, 0 * batch + n])
        fill = rows + columns
        cycles = cycles + factor * steps * (streamed / rate + fill / np.where(dataflow == 1, 1.0, 4.0))
        macs = macs + work
        weights = k * n * element * np.where(attention, _WEIGHTS[scheme], 1.0)
        tile = np.sqrt(buffer / element / 3)
        again = np.choose(
            dataflow, [np.ceil(batch * k * element / buffer) + 0 * buffer, np.ceil(batch / np.minimum(tile, 512)), np.ceil(n / tile / 32)]
        )
        moved = moved + weights * np.minimum(again, np.maximum(batch / 8, 1)) + batch * (k + n) * element
        reads = reads + work / np.where(dataflow == 1, np.minimum(rows, columns) / 2, rows) * element
    moved = moved + batch * CACHE_BYTES_PER_SEQUENCE * _CACHE[scheme] * element / 2
    seconds = np.maximum(cycles / (clock * 1e6), moved / bandwidth) + 0.1 * np.minimum(cycles / (clock * 1e6), moved / bandwidth)
    area = (
        rows * columns * count * np.where(narrow > 0, 3.2e-4, 4.4e-4)
        + 0.05 * count * np.sqrt(count)
        + buffer / 1024 * 1.4e-3
        + bandwidth * 2.2e-11
    )
    voltage = 0.7 + 0.3 * (clock / 1500) ** 2
    energy = macs * np.where(narrow > 0, 0.35e-12, 0.8e-12) * voltage + reads * 1.2e-12 * (buffer / 2**20) ** 0.35
    energy = energy + moved * (28e-12 + 8e-12 * (bandwidth / 2e12)) + area * 0.06 * seconds + count * cycles * 6e-10 * voltage
    return {"latency_s": seconds, "energy_j": energy, "area_mm2": area, "moved": moved, "tokens": batch}


def bound(outer: Mapping[str, Array], inner: Mapping[str, Array]) -> dict[str, Array]:
    """What no mapping can beat: all arrays always busy, every byte moved once. The low fidelity of the search."""
    scheme, narrow, batch = outer["workload.attention"].astype(np.int64), outer["workload.precision"], outer["workload.batch"]
    bandwidth, clock = inner["memories.dram.bandwidth_gb_per_s"] * 1e9, inner["clock_mhz"] * 1e6
    element, rate = np.where(narrow > 0, 1.0, 2.0), np.where(narrow > 0, 2.0, 1.0)
    macs, moved = 0.0 * batch, batch * CACHE_BYTES_PER_SEQUENCE * _CACHE[scheme] * element / 2
    for position, (k, n) in enumerate(PRODUCTS):
        attention = position < ATTENTION_PRODUCTS
        macs = macs + batch * k * n * np.where(attention, _MACS[scheme], 1.0)
        moved = moved + k * n * element * np.where(attention, _WEIGHTS[scheme], 1.0) + batch * (k + n) * element
    peak = outer["core.array.rows"] * outer["core.array.columns"] * outer["core.array.count"] * rate * clock
    exact = cost(outer, inner)
    energy = macs * np.where(narrow > 0, 0.35e-12, 0.8e-12) + moved * 28e-12
    return {**exact, "latency_s": np.maximum(macs / peak, moved / bandwidth), "energy_j": energy + 0 * clock, "moved": moved}


def outer_columns(indices: NDArray[np.int64]) -> dict[str, Array]:
    """Values of outer choices [D, 1]; words as positions."""
    found: dict[str, Array] = {}
    rest = indices
    for dimension in reversed(SPACE.outer):
        rest, digit = np.divmod(rest, len(dimension.values))
        numbers = [float(v) if isinstance(v, int | float) else float(i) for i, v in enumerate(dimension.values)]
        found[dimension.path] = np.array(numbers)[digit][:, None]
    return found


@dataclass(frozen=True)
class HardPrepared:
    """One outer choice."""

    outer: int
    low_fidelity: bool = False

    macs = 1.0
    compulsory_bytes = 1.0
    tokens_per_sequence = (1.0,)

    def _cost(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        form = bound if self.low_fidelity else cost
        return form({k: v[0] for k, v in outer_columns(np.array([self.outer])).items()}, columns)

    def design(self, columns: Mapping[str, Array], size: int) -> Mapping[str, Array]:
        return {"area_mm2": np.broadcast_to(self._cost(columns)["area_mm2"], (size,))}

    def fits(self, columns: Mapping[str, Array], size: int) -> NDArray[np.bool_]:
        return np.ones(size, dtype=np.bool_)

    def price(self, columns: Mapping[str, Array], size: int) -> Sequence[Priced]:
        found = {name: np.broadcast_to(values, (size,)) for name, values in self._cost(columns).items()}
        every = np.ones(size, dtype=np.bool_)
        bound = np.zeros(size, dtype=np.int8)
        return (Priced(int(found["tokens"][0]), found["latency_s"], found["energy_j"], found["area_mm2"], found["moved"], bound, every),)

    def ceilings(self, columns: Mapping[str, Array], size: int) -> Ceilings:
        return Ceilings(np.ones(size), np.ones(size))


@dataclass(frozen=True)
class HardEvaluator:
    """The closed form behind the evaluator interface."""

    def screen(self, choice: Mapping[str, Value]) -> HardPrepared:
        digits = tuple(d.values.index(choice[d.path]) for d in SPACE.outer)
        return HardPrepared(SPACE.outer_index(digits))

    prepare = screen

    def rough(self, choice: Mapping[str, Value]) -> HardPrepared:
        return replace(self.screen(choice), low_fidelity=True)


def every_design(goals: Goals, chunk: int = 500) -> tuple[Array, NDArray[np.int64]]:
    """The true front: logarithms of the objectives, all minimised [D, M], and the outer choice of each of its designs."""
    columns = SPACE.columns(np.arange(SPACE.inner_size, dtype=np.int64))
    values, outers = [], []
    for start in range(0, SPACE.outer_size, chunk):
        indices = np.arange(start, min(start + chunk, SPACE.outer_size), dtype=np.int64)
        found = cost(outer_columns(indices), columns)
        shape = found["latency_s"].shape
        metrics = {
            "tpot_s": found["latency_s"],
            "joules_per_token": np.broadcast_to(found["energy_j"] / found["tokens"], shape),
            "area_mm2": np.broadcast_to(found["area_mm2"], shape),
        }
        allowed = metrics["area_mm2"] <= goals.constraints[0].limit
        rows = np.stack([np.log(metrics[name][allowed]) for name in goals.objectives], axis=1)
        own = np.broadcast_to(indices[:, None], allowed.shape)[allowed]
        keep = non_dominated(rows, [False] * len(goals.objectives))
        values.append(rows[keep])
        outers.append(own[keep])
    merged, owners = np.concatenate(values), np.concatenate(outers)
    keep = non_dominated(merged, [False] * len(goals.objectives))
    return merged[keep], owners[keep]


assert prod(len(d.values) for d in (*SPACE.outer, *SPACE.inner)) >= 5_000_000
