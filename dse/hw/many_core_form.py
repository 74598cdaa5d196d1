"""The YAML form of a chip of many cores: kinds of cores, memories that they share, and the connections between them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from dse.files import FileForm
from dse.hw.array_form import AnyArrayForm, Name, NotNegative, Positive, Whole
from dse.hw.file_form import AreaForm, SchemaVersion, VectorForm
from dse.hw.memory_form import MAX_INNER, BufferForm, DramForm, RegistersForm

OpType = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$", max_length=64)]
MAX_CORES: Final = 1024
"""Cores of one kind: a wafer has more, and no plan of this kind is made for one."""


class CoreKindForm(FileForm):
    """Equal cores, each with memories of its own; units that share a memory are one core."""

    count: Annotated[int, Field(ge=1, le=MAX_CORES)] = 1
    """Number of equal cores: one is called as its kind, several as their kind with a number from 0."""
    array: AnyArrayForm | None = None
    """The MAC arrays; left out where the core multiplies no matrices."""
    vector: VectorForm | None = None
    """The vector unit; left out where the core has none."""
    memories: dict[Name, Annotated[RegistersForm | BufferForm, Field(discriminator="kind")]]
    """Memories of one core from inner to outer: registers, one buffer or more."""
    op_types: Annotated[tuple[OpType, ...], Field(min_length=1)] | None = None
    """ONNX operator types that it may run; left out, all that its units can."""
    leakage_w: NotNegative = 0.0
    """Power in W that flows in one core at all times."""

    @field_validator("memories")
    @classmethod
    def _from_inner_to_outer(cls, given: dict[str, RegistersForm | BufferForm]) -> dict[str, RegistersForm | BufferForm]:
        kinds = [memory.kind for memory in given.values()]
        if "buffer" not in kinds or kinds != sorted(kinds, reverse=True) or len(kinds) > MAX_INNER + 1:
            have = ", ".join(f"{name} ({memory.kind})" for name, memory in given.items()) or "none"
            raise ValueError(
                f"from inner to outer: registers, then at least one buffer, at most {MAX_INNER + 1} in all, no dram; given: {have}"
            )
        return given

    @model_validator(mode="after")
    def _has_a_unit(self) -> CoreKindForm:
        if self.array is None and self.vector is None:
            raise ValueError("a core needs an array or a vector unit; a memory alone belongs under the chip's memories")
        if self.op_types is not None and len(set(self.op_types)) < len(self.op_types):
            raise ValueError("an operator type is named twice; name each once")
        return self


class _ConnectionForm(FileForm):
    """What links, buses and meshes have in common."""

    bandwidth_gb_per_s: Positive
    """Bandwidth in 10^9 bytes per second: of a link and of each hop of a mesh in each direction, of a bus in all."""
    energy_pj_per_byte: NotNegative
    """pJ per byte that crosses it; a mesh takes it for each hop."""
    latency_ns: NotNegative = 0.0
    """Latency in ns from the first byte sent to the first received; a mesh takes it for each hop."""


class LinkForm(_ConnectionForm):
    """Point to point, both directions at once; between a kind of several cores and another end, a link from each of them."""

    kind: Literal["link"]
    """Point to point."""
    between: Annotated[tuple[Name, ...], Field(min_length=2, max_length=2)]
    """The two ends: a core, a kind of cores or a memory of the chip."""


class BusForm(_ConnectionForm):
    """One transfer at a time from any member to any others."""

    kind: Literal["bus"]
    """Shared by its members."""
    members: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Cores, kinds of cores and memories of the chip."""


class MeshForm(_ConnectionForm):
    """Links between neighbours in rows and columns; routes are shortest ones, one transfer at a time on each hop and direction."""

    kind: Literal["mesh"]
    """Neighbours in a grid."""
    cores: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Cores, kinds of cores and memories of the chip, row by row."""
    rows: Whole | None = None
    """Rows of the grid; left out, what its columns leave, or with neither the squarest grid of that many cores, no taller than wide."""
    columns: Whole | None = None
    """Columns of the grid; left out, what its rows leave."""
    torus: bool = False
    """Whether each row and each column closes to a ring."""


ConnectionForm = Annotated[LinkForm | BusForm | MeshForm, Field(discriminator="kind")]
AnyConnection: TypeAlias = LinkForm | BusForm | MeshForm


class ChipFile(FileForm):
    """One chip of many cores with what connects them and the memory off chip."""

    schema_version: SchemaVersion
    """Version of this form: 1."""
    name: Name
    """Name in lower case with underscores, as in the catalogue."""
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    """One line for `dse list`."""
    technology: str
    """Name of a technology of the catalogue, or the path of a technology file beside this one; gives what is left out here."""
    clock_mhz: Positive
    """Clock of all cores in MHz."""
    cores: dict[Name, CoreKindForm] = Field(min_length=1)
    """Kinds of cores by name."""
    memories: dict[Name, Annotated[BufferForm | DramForm, Field(discriminator="kind")]]
    """Memories beside the cores: one DRAM, and buffers that hold what the cores' own memories cannot."""
    links: dict[Name, ConnectionForm] = Field(min_length=1)
    """Connections by name."""
    leakage_w: NotNegative = 0.0
    """Power in W that flows at all times outside the cores."""
    area: AreaForm = AreaForm()
    """Area that no formula gives."""

    @field_validator("memories")
    @classmethod
    def _one_dram(cls, given: dict[str, BufferForm | DramForm]) -> dict[str, BufferForm | DramForm]:
        drams = [name for name, memory in given.items() if isinstance(memory, DramForm)]
        if len(drams) != 1:
            raise ValueError(f"a chip has exactly one dram; given: {', '.join(drams) or 'none'}")
        for name, memory in given.items():
            if isinstance(memory, BufferForm) and (memory.serves is not None or memory.capacity_shares or len(memory.operands) < 3):
                raise ValueError(f"'{name}' stands beside the cores: serves, operands and capacity_shares belong to memories of a core")
        return given

    @property
    def dram(self) -> tuple[str, DramForm]:
        """Name and form of the memory off chip."""
        return next((n, m) for n, m in self.memories.items() if isinstance(m, DramForm))

    @property
    def shared(self) -> tuple[tuple[str, BufferForm], ...]:
        """Names and forms of the buffers beside the cores."""
        return tuple((n, m) for n, m in self.memories.items() if isinstance(m, BufferForm))
