"""One matrix product on one accelerator, from sizes and names to an explained mapping."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from dse.cost.columns import FIRST_INNER
from dse.cost.one_operator import COUNT_KEYS, MapObjective, MappedProduct, TooLarge, map_product, too_large
from dse.errors import UsageError
from dse.files import parse_setting
from dse.ir.tensor import DATA_TYPES
from dse.mapping.loop_nest import NestLoop, loop_nest
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.hw.accelerator import ArrayGeometry
    from dse.hw.read import AcceleratorDescription

FASTER: Final = 1e-6
"""A lever that shortens the latency by a smaller share is left out."""


@dataclass(frozen=True, slots=True)
class Lever:
    """A parameter that makes the product faster when it is enlarged as far as the next resource binds."""

    parameter: str
    now: float
    enlarged: float
    latency_cycles: float
    """With the best mapping for the enlarged parameter, in cycles of the clock as it is now."""


@dataclass(frozen=True)
class ExplainedMap:
    """A product with its best mapping and what stands beside it."""

    accelerator: str
    problem: MatmulProblem
    objective: MapObjective
    clock_hz: float
    peak_macs_per_cycle: float
    memories: tuple[str, str]
    """Names of the outermost buffer and the DRAM."""
    inner: tuple[str, ...] = ()
    """Names of the registers."""
    infeasible: TooLarge | None = None
    mapped: MappedProduct | None = None
    nest: tuple[NestLoop, ...] = ()
    levers: tuple[Lever, ...] = ()

    def to_json_dict(self) -> dict[str, object]:
        """The JSON of `dse map`; values that do not exist for an infeasible product are null."""
        m = self.mapped
        if m is None:
            assert self.infeasible is not None
            empty = dict.fromkeys(("latency_cycles", "latency_s", "energy_pj", "dram_bytes", "utilisation", "bound_ratio", "counts"))
            reason = asdict(self.infeasible) | {"contributors": dict(self.infeasible.contributors), "message": self.infeasible.message}
            return {"feasible": False, "infeasibility": [reason], **empty, "loop_nest": []}
        cycles = m.latency_s * self.clock_hz
        ratio = {
            "dram_bytes": m.dram_bytes / m.bounds.dram_bytes,
            "energy": m.energy_pj / m.bounds.energy_pj,
            "latency": m.latency_s / m.bounds.latency_s,
        }
        counts = {"footprint_bytes": float(m.counts[0])} | {name: float(m.counts[1 + at]) for name, at in COUNT_KEYS.items()}
        for i, name in enumerate(self.inner):
            counts |= {f"{name}_{way}_bytes": float(m.counts[1 + FIRST_INNER + 2 * i + at]) for at, way in enumerate(("read", "write"))}
        kept = [name for name in ("left", "right", "out") if getattr(m.mapping.kept, name)]
        return {
            "feasible": True,
            "infeasibility": [],
            "latency_cycles": cycles,
            "latency_s": m.latency_s,
            "energy_pj": m.energy_pj,
            "dram_bytes": m.dram_bytes,
            "utilisation": self.utilisation,
            "bound_ratio": ratio,
            "bound": {
                "dram_bytes": m.bounds.dram_bytes,
                "energy_pj": m.bounds.energy_pj,
                "latency_cycles": m.bounds.latency_s * self.clock_hz,
            },
            "data_type": self.problem.dtype,
            "macs": self.problem.macs,
            "dataflow": str(m.mapping.dataflow),
            "stationary": str(m.mapping.stationary),
            "kept": kept,
            "tile": {"m": m.mapping.tile_m, "k": m.mapping.tile_k, "n": m.mapping.tile_n},
            "loop_nest": [asdict(loop) for loop in self.nest],
            "counts": counts,
            "busy_cycles": {name: seconds * self.clock_hz for name, seconds in m.busy_s.items()},
            "levers": [asdict(lever) for lever in self.levers],
            "frontier_rows": m.frontier_rows,
            "mapping_excess": m.excess,
        }

    @property
    def utilisation(self) -> float:
        """MACs over what the arrays could do in the latency."""
        assert self.mapped is not None
        return self.problem.macs / (self.mapped.latency_s * self.clock_hz * self.peak_macs_per_cycle)


def explain_map(
    sizes: tuple[int, int, int],
    accelerator: str,
    settings: Sequence[str] = (),
    *,
    groups: int = 1,
    bits: int = 8,
    partial_bits: int | None = None,
    objective: str = "latency",
) -> ExplainedMap:
    """The best mapping of `groups` products of M, K, N `sizes` on `accelerator` (a name or a file) with settings laid over it.

    Operands and result have `bits`, unfinished sums `partial_bits` (as `bits` unless given).

    Raises:
        UsageError: unknown names or settings, a width that the array computes in no type.
        InputError: a file is missing or wrong, or describes what cannot be mapped.
    """
    description = load_accelerator(accelerator)
    overrides = dict(parse_setting(text) for text in settings)
    if overrides:
        description = description.with_overrides(overrides, origin="--set")
    geometry, table = description.geometry, description.table({})
    m, k, n = sizes
    dtype = type_of_width(geometry.array, bits, description.name)
    problem = MatmulProblem(groups, m, k, n, bits, bits, bits, max(bits, partial_bits or bits), dtype)
    rate = geometry.array.rate(dtype)
    assert rate is not None
    found = ExplainedMap(
        accelerator=description.name,
        problem=problem,
        objective=MapObjective(objective),
        clock_hz=float(table.clock_hz[0]),
        peak_macs_per_cycle=float(geometry.array.elements * rate),
        memories=(description.file.buffer[0], description.file.dram[0]),
        inner=tuple(name for name, _ in description.file.inner),
        infeasible=too_large(problem, table),
    )
    if found.infeasible is not None:
        return found
    mapped = map_product(problem, geometry, table, found.objective)
    return ExplainedMap(
        **{
            name: getattr(found, name)
            for name in ("accelerator", "problem", "objective", "clock_hz", "peak_macs_per_cycle", "memories", "inner")
        },
        mapped=mapped,
        nest=loop_nest(problem, geometry, mapped.mapping),
        levers=_levers(description, problem, mapped),
    )


def type_of_width(array: ArrayGeometry, bits: int, name: str) -> str:
    """The data type in which operands of `bits` are multiplied: of those of that width that the array computes, the one with the
    highest rate; integers before floating point where rates are equal, then in the order of their names.

    Raises:
        UsageError: the array computes no type of that width.
    """
    fitting = [(t, rate) for t, rate in array.macs_per_pe_per_cycle if DATA_TYPES[t].bits == bits]
    if not fitting:
        have = ", ".join(f"{t} ({DATA_TYPES[t].bits} bits)" for t, _ in array.macs_per_pe_per_cycle)
        raise UsageError(f"--bits {bits}: {name} computes no data type of that width; it computes {have}")
    return min(fitting, key=lambda pair: (-pair[1], not pair[0].startswith("int"), pair[0]))[0]


def _levers(description: AcceleratorDescription, problem: MatmulProblem, mapped: MappedProduct) -> tuple[Lever, ...]:
    """What to enlarge to go faster: the busiest resource as far as the next binds, and the buffer to twice its size."""
    times = list(mapped.busy_s.values())
    next_busy = times[1] if len(times) > 1 and times[1] > 0 else times[0] / 2
    factor = max(times[0] / next_busy, 1.0 + FASTER)
    buffer, dram = f"memories.{description.file.buffer[0]}", f"memories.{description.file.dram[0]}"
    values = {p.path: float(p.value) for p in description.paths() if isinstance(p.value, int | float)}
    parameters = {
        "array": "clock_mhz",
        "dram": f"{dram}.bandwidth_gb_per_s",
        "buffer_read": f"{buffer}.read_gb_per_s",
        "buffer_write": f"{buffer}.write_gb_per_s",
        "buffer_port": f"{buffer}.bandwidth_gb_per_s",
    }
    changes = {parameters[next(iter(mapped.busy_s))]: factor, f"{buffer}.capacity_kib": 2.0}
    clock = float(description.table({}).clock_hz[0])
    found = []
    for path, by in changes.items():
        table = description.table({path: values[path] * by})
        again = map_product(problem, description.geometry, table, MapObjective.LATENCY)
        if again.latency_s < mapped.latency_s * (1 - FASTER):
            found.append(Lever(path, values[path], values[path] * by, again.latency_s * clock))
    return tuple(found)


def busiest(found: MappedProduct) -> tuple[str, float]:
    """Name of the resource that is busy longest, and its share of the latency."""
    name, seconds = next(iter(found.busy_s.items()))
    return name, seconds / found.latency_s
