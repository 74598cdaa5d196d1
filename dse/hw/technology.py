"""A technology: what operations, bytes and circuits cost where an accelerator file does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field

from dse.files import FileForm, load_yaml, validate
from dse.hw.file_form import DataTypeName, Name, Positive, SchemaVersion

if TYPE_CHECKING:
    from pathlib import Path


class Technology(FileForm):
    """Energies and areas of one process with its usual memories."""

    schema_version: SchemaVersion
    """Version of this form: 1."""
    name: Name
    """Name in lower case with underscores."""
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    """One line for `dse list`."""
    node_nm: Positive
    """Name of the process node in nm."""
    mac_energy_pj: dict[DataTypeName, Positive] = Field(min_length=1)
    """pJ per MAC by data type, operand registers included."""
    vector_energy_pj_per_op: Positive
    """pJ per elementary operation of a vector unit."""
    buffer_read_energy_pj_per_byte: Positive
    """pJ per byte read from an on-chip buffer."""
    buffer_write_energy_pj_per_byte: Positive
    """pJ per byte written to an on-chip buffer."""
    dram_read_energy_pj_per_byte: Positive
    """pJ per byte read from DRAM, both ends of the link included."""
    dram_write_energy_pj_per_byte: Positive
    """pJ per byte written to DRAM, both ends of the link included."""
    mac_area_um2: dict[DataTypeName, Positive] = Field(min_length=1)
    """um2 per MAC and cycle by data type, registers included; an element that does several types has the largest demand."""
    vector_lane_area_um2: Positive
    """um2 per elementary operation and cycle of a vector unit, registers included."""
    buffer_area_mm2_per_mib: Positive
    """mm2 per MiB of on-chip buffer, peripheral circuits included."""
    dram_interface_area_mm2_per_gb_per_s: Positive
    """mm2 per 10^9 bytes per second of DRAM interface: PHY and controller."""


class TechnologyCatalogue(Protocol):
    """Where `technology: name` of an accelerator file is looked up."""

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""

    def load(self, name: str) -> Technology:
        """The technology called `name`, one of `names()`."""


def read_technology_file(path: str | Path) -> Technology:
    """The technology in a YAML file.

    Raises:
        InputError: missing, broken or wrong file, all problems with their lines.
    """
    return validate(load_yaml(path), Technology)
