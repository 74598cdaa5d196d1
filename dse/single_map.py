"""One matrix product on one accelerator, from sizes and names to an explained mapping."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from dse.cost.capacity import Infeasibility
from dse.cost.columns import FIRST_INNER
from dse.cost.given_mapping import cost_mapping
from dse.cost.one_operator import COUNT_KEYS, MappedProduct, fitting, map_product, too_large
from dse.cost.residents import resident_bytes
from dse.cost.row_prices import MapObjective
from dse.errors import UsageError
from dse.files import load_yaml, validate
from dse.hw.accelerator import OperandName
from dse.hw.limits import LARGEST
from dse.ir.tensor import DATA_TYPES
from dse.mapping.file_form import MappingFile
from dse.mapping.given import mapping_text, read_mapping
from dse.mapping.held_tiles import HeldTile, crowded, held_tiles
from dse.mapping.loop_nest import NestLoop, loop_nest
from dse.mapping.matmul import inner_json
from dse.mapping.problem import MatmulProblem
from dse.overrides import laid_over
from dse.plugins import load_accelerator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dse.files import Document
    from dse.hw.accelerator import ArrayGeometry
    from dse.hw.read import AcceleratorDescription
    from dse.hw.table import DesignTable

Product: TypeAlias = "tuple[tuple[int, int, int], int, int, int | None, Sequence[str]]"
"""M, K, N; groups; width of operands and result; width of unfinished sums; operands that are on chip."""
DEFAULT_BITS: Final = 8
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
    """Names of the memories inside the outermost buffer, from inner to outer."""
    infeasible: Infeasibility | None = None
    mapped: MappedProduct | None = None
    nest: tuple[NestLoop, ...] = ()
    tiles: tuple[HeldTile, ...] = ()
    """Tiles by memory, the outermost first."""
    crowded: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Operands that more memories may hold than a mapping uses (`dse.mapping.held_tiles.crowded`)."""
    levers: tuple[Lever, ...] = ()
    file: str = ""
    """The mapping as a file that `dse map --mapping` takes."""
    best: tuple[tuple[MapObjective, MappedProduct], ...] = ()
    """Beside a mapping given from outside: the best of our space for each objective."""

    @property
    def optimum_ratio(self) -> dict[str, float]:
        """A given mapping's result over the best that `dse map` finds for that objective; empty for a mapping found here."""
        assert self.mapped is not None
        return {o.value: over(measure(self.mapped, o), measure(best, o)) for o, best in self.best}

    def to_json_dict(self) -> dict[str, object]:
        """The JSON of `dse map`; values that do not exist for an infeasible product are null."""
        m = self.mapped
        if m is None:
            assert self.infeasible is not None
            empty = dict.fromkeys(("latency_cycles", "latency_s", "energy_pj", "dram_bytes", "utilisation", "bound_ratio", "counts"))
            return {"feasible": False, "infeasibility": [self.infeasible.to_json_dict()], **empty, "loop_nest": []}
        cycles = m.latency_s * self.clock_hz
        ratio = {
            "dram_bytes": over(m.dram_bytes, m.bounds.dram_bytes),
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
            "on_chip": dict(resident_bytes(self.problem)),
            "macs": self.problem.macs,
            "dataflow": str(m.mapping.dataflow),
            "stationary": str(m.mapping.stationary),
            "kept": kept,
            "tile": {"m": m.mapping.tile_m, "k": m.mapping.tile_k, "n": m.mapping.tile_n},
            "inner": inner_json(m.mapping),
            "borders": [asdict(border) | {"ratio": border.ratio} for border in m.borders],
            "tiles": [tile.to_json_dict() for tile in self.tiles],
            "two_tiles_in": {operand: list(memories) for operand, memories in self.crowded.items()},
            "loop_nest": [asdict(loop) for loop in self.nest],
            "counts": counts,
            "busy_cycles": {name: seconds * self.clock_hz for name, seconds in m.busy_s.items()},
            "levers": [asdict(lever) for lever in self.levers],
            "mappings_counted": m.counted,
            "mapping_excess": 0.0,
            "given": bool(self.best),
            "optimum_ratio": self.optimum_ratio or None,
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
    on_chip: Sequence[str] = (),
    objective: str = "latency",
) -> ExplainedMap:
    """The best mapping of `groups` products of M, K, N `sizes` on `accelerator` (a name or a file) with settings laid over it.

    Operands and result have `bits`, unfinished sums `partial_bits` (as `bits` unless given). Operands `on_chip` (left, right, out) lie
    in the outermost buffer: inputs before and after, the result after.

    Raises:
        UsageError: unknown names or settings, a width that the array computes in no type, a buffer that may not hold what is on chip.
        InputError: a file is missing or wrong, or describes what cannot be mapped.
    """
    description = _described(accelerator, settings)
    found, problem = _asked(description, (sizes, groups, bits, partial_bits, on_chip), objective)
    if found.infeasible is not None:
        return found
    geometry, buffer = description.geometry, description.file.buffer[0]
    mapped = map_product(problem, geometry, description.table({}), found.objective, buffer=buffer)
    if isinstance(mapped, Infeasibility):
        return replace(found, infeasible=mapped)

    def again(changed: DesignTable) -> float:
        return fitting(map_product(problem, geometry, changed, MapObjective.LATENCY)).latency_s

    return _explained(found, description, mapped, _levers(description, mapped, again))


def explain_given(
    path: str,
    accelerator: str,
    settings: Sequence[str] = (),
    *,
    sizes: tuple[int, int, int] | None = None,
    groups: int | None = None,
    bits: int | None = None,
    partial_bits: int | None = None,
    on_chip: Sequence[str] | None = None,
    objective: str = "latency",
) -> ExplainedMap:
    """The mapping of a file (docs/mapping_space.md) as it is, beside the best ones; the product is the file's or the one given here.

    Raises:
        UsageError: unknown names or settings, a product that is given nowhere or differs from the file's.
        InputError: a file is missing or wrong, or its mapping is none of this product on this accelerator.
    """
    description = _described(accelerator, settings)
    document = load_yaml(path)
    file = validate(document, MappingFile)
    product = _product(document, file, {"groups": groups, "bits": bits, "partial_bits": partial_bits}, sizes, on_chip)
    found, problem = _asked(description, product, objective)
    mapping = read_mapping(document, file, problem, description.geometry)
    if found.infeasible is not None:
        return found
    geometry, table, buffer = description.geometry, description.table({}), description.file.buffer[0]
    mapped = cost_mapping(problem, geometry, table, mapping, buffer=buffer)
    if isinstance(mapped, Infeasibility):
        return replace(found, infeasible=mapped)
    best = tuple((o, fitting(map_product(problem, geometry, table, o))) for o in MapObjective)

    def again(changed: DesignTable) -> float:
        return fitting(cost_mapping(problem, geometry, changed, mapping, buffer=buffer)).latency_s

    return replace(_explained(found, description, mapped, _levers(description, mapped, again)), best=best)


def over(found: float, least: float) -> float:
    """How many times the least; 1 where both are nothing, as DRAM bytes are where all operands stay on chip."""
    return 1.0 if found == least else found / least


def measure(found: MappedProduct, objective: MapObjective) -> float:
    """What `objective` minimises."""
    return {
        MapObjective.LATENCY: found.latency_s,
        MapObjective.ENERGY: found.energy_pj,
        MapObjective.EDP: found.latency_s * found.energy_pj,
        MapObjective.DRAM_BYTES: found.dram_bytes,
    }[objective]


def _described(accelerator: str, settings: Sequence[str]) -> AcceleratorDescription:
    return laid_over(load_accelerator(accelerator), settings)


def _product(
    document: Document,
    file: MappingFile,
    options: dict[str, int | None],
    sizes: tuple[int, int, int] | None,
    on_chip: Sequence[str] | None,
) -> Product:
    """Sizes, groups, widths and what is on chip, of the file or of the command; both where they agree."""
    if file.gemm is None:
        if sizes is None:
            raise UsageError(f"--gemm is missing, and {document.path} has no 'gemm' either; give M,K,N")
        return sizes, options["groups"] or 1, options["bits"] or DEFAULT_BITS, options["partial_bits"], on_chip or ()
    given = {"m,k,n": (file.gemm.m, file.gemm.k, file.gemm.n), "groups": file.gemm.groups, "bits": file.gemm.bits}
    given["partial_bits"] = file.gemm.partial_bits or file.gemm.bits
    given["on_chip"] = " ".join(name for name in OperandName if name in file.gemm.on_chip)
    stated = None if on_chip is None else " ".join(name for name in OperandName if name in on_chip)
    for name, value in {"m,k,n": sizes, **options, "on_chip": stated}.items():
        if value is not None and value != given[name]:
            raise UsageError(f"the command says {name} = {value}, {document.where(('gemm',))} says {given[name]}; leave one of them out")
    return (file.gemm.m, file.gemm.k, file.gemm.n), file.gemm.groups, file.gemm.bits, file.gemm.partial_bits, file.gemm.on_chip


def _asked(description: AcceleratorDescription, product: Product, objective: str) -> tuple[ExplainedMap, MatmulProblem]:
    """What is known before a mapping is."""
    geometry, table = description.geometry, description.table({})
    (m, k, n), groups, bits, partial_bits, on_chip = product
    for name in on_chip:
        if name not in geometry.outer.operands:
            holds = ", ".join(geometry.outer.operands)
            raise UsageError(f"--on-chip {name}: {description.file.buffer[0]} of {description.name} holds {holds}; leave {name} out")
    dtype = type_of_width(geometry.array, bits, description.name)
    problem = MatmulProblem(
        groups, m, k, n, bits, bits, bits, max(bits, partial_bits or bits), dtype, *(name in on_chip for name in OperandName)
    )
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
    return found, problem


def _explained(found: ExplainedMap, description: AcceleratorDescription, mapped: MappedProduct, levers: tuple[Lever, ...]) -> ExplainedMap:
    geometry = description.geometry
    nest = loop_nest(found.problem, geometry, mapped.mapping)
    names = (*found.inner, found.memories[0])
    tiles, text = held_tiles(found.problem, geometry, mapped.mapping, names), mapping_text(found.problem, geometry, mapped.mapping)
    return replace(found, mapped=mapped, nest=nest, tiles=tiles, levers=levers, file=text, crowded=crowded(geometry, names))


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


def _levers(description: AcceleratorDescription, mapped: MappedProduct, latency_s: Callable[[DesignTable], float]) -> tuple[Lever, ...]:
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
    buffers = [buffer]
    for i, (name, memory) in enumerate(description.file.inner):
        for way in ("read_gb_per_s", "write_gb_per_s", "bandwidth_gb_per_s"):
            port = way.partition("_")[0] if way[0] != "b" else "port"
            parameters[f"inner{i}_{port}"] = f"memories.{name}.{way}"
        if memory.kind == "buffer":
            buffers.append(f"memories.{name}")
    changes = {parameters[next(iter(mapped.busy_s))]: factor} | {f"{name}.capacity_kib": 2.0 for name in buffers}
    clock = float(description.table({}).clock_hz[0])
    found = []
    for path, by in changes.items():
        table = description.table({path: min(values[path] * by, LARGEST)})
        again = latency_s(table)
        if again < mapped.latency_s * (1 - FASTER):
            found.append(Lever(path, values[path], min(values[path] * by, LARGEST), again * clock))
    return tuple(found)


def busiest(found: MappedProduct) -> tuple[str, float]:
    """Name of the resource that is busy longest, and its share of the latency."""
    name, seconds = next(iter(found.busy_s.items()))
    return name, seconds / found.latency_s
