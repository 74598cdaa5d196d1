"""The YAML form of a system; the descriptions of its fields are the documentation of the file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from dse.errors import did_you_mean
from dse.files import FileForm
from dse.system.kernels import Region
from dse.system.system import Operation, Topology

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
SchemaVersion = Annotated[int, Field(ge=1, le=1)]
Whole = Annotated[int, Field(ge=1, le=10**6)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
MODES = ("low_latency", "normal")
PHASES = ("dispatch", "combine")


def _one_of(what: str, allowed: tuple[str, ...]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in allowed:
            raise ValueError(f"{what} '{name}' is not known; allowed: {', '.join(allowed)}.{did_you_mean(name, allowed)}")
        return name

    return AfterValidator(check)


OperationName = Annotated[str, _one_of("operation", tuple(Operation))]
ModeName = Annotated[str, _one_of("mode", MODES)]
PhaseName = Annotated[str, _one_of("phase", PHASES)]
RegionName = Annotated[str, _one_of("kind of kernel", tuple(r for r in Region if r is not Region.OTHER))]


class ProtocolForm(FileForm):
    """One measured way to run a collective: fixed + per rank (n - 1) + wire bytes / (rate x link fraction) + copies."""

    fixed_us: NotNegative
    """Cost of a call in us."""
    per_rank_us: NotNegative = 0.0
    """Cost in us of every rank after the first."""
    link_fraction: Share
    """Share of the link's rate that it sustains."""
    staging_fraction: NotNegative = 0.0
    """Time to copy the buffer locally, as a share of its bytes over the link's rate."""
    in_network: bool = False
    """Whether the switch adds up where all chips of the level take part in an all-reduce."""


class ExchangeForm(FileForm):
    """One measured kernel of the expert exchange."""

    fixed_us: NotNegative
    """Cost of a call in us."""
    link_fraction: dict[Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}$")], Share] = Field(min_length=1)
    """Share of the link's rate, by the number of groups (members of this level) that take part; the nearest counts."""
    per_group_us: NotNegative = 0.0
    """Cost in us of every group after the first."""
    per_message_ns: NotNegative = 0.0
    """Cost in ns per token and expert that a chip sends."""
    worker_gb_per_s: Positive | None = None
    """GB/s that one copying worker (SM) handles; left out where copying is no limit."""
    worker_bytes_per_message: NotNegative = 0.0
    """Bytes that a message costs the worker beside its own."""


class LinkForm(FileForm):
    """Links that join chips, or the domains of the level before."""

    chips: Whole
    """Chips that one domain of this level joins, those of inner levels included."""
    topology: Topology
    """switch, ring, torus, mesh or fat_tree."""
    shape: tuple[Whole, ...] | None = None
    """Sides of a torus or mesh, in chips (innermost level) or domains of the level before."""
    bandwidth_gb_per_s: Positive
    """GB/s of one chip in one direction, all its ports of this level together."""
    latency_us: NotNegative
    """us of one hop."""
    energy_pj_per_bit: NotNegative
    """pJ per bit that a chip sends."""
    in_network_reduction: bool = False
    """Whether switches add up."""
    sustained_fraction: Share = 1.0
    """Attainable share of the bandwidth."""
    leaf: Whole | None = None
    """Members under one leaf switch of a fat tree."""
    oversubscription: Annotated[float, Field(ge=1)] = 1.0
    """Bandwidth into a leaf switch of a fat tree over its bandwidth upwards."""
    collectives: dict[Name, dict[OperationName, tuple[ProtocolForm, ...]]] = Field(default_factory=dict)
    """Measured protocols by library and operation; where given they replace latency and bandwidth of that operation."""
    exchange: dict[ModeName, dict[PhaseName, ExchangeForm]] = Field(default_factory=dict)
    """Measured expert exchange by mode and phase."""

    @model_validator(mode="after")
    def _shape_fits(self) -> LinkForm:
        grid = self.topology in (Topology.TORUS, Topology.MESH)
        if grid != (self.shape is not None):
            need = "needs its sides as shape, for example [4, 8]" if grid else "has no shape; leave it out"
            raise ValueError(f"a {self.topology} {need}")
        if (self.topology is Topology.FAT_TREE) != (self.leaf is not None):
            raise ValueError("a fat_tree needs leaf, the members under one leaf switch; other topologies have none")
        if self.topology is not Topology.FAT_TREE and self.oversubscription != 1.0:
            raise ValueError("oversubscription belongs to a fat_tree; leave it out")
        return self


class NearMemoryForm(FileForm):
    """A unit of each chip that computes in or beside its memory stacks."""

    runs: tuple[RegionName, ...] = Field(min_length=1)
    """Kernels that it runs instead of the chip: attention, ffn, experts."""
    bandwidth_gb_per_s: Positive
    """GB/s from memory to the unit."""
    tflops: Positive
    """TFLOP/s of the unit, in every format of the chip; one MAC is two FLOPs."""
    dram_energy_pj_per_bit: NotNegative | None = None
    """pJ per bit from memory to the unit; left out: as from memory to the chip."""


class ChipsForm(FileForm):
    """The chips of the system, all equal."""

    accelerator: Annotated[str, Field(min_length=1)]
    """Accelerator or chip of many cores of the catalogue, or the path of such a file beside this one."""
    count: Whole
    """Number of chips."""
    settings: dict[str, Any] = Field(default_factory=dict)  # Any: values of accelerator fields, checked there
    """Fields of the accelerator or chip that differ here, by path, for example memories.hbm.bandwidth_gb_per_s."""
    memory_gib: Positive | None = None
    """GiB per chip; left out: the capacity of the accelerator's DRAM."""
    usable_memory_fraction: Share = 1.0
    """Share of the memory that weights, caches and activations may fill."""
    near_memory: NearMemoryForm | None = None
    """A unit in or beside the memory of each chip, with kernels that it runs."""
    power_w: Positive | None = None
    """Power of one chip under load with its share of the system, in W; needed to compare at equal power."""
    price: Positive | None = None
    """Price of one chip with its share of the system, in any currency; needed to compare at equal price."""


class SystemFile(FileForm):
    """A system: equal chips behind nested link levels."""

    schema_version: SchemaVersion
    """Version of this form: 1."""
    name: Name
    """Name in lower case with underscores, as in the catalogue."""
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    """One line for `dse list`."""
    chips: ChipsForm
    """The chips."""
    links: dict[Name, LinkForm] = Field(min_length=1)
    """Link levels from inner (scale-up) to outer (scale-out), by name."""

    @field_validator("links")
    @classmethod
    def _nested(cls, given: dict[str, LinkForm]) -> dict[str, LinkForm]:
        inner = 1
        for name, link in given.items():
            if link.chips % inner or (link.chips == inner and inner > 1):
                raise ValueError(
                    f"{name} joins {link.chips} chips; each level must join a multiple, larger than 1, of the {inner} chips before it"
                )
            members = link.chips // inner
            sides = 1
            for side in link.shape or (members,):
                sides *= side
            if sides != members:
                raise ValueError(f"{name}: shape {list(link.shape or ())} has {sides} members, the level joins {members}")
            if link.leaf is not None and members % link.leaf:
                raise ValueError(f"{name}: leaf {link.leaf} does not divide the {members} members of the level")
            inner = link.chips
        return given

    @model_validator(mode="after")
    def _all_joined(self) -> SystemFile:
        name, outer = list(self.links.items())[-1]
        if outer.chips != self.chips.count:
            raise ValueError(f"chips.count is {self.chips.count}, the outermost level '{name}' joins {outer.chips}; they must be equal")
        return self
