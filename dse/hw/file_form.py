"""The YAML form of an accelerator; the descriptions of its fields are the documentation of the file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from dse.files import FileForm
from dse.hw.array_form import AnyArrayForm, ArrayDimsForm, ArrayForm, DataTypeName, Name, NotNegative, Positive, Share, Whole
from dse.hw.memory_form import AnyMemory, BufferForm, DramForm, MemoryForm, RegistersForm, check_order

__all__ = [
    "AcceleratorFile",
    "ArrayDimsForm",
    "ArrayForm",
    "BufferForm",
    "DataTypeName",
    "DramForm",
    "Name",
    "NotNegative",
    "Positive",
    "RegistersForm",
    "SchemaVersion",
    "Share",
    "Whole",
]

SchemaVersion = Annotated[int, Field(ge=1, le=1)]


class VectorForm(FileForm):
    """The unit that does everything but MACs."""

    lanes: Whole
    """Elementary operations per cycle."""
    energy_pj_per_op: Positive | None = None
    """pJ per elementary operation; where left out, the technology's."""


class CoreForm(FileForm):
    """Arrays and vector unit."""

    count: Whole = 1
    """Number of equal cores: 1; a chip of many has a form of its own."""
    array: AnyArrayForm
    """The MAC arrays."""
    vector: VectorForm
    """The vector unit."""
    most_tiles: Whole | None = None
    """Tiles of one operand in memories on chip at a time, at most; where left out as many as memories may hold it, of large products
    in part (told where it happens); a number is searched in full."""
    most_cells: Whole | None = None
    """Where operands may lie in three memories: cells of tilings of one product that `dse eval` looks at, those first where good ones seem
    to be; how far what is found may be from the best is told."""

    @field_validator("count")
    @classmethod
    def _one(cls, given: int) -> int:
        if given != 1:
            raise ValueError(
                f"an accelerator has one core, not {given}; describe equal cores as one with their arrays and bandwidths summed, "
                "or all of them under cores as a chip (docs/many_cores.md)"
            )
        return given


class OverheadsForm(FileForm):
    """Fixed costs in time."""

    launch_latency_us: NotNegative = 0.0
    """Latency in us, paid once per fused segment (per operator where nothing is fused)."""


class AreaForm(FileForm):
    """Area that no formula gives."""

    other_mm2: dict[Name, NotNegative] = Field(default_factory=dict)
    """Further components by name, in mm2."""


class AcceleratorFile(FileForm):
    """One chip: a core, on-chip memories and DRAM."""

    schema_version: SchemaVersion
    """Version of this form: 1."""
    name: Name
    """Name in lower case with underscores, as in the catalogue."""
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    """One line for `dse list`."""
    technology: str
    """Name of a technology of the catalogue, or the path of a technology file beside this one; gives what is left out here."""
    clock_mhz: Positive
    """Clock of arrays and vector unit in MHz."""
    core: CoreForm
    """Arrays and vector unit."""
    memories: dict[Name, MemoryForm]
    """Memories from inner to outer, by name: registers, one buffer or more, one DRAM."""
    overheads: OverheadsForm = OverheadsForm()
    """Fixed costs in time."""
    leakage_w: NotNegative
    """Power in W that flows at all times."""
    area: AreaForm = AreaForm()
    """Area that no formula gives."""
    calibration: str | None = None
    """Path, from this file, of constants fitted to measured kernels; `dse validate --silicon` needs them (docs/validation.md)."""

    @field_validator("memories")
    @classmethod
    def _from_inner_to_outer(cls, given: dict[str, AnyMemory]) -> dict[str, AnyMemory]:
        check_order(given)
        return given

    @property
    def buffer(self) -> tuple[str, BufferForm]:
        """Name and form of the outermost on-chip buffer."""
        return [(n, m) for n, m in self.memories.items() if isinstance(m, BufferForm)][-1]

    @property
    def inner(self) -> tuple[tuple[str, RegistersForm | BufferForm], ...]:
        """Names and forms of the memories inside the outermost buffer, from inner to outer."""
        last = self.buffer[0]
        return tuple((n, m) for n, m in self.memories.items() if not isinstance(m, DramForm) and n != last)

    @property
    def dram(self) -> tuple[str, DramForm]:
        """Name and form of the off-chip memory."""
        return next((n, m) for n, m in self.memories.items() if isinstance(m, DramForm))
