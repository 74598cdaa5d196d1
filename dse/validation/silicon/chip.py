"""What the kernel laws need to know of a chip, all from its catalogue entry, and the fitted constants that go with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from dse.errors import InputError, UsageError
from dse.files import FileForm, load_yaml, validate
from dse.units import FLOPS_PER_MAC

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.read import AcceleratorDescription

ARITHMETIC: Final = {"fp8_block": "fp8", "nvfp4": "fp4"}
"""Format that the array multiplies in, where it is not the storage format's own name."""
WIDER: Final = {"nvfp4": "fp8_block", "fp8_block": "fp8", "fp8": "bf16", "fp16": "bf16", "int8": "fp8"}
"""Type whose constants stand in for one that was not measured."""


class CalibrationFile(FileForm):
    """Fitted constants of kernels by family and data type; shares of data-sheet rates and times, no sizes of single shapes."""

    schema_version: int = Field(ge=1, le=1)
    """Version of this form: 1."""
    summary: str
    """Which chips and tables the constants were fitted to."""
    lanes_per_unit: int = Field(ge=1)
    """Vector lanes of one compute unit that runs one tile at a time."""
    kernels: dict[str, dict[str, dict[str, float]]]
    """Constants by kernel family, data type and name (`dse.validation.silicon.laws.NAMES`)."""


@dataclass(frozen=True)
class Chip:
    """Data-sheet figures of one chip and its fitted constants."""

    name: str
    units: int
    flops_per_s: Mapping[str, float]
    """Peak by arithmetic type."""
    dram_bytes_per_s: float
    cache_bytes: float
    clock_hz: float
    lanes: float
    kernels: Mapping[str, Mapping[str, Mapping[str, float]]]

    def peak(self, dtype: str) -> float:
        """Peak FLOP/s in a storage format.

        Raises:
            UsageError: the chip cannot compute it.
        """
        name = ARITHMETIC.get(dtype, dtype)
        if name not in self.flops_per_s:
            raise UsageError(f"{self.name} has no rate for '{name}'; it has {', '.join(self.flops_per_s)}")
        return self.flops_per_s[name]

    def constants(self, family: str, dtype: str) -> Mapping[str, float]:
        """Fitted constants of a kernel family; those of the next wider type where this one was not measured.

        Raises:
            UsageError: none was fitted.
        """
        found = self.kernels.get(family, {})
        name: str | None = dtype
        while name is not None:
            if name in found:
                return found[name]
            name = WIDER.get(name)
        raise UsageError(f"{self.name}: no calibration of {family} in {dtype}; it has {', '.join(found) or 'none'}")


def read_chip(description: AcceleratorDescription) -> Chip:
    """The chip of a catalogue entry or file that names a calibration.

    Raises:
        UsageError: the entry names none.
        InputError: the calibration file is missing or wrong.
    """
    name = description.file.calibration
    if name is None:
        raise UsageError(f"{description.name} names no calibration; add `calibration: FILE.yaml`, see docs/validation.md")
    form = read_calibration(Path(description.document.path).parent / name)
    array, prices = description.geometry.array, description.table().prices()
    rates = {t: FLOPS_PER_MAC * array.elements * rate * prices.clock_hz for t, rate in array.macs_per_pe_per_cycle}
    return Chip(
        name=description.name,
        units=round(prices.vector_ops_per_cycle) // form.lanes_per_unit,
        flops_per_s=rates,
        dram_bytes_per_s=prices.dram_bytes_per_s,
        cache_bytes=prices.buffer_capacity_bytes,
        clock_hz=prices.clock_hz,
        lanes=prices.vector_ops_per_cycle,
        kernels=form.kernels,
    )


def read_calibration(path: Path) -> CalibrationFile:
    """A calibration file.

    Raises:
        InputError: missing, broken or wrong file, or a constant that is unknown, missing or not above 0.
    """
    from dse.validation.silicon.laws import NAMES

    document = load_yaml(path)
    form = validate(document, CalibrationFile)
    for family, by_type in form.kernels.items():
        for dtype, constants in by_type.items():
            where = document.where(("kernels", family, dtype))
            if family not in NAMES:
                raise InputError.single(where, f"kernel family '{family}' is not known; allowed: {', '.join(NAMES)}")
            if set(constants) != set(NAMES[family]) or min(constants.values()) <= 0:
                raise InputError.single(where, f"{family} needs exactly {', '.join(NAMES[family])}, all above 0")
    return form
