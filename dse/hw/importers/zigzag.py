"""ZigZag's hardware file, and Stream's file of one core, as a machine: memories with ports and operands, array dimensions.

Both forms of ports are read: a list of ports with widths and an allocation (zigzag-dse 3.6 and later), and one entry per
operand that names numbered ports of widths `r_bw` and `w_bw` (earlier versions).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.errors import InputError, Problem
from dse.files import load_yaml
from dse.hw.importers.fields import Fields
from dse.hw.importers.machine import Direction, Flow, Machine, NestMemory, Port
from dse.hw.importers.unread import unread_of_core

if TYPE_CHECKING:
    from pathlib import Path

    from dse.files import Document

OPERANDS: Final = {"I1": "left", "I2": "right", "O": "out"}
"""Memory operands of these files and ours: by their links activations are I1, weights I2."""
DIRECTIONS: Final = {
    "fh": Direction.WRITE_FROM_HIGH,
    "tl": Direction.READ_TO_LOW,
    "fl": Direction.WRITE_FROM_LOW,
    "th": Direction.READ_TO_HIGH,
}
_PORT_TYPES: Final = ("read", "write", "read_write")


@dataclass(frozen=True, slots=True)
class CoreSource:
    """What one core's file says."""

    path: str
    machine: Machine
    kind: str
    """Its `type`; empty where it has none (ZigZag's own files)."""
    input_type: str
    """Data type of the operands; empty where it is not given."""
    operator_types: tuple[str, ...]
    """Operators that it runs; empty where it is not said."""
    dataflows: tuple[tuple[str, tuple[str, ...]], ...]
    """(array dimension, layer dimensions spread over it); empty where the file leaves that to the mapper."""
    notes: tuple[Problem, ...]
    """What is odd and was read all the same."""


def read_core(path: str | Path) -> CoreSource:
    """The core in a hardware file of ZigZag or Stream.

    Raises:
        InputError: not such a file, in-memory computing, tiles that are timed by kernels; missing keys, absurd values:
            all with file and line.
    """
    notes: list[Problem] = []
    document = load_yaml(path, repeated=notes)
    return core_of(document, notes)


def core_of(document: Document, notes: list[Problem]) -> CoreSource:
    """The core in a document; `notes` are those of reading it."""
    fields = Fields(document)
    _refuse_other_kinds(fields)
    notes += unread_of_core(document)
    dims = _array(fields)
    names = tuple(name for name, _ in dims)
    memories = tuple(m for name in fields.mapping("memories") if (m := _memory(fields, name, names, notes)))
    systolic = fields.words("operational_array", "systolic_dimensions") if fields.has("operational_array", "systolic_dimensions") else ()
    for i, dim in enumerate(systolic):
        fields.one_of(dim, names, ("operational_array", "systolic_dimensions", i), "array dimension")
    energy = fields.number("operational_array", "unit_energy", least=0)
    machine = Machine(fields.word("name"), dims, energy, memories, systolic)
    _check_flows(fields, machine)
    source = CoreSource(
        document.path,
        machine,
        fields.word("type") if fields.has("type") else "",
        _input_type(fields),
        fields.words("operator_types") if fields.has("operator_types") else (),
        _dataflows(fields, names),
        tuple(notes),
    )
    fields.done()
    return source


def _refuse_other_kinds(fields: Fields) -> None:
    """Files that are no core of a MAC array, each with what it looks like.

    Raises:
        InputError: it is not.
    """
    keys = fields.document.data
    what = ""
    if str(keys.get("type", "")).startswith("aie2."):
        what = f"a tile of type {keys['type']} is timed by measured kernels and describes no MAC array; it cannot be imported"
    elif "cores" in keys:
        what = "describes several cores; import it with `dse import stream`"
    elif "schema_version" in keys:
        what = "is a file of dse already; check it with `dse check`"
    elif "memories" not in keys or "operational_array" not in keys:
        lacking = " and ".join(f"'{k}'" for k in ("memories", "operational_array") if k not in keys)
        what = f"has no {lacking}: not a hardware file of ZigZag or Stream"
    elif fields.flag("operational_array", "is_imc"):
        where = fields.document.where(("operational_array", "is_imc"))
        text = "arrays that compute in memory (is_imc) are not modelled: cells, converters and bit-serial steps have no place in our form"
        raise InputError.single(where, text)
    if what:
        raise InputError.single(f"{fields.document.path}:1", what)


def _array(fields: Fields) -> tuple[tuple[str, int], ...]:
    at = "operational_array"
    names = fields.words(at, "dimensions")
    sizes = fields.items(at, "sizes")
    if len(names) != len(sizes):
        fields.fault((at, "sizes"), f"{len(names)} dimensions and {len(sizes)} sizes; give one size per dimension")
        return ()
    if not names:
        fields.fault((at, "dimensions"), "the array has no dimensions")
    return tuple((name, fields.whole(at, "sizes", i, least=0)) for i, name in enumerate(names))


def _memory(fields: Fields, name: str, dims: tuple[str, ...], notes: list[Problem]) -> NestMemory | None:
    at = ("memories", name)
    if not isinstance(fields.document.value(at), dict):
        fields.mapping(*at)
        return None
    operands = fields.words(*at, "operands")
    for i, operand in enumerate(operands):
        fields.one_of(operand, OPERANDS, (*at, "operands", i), "operand")
    if not operands:
        notes.append(Problem(fields.document.where(at), f"memory '{name}' serves no operand; it is left out"))
    serves = fields.words(*at, "served_dimensions")
    for i, dim in enumerate(serves):
        fields.one_of(dim, dims, (*at, "served_dimensions", i), "array dimension")
    ports = _ports(fields, at, operands, notes)
    read, write = _energy(fields, (*at, "r_cost")), _energy(fields, (*at, "w_cost"))
    size = fields.number(*at, "size", least=0, above=True)
    doubled = fields.flag(*at, "force_double_buffering")
    if not operands:
        return None
    return NestMemory(name, size, operands, serves, read, write, ports, doubled)


def _energy(fields: Fields, path: tuple[str | int, ...]) -> float:
    if fields.flag(*path[:-1], "auto_cost_extraction") and not fields.has(*path):
        fields.fault(path, "the energy is left to CACTI (auto_cost_extraction); run ZigZag once and write its figure here")
        return 1.0
    return fields.number(*path, least=0)


def _ports(fields: Fields, at: tuple[str, ...], operands: tuple[str, ...], notes: list[Problem]) -> tuple[Port, ...]:
    listed = fields.items(*at, "ports")
    if listed and not all(isinstance(p, dict) and "allocation" in p for p in listed):
        return _numbered_ports(fields, at, operands)
    taken: dict[Flow, str] = {}
    found: list[tuple[str, float, float, list[Flow]]] = []
    for i, _ in enumerate(listed):
        here: tuple[str | int, ...] = (*at, "ports", i)
        name, kind = fields.word(*here, "name"), fields.word(*here, "type")
        fields.one_of(kind, _PORT_TYPES, (*here, "type"), "port type")
        faults = len(fields.problems)
        widest = fields.number(*here, "bandwidth_max", least=0, above=True)
        finest = fields.number(*here, "bandwidth_min", least=0, above=True)
        if finest > widest and len(fields.problems) == faults:
            fields.fault((*here, "bandwidth_min"), f"bandwidth_min {finest:g} is above bandwidth_max {widest:g}")
        texts = fields.words(*here, "allocation")
        flows = [f for j, text in enumerate(texts) if (f := _flow(fields, (*here, "allocation", j), text, kind))]
        for flow in flows:
            if flow in taken:
                where = fields.document.where(here)
                notes.append(Problem(where, f"{flow.operand} {flow.direction} is given to {taken[flow]} and {name}; the last carries it"))
            taken[flow] = name
        found.append((name, finest, widest, flows))
    return tuple(Port(n, finest, widest, tuple(f for f in flows if taken[f] == n)) for n, finest, widest, flows in found)


def _flow(fields: Fields, path: tuple[str | int, ...], text: str, kind: str) -> Flow | None:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or parts[0] not in OPERANDS or parts[1] not in DIRECTIONS:
        allowed = f"an operand of {', '.join(OPERANDS)} and a direction of {', '.join(DIRECTIONS)}"
        fields.fault(path, f"'{text}' is not a flow; write {allowed}, as in 'I1, tl'")
        return None
    direction = DIRECTIONS[parts[1]]
    if (kind == "read") != direction.is_read and kind in ("read", "write"):
        fields.fault(path, f"'{text}' is a {'read' if direction.is_read else 'write'} on a {kind} port")
    return Flow(parts[0], direction)


def _numbered_ports(fields: Fields, at: tuple[str, ...], operands: tuple[str, ...]) -> tuple[Port, ...]:
    """Ports of the earlier form: one entry per operand, `direction: r_port_1`, widths by kind of port."""
    flows: dict[str, list[Flow]] = {}
    listed = fields.items(*at, "ports")
    if len(listed) != len(operands):
        fields.fault((*at, "ports"), f"{len(operands)} operands and {len(listed)} entries of ports; give one per operand")
    for i, (operand, _) in enumerate(zip(operands, listed, strict=False)):
        for way in fields.mapping(*at, "ports", i):
            port = fields.word(*at, "ports", i, way)
            known = fields.one_of(way, DIRECTIONS, (*at, "ports", i, way), "direction")
            if known and not re.fullmatch(r"(r|w|rw)_port_[0-9]+", port):
                fields.fault((*at, "ports", i, way), f"'{port}' is no port; write r_port_1, w_port_1 or rw_port_1")
            elif known:
                flows.setdefault(port, []).append(Flow(operand, DIRECTIONS[way]))
    found = []
    for port, carried in flows.items():
        side = "w" if port.startswith("w_") else "r"
        width = fields.number(*at, f"{side}_bw", least=0, above=True)
        granule = (*at, f"min_{side}_granularity")
        found.append(Port(port, fields.number(*granule, least=0, above=True) if fields.has(*granule) else width, width, tuple(carried)))
    return tuple(found)


def _check_flows(fields: Fields, machine: Machine) -> None:
    """Every memory needs ports towards the MACs, and those that are not the operand's last also away from them."""
    for operand in OPERANDS:
        levels = machine.levels(operand)
        for memory in levels:
            ways = ("tl", "fl") if operand == "O" else ("tl",)
            if memory is not levels[-1]:
                ways = (*ways, "fh", "th") if operand == "O" else (*ways, "fh")
            lacking = [way for way in ways if memory.port_of(operand, DIRECTIONS[way]) is None]
            if lacking and memory.ports:
                fields.fault(("memories", memory.name, "ports"), f"no port of '{memory.name}' carries {operand} {' and '.join(lacking)}")


def _input_type(fields: Fields) -> str:
    if fields.has("operand_precision", "input"):
        return fields.word("operand_precision", "input")
    at = ("operational_array", "input_precision")
    if not fields.has(*at):
        return ""
    bits = [fields.whole(*at, i, least=0) for i in range(len(fields.items(*at)))]
    return f"int{max(bits)}" if any(bits) else ""


def _dataflows(fields: Fields, names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    given = fields.mapping("dataflows") if fields.has("dataflows") else {}
    return tuple(
        (dim, tuple(text.split(",")[0].strip() for text in fields.words("dataflows", dim)))
        for dim in given
        if fields.one_of(dim, names, ("dataflows", dim), "array dimension")
    )
