"""From a machine to the values of an accelerator file; what the machine does not say is assumed aloud, what fits nowhere refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.errors import InputError
from dse.hw.array_form import MAX_DIMS
from dse.hw.importers.levels import Buffering, Levels
from dse.hw.importers.report import Report, Said
from dse.hw.importers.short_form import LongArray, short_array
from dse.hw.importers.zigzag import OPERANDS
from dse.hw.memory_form import MAX_INNER
from dse.hw.papercuts import DRAM_PJ_PER_BIT
from dse.ir.tensor import DATA_TYPES
from dse.units import BITS_PER_BYTE, BYTES_PER_GB, BYTES_PER_GIB, BYTES_PER_KIB, HZ_PER_MHZ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.files import Value
    from dse.hw.importers.machine import NestMemory
    from dse.hw.importers.short_form import ShortArray
    from dse.hw.importers.zigzag import CoreSource

REGISTER_BITS: Final = 1024
"""A replicated memory of at most this size, the innermost of its operand, is read as registers: ZigZag's largest rf."""
LACKS: Final = {"I1": "n", "I2": "m", "O": "k"}
"""Loop that each operand of a matrix product does not have: a memory that feeds several units feeds them along it."""
LAYER_LOOPS: Final = {"B": "m", "OX": "m", "OY": "m", "D": "m", "C": "k", "FX": "k", "FY": "k", "K": "n", "G": "groups", "H": "groups"}
"""Layer dimensions of ZigZag's Gemm and Conv and the loops of a matrix product."""
DEFAULT_TYPE: Final = "int8"
OF_A_CHIP: Final = "; the cores of a Stream chip have their DRAM in the chip's own file: import that"


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What these files never say."""

    clock_mhz: float
    technology: str
    data_type: str | None = None
    levels: Levels = Levels.ONE
    """Memories that are written."""
    buffering: Buffering = Buffering.DOUBLE

    @property
    def overlap(self) -> str:
        """What is assumed of tiles that are replaced."""
        if self.buffering is Buffering.DOUBLE:
            return "double-buffered and transfers overlap with compute; the source decides that by mapping"
        return "single-buffered unless the source forces two copies, and transfers overlap with compute all the same"


@dataclass(frozen=True, slots=True)
class Vector:
    """Lanes beside the arrays."""

    lanes: int
    energy_pj_per_op: float
    source: str


def accelerator_values(
    source: CoreSource,
    name: str,
    assumed: Assumptions,
    report: Report,
    *,
    cores: int = 1,
    pools: int = 1,
    vector: Vector | None = None,
    multiplies: bool = True,
) -> dict[str, Value]:
    """The values of an accelerator file for `cores` equal cores with `pools` outermost buffers in all.

    Where nothing `multiplies` the array only stands for one and is not told of.

    Raises:
        InputError: no MAC units, no DRAM, no buffer before it, more levels than the form has.
    """
    for note in source.notes:
        report.add(Said.WARNING, str(note))
    dram, chip = _split(source)
    registers, buffers = _kinds(source, chip)
    of_array = report if multiplies else Report()
    stays = _stationary(registers, of_array)
    everywhere = {name for name, _ in source.machine.dimensions}
    first = [m for m in buffers if not set(m.serves) >= everywhere and all(source.machine.levels(o)[0] is m for o in m.operands)]
    unrolled = _unrolled(source, [*registers, *first], of_array)
    shape: ShortArray | LongArray
    if assumed.levels is Levels.ONE:
        shape = short_array(source.machine.dimensions, unrolled, stays, cores, of_array)
        memories, folded_pj = _one_buffer(source, registers, buffers, assumed, cores, pools, report)
    else:
        rest = [o for o in OPERANDS.values() if o not in stays]
        if rest:
            of_array.add(
                Said.ASSUMED, f"{', '.join(rest)} may stay in the array too, beside the operands of its registers, as ZigZag lets them"
            )
        shape = _long_array(source, unrolled, [*stays, *rest], cores, of_array)
        memories, folded_pj = _memories(source, registers, buffers, shape, assumed, pools, report)
    memories[slug(dram.name)] = _dram(dram, assumed, report)
    array = _array(source, shape, folded_pj, assumed, of_array)
    unit = vector or Vector(max(size for _, size in source.machine.dimensions), 0.0, "")
    if not unit.source:
        report.add(Said.ASSUMED, f"vector unit: {unit.lanes} lanes, as many as the longest array dimension; the source has none")
    lanes: dict[str, Value] = {"lanes": unit.lanes}
    if unit.energy_pj_per_op > 0:
        lanes["energy_pj_per_op"] = unit.energy_pj_per_op
    report.add(Said.ASSUMED, f"clock {assumed.clock_mhz:g} MHz and technology {assumed.technology}; the source counts cycles and bits")
    report.add(Said.ASSUMED, "DRAM latency, leakage and other area are 0; access latencies and area of the source are not used")
    macs = source.machine.macs * cores
    return {
        "schema_version": 1,
        "name": slug(name),
        "summary": f"{macs} MACs; imported from {source.machine.name}",
        "technology": assumed.technology,
        "clock_mhz": assumed.clock_mhz,
        "core": {"array": array, "vector": lanes},
        "memories": memories,
        "leakage_w": 0,
    }


def slug(name: str) -> str:
    """A name as our files spell them."""
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64] or "core"
    return text if text[0].isalpha() else f"x_{text}"[:64]


def _split(source: CoreSource) -> tuple[NestMemory, list[NestMemory]]:
    """The DRAM, and the memories before it."""
    machine = source.machine
    if machine.macs < 1:
        raise InputError.single(source.path, "the array has no MAC units (a size is 0); choose a core that computes")
    lacking = [o for o in OPERANDS if not machine.levels(o)]
    if lacking:
        raise InputError.single(source.path, f"no memory holds {', '.join(lacking)}; a matrix product needs I1, I2 and O")
    last = {machine.levels(o)[-1].name for o in OPERANDS}
    if len(last) > 1:
        text = f"operands end in different memories ({', '.join(sorted(last))}); our form needs one DRAM that holds all of them{OF_A_CHIP}"
        raise InputError.single(source.path, text)
    dram = machine.levels("O")[-1]
    chip = [m for m in machine.memories if m is not dram and m.operands]
    everywhere = {name for name, _ in machine.dimensions}
    if not any(set(m.serves) >= everywhere for m in chip):
        text = f"'{dram.name}' is the only memory that the whole array shares; an accelerator needs an on-chip buffer and DRAM behind it"
        text += OF_A_CHIP
        raise InputError.single(source.path, text)
    return dram, chip


def _kinds(source: CoreSource, chip: list[NestMemory]) -> tuple[list[NestMemory], list[NestMemory]]:
    """Registers, and buffers with the outermost last."""
    everywhere = {name for name, _ in source.machine.dimensions}
    registers = [
        m
        for m in chip
        if not set(m.serves) >= everywhere and m.size_bits <= REGISTER_BITS and all(source.machine.levels(o)[0] is m for o in m.operands)
    ]
    buffers = [m for m in chip if m not in registers]
    shared = [m for m in buffers if set(m.serves) >= everywhere]
    outermost = max(shared, key=lambda m: (len(m.operands), buffers.index(m)))
    return registers, [*(m for m in buffers if m is not outermost), outermost]


def _stationary(registers: list[NestMemory], report: Report) -> list[str]:
    stays = [OPERANDS[o] for o in OPERANDS if any(o in m.operands for m in registers)]
    if stays:
        return stays
    report.add(Said.ASSUMED, "any operand may stay in the array; the source has no registers")
    return list(OPERANDS.values())


def _unrolled(source: CoreSource, registers: list[NestMemory], report: Report) -> dict[str, tuple[str, ...]]:
    """Loops that may be spread over each array dimension."""
    given = dict(source.dataflows)
    for name, size in source.machine.dimensions:
        if size > 1 and given and name not in given:
            idle = f"it would leave {size - 1} of {size} units idle"
            report.add(Said.WARNING, f"array dimension {name} ({size} units) is in no dataflow of the source: {idle}")
    return {name: _loops(source, name, given, registers, report) for name, _ in source.machine.dimensions}


def _loops(
    source: CoreSource, name: str, given: Mapping[str, tuple[str, ...]], registers: list[NestMemory], report: Report
) -> tuple[str, ...]:
    if name in given:
        known = tuple(dict.fromkeys(LAYER_LOOPS[d] for d in given[name] if d in LAYER_LOOPS))
        if known:
            report.add(Said.READ, f"array dimension {name} is spread over {', '.join(given[name])}: {', '.join(known)}")
            return known
    shared = tuple(LACKS[o] for m in registers if name in m.serves and len(m.operands) == 1 for o in m.operands)
    if len(set(shared)) == 1:
        feeding = next(m.name for m in registers if name in m.serves)
        report.add(Said.ASSUMED, f"array dimension {name} is spread over {shared[0]}, since one {feeding} feeds all units along it")
        return (shared[0],)
    own = [o for o in ("I1", "I2") if any(m.operands == (o,) for m in registers)]
    loops = tuple(loop for loop in ("m", "k", "n") if len(own) != 1 or loop != LACKS[own[0]])
    why = f"; along {LACKS[own[0]]} its registers for {OPERANDS[own[0]]} would hold copies" if len(own) == 1 else ""
    report.add(Said.ASSUMED, f"array dimension {name} may be spread over {', '.join(loops)}, which the source leaves to its mapper{why}")
    return loops


def _array(source: CoreSource, shape: ShortArray | LongArray, folded_pj: float, assumed: Assumptions, report: Report) -> dict[str, Value]:
    folds = "pipelined" if source.machine.systolic else "broadcast"
    report.add(Said.READ if source.machine.systolic else Said.ASSUMED, f"folds: {folds}, by systolic_dimensions of the source")
    dtype = assumed.data_type or source.input_type
    if dtype not in DATA_TYPES:
        report.add(Said.ASSUMED, f"data type {DEFAULT_TYPE}" + (f"; '{dtype}' of the source is not known here" if dtype else ""))
        dtype = DEFAULT_TYPE
    form: dict[str, Value]
    if isinstance(shape, LongArray):
        dims: dict[str, Value] = {name: {"size": size, "unrolls": list(loops)} for name, size, loops in shape.dims}
        form = {"dims": dims, "stationary": list(shape.stays)}
    else:
        form = {"rows": shape.rows, "columns": shape.columns, "count": shape.count, "dataflows": list(shape.dataflows)}
    result: dict[str, Value] = {**form, "folds": folds, "macs_per_pe_per_cycle": {dtype: 1}}
    energy = source.machine.mac_pj + folded_pj
    if source.machine.mac_pj == 0:
        report.add(
            Said.WARNING, "a MAC costs nothing in the source (unit_energy 0)" + ("" if energy else "; the technology's energy is taken")
        )
    if energy > 0:
        result["mac_energy_pj"] = {dtype: energy}
    return result


def _memories(
    source: CoreSource,
    registers: list[NestMemory],
    buffers: list[NestMemory],
    shape: ShortArray | LongArray,
    assumed: Assumptions,
    pools: int,
    report: Report,
) -> tuple[dict[str, Value], float]:
    """Memories before DRAM by name, and the pJ per MAC of registers that found no place among them."""
    inner = len(registers) + len(buffers) - 1
    folded = registers if inner > MAX_INNER else []
    if inner - len(folded) > MAX_INNER:
        names = ", ".join(m.name for m in buffers[:-1])
        text = f"{inner - len(folded)} memories lie inside the outermost buffer ({names}); our form has room for {MAX_INNER}"
        raise InputError.single(source.path, text)
    pj = sum(_fold_pj(m) for m in folded)
    if folded:
        names = ", ".join(m.name for m in folded)
        report.add(Said.ASSUMED, f"registers {names} are part of the MAC's energy, {pj:g} pJ: a read per input, a read and a write per sum")
    found: dict[str, Value] = {}
    for memory in (m for m in registers if m not in folded):
        found[slug(memory.name)] = _registers(memory, shape, report)
    for memory in buffers:
        found[slug(memory.name)] = _buffer(memory, source, shape, assumed, None if memory is not buffers[-1] else pools, report)
    report.add(Said.ASSUMED, f"buffers are {assumed.overlap}")
    return found, pj


def _long_array(source: CoreSource, unrolled: dict[str, tuple[str, ...]], stays: list[str], cores: int, report: Report) -> LongArray:
    dims = [(slug(name), size, unrolled[name]) for name, size in source.machine.dimensions]
    if cores > 1:
        if len(dims) >= MAX_DIMS:
            text = f"{cores} cores of {len(dims)} array dimensions are more than the {MAX_DIMS} dimensions of our form; choose --core"
            raise InputError.single(source.path, text)
        dims.append(("cores", cores, ("groups", "m", "n")))
        report.add(Said.ASSUMED, f"{cores} equal cores are one array dimension more, over which groups, m or n are spread")
    return LongArray(tuple(dims), tuple(stays))


def _one_buffer(
    source: CoreSource,
    registers: list[NestMemory],
    buffers: list[NestMemory],
    assumed: Assumptions,
    cores: int,
    pools: int,
    report: Report,
) -> tuple[dict[str, Value], float]:
    """One buffer of each operand's last memory on chip, and the pJ per MAC of the registers."""
    pj = sum(_fold_pj(m) for m in registers)
    for memory in registers:
        report.add(Said.LOST, f"{memory.name}: registers are part of the MAC's energy (a read per input, a read and a write per sum)")
    found: dict[str, list[NestMemory]] = {o: [m for m in buffers if o in m.operands] for o in OPERANDS}
    last = [m for m in buffers if any(levels and levels[-1] is m for levels in found.values())]
    for memory in buffers:
        if memory not in last:
            report.add(Said.LOST, f"{memory.name}: buffer between {_held(memory)} and the array")
    for operand, levels in found.items():
        if not levels:
            report.add(Said.LOST, f"{OPERANDS[operand]} passes by the buffer in the source; here it may have a tile there")
    shape = LongArray(tuple((n, s, ()) for n, s in source.machine.dimensions), ())
    parts = [_buffer(m, source, shape, assumed, pools if m is buffers[-1] else cores, report) for m in last]
    whole = dict(parts[-1])
    if len(parts) > 1:
        names = ", ".join(m.name for m in last)
        report.add(Said.LOST, f"{names} are one buffer of their capacities and bandwidths together, with the energies of {last[-1].name}")
        whole["capacity_kib"] = sum(_number(p["capacity_kib"]) for p in parts)
        shared = whole.pop("bandwidth_gb_per_s", None)
        for way in ("read_gb_per_s", "write_gb_per_s"):
            whole[way] = sum(_number(p.get(way, p.get("bandwidth_gb_per_s", shared))) for p in parts)
    whole.pop("operands")
    whole.pop("serves", None)
    report.add(Said.ASSUMED, f"the buffer is {assumed.overlap}")
    return {slug(last[-1].name): whole}, pj


def _number(value: Value) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _fold_pj(memory: NestMemory) -> float:
    return sum(memory.read_pj + (memory.write_pj if o == "O" else 0.0) for o in memory.operands)


def _registers(memory: NestMemory, shape: ShortArray | LongArray, report: Report) -> dict[str, Value]:
    report.add(Said.READ, f"{memory.name}: registers of {memory.size_bits / BITS_PER_BYTE:g} bytes for {_held(memory)}")
    return {
        "kind": "registers",
        "capacity_bytes": memory.size_bits / BITS_PER_BYTE,
        "operands": [OPERANDS[o] for o in memory.operands],
        "serves": list(shape.serves(memory.serves)),
        "read_energy_pj_per_byte": _pj_per_byte(memory, read=True, report=report),
        "write_energy_pj_per_byte": _pj_per_byte(memory, read=False, report=report),
    }


def _held(memory: NestMemory) -> str:
    return ", ".join(OPERANDS[o] for o in memory.operands)


def _widths(memory: NestMemory, *, read: bool) -> list[float]:
    """Bits per cycle of the ports with a flow in the direction."""
    return [p.max_bits for p in memory.ports if any(f.direction.is_read == read for f in p.flows)]


def _pj_per_byte(memory: NestMemory, *, read: bool, report: Report) -> float:
    widths = _widths(memory, read=read)
    if len(set(widths)) > 1:
        report.add(Said.ASSUMED, f"{memory.name}: the energy of an access is over the narrowest of its ports, {min(widths):g} bits")
    cost = memory.read_pj if read else memory.write_pj
    if cost == 0:
        report.add(Said.WARNING, f"{memory.name}: a {'read' if read else 'write'} costs nothing in the source")
    return cost * BITS_PER_BYTE / min(widths) if widths else 0.0


def _gb_per_s(bits_per_cycle: float, assumed: Assumptions) -> float:
    return bits_per_cycle / BITS_PER_BYTE * assumed.clock_mhz * HZ_PER_MHZ / BYTES_PER_GB


def _energies(memory: NestMemory, report: Report) -> dict[str, Value]:
    """Energies per byte; one of 0 is left to the technology."""
    found: dict[str, Value] = {}
    for way in ("read", "write"):
        pj = _pj_per_byte(memory, read=way == "read", report=report)
        if pj > 0:
            found[f"{way}_energy_pj_per_byte"] = pj
        else:
            report.add(Said.ASSUMED, f"{memory.name}: {way} energy of the technology")
    return found


def _buffer(
    memory: NestMemory, source: CoreSource, shape: ShortArray | LongArray, assumed: Assumptions, outermost: int | None, report: Report
) -> dict[str, Value]:
    """A buffer; `outermost` is how many of it are summed into one where it is the last before DRAM."""
    inner, pools = outermost is None, outermost or 1
    times = f" x {pools}" if pools > 1 else ""
    kib = memory.size_bits / BITS_PER_BYTE / BYTES_PER_KIB
    report.add(Said.READ, f"{memory.name}: buffer of {kib:g} KiB{times} for {_held(memory)}")
    if pools > 1:
        report.add(
            Said.LOST, f"{memory.name}: {pools} of them are one with capacity and bandwidth summed; data that all need are stored once"
        )
    found: dict[str, Value] = {"kind": "buffer", "capacity_kib": kib * pools}
    if len(memory.ports) == 1:
        found["bandwidth_gb_per_s"] = _gb_per_s(memory.ports[0].max_bits, assumed) * pools
    else:
        for way in ("read", "write"):
            found[f"{way}_gb_per_s"] = _gb_per_s(sum(_widths(memory, read=way == "read")), assumed) * pools
        both = [p.name for p in memory.ports if len({f.direction.is_read for f in p.flows}) > 1]
        if both:
            report.add(Said.LOST, f"{memory.name}: {', '.join(both)} read and write; their width counts in full for both")
    if any(p.min_bits < p.max_bits for p in memory.ports):
        report.add(Said.LOST, f"{memory.name}: accesses are not rounded up to bandwidth_min")
    found |= _energies(memory, report)
    doubled = memory.doubled or assumed.buffering is Buffering.DOUBLE
    found |= {"double_buffered": doubled} | ({} if doubled else {"overlapped": True})
    found["operands"] = [OPERANDS[o] for o in memory.operands]
    everywhere = {name for name, _ in source.machine.dimensions}
    if not set(memory.serves) >= everywhere or (inner and isinstance(shape, LongArray) and "cores" in [name for name, *_ in shape.dims]):
        found["serves"] = list(shape.serves(memory.serves))
    return found


def _dram(memory: NestMemory, assumed: Assumptions, report: Report) -> dict[str, Value]:
    bits = max((p.max_bits for p in memory.ports), default=0.0) if len(memory.ports) == 1 else sum(p.max_bits for p in memory.ports)
    gb_per_s = _gb_per_s(bits, assumed)
    report.add(Said.READ, f"{memory.name}: DRAM, {bits:g} bits per cycle, {gb_per_s:g} GB/s")
    for way, cost in (("read", memory.read_pj), ("write", memory.write_pj)):
        widths = _widths(memory, read=way == "read")
        per_bit = cost / min(widths) if widths else 0.0
        low, high = DRAM_PJ_PER_BIT
        if not low <= per_bit <= high:
            report.add(Said.WARNING, f"{memory.name}: {way} energy {per_bit:g} pJ/bit is outside the usual {low:g} to {high:g}")
    return {
        "kind": "dram",
        "capacity_gib": memory.size_bits / BITS_PER_BYTE / BYTES_PER_GIB,
        "bandwidth_gb_per_s": gb_per_s,
        **_energies(memory, report),
        "latency_ns": 0,
    }
