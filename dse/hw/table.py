"""Many accelerators of one geometry as columns: what pricing works on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import UsageError, did_you_mean
from dse.hw.accelerator import AreaBreakdown, MemoryPrices, Prices
from dse.hw.area import area_columns
from dse.hw.limits import LARGEST, SMALLEST
from dse.units import BYTES_PER_GB, BYTES_PER_GIB, BYTES_PER_KIB, HZ_PER_MHZ, SECONDS_PER_NS, SECONDS_PER_US

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from dse.hw.accelerator import Geometry, MemoryGeometry
    from dse.hw.paths import FieldPath
    from dse.hw.technology import Technology

_NOT_COLUMNS: Final = ("size", "mac_pj", "inner", "area_by_component")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MemoryColumns:
    """Prices of one inner memory over D design points; every array is float64 [D], names and units as in `MemoryPrices`."""

    name: str
    capacity_bytes: NDArray[np.float64]
    read_bytes_per_s: NDArray[np.float64]
    write_bytes_per_s: NDArray[np.float64]
    read_pj_per_byte: NDArray[np.float64]
    write_pj_per_byte: NDArray[np.float64]

    def at(self, where: slice | NDArray[np.int64]) -> MemoryColumns:
        """Some of the points; a view where `where` is a slice."""
        return MemoryColumns(name=self.name, **{f.name: getattr(self, f.name)[where] for f in fields(self) if f.name != "name"})

    def prices(self, index: int) -> MemoryPrices:
        """One design point."""
        return MemoryPrices(name=self.name, **{f.name: float(getattr(self, f.name)[index]) for f in fields(self) if f.name != "name"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DesignTable:
    """Prices of `size` = D design points; every array is float64 [D], names and units as in `Prices`."""

    size: int
    clock_hz: NDArray[np.float64]
    buffer_capacity_bytes: NDArray[np.float64]
    buffer_read_bytes_per_s: NDArray[np.float64]
    buffer_write_bytes_per_s: NDArray[np.float64]
    buffer_read_pj_per_byte: NDArray[np.float64]
    buffer_write_pj_per_byte: NDArray[np.float64]
    dram_capacity_bytes: NDArray[np.float64]
    dram_bytes_per_s: NDArray[np.float64]
    dram_read_pj_per_byte: NDArray[np.float64]
    dram_write_pj_per_byte: NDArray[np.float64]
    dram_latency_s: NDArray[np.float64]
    vector_ops_per_cycle: NDArray[np.float64]
    vector_pj_per_op: NDArray[np.float64]
    mac_pj: Mapping[str, NDArray[np.float64]]
    launch_latency_s: NDArray[np.float64]
    leakage_w: NDArray[np.float64]
    array_sustained_fraction: NDArray[np.float64]
    dram_sustained_fraction: NDArray[np.float64]
    inner: tuple[MemoryColumns, ...] = ()
    """Memories inside the outermost buffer, from inner to outer."""
    area_by_component: Mapping[str, NDArray[np.float64]]
    """mm2 with the names of `AreaBreakdown`."""
    area_mm2: NDArray[np.float64]

    def at(self, where: slice | NDArray[np.int64]) -> DesignTable:
        """Some of the points; a view where `where` is a slice."""
        plain = {f.name: getattr(self, f.name)[where] for f in fields(self) if f.name not in _NOT_COLUMNS}
        return DesignTable(
            size=len(plain["clock_hz"]),
            mac_pj={t: column[where] for t, column in self.mac_pj.items()},
            inner=tuple(memory.at(where) for memory in self.inner),
            area_by_component={name: column[where] for name, column in self.area_by_component.items()},
            **plain,
        )

    def prices(self, index: int = 0) -> Prices:
        """One design point."""
        single = {f.name: float(getattr(self, f.name)[index]) for f in fields(Prices) if f.name not in ("mac_pj", "inner")}
        mac_pj = {t: float(column[index]) for t, column in self.mac_pj.items()}
        return Prices(mac_pj=mac_pj, inner=tuple(memory.prices(index) for memory in self.inner), **single)

    def area(self, index: int = 0) -> AreaBreakdown:
        """Area of one design point."""
        return AreaBreakdown(**{name: float(column[index]) for name, column in self.area_by_component.items()})


def build_table(
    columns: Mapping[str, NDArray[np.float64]],
    *,
    buffer: str,
    inner: tuple[str, ...],
    dram: str,
    geometry: Geometry,
    technology: Technology,
) -> DesignTable:
    """Convert columns in file units, by path, to a table in internal units; the only place where prices are converted.

    `columns` has every price path of one accelerator, each [1] or [D]; `buffer`, `inner` and `dram` are the memories' names.
    """
    size = max((column.size for column in columns.values()), default=1)
    sram, main, mac, other = f"memories.{buffer}.", f"memories.{dram}.", "core.array.mac_energy_pj.", "area.other_mm2."
    lanes = columns["core.vector.lanes"]
    buffer_bytes = columns[sram + "capacity_kib"] * BYTES_PER_KIB
    inside = [_inner(columns, name, memory) for name, memory in zip(inner, geometry.inner, strict=True)]
    on_chip = buffer_bytes + sum(m.capacity_bytes * g.instances for m, g in zip(inside, geometry.inner, strict=True))
    read_rate, write_rate = _rates(columns, sram)
    dram_rate = columns[main + "bandwidth_gb_per_s"] * BYTES_PER_GB
    area = area_columns(
        geometry.array,
        technology,
        lanes=lanes,
        buffer_bytes=on_chip,
        dram_bytes_per_s=dram_rate,
        other_mm2={p: c for p, c in columns.items() if p.startswith(other)},
    )

    def wide(column: NDArray[np.float64]) -> NDArray[np.float64]:
        return widened(column, size)

    return DesignTable(
        size=size,
        clock_hz=wide(columns["clock_mhz"] * HZ_PER_MHZ),
        buffer_capacity_bytes=wide(buffer_bytes),
        buffer_read_bytes_per_s=wide(read_rate),
        buffer_write_bytes_per_s=wide(write_rate),
        buffer_read_pj_per_byte=wide(columns[sram + "read_energy_pj_per_byte"]),
        buffer_write_pj_per_byte=wide(columns[sram + "write_energy_pj_per_byte"]),
        dram_capacity_bytes=wide(columns[main + "capacity_gib"] * BYTES_PER_GIB),
        dram_bytes_per_s=wide(dram_rate),
        dram_read_pj_per_byte=wide(columns[main + "read_energy_pj_per_byte"]),
        dram_write_pj_per_byte=wide(columns[main + "write_energy_pj_per_byte"]),
        dram_latency_s=wide(columns[main + "latency_ns"] * SECONDS_PER_NS),
        vector_ops_per_cycle=wide(lanes),
        vector_pj_per_op=wide(columns["core.vector.energy_pj_per_op"]),
        mac_pj={p.removeprefix(mac): wide(c) for p, c in columns.items() if p.startswith(mac)},
        launch_latency_s=wide(columns["overheads.launch_latency_us"] * SECONDS_PER_US),
        leakage_w=wide(columns["leakage_w"]),
        array_sustained_fraction=wide(columns["core.array.sustained_fraction"]),
        dram_sustained_fraction=wide(columns[main + "sustained_fraction"]),
        inner=tuple(_widened(memory, size) for memory in inside),
        area_by_component={name: wide(column) for name, column in area.items()},
        area_mm2=wide(sum(area.values(), start=np.zeros(1))),
    )


def _rates(columns: Mapping[str, NDArray[np.float64]], prefix: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read and write rate in bytes per second of one instance of a buffer; both that of the port where they share one."""
    shared = columns.get(prefix + "bandwidth_gb_per_s")
    read, write = (columns[prefix + f"{way}_gb_per_s"] if shared is None else shared for way in ("read", "write"))
    return read * BYTES_PER_GB, write * BYTES_PER_GB


def _inner(columns: Mapping[str, NDArray[np.float64]], name: str, memory: MemoryGeometry) -> MemoryColumns:
    prefix = f"memories.{name}."
    energies = {f"{way}_pj_per_byte": columns[prefix + f"{way}_energy_pj_per_byte"] for way in ("read", "write")}
    if memory.registers:
        rates = {f"{way}_bytes_per_s": np.full(1, np.inf) for way in ("read", "write")}
        return MemoryColumns(name=name, capacity_bytes=columns[prefix + "capacity_bytes"], **rates, **energies)
    read, write = _rates(columns, prefix)
    return MemoryColumns(
        name=name,
        capacity_bytes=columns[prefix + "capacity_kib"] * BYTES_PER_KIB,
        read_bytes_per_s=read * memory.instances,
        write_bytes_per_s=write * memory.instances,
        **energies,
    )


def _widened(memory: MemoryColumns, size: int) -> MemoryColumns:
    wide = {f.name: widened(getattr(memory, f.name), size) for f in fields(memory) if f.name != "name"}
    return MemoryColumns(name=memory.name, **wide)


def widened(column: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """A column [1] or [D] as [D]; itself where it is that long."""
    return column if column.shape == (size,) else np.broadcast_to(column, (size,))


@dataclass(frozen=True, eq=False)
class PriceFields:
    """The fields of one file that may be columns of a table, with what they are now: found once, laid under what is given."""

    paths: Sequence[FieldPath]
    """All fields of the file, ..."""
    prices: Mapping[str, FieldPath]
    """... and by path those that are prices, ..."""
    described: Mapping[str, NDArray[np.float64]]
    """... each as a float64 array [1] that nobody writes to."""

    @staticmethod
    def of(paths: Sequence[FieldPath]) -> PriceFields:
        """Of all fields of a file."""
        prices = {p.path: p for p in paths if p.effect == "price"}
        described = {path: np.array([field.value], dtype=np.float64) for path, field in prices.items()}
        for column in described.values():
            column.setflags(write=False)
        return PriceFields(paths, prices, described)

    def columns(self, given: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
        """Every price path as a float64 array [1] or [D]: what is given, else the present value.

        Raises:
            UsageError: a path that is unknown or no price, columns of different lengths, a value that is not finite, out
                of bounds, or no whole number where one is needed.
        """
        columns = dict(self.described)
        for path, values in given.items():
            if path not in columns:
                _refuse(path, self.paths, self.prices)
            columns[path] = np.atleast_1d(np.asarray(values, dtype=np.float64))
        sizes = {path: columns[path].size for path in given if columns[path].size != 1}
        if len(set(sizes.values())) > 1 or any(columns[path].ndim != 1 for path in given):
            shapes = ", ".join(f"{path} {columns[path].shape}" for path in given)
            raise UsageError(f"columns of a table must be scalars or have one length; given: {shapes}")
        if 0 in sizes.values():
            raise UsageError("a table needs at least one design point; the columns are empty")
        for path in given:
            _check_values(self.prices[path], columns[path])
        return columns


def _refuse(path: str, paths: Sequence[FieldPath], prices: Mapping[str, FieldPath]) -> None:
    if any(path == p.path for p in paths):
        raise UsageError(f"'{path}' cannot be a column of a table: it selects another frontier; use with_overrides for it")
    raise UsageError(f"'{path}' is not a field that can be priced; allowed: {', '.join(prices)}.{did_you_mean(path, prices)}")


def _check_values(field: FieldPath, column: NDArray[np.float64]) -> None:
    low = column > field.minimum if field.above_minimum else column >= field.minimum
    good = np.isfinite(column) & low & (column <= field.maximum)
    if field.type == "integer":
        good &= column == np.floor(column)
    if not good.all():
        first = int(np.argmin(good))
        kind = "whole" if field.type == "integer" else "finite"
        allowed = f" {field.allowed}" if field.allowed else ""
        raise UsageError(f"'{field.path}' must be a {kind} number{allowed}, not {column[first]:g} (design point {first})")
    size = np.abs(column)
    good = (size == 0.0) | ((size >= SMALLEST) & (size <= LARGEST))
    if not good.all():
        first = int(np.argmin(good))
        raise UsageError(f"'{field.path}' must be between {SMALLEST:g} and {LARGEST:g}, not {column[first]:g} (design point {first})")
