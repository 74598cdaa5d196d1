"""The internal form of a chip of many cores: cores that may differ, the channels between them, one memory off chip."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry
    from dse.hw.interconnect import Interconnect


@dataclass(frozen=True, slots=True)
class Core:
    """One core with memories of its own."""

    name: str
    """Its node in the interconnect."""
    kind: str
    """Cores of one kind are equal."""
    geometry: Geometry
    capacity_bytes: float
    """Of its outermost memory on chip, where tensors wait for their readers."""
    has_array: bool
    has_vector: bool
    op_types: frozenset[str] | None = None
    """ONNX operator types that it may run; None for all that its units can."""


@dataclass(frozen=True, slots=True)
class SharedBuffer:
    """A memory on chip beside the cores: holds what their own cannot."""

    name: str
    node: str
    """Its node in the interconnect, behind its port."""
    capacity_bytes: float
    read_pj_per_byte: float
    write_pj_per_byte: float


@dataclass(frozen=True)
class Chip:
    """All cores, with the node of the memory off chip."""

    name: str
    cores: tuple[Core, ...]
    interconnect: Interconnect
    dram: str
    dram_capacity_bytes: float
    shared: tuple[SharedBuffer, ...] = ()

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of cores, in order of their first core."""
        return tuple(dict.fromkeys(c.kind for c in self.cores))

    @cached_property
    def _of_kinds(self) -> dict[str, tuple[int, ...]]:
        return {kind: tuple(i for i, c in enumerate(self.cores) if c.kind == kind) for kind in self.kinds}

    def of_kind(self, kind: str) -> tuple[int, ...]:
        """Positions of the cores of a kind."""
        return self._of_kinds[kind]
