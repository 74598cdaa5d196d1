"""The internal form of a system: equal chips behind nested link levels, all units resolved."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import gcd, prod
from typing import TYPE_CHECKING

from dse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.system.chip_time import Hardware
    from dse.system.kernels import Region


class Topology(StrEnum):
    """How the chips (or groups) of one link level are wired."""

    SWITCH = "switch"
    """Non-blocking switch: every chip sends to every other at its full rate, shared over destinations."""
    RING = "ring"
    """Neighbours in a circle; the rate of a chip is that of both ports together."""
    TORUS = "torus"
    """Grid of `shape` with wrap-around links; the rate of a chip is that of all ports together."""
    MESH = "mesh"
    """Grid of `shape` without wrap-around links."""
    FAT_TREE = "fat_tree"
    """Leaf switches of `leaf_chips`, with `oversubscription` between what enters a leaf and what leaves it upwards."""


class Operation(StrEnum):
    """Collective operations."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "all_to_all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One way in which a library runs a collective: a fixed cost, a cost per further rank, and what it gets of the link."""

    fixed_s: float
    per_rank_s: float
    """Times (ranks - 1)."""
    link_fraction: float
    """Share of the link's rate that it sustains."""
    staging_fraction: float = 0.0
    """Time to copy the buffer locally, as a share of its bytes over the link's rate."""
    in_network: bool = False
    """The switch adds up where all chips of the level take part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One kernel of the expert exchange (dispatch or combine), as measured: see `dse.system.exchange`."""

    fixed_s: float
    link_fractions: tuple[tuple[int, float], ...]
    """(groups taking part, share of the link's rate), by rising number of groups."""
    per_group_s: float = 0.0
    """Times (groups - 1)."""
    per_message_s: float = 0.0
    """Per token and expert that a chip sends (low-latency kernels)."""
    worker_bytes_per_s: float | None = None
    """Rate of one of the workers (SMs) that copy; None where copying is no limit."""
    worker_bytes_per_message: float = 0.0
    """What a message costs the worker beside its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLevel:
    """Links that join chips (innermost level) or the groups of the level below."""

    name: str
    chips: int
    """Chips that one domain of this level joins, those of the levels below included."""
    topology: Topology
    shape: tuple[int, ...]
    """Grid sides of a torus or mesh, in members of this level; (members,) else."""
    bytes_per_s: float
    """Of one chip, one direction, all ports of the level together."""
    latency_s: float
    """Of one hop."""
    pj_per_byte: float
    in_network_reduction: bool
    sustained_fraction: float
    leaf_members: int = 1
    oversubscription: float = 1.0
    protocols: Mapping[str, tuple[Protocol, ...]] = field(default_factory=dict)
    """Measured protocols by `library.operation`, for example `nccl.all_reduce`; the fastest counts."""
    exchanges: Mapping[str, Exchange] = field(default_factory=dict)
    """Measured expert exchange by `mode.phase`, for example `low_latency.dispatch`."""

    @property
    def members(self) -> int:
        """Members of one domain of this level."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMemory:
    """A unit of each chip that computes in or beside its memory stacks and runs the kernels of some regions instead of the chip."""

    regions: frozenset[Region]
    macs_per_s: float
    """In every format of the chip."""
    bytes_per_s: float
    dram_pj_per_byte: float | None
    """None: as from the chip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Equal chips with their links, inner level first."""

    name: str
    summary: str
    chips: int
    chip: Hardware
    memory_bytes: float
    """Of one chip, as far as weights, caches and activations may use it."""
    links: tuple[LinkLevel, ...]
    power_w: float | None
    """Of one chip under load with its share of the system; None where the file gives none."""
    price: float | None
    """Of one chip with its share of the system, in the user's currency; None where the file gives none."""
    warnings: tuple[str, ...] = ()
    near_memory: NearMemory | None = None

    def level(self, ranks: int) -> LinkLevel:
        """The innermost level whose domain holds `ranks` chips.

        Raises:
            UsageError: more ranks than chips.
        """
        for link in self.links:
            if ranks <= link.chips:
                return link
        raise UsageError(f"{ranks} chips take part, {self.name} has {self.chips}")

    def spans(self, ranks: int) -> tuple[tuple[LinkLevel, int], ...]:
        """(level, members that take part), inner first, for `ranks` neighbouring chips.

        Raises:
            UsageError: more ranks than chips, or ranks that fill no whole number of inner domains.
        """
        self.level(ranks)
        found: list[tuple[LinkLevel, int]] = []
        inner = 1
        for link in self.links:
            inside = min(ranks, link.chips)
            if inside % inner:
                whole = f"{ranks} chips of {self.name} fill no whole number of domains of {inner} chips"
                raise UsageError(f"{whole}; take a number that divides {inner} or a multiple of it")
            if inside // inner > 1:
                found.append((link, inside // inner))
            inner = max(inner, link.chips)
            if ranks <= link.chips:
                break
        return tuple(found)

    def of_size(self, chips: int) -> System:
        """This system with `chips` chips: a part of it, or with more domains on its outermost level.

        Raises:
            UsageError: no chips, no whole number of inner domains, or a grid that would have to grow.
        """
        if chips <= self.chips:
            return self.part(chips)
        outer = self.links[-1]
        inner = self.links[-2].chips if len(self.links) > 1 else 1
        if outer.topology in (Topology.TORUS, Topology.MESH):
            raise UsageError(f"{self.name} has {self.chips} chips on a {outer.topology}; for {chips} give links.{outer.name}.shape too")
        leaf, members = outer.leaf_members, chips // inner
        full = outer.oversubscription > 1  # where leaves are non-blocking, one that is not full changes nothing
        if chips % inner or (full and members % leaf):
            raise UsageError(f"{chips} chips of {self.name}: take a multiple of {inner * (leaf if full else 1)}")
        grown = replace(outer, chips=chips, shape=(members,), leaf_members=gcd(leaf, members))
        return replace(self, name=f"{self.name}[{chips}]", chips=chips, links=(*self.links[:-1], grown))

    def part(self, chips: int) -> System:
        """`chips` neighbouring chips of this system, with the links that join them: a pool of its own.

        Raises:
            UsageError: no chips, more than there are, or no whole number of inner domains.
        """
        if not 1 <= chips <= self.chips:
            raise UsageError(f"a pool of {chips} chips of {self.name}: allowed are 1 to {self.chips}")
        if chips == self.chips:
            return self
        found: list[LinkLevel] = []
        inner = 1
        for link in self.links:
            here = min(chips, link.chips)
            if here % inner:
                whole = f"a pool of {chips} chips of {self.name} fills no whole number of domains of {inner} chips"
                raise UsageError(f"{whole}; take a multiple")
            shape = link.shape if here == link.chips else _first_members(link.shape, here // inner)
            if prod(shape) != here // inner:
                raise UsageError(f"a pool of {chips} chips of {self.name} is no part of the grid {list(link.shape)} of {link.name}")
            found.append(replace(link, chips=here, shape=shape, leaf_members=min(link.leaf_members, here // inner)))
            inner = here
            if chips <= link.chips:
                break
        return replace(self, name=f"{self.name}[{chips}]", chips=chips, links=tuple(found))


def _first_members(shape: tuple[int, ...], members: int) -> tuple[int, ...]:
    """Sides of the part of a grid that its first `members` fill, as far as they fill whole rows."""
    sides: list[int] = []
    left = members
    for side in shape:
        sides.append(min(side, left))
        left //= sides[-1]
    return tuple(sides)
