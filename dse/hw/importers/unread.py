"""What a hardware file of another tool says and an import does not read: nothing is left out in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.errors import Problem, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from dse.files import Document

_CHIP: Final = ("name", "cores", "offchip_core_id", "core_connectivity", "core_memory_sharing", "unit_energy_cost", "core_coordinates")
"""Keys of a file of several cores that are read or told of elsewhere; coordinates only place what the connections say."""
_CONNECTION: Final = ("type", "cores", "bandwidth")
_CORE: Final = ("name", "type", "memories", "operational_array", "operator_types", "operand_precision", "dataflows")
_ARRAY: Final = (
    *("dimensions", "sizes", "unit_energy", "unit_area", "input_precision", "systolic_dimensions", "is_imc"),
    *("multiplier_energy", "multiplier_area"),
)
"""Keys of an array; areas are told of where assumptions are."""
_MEMORY: Final = (
    *("size", "r_cost", "w_cost", "area", "latency", "operands", "ports", "served_dimensions", "auto_cost_extraction"),
    *("force_double_buffering", "r_bw", "w_bw", "min_r_granularity", "min_w_granularity", "r_port", "w_port", "rw_port", "mem_type"),
)
_PORT: Final = ("name", "type", "bandwidth_min", "bandwidth_max", "allocation")
_MEANING: Final = {
    "bandwidth": "rates of short transfers are not read: every transfer takes the full rate of its port",
    "banks": "banks are not read: conflicts between accesses to one bank take no time here",
    "technology_node": "the node is not read: areas and what has no energy are those of --technology",
    "kernel_library": "measured kernels are not read",
    "reconfiguration": "time to load another program is not read",
    "unit_energy_cost": "energy of a connection is not read, it names no unit: 0 here",
}
"""What known keys say that our form cannot."""

Path = tuple[str | int, ...]


def unread_of_chip(document: Document) -> list[Problem]:
    """Notes on the keys of a file of several cores that no part of the import reads, with their lines."""
    found = list(_unread(document, (), _CHIP))
    links = document.value(("core_connectivity",))
    for i in range(len(links) if isinstance(links, list) else 0):
        found += _unread(document, ("core_connectivity", i), _CONNECTION)
    return found


def unread_of_core(document: Document) -> list[Problem]:
    """The same of a file of one core."""
    found = [*_unread(document, (), _CORE), *_unread(document, ("operational_array",), _ARRAY)]
    memories = document.value(("memories",))
    for name in memories if isinstance(memories, dict) else ():
        found += _unread(document, ("memories", name), _MEMORY)
        ports = document.value(("memories", name, "ports"))
        for i, port in enumerate(ports if isinstance(ports, list) else []):
            if isinstance(port, dict) and "allocation" in port:
                found += _unread(document, ("memories", name, "ports", i), _PORT)
    return found


def _unread(document: Document, path: Path, known: Collection[str]) -> Iterator[Problem]:
    values = document.value(path) if path else document.data
    for key in values if isinstance(values, dict) else ():
        if key in known:
            continue
        said = _MEANING.get(key, f"is no key that an import knows; it is left out.{did_you_mean(key, known)}")
        yield Problem(document.where((*path, key)), f"'{key}': {said}" if key in _MEANING else f"'{key}' {said}")
