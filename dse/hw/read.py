"""From an accelerator file to its description: validated, overridable, and the source of tables and internal forms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dse.errors import InputError, UsageError, did_you_mean
from dse.files import load_yaml, validate
from dse.hw.accelerator import Accelerator, Geometry
from dse.hw.array_form import ArrayForm
from dse.hw.file_form import AcceleratorFile
from dse.hw.geometry import array_dims, geometry_of
from dse.hw.memory_form import BufferForm, DramForm
from dse.hw.papercuts import papercuts
from dse.hw.paths import field_paths
from dse.hw.table import PriceFields, build_table
from dse.hw.technology import read_technology_file

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import ArrayLike

    from dse.files import Document
    from dse.hw.paths import FieldPath
    from dse.hw.table import DesignTable
    from dse.hw.technology import Technology, TechnologyCatalogue

LEFT_OUT: Final = ("core.most_tiles", "core.most_cells")
"""Paths of fields that files leave out, which may be set all the same."""
LEAST_EXCESS: Final = 0.0001
"""Least excess of mappings that is not 0: powers of one plus it still differ by much more than sums of counts are rounded."""


@dataclass(frozen=True)
class AcceleratorDescription:
    """One accelerator file, checked, with its technology; every derived form starts here."""

    document: Document
    file: AcceleratorFile
    technology: Technology
    technologies: TechnologyCatalogue

    @property
    def name(self) -> str:
        """Name as the file gives it."""
        return self.file.name

    @property
    def summary(self) -> str:
        """One line for `dse list`."""
        return self.file.summary

    @cached_property
    def _paths(self) -> tuple[FieldPath, ...]:
        return field_paths(self.file, self.technology)

    @cached_property
    def _price_fields(self) -> PriceFields:
        return PriceFields.of(self._paths)

    def paths(self) -> tuple[FieldPath, ...]:
        """All fields that `with_overrides` may change, in the order of the file."""
        return self._paths

    def with_overrides(self, overrides: Mapping[str, Any], *, origin: str = "setting") -> AcceleratorDescription:
        """This accelerator with `{'memories.sram.capacity_kib': 2048, 'core.array.rows': 128}` laid over it.

        Values are what YAML can hold, or numpy scalars (hence Any). `origin` is what messages call an override.

        Raises:
            UsageError: unknown path, with the nearest one, or a value that is not allowed, with what is.
        """
        known = [p.path for p in self.paths()]
        for path in overrides:
            if path not in known and path not in LEFT_OUT:
                raise UsageError(f"{origin} {path}: {self.name} has no such field.{did_you_mean(path, known)} All: {', '.join(known)}")
        given = {path: plain(value) for path, value in overrides.items()}
        try:
            return describe(self.document.with_settings(given, origin=origin, add_parents=True), self.technologies)
        except InputError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def geometry(self) -> Geometry:
        """What selects a frontier; hashable."""
        return geometry_of(self.file)

    def geometry_for(self, varied: Collection[str] = (), *, mapping_excess: float = 0.0) -> Geometry:
        """`geometry` for what is priced at tables of this accelerator whose columns are the price paths `varied`.

        It may have shorter frontiers than `geometry`, which can be priced at any table: where a byte read from DRAM and one written cost
        the same energy and neither is varied, no price tells mappings apart whose sum of both is the same (`Geometry.dram_alike`).
        With `mapping_excess` above 0 they are shorter still, and no longer exact: see there.

        Raises:
            UsageError: an excess that is neither 0 nor from `LEAST_EXCESS` to 1.
        """
        if mapping_excess and not LEAST_EXCESS <= mapping_excess <= 1:
            allowed = f"allowed: 0 for exact frontiers, or {LEAST_EXCESS} to 1, 0.02 for 2 %"
            raise UsageError(f"--mapping-excess {mapping_excess:g}: a share by which mappings may be above the best; {allowed}")
        paths = [f"memories.{self.file.dram[0]}.{way}_energy_pj_per_byte" for way in ("read", "write")]
        reading, writing = (next(p.value for p in self.paths() if p.path == path) for path in paths)
        alike = reading == writing and not set(paths) & set(varied)
        return replace(self.geometry, dram_alike=alike, mapping_excess=mapping_excess)

    def table(self, columns: Mapping[str, ArrayLike] | None = None) -> DesignTable:
        """Design points of this geometry: `{price path: scalar or [D]}` in file units; all else as described.

        Raises:
            UsageError: a path that is unknown or no price, columns of different lengths, a value that is not allowed.
        """
        return build_table(
            self._price_fields.columns(columns or {}),
            buffer=self.file.buffer[0],
            inner=tuple(name for name, _ in self.file.inner),
            dram=self.file.dram[0],
            geometry=self.geometry,
            technology=self.technology,
        )

    def accelerator(self) -> Accelerator:
        """The internal form with all fields resolved: row 0 of `table()`."""
        table = self.table()
        return Accelerator(
            name=self.name,
            summary=self.summary,
            geometry=self.geometry,
            prices=table.prices(),
            area=table.area(),
            technology=self.technology.name,
            warnings=self.warnings(),
        )

    def warnings(self) -> tuple[str, ...]:
        """Papercuts, one line each with file and line."""
        prices = {p.path: float(p.value) for p in self.paths() if p.effect == "price" and isinstance(p.value, int | float)}
        return papercuts(self.file, prices, self.document)


def read_accelerator_file(path: str | Path, technologies: TechnologyCatalogue) -> AcceleratorDescription:
    """The accelerator in a YAML file, its technology looked up in `technologies` or beside the file.

    Raises:
        InputError: missing, broken or wrong file, all problems with their lines.
    """
    return describe(load_yaml(path), technologies)


def describe(document: Document, technologies: TechnologyCatalogue) -> AcceleratorDescription:
    """As `read_accelerator_file`, from a document.

    Raises:
        InputError: as `read_accelerator_file`.
    """
    form = validate(document, AcceleratorFile)
    technology = _technology(form.technology, document, technologies)
    for dtype in form.core.array.macs_per_pe_per_cycle:
        if dtype not in technology.mac_energy_pj and dtype not in form.core.array.mac_energy_pj:
            where = document.where(("core", "array", "macs_per_pe_per_cycle", dtype))
            have = ", ".join(technology.mac_energy_pj)
            message = (
                f"technology '{technology.name}' has no mac_energy_pj for '{dtype}' (it has {have}); add core.array.mac_energy_pj.{dtype}"
            )
            raise InputError.single(where, message)
    _check_serves(form, document)
    return AcceleratorDescription(document, form, technology, technologies)


def _check_serves(form: AcceleratorFile, document: Document) -> None:
    """Array dimensions that a memory names must be there; instances per array need the array's long form."""
    known = [dim for dim, _ in array_dims(form.core.array)]
    for name, memory in form.memories.items():
        if isinstance(memory, DramForm) or memory.serves is None:
            continue
        where = document.where(("memories", name, "serves"))
        for dim in memory.serves:
            if dim not in known:
                raise InputError.single(
                    where, f"'{dim}' is not a dimension of the array; it has {', '.join(known)}.{did_you_mean(dim, known)}"
                )
        buffer = isinstance(memory, BufferForm)
        if buffer and name == form.buffer[0] and set(memory.serves) != set(known):
            raise InputError.single(where, f"the outermost buffer serves the whole array: {', '.join(known)}; leave serves out")
        if buffer and isinstance(form.core.array, ArrayForm) and set(memory.serves) != set(known):
            message = f"several instances of '{name}' need the array's long form (core.array.dims), which says what each dimension unrolls"
            raise InputError.single(where, message)


def _technology(name: str, document: Document, technologies: TechnologyCatalogue) -> Technology:
    if name.endswith((".yaml", ".yml")):
        return read_technology_file(Path(document.path).parent / name)
    known = technologies.names()
    if name not in known:
        message = f"technology '{name}' is not known; allowed: {', '.join(known)}, or a path that ends in .yaml.{did_you_mean(name, known)}"
        raise InputError.single(document.where(("technology",)), message)
    return technologies.load(name)


def plain(value: Any) -> Any:  # Any: what campaigns and notebooks hand in
    """A value as YAML has it: numpy scalars become numbers."""
    if isinstance(value, np.generic):
        return value.item()
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
