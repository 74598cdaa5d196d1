"""From the connections of a chip's file to channels between nodes, with what is wrong in them by file and line."""

from __future__ import annotations

from itertools import product
from math import isqrt
from typing import TYPE_CHECKING, Final

from dse.errors import InputError, Problem, did_you_mean
from dse.hw.interconnect import Channel, Interconnect
from dse.hw.many_core_form import BusForm, LinkForm, MeshForm
from dse.units import BYTES_PER_GB, SECONDS_PER_NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.files import Document
    from dse.hw.many_core_form import AnyConnection, ChipFile

CELLS: Final = ".cells"
"""What is added to a memory's name for the node behind its port."""
MOST_LISTED: Final = 16
"""Names that a message lists."""


def core_names(kind: str, count: int) -> tuple[str, ...]:
    """Names of the cores of a kind."""
    return (kind,) if count == 1 else tuple(f"{kind}{i}" for i in range(count))


def interconnect_of(form: ChipFile, document: Document) -> Interconnect:
    """Channels of a chip; the memory off chip and shared buffers are nodes behind a port of their own.

    Raises:
        InputError: an end that is no core and no memory, a link from a core to itself, a mesh of the wrong size, two things of one
            name, a core that cannot reach the memory off chip or another core.
    """
    groups = {kind: core_names(kind, cores.count) for kind, cores in form.cores.items()}
    known = _known(form, groups, document)
    channels: list[Channel] = []
    problems: list[Problem] = []
    for name, connection in form.links.items():
        found, wrong = _channels(name, connection, known, document)
        channels += found
        problems += wrong
    if problems:
        raise InputError(problems)
    channels += _ports(form)
    nodes = [*(core for group in groups.values() for core in group), *form.memories, *(m + CELLS for m in form.memories)]
    dram = form.dram[0]
    made = Interconnect(tuple(nodes), tuple(channels), gates=((dram, dram + CELLS),))
    _check_connected(form, groups, made, document)
    return made


def _known(form: ChipFile, groups: dict[str, tuple[str, ...]], document: Document) -> dict[str, tuple[str, ...]]:
    """Nodes by every name that a connection may use."""
    known: dict[str, tuple[str, ...]] = {}
    named = [(("cores", kind), kind, cores) for kind, cores in groups.items()]
    named += [(("cores", kind), core, (core,)) for kind, cores in groups.items() for core in cores if core != kind]
    named += [(("memories", memory), memory, (memory,)) for memory in form.memories]
    for location, name, nodes in named:
        if name in known:
            message = f"'{name}' is the name of two things (cores of a kind are called as their kind with a number); rename one"
            raise InputError.single(document.where(location), message)
        known[name] = nodes
    return known


def _channels(name: str, form: AnyConnection, known: dict[str, tuple[str, ...]], document: Document) -> tuple[list[Channel], list[Problem]]:
    key = {"link": "between", "bus": "members", "mesh": "cores"}[form.kind]
    given: tuple[str, ...] = getattr(form, key)
    where = document.where(("links", name, key))
    wrong = [
        Problem(
            document.where(("links", name, key, i)),
            f"'{end}' is no core and no memory; there are {_listed(tuple(known))}.{did_you_mean(end, known)}",
        )
        for i, end in enumerate(given)
        if end not in known
    ]
    if wrong:
        return [], wrong
    nodes = [node for end in given for node in known[end]]
    if isinstance(form, LinkForm):
        ends = [(a, b) for a, b in product(known[given[0]], known[given[1]]) if a != b]
        if given[0] == given[1] or not ends:
            return [], [
                Problem(where, f"a link joins two different ends, not '{given[0]}' with itself; cores of one kind take a bus or a mesh")
            ]
        return [c for a, b in ends for c in _both_ways(name, f"{name}.{a}.{b}" if len(ends) > 1 else name, a, b, form)], []
    doubled = sorted({n for n in nodes if nodes.count(n) > 1})
    if doubled:
        return [], [Problem(where, f"'{doubled[0]}' is named twice; name each once, alone or by its kind")]
    if isinstance(form, BusForm):
        if name in known:
            return [], [Problem(where, f"'{name}' is also the name of a core or a memory; rename one of them")]
        if len(nodes) < 2:
            return [], [Problem(where, f"a bus needs at least two members; given: {', '.join(nodes)}")]
        return [Channel(name, tuple(nodes), tuple(nodes), *_costs(form), f"links.{name}")], []
    rows, columns = grid_of(form, len(nodes))
    if len(nodes) != rows * columns:
        asked = form.rows is not None and form.columns is not None
        message = (
            f"a mesh of {rows} x {columns} takes {rows * columns} cores; given: {len(nodes)}"
            if asked
            else f"{len(nodes)} cores do not fill {f'{rows} rows' if form.rows is not None else f'{columns} columns'} evenly"
        )
        return [], [Problem(where, f"{message}; change the count of the cores, or rows and columns")]
    return list(_mesh(name, nodes, form, rows, columns)), []


def _listed(names: tuple[str, ...]) -> str:
    """Names with commas, of many the first and the last."""
    if len(names) <= MOST_LISTED:
        return ", ".join(names)
    half = MOST_LISTED // 2
    return f"{', '.join(names[:half])}, … {', '.join(names[-half:])} ({len(names)} in all)"


def grid_of(form: MeshForm, cores: int) -> tuple[int, int]:
    """(rows, columns) of a mesh of `cores`; what the file leaves out follows from the rest, see `MeshForm`."""
    if form.rows is not None:
        return form.rows, form.columns if form.columns is not None else max(1, cores // form.rows)
    if form.columns is not None:
        return max(1, cores // form.columns), form.columns
    rows = next(r for r in range(isqrt(cores), 0, -1) if cores % r == 0)
    return rows, cores // rows


def _mesh(name: str, nodes: list[str], form: MeshForm, rows: int, columns: int) -> Iterator[Channel]:
    for row in range(rows):
        for column in range(columns):
            for size, at, step in ((columns, column, (0, 1)), (rows, row, (1, 0))):
                closes = form.torus and size > 2 and at == size - 1
                if at < size - 1 or closes:
                    other = (row + step[0]) % rows * columns + (column + step[1]) % columns
                    here = nodes[row * columns + column]
                    yield from _both_ways(name, f"{name}.{here}.{nodes[other]}", here, nodes[other], form)


def _both_ways(link: str, name: str, a: str, b: str, form: AnyConnection) -> tuple[Channel, Channel]:
    path, costs = f"links.{link}", _costs(form)
    return Channel(f"{name}.to_{b}", (a,), (b,), *costs, path), Channel(f"{name}.to_{a}", (b,), (a,), *costs, path)


def _costs(form: AnyConnection) -> tuple[float, float, float]:
    return form.bandwidth_gb_per_s * BYTES_PER_GB, form.energy_pj_per_byte, form.latency_ns * SECONDS_PER_NS


def _ports(form: ChipFile) -> Iterator[Channel]:
    """One channel for the port of the memory off chip, which reads and writes share; one each way for buffers with two ports.

    Energies of accesses are priced apart, by what is read and written.
    """
    name, dram = form.dram
    ends = (name, name + CELLS)
    rate = dram.bandwidth_gb_per_s * dram.sustained_fraction * BYTES_PER_GB
    yield Channel(f"{name}.port", ends, ends, rate, 0.0, dram.latency_ns * SECONDS_PER_NS, f"memories.{name}")
    for name, buffer in form.shared:
        cells, path = name + CELLS, f"memories.{name}"
        if buffer.bandwidth_gb_per_s is not None:
            yield Channel(f"{name}.port", (name, cells), (name, cells), buffer.bandwidth_gb_per_s * BYTES_PER_GB, 0.0, 0.0, path)
        else:
            assert buffer.read_gb_per_s is not None, name
            assert buffer.write_gb_per_s is not None, name
            yield Channel(f"{name}.read", (cells,), (name,), buffer.read_gb_per_s * BYTES_PER_GB, 0.0, 0.0, path)
            yield Channel(f"{name}.write", (name,), (cells,), buffer.write_gb_per_s * BYTES_PER_GB, 0.0, 0.0, path)


def _check_connected(form: ChipFile, groups: dict[str, tuple[str, ...]], made: Interconnect, document: Document) -> None:
    dram = form.dram[0]
    problems = []
    for kind, cores in groups.items():
        lost = [c for c in cores if not (made.connected(dram, c) and made.connected(c, dram))]
        if lost:
            listed = ", ".join(lost[:4]) + (", …" if len(lost) > 4 else "")
            message = f"no way leads from the memory '{dram}' to {listed}; add a link, a bus or a mesh under links"
            problems.append(Problem(document.where(("cores", kind)), message))
    for name, _ in form.shared:
        if not (made.connected(dram, name) and made.connected(name, dram)):
            problems.append(
                Problem(document.where(("memories", name)), f"no way leads from '{dram}' to the buffer '{name}'; connect it under links")
            )
    if problems:
        raise InputError(problems)
