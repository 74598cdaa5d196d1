"""Stream's file of several cores as a chip of many cores: kinds, shared memories, links and buses are kept apart."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dse.errors import InputError
from dse.files import Value, load_yaml
from dse.hw.importers.convert import Assumptions, Vector, accelerator_values, slug
from dse.hw.importers.fields import Fields
from dse.hw.importers.report import Report, Said
from dse.hw.importers.stream import MATRIX_OPERATORS, computes, offchip_of, read_cores, shared_groups, with_dram
from dse.hw.importers.unread import unread_of_chip
from dse.units import BITS_PER_BYTE, BYTES_PER_GB, HZ_PER_MHZ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.errors import Problem
    from dse.hw.importers.zigzag import CoreSource

ELEMENTWISE: Final = frozenset({"Add", "Mul"})
"""Types that tell a vector core from one that only pools."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """Cores of the source that share their outermost memory: one core here."""

    numbers: tuple[str, ...]
    matrix: tuple[CoreSource, ...]
    vector: tuple[CoreSource, ...]
    memory: tuple[CoreSource, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for units of equal cores."""
        return tuple(sorted(c.path for c in (*self.matrix, *self.vector, *self.memory)))


def chip_values(path: str | Path, name: str | None, assumed: Assumptions, report: Report) -> dict[str, Value]:
    """The values of a chip file from a multi-core file of Stream.

    Raises:
        InputError: a wrong file, no off-chip memory, a core that neither computes nor holds anything; with file and line.
    """
    notes: list[Problem] = []
    document = load_yaml(path, repeated=notes)
    if "cores" not in document.data:
        raise InputError.single(document.where(), "describes one core; import it without --chip")
    for note in (*notes, *unread_of_chip(document)):
        report.add(Said.WARNING, str(note))
    fields = Fields(document)
    cores = read_cores(fields, Path(path).parent)
    offchip = offchip_of(fields)
    fields.done()
    units = _units(cores, offchip, shared_groups(fields))
    kinds, where = _kinds(units)
    dram: dict[str, Value] = {}
    forms: dict[str, Value] = {}
    others = any(not u.matrix and u.vector for u in units)
    for kind, members in kinds.items():
        if members[0].matrix or members[0].vector:
            form, dram = _kind(kind, members, cores.get(offchip), assumed, report, others=others)
            forms[kind] = form
        else:
            raise _refuse_memory(members[0], assumed)
    if not forms:
        raise InputError.single(str(path), "no core computes anything; nothing to import")
    where[offchip] = next(iter(dram))
    links = _links(fields, where, assumed, report)
    fields.done()
    given = fields.document.value(("unit_energy_cost",))
    if given not in (None, 0, 0.0):
        report.add(Said.LOST, f"unit_energy_cost {given}: it names no unit; energy of links is 0 here")
    return {
        "schema_version": 1,
        "name": slug(name or fields.word("name")),
        "summary": f"{sum(len(m) for m in kinds.values())} cores; imported from {fields.word('name')}",
        "technology": assumed.technology,
        "clock_mhz": assumed.clock_mhz,
        "cores": forms,
        "memories": dram,
        "links": links,
    }


def _units(cores: Mapping[str, CoreSource], offchip: str, groups: list[set[str]]) -> list[_Unit]:
    found = []
    seen: set[str] = {offchip}
    for number in cores:
        if number in seen:
            continue
        together = next((g for g in groups if number in g), {number})
        numbers = tuple(n for n in cores if n in together and n != offchip)
        seen.update(numbers)
        mine = [cores[n] for n in numbers]
        found.append(
            _Unit(
                numbers,
                tuple(c for c in mine if computes(c)),
                tuple(c for c in mine if not computes(c) and c.machine.macs > 0),
                tuple(c for c in mine if c.machine.macs < 1),
            )
        )
    return found


def _kinds(units: list[_Unit]) -> tuple[dict[str, list[_Unit]], dict[str, str]]:
    """Units by kind, and the name here of each core of the source."""
    by_key: dict[tuple[str, ...], list[_Unit]] = {}
    for unit in units:
        by_key.setdefault(unit.key, []).append(unit)
    kinds: dict[str, list[_Unit]] = {}
    where: dict[str, str] = {}
    for members in by_key.values():
        first = (*members[0].matrix, *members[0].vector, *members[0].memory)[0]
        kind = slug(first.machine.name)
        while kind in kinds:
            kind += "_b"
        if len(members) > 1 and kind[-1].isdigit():
            kind += "_"  # its cores get a number
        kinds[kind] = members
        for i, unit in enumerate(members):
            where.update(dict.fromkeys(unit.numbers, f"{kind}{i}" if len(members) > 1 else kind))
    return kinds, where


def _kind(
    kind: str, members: list[_Unit], offchip: CoreSource | None, assumed: Assumptions, report: Report, *, others: bool
) -> tuple[dict[str, Value], dict[str, Value]]:
    """The form of a kind of cores, and the memory off chip by its name."""
    unit = members[0]
    source = (unit.matrix or unit.vector)[0]
    lanes = sum(prod(size for _, size in c.machine.dimensions) for c in unit.vector)
    vector = Vector(lanes, unit.vector[0].machine.mac_pj, unit.vector[0].path) if unit.vector else None
    full = with_dram(source, offchip, 0.0, report)
    multiplies = bool(unit.matrix)
    values: Any = accelerator_values(
        full, kind, assumed, report, cores=max(1, len(unit.matrix)), pools=1, vector=vector, multiplies=multiplies
    )
    *own, dram = values["memories"]
    form: dict[str, Value] = {"count": len(members)}
    if unit.matrix:
        form["array"] = values["core"]["array"]
    form["vector"] = values["core"]["vector"]
    form["memories"] = {name: values["memories"][name] for name in own}
    types = _op_types(kind, unit, report, others=others)
    if types:
        form["op_types"] = list[Value](types)
    report.add(Said.READ, f"cores {', '.join(n for m in members for n in m.numbers)} as {len(members)} x '{kind}'")
    return form, {dram: values["memories"][dram]}


def _op_types(kind: str, unit: _Unit, report: Report, *, others: bool) -> list[str]:
    """Operator types that a kind may run; empty for all that its units can.

    Matrix cores that name none run products, and all else too where no other core is there for it. A core that names elementwise types
    runs every vector operator: what no core names would run nowhere.
    """
    products = {t for c in unit.matrix for t in c.operator_types or MATRIX_OPERATORS}
    beside = {t for c in unit.vector for t in c.operator_types}
    if unit.vector and (not beside or beside & ELEMENTWISE):
        named = f", though it names {', '.join(sorted(beside))} only" if beside else ""
        report.add(Said.ASSUMED, f"'{kind}' runs every operator of a vector unit{named}")
        return [] if not unit.matrix or products >= MATRIX_OPERATORS else sorted(products | beside)
    if unit.matrix and not unit.vector and not any(c.operator_types for c in unit.matrix):
        if not others:
            return []
        report.add(Said.ASSUMED, f"'{kind}' runs {', '.join(sorted(MATRIX_OPERATORS))} only: other cores name the other operators")
    return sorted(products | beside)


def _refuse_memory(unit: _Unit, assumed: Assumptions) -> InputError:
    """A core that only holds data, which is no part of any that computes."""
    core = unit.memory[0]
    return InputError.single(
        core.path,
        f"'{core.machine.name}' holds data alone and shares it with no core that computes; describe it by hand as a buffer under memories, "
        f"with links to it (at {assumed.clock_mhz:g} MHz GB/s are bits per cycle x {assumed.clock_mhz / 8000:g})",
    )


def _links(fields: Fields, where: Mapping[str, str], assumed: Assumptions, report: Report) -> dict[str, Value]:
    """Links and buses by name; links that join the same two here are one with the bandwidth of all."""
    buses: dict[str, Value] = {}
    links: dict[frozenset[str], tuple[str, list[str], float]] = {}
    for i, link in enumerate(fields.items("core_connectivity") if fields.has("core_connectivity") else []):
        at = ("core_connectivity", i)
        if not isinstance(link, dict):
            fields.fault(at, "a connection has type, cores and bandwidth")
            continue
        numbers = [str(n) for n in fields.items(*at, "cores")]
        unknown = [n for n in numbers if n not in where]
        if unknown:
            fields.fault((*at, "cores"), f"core {unknown[0]} is not described under cores")
            continue
        ends = list(dict.fromkeys(where[n] for n in numbers))
        if len(ends) < 2:
            report.add(Said.READ, f"connection {i} joins units of one core; nothing to do")
            continue
        bits = fields.number(*at, "bandwidth", least=0, above=True)
        rate = bits * assumed.clock_mhz * HZ_PER_MHZ / BITS_PER_BYTE / BYTES_PER_GB
        if str(link.get("type")) != "link" or len(ends) > 2:
            buses[f"bus{i}"] = {"kind": "bus", "members": list(ends), "bandwidth_gb_per_s": rate, "energy_pj_per_byte": 0}
            continue
        name, between, before = links.get(frozenset(ends), (f"link{i}", ends, 0.0))
        if before:
            report.add(Said.ASSUMED, f"connection {i} is part of '{name}', which joins the same two here: the bandwidth of both")
        links[frozenset(ends)] = name, between, before + rate
    joined: dict[str, Value] = {
        name: {"kind": "link", "between": list[Value](between), "bandwidth_gb_per_s": rate, "energy_pj_per_byte": 0}
        for name, between, rate in links.values()
    }
    return joined | buses
