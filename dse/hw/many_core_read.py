"""From the file of a chip of many cores to its description: each kind of core as a one-core accelerator, and what joins them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from dse.errors import InputError, UsageError
from dse.files import load_yaml, validate
from dse.hw.accelerator import AreaBreakdown
from dse.hw.channel_prices import ChannelPrices
from dse.hw.chip_papercuts import chip_papercuts
from dse.hw.many_core import Chip, Core, SharedBuffer
from dse.hw.many_core_form import ChipFile
from dse.hw.many_core_paths import chip_field_paths
from dse.hw.many_core_table import ChipTable, build_chip_table
from dse.hw.read import AcceleratorDescription, describe, plain
from dse.hw.table import PriceFields
from dse.hw.topology import CELLS, core_names, interconnect_of
from dse.units import BYTES_PER_GIB, BYTES_PER_KIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike

    from dse.files import Document, Value
    from dse.files.document import Location
    from dse.hw.many_core_form import CoreKindForm
    from dse.hw.paths import FieldPath
    from dse.hw.technology import Technology, TechnologyCatalogue

NO_ARRAY: Final[Mapping[str, Value]] = {"rows": 1, "columns": 1, "count": 1, "dataflows": ["weight_stationary"], "folds": "pipelined"}
"""Stands in the one-core form of a kind without an array; no operator is ever given to it and no area counted."""
NO_VECTOR: Final[Mapping[str, Value]] = {"lanes": 1}
"""The same for a kind without a vector unit."""


@dataclass(frozen=True)
class ChipDescription:
    """One file of a chip of many cores, checked, with its technology; every derived form starts here."""

    document: Document
    file: ChipFile
    kinds: Mapping[str, AcceleratorDescription]
    """Each kind of core, with the memory off chip, as an accelerator of one core."""
    chip: Chip
    technologies: TechnologyCatalogue

    @property
    def name(self) -> str:
        """Name as the file gives it."""
        return self.file.name

    @property
    def summary(self) -> str:
        """One line for `dse list`."""
        return self.file.summary

    @property
    def technology(self) -> Technology:
        """What gives the prices that the file leaves out."""
        return next(iter(self.kinds.values())).technology

    @cached_property
    def _paths(self) -> tuple[FieldPath, ...]:
        return chip_field_paths(self.file, {kind: one.paths() for kind, one in self.kinds.items()}, self.technology)

    @cached_property
    def _price_fields(self) -> PriceFields:
        return PriceFields.of(self._paths)

    @cached_property
    def channel_prices(self) -> ChannelPrices:
        """What its channels charge."""
        return ChannelPrices.of(self.chip)

    def paths(self) -> tuple[FieldPath, ...]:
        """All fields that a search may change, in the order of the file."""
        return self._paths

    def with_overrides(self, overrides: Mapping[str, Any], *, origin: str = "setting") -> ChipDescription:
        """This chip with `{'cores.tpu.count': 8, 'links.bus.bandwidth_gb_per_s': 32}` laid over it.

        Raises:
            UsageError: a path that leads nowhere, or a value that is not allowed, with what is.
        """
        given = {path: plain(value) for path, value in overrides.items()}
        try:
            return describe_chip(self.document.with_settings(given, origin=origin, add_parents=True), self.technologies)
        except InputError as error:
            raise UsageError(str(error)) from error

    def table(self, columns: Mapping[str, ArrayLike] | None = None) -> ChipTable:
        """Design points of these cores: `{price path: scalar or [D]}` in file units; all else as described.

        Raises:
            UsageError: a path that is unknown or no price, columns of different lengths, a value that is not allowed.
        """
        return build_chip_table(self.file, self._price_fields, self.kinds, columns or {})

    @cached_property
    def area(self) -> AreaBreakdown:
        """Silicon of all cores and shared buffers, the memory interface once; connections take `area.other_mm2` where it is given."""
        return AreaBreakdown(**{name: float(column[0]) for name, column in self.table().area_by_component.items()})

    def warnings(self) -> tuple[str, ...]:
        """Papercuts of every kind of core, of shared buffers and of connections, one line each with file and line."""
        found = [*(w for d in self.kinds.values() for w in d.warnings()), *chip_papercuts(self.file, self.document)]
        return tuple(dict.fromkeys(w for w in found if "below the DRAM's" not in w))  # links, not a core's buffer, feed on the DRAM


def read_chip_file(path: str | Path, technologies: TechnologyCatalogue) -> ChipDescription:
    """The chip in a YAML file, its technology looked up in `technologies` or beside the file.

    Raises:
        InputError: missing, broken or wrong file, all problems with their lines.
    """
    return describe_chip(load_yaml(path), technologies)


def describe_chip(document: Document, technologies: TechnologyCatalogue) -> ChipDescription:
    """As `read_chip_file`, from a document.

    Raises:
        InputError: as `read_chip_file`.
    """
    form = validate(document, ChipFile)
    interconnect = interconnect_of(form, document)
    kinds = {kind: describe(_one_core(document, form, kind), technologies) for kind in form.cores}
    cores = tuple(_core(name, kind, cores, kinds[kind]) for kind, cores in form.cores.items() for name in core_names(kind, cores.count))
    dram, memory = form.dram
    technology = next(iter(kinds.values())).technology
    shared = tuple(
        SharedBuffer(
            name,
            name + CELLS,
            b.capacity_kib * BYTES_PER_KIB,
            b.read_energy_pj_per_byte or technology.buffer_read_energy_pj_per_byte,
            b.write_energy_pj_per_byte or technology.buffer_write_energy_pj_per_byte,
        )
        for name, b in form.shared
    )
    chip = Chip(form.name, cores, interconnect, dram + CELLS, memory.capacity_gib * BYTES_PER_GIB, shared)
    return ChipDescription(document, form, kinds, chip, technologies)


def _core(name: str, kind: str, form: CoreKindForm, one: AcceleratorDescription) -> Core:
    buffer = one.file.buffer[1]
    types = None if form.op_types is None else frozenset(form.op_types)
    return Core(name, kind, one.geometry, buffer.capacity_kib * BYTES_PER_KIB, form.array is not None, form.vector is not None, types)


def _one_core(document: Document, form: ChipFile, kind: str) -> Document:
    """The document of one core of a kind as an accelerator file; every value keeps its line."""
    cores = form.cores[kind]
    given: Any = document.data  # values of a checked file
    core, dram = given["cores"][kind], form.dram[0]
    dtype = _some_type(given)
    array = core.get("array") or {**NO_ARRAY, "macs_per_pe_per_cycle": {dtype: 1}, "mac_energy_pj": {dtype: 1.0}}
    memories = {**core["memories"], dram: given["memories"][dram]}
    if dram in core["memories"]:
        raise InputError.single(document.where(("cores", kind, "memories", dram)), f"'{dram}' is also the chip's memory; rename one")
    data: dict[str, Value] = {
        "schema_version": given["schema_version"],
        "name": f"{form.name}_{kind}"[:64],
        "summary": f"one core '{kind}' of {form.name}"[:200],
        "technology": given["technology"],
        "clock_mhz": given["clock_mhz"],
        "core": {"array": array, "vector": core.get("vector") or dict(NO_VECTOR)},
        "memories": memories,
        "leakage_w": cores.leakage_w,
    }
    return type(document)(document.path, document.text, data, dict(_origins(document, kind, dram)))


def _some_type(given: Any) -> str:
    """A data type that some array of the chip computes, for kinds that have none."""
    arrays = [core["array"] for core in given["cores"].values() if core.get("array")]
    rates = arrays[0]["macs_per_pe_per_cycle"] if arrays else {"bf16": 1}
    return str(next(iter(rates)))


def _origins(document: Document, kind: str, dram: str) -> dict[Location, str]:
    """Where the values of `_one_core` came from."""
    moved: dict[Location, str] = {("core",): document.where(("cores", kind)), ("memories",): document.where(("cores", kind, "memories"))}
    for location, where in document.origins.items():
        match location:
            case ("cores", k, ("array" | "vector"), *rest) if k == kind:
                moved[("core", *location[2:])] = where
            case ("cores", k, "memories", *rest) if k == kind:
                moved[("memories", *rest)] = where
            case ("memories", m, *_) if m == dram:
                moved[location] = where
            case (_,):
                moved.setdefault(location, where)
            case _:
                pass
    return moved
