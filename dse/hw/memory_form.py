"""The part of an accelerator file that describes its memories, from registers to DRAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from dse.files import FileForm
from dse.hw.accelerator import OperandName
from dse.hw.array_form import Name, NotNegative, Positive, Share

_ALL = tuple(OperandName)


def _distinct_operands(given: tuple[OperandName, ...]) -> tuple[OperandName, ...]:
    if len(set(given)) < len(given):
        raise ValueError("an operand is named twice; name each once")
    return tuple(o for o in OperandName if o in given)


class RegistersForm(FileForm):
    """Registers of the processing elements as a level of their own; without it the MAC's energy covers them."""

    kind: Literal["registers"]
    """Registers beside the MACs."""
    capacity_bytes: Positive
    """Capacity of one instance in bytes."""
    operands: tuple[OperandName, ...] = Field(min_length=1)
    """Operands that it holds."""
    serves: tuple[Name, ...] = ()
    """Array dimensions along which one instance feeds all elements; empty where each element has its own."""
    read_energy_pj_per_byte: NotNegative = 0.0
    """pJ per byte read; 0 where the MAC's energy covers it."""
    write_energy_pj_per_byte: NotNegative = 0.0
    """pJ per byte written; 0 where the MAC's energy covers it."""

    @field_validator("operands")
    @classmethod
    def _distinct(cls, given: tuple[OperandName, ...]) -> tuple[OperandName, ...]:
        return _distinct_operands(given)


class BufferForm(FileForm):
    """An on-chip memory; the outermost is shared by arrays and vector unit."""

    kind: Literal["buffer"]
    """On-chip buffer."""
    capacity_kib: Positive
    """Capacity in KiB (1024 bytes), of one instance."""
    read_gb_per_s: Positive | None = None
    """Read bandwidth of one instance in 10^9 bytes per second; it does not follow the clock."""
    write_gb_per_s: Positive | None = None
    """Write bandwidth of one instance in 10^9 bytes per second; it does not follow the clock."""
    bandwidth_gb_per_s: Positive | None = None
    """Instead of the two: bandwidth of one port that reads and writes share."""
    read_energy_pj_per_byte: Positive | None = None
    """pJ per byte read; where left out, the technology's."""
    write_energy_pj_per_byte: Positive | None = None
    """pJ per byte written; where left out, the technology's."""
    double_buffered: bool
    """Tiles that are replaced occupy twice their bytes, and transfers overlap with compute."""
    overlapped: bool | None = None
    """Whether transfers into it overlap with compute; where left out, as double_buffered."""
    operands: tuple[OperandName, ...] = Field(default=_ALL, min_length=1)
    """Operands of matrix products that may have a tile here; the others pass by."""
    capacity_shares: dict[OperandName, Share] = Field(default_factory=dict)
    """Part of the capacity that is set aside for each operand; where left out, they share it."""
    serves: tuple[Name, ...] | None = None
    """Array dimensions that one instance feeds, with an instance for each position along the others; where left out, all."""

    @field_validator("operands")
    @classmethod
    def _distinct(cls, given: tuple[OperandName, ...]) -> tuple[OperandName, ...]:
        return _distinct_operands(given)

    @model_validator(mode="after")
    def _ports(self) -> BufferForm:
        separate = (self.read_gb_per_s, self.write_gb_per_s)
        if self.bandwidth_gb_per_s is None and None in separate:
            lacking = "read_gb_per_s" if separate[0] is None else "write_gb_per_s"
            raise ValueError(f"{lacking} is missing; give read_gb_per_s and write_gb_per_s, or bandwidth_gb_per_s for one shared port")
        if self.bandwidth_gb_per_s is not None and separate != (None, None):
            raise ValueError("give read_gb_per_s and write_gb_per_s, or bandwidth_gb_per_s for one shared port, not both")
        return self

    @model_validator(mode="after")
    def _shares(self) -> BufferForm:
        given = self.capacity_shares
        if given and set(given) != set(self.operands):
            raise ValueError(f"capacity_shares must name the operands that it holds: {', '.join(self.operands)}; given: {', '.join(given)}")
        if sum(given.values()) > 1 + 1e-9:
            raise ValueError(f"capacity_shares add up to {sum(given.values()):g}, above 1")
        return self

    @property
    def shared_port(self) -> bool:
        """Reads and writes share one port."""
        return self.bandwidth_gb_per_s is not None

    @property
    def overlaps(self) -> bool:
        """Transfers into it overlap with compute."""
        return self.double_buffered if self.overlapped is None else self.overlapped


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


MemoryForm = Annotated[RegistersForm | BufferForm | DramForm, Field(discriminator="kind")]
AnyMemory: TypeAlias = RegistersForm | BufferForm | DramForm
_RANK = {"registers": 0, "buffer": 1, "dram": 2}
MAX_INNER = 8
"""Registers and buffers inside the outermost buffer."""


def check_order(given: Mapping[str, AnyMemory]) -> None:
    """Raise ValueError unless memories run from inner to outer: registers, one buffer or more, one DRAM."""
    kinds = [memory.kind for memory in given.values()]
    ordered = kinds == sorted(kinds, key=lambda kind: _RANK[kind])
    if not ordered or kinds.count("dram") != 1 or "buffer" not in kinds or len(kinds) > MAX_INNER + 2:
        have = ", ".join(f"{name} ({memory.kind})" for name, memory in given.items()) or "none"
        raise ValueError(
            f"from inner to outer: registers (any number), at least one buffer, one dram, and at most {MAX_INNER} memories inside the "
            f"last buffer; given: {have}"
        )
