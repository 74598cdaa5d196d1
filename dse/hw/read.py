"""From an accelerator file to its description: validated, overridable, and the source of tables and internal forms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dse.errors import InputError, UsageError, did_you_mean
from dse.files import load_yaml, validate
from dse.hw.accelerator import Accelerator, ArrayGeometry, Geometry
from dse.hw.file_form import AcceleratorFile
from dse.hw.papercuts import papercuts
from dse.hw.paths import field_paths
from dse.hw.table import build_table, checked_columns
from dse.hw.technology import read_technology_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from dse.files import Document
    from dse.hw.paths import FieldPath
    from dse.hw.table import DesignTable
    from dse.hw.technology import Technology, TechnologyCatalogue


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
            if path not in known:
                raise UsageError(f"{origin} {path}: {self.name} has no such field.{did_you_mean(path, known)} All: {', '.join(known)}")
        plain = {path: _plain(value) for path, value in overrides.items()}
        try:
            return describe(self.document.with_settings(plain, origin=origin, add_parents=True), self.technologies)
        except InputError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def geometry(self) -> Geometry:
        """What selects a frontier; hashable."""
        array = self.file.core.array
        return Geometry(
            array=ArrayGeometry(
                rows=array.rows,
                columns=array.columns,
                count=array.count,
                dataflows=array.dataflows,
                folds=array.folds,
                macs_per_pe_per_cycle=tuple(sorted(array.macs_per_pe_per_cycle.items())),
                load_rows_per_cycle=array.load_rows_per_cycle,
            ),
            double_buffered=self.file.buffer[1].double_buffered,
        )

    def table(self, columns: Mapping[str, ArrayLike] | None = None) -> DesignTable:
        """Design points of this geometry: `{price path: scalar or [D]}` in file units; all else as described.

        Raises:
            UsageError: a path that is unknown or no price, columns of different lengths, a value that is not allowed.
        """
        return build_table(
            checked_columns(self.paths(), columns or {}),
            buffer=self.file.buffer[0],
            dram=self.file.dram[0],
            array=self.geometry.array,
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


class AcceleratorCatalogue(Protocol):
    """A set of accelerators, found through the entry-point group `dse.accelerators`."""

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""

    def load(self, name: str) -> AcceleratorDescription:
        """The accelerator called `name`."""

    def from_file(self, path: str) -> AcceleratorDescription:
        """The accelerator in a YAML file.

        Raises:
            InputError: missing, broken or wrong file, all problems with their lines.
        """

    def json_schema(self) -> dict[str, object]:
        """JSON Schema of the accelerator YAML."""


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
    return AcceleratorDescription(document, form, technology, technologies)


def _technology(name: str, document: Document, technologies: TechnologyCatalogue) -> Technology:
    if name.endswith((".yaml", ".yml")):
        return read_technology_file(Path(document.path).parent / name)
    known = technologies.names()
    if name not in known:
        message = f"technology '{name}' is not known; allowed: {', '.join(known)}, or a path that ends in .yaml.{did_you_mean(name, known)}"
        raise InputError.single(document.where(("technology",)), message)
    return technologies.load(name)


def _plain(value: Any) -> Any:  # Any: what campaigns and notebooks hand in
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
