"""The YAML form of an accelerator; the descriptions of its fields are the documentation of the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from dse.errors import did_you_mean
from dse.files import FileForm
from dse.hw.accelerator import Dataflow, Folds
from dse.ir.tensor import DATA_TYPES


def _known_type(name: str) -> str:
    if name not in DATA_TYPES:
        raise ValueError(f"data type '{name}' is not known; allowed: {', '.join(DATA_TYPES)}.{did_you_mean(name, DATA_TYPES)}")
    return name


DataTypeName = Annotated[str, AfterValidator(_known_type)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
SchemaVersion = Annotated[int, Field(ge=1, le=1)]
Whole = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class ArrayForm(FileForm):
    """Equal MAC arrays that share the on-chip buffer."""

    rows: Whole
    """Processing elements along one side of one array."""
    columns: Whole
    """Processing elements along the other side of one array."""
    count: Whole
    """Number of equal arrays."""
    dataflows: tuple[Dataflow, ...] = Field(min_length=1)
    """What may stay in the array while the third dimension streams by; the mapper takes the cheapest."""
    folds: Folds
    """Whether each pass pays its own fill and drain (serial) or the next tile loads meanwhile (pipelined)."""
    load_rows_per_cycle: Whole = 1
    """Rows whose stationary operand is exchanged in a cycle; 1 where it is shifted in row by row."""
    macs_per_pe_per_cycle: dict[DataTypeName, Whole] = Field(min_length=1)
    """MACs that one processing element does in a cycle, by data type; a type that is not listed cannot be computed."""
    mac_energy_pj: dict[DataTypeName, Positive] = Field(default_factory=dict)
    """pJ per MAC by data type, operand registers included; where left out, the technology's."""
    sustained_fraction: Share = 1.0
    """Attainable share of the peak rate."""

    @field_validator("dataflows")
    @classmethod
    def _distinct(cls, given: tuple[Dataflow, ...]) -> tuple[Dataflow, ...]:
        if len(set(given)) < len(given):
            raise ValueError("a dataflow is named twice; name each once")
        return given

    @model_validator(mode="after")
    def _energies_of_computed_types(self) -> ArrayForm:
        for name in self.mac_energy_pj:
            if name not in self.macs_per_pe_per_cycle:
                raise ValueError(f"mac_energy_pj has '{name}', which macs_per_pe_per_cycle has not; add it there or leave it out here")
        return self


class VectorForm(FileForm):
    """The unit that does everything but MACs."""

    lanes: Whole
    """Elementary operations per cycle."""
    energy_pj_per_op: Positive | None = None
    """pJ per elementary operation; where left out, the technology's."""


class CoreForm(FileForm):
    """Arrays and vector unit."""

    count: Whole = 1
    """Number of equal cores; this version takes 1."""
    array: ArrayForm
    """The MAC arrays."""
    vector: VectorForm
    """The vector unit."""

    @field_validator("count")
    @classmethod
    def _one(cls, given: int) -> int:
        if given != 1:
            raise ValueError(
                f"this version models one core, not {given}; describe equal cores as one with their arrays and bandwidths summed"
            )
        return given


class BufferForm(FileForm):
    """The on-chip memory that arrays and vector unit share."""

    kind: Literal["buffer"]
    """On-chip buffer."""
    capacity_kib: Positive
    """Capacity in KiB (1024 bytes)."""
    read_gb_per_s: Positive
    """Read bandwidth in 10^9 bytes per second; it does not follow the clock."""
    write_gb_per_s: Positive
    """Write bandwidth in 10^9 bytes per second; it does not follow the clock."""
    read_energy_pj_per_byte: Positive | None = None
    """pJ per byte read; where left out, the technology's."""
    write_energy_pj_per_byte: Positive | None = None
    """pJ per byte written; where left out, the technology's."""
    double_buffered: bool
    """Tiles that are replaced occupy twice their bytes, and transfers overlap with compute."""


class DramForm(FileForm):
    """The memory off chip."""

    kind: Literal["dram"]
    """Off-chip memory."""
    capacity_gib: Positive
    """Capacity in GiB (1024^3 bytes)."""
    bandwidth_gb_per_s: Positive
    """Bandwidth in 10^9 bytes per second, shared by reads and writes."""
    read_energy_pj_per_byte: Positive | None = None
    """pJ per byte read; where left out, the technology's."""
    write_energy_pj_per_byte: Positive | None = None
    """pJ per byte written; where left out, the technology's."""
    latency_ns: NotNegative
    """Latency in ns, paid once per operator that touches DRAM."""
    sustained_fraction: Share = 1.0
    """Attainable share of the bandwidth."""


MemoryForm = Annotated[BufferForm | DramForm, Field(discriminator="kind")]


class OverheadsForm(FileForm):
    """Fixed costs in time."""

    launch_latency_us: NotNegative = 0.0
    """Latency in us, paid once per fused segment (per operator where nothing is fused)."""


class AreaForm(FileForm):
    """Area that no formula gives."""

    other_mm2: dict[Name, NotNegative] = Field(default_factory=dict)
    """Further components by name, in mm2."""


class AcceleratorFile(FileForm):
    """One chip: a core, an on-chip buffer and DRAM."""

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
    """Memories from inner to outer, by name: one buffer, then one DRAM."""
    overheads: OverheadsForm = OverheadsForm()
    """Fixed costs in time."""
    leakage_w: NotNegative
    """Power in W that flows at all times."""
    area: AreaForm = AreaForm()
    """Area that no formula gives."""

    @field_validator("memories")
    @classmethod
    def _two_levels(cls, given: dict[str, BufferForm | DramForm]) -> dict[str, BufferForm | DramForm]:
        kinds = [memory.kind for memory in given.values()]
        if kinds != ["buffer", "dram"]:
            have = ", ".join(f"{name} ({memory.kind})" for name, memory in given.items()) or "none"
            raise ValueError(f"this version models one on-chip buffer, then one dram, from inner to outer; given: {have}")
        return given

    @property
    def buffer(self) -> tuple[str, BufferForm]:
        """Name and form of the on-chip buffer."""
        return next((n, m) for n, m in self.memories.items() if isinstance(m, BufferForm))

    @property
    def dram(self) -> tuple[str, DramForm]:
        """Name and form of the off-chip memory."""
        return next((n, m) for n, m in self.memories.items() if isinstance(m, DramForm))
