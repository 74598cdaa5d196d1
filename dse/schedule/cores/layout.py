"""Where tensors lie and what must wait: from an assignment of groups to cores to tasks that can be simulated."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from dse.schedule.cores.detours import over_memory
from dse.schedule.cores.groups import Flow
from dse.schedule.cores.part_price import PartPricer, PricedPart, partial_bytes
from dse.schedule.cores.parts import Division

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dse.hw.many_core import Chip
    from dse.ir.tensor import Role
    from dse.schedule.cores.groups import Group, Work
    from dse.schedule.cores.shapes import Shape
    from dse.schedule.cores.transfers import Pattern, Transfers


@dataclass(frozen=True, slots=True)
class Assigned:
    """A group on its cores."""

    shape: Shape
    cores: tuple[int, ...]

    @property
    def division(self) -> Division:
        """How parts lie over the cores."""
        return self.shape.division(self.cores)

    @property
    def holder(self) -> Division:
        """How its results lie in the cores' memories: sums come together on the first core."""
        return Division(None, self.cores[:1]) if self.shape.reduces else self.division


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes of one storage that a group brings in."""

    storage: str
    role: Role
    size_bytes: float
    """What the pattern is scaled by."""
    pattern: Pattern
    source: str
    """`dram`, the name of a shared buffer, or `cores`."""
    after: tuple[int, ...]
    """Groups that must have written it."""
    source_core: int | None = None
    """A core of the kind that holds it, where cores do."""


@dataclass(frozen=True, slots=True)
class Store:
    """Bytes of one storage that a group sends out of its cores."""

    storage: str
    role: Role
    size_bytes: float
    pattern: Pattern
    target: str
    """`dram`, the name of a shared buffer, or `cores`."""
    target_core: int | None = None
    """A core of the kind that takes it, where cores do."""
    copies: int = 1
    """Cores that each take all of it."""


@dataclass(frozen=True, slots=True)
class Addition:
    """Partial sums of other cores that one core adds to its own."""

    operations: float
    size_bytes: float


@dataclass(frozen=True)
class LaidGroup:
    """One group with all that it needs."""

    index: int
    group: Group
    assigned: Assigned
    part: PricedPart
    loads: tuple[Load, ...]
    stores: tuple[Store, ...]
    waits: tuple[int, ...]
    """Groups that must be over before it starts: their memory is needed."""
    reduction: Store | None
    added: Addition | None
    """What the first core adds."""
    reserved: tuple[tuple[int, float], ...]
    """(core, bytes that the group works in, loads that run ahead among them)."""
    takes: tuple[str, ...]
    """Memories in which it takes room: groups take it in their order."""
    ahead_bytes: float
    """Bytes of one core that may be loaded before they are used."""


@dataclass(frozen=True, slots=True)
class Held:
    """One storage in the memories of cores or in a shared buffer, from its writer until all its readers are over."""

    storage: str
    role: Role
    writer: int
    readers: tuple[int, ...]
    """Groups that read it, in order."""
    division: Division
    piece_bytes: float
    """On each core of `cores`, or in the shared buffer."""
    cores: tuple[int, ...]
    """Whose memories hold it; empty where a shared buffer does."""
    everywhere: bool = False
    """Each of the cores has all of it."""
    buffer: str | None = None
    """Name of the shared buffer instead."""


@dataclass(frozen=True)
class Layout:
    """A whole plan: groups in order, tensors held on chip, and those that went off chip."""

    groups: tuple[LaidGroup, ...]
    held: tuple[Held, ...]
    spilled: tuple[str, ...]
    detours: tuple[str, ...] = ()
    """Storages that go off chip because their readers have them sooner that way."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A group that fits on its cores in no way."""

    index: int
    core: int
    free_bytes: float


OFF_CHIP: Final = "dram"
NO_STREAMS: Final[frozenset[str]] = frozenset()
SPREAD: Final = "spread"
"""Stands for a stream where a tensor lies in equal pieces that no stream follows."""
HOME_SHARE: Final = 0.8
"""Part of a core's memory up to which results of other cores are put there."""
OWN_SHARE: Final = 0.75
"""Part of a core's memory up to which it keeps results: the rest is to work in."""


AHEAD_SHARE: Final = 0.5
"""Part of the free memory that a group takes to load ahead; the groups after it share the rest."""


class Place(IntEnum):
    """Where the results of a group may stay for their readers, in the order in which it is tried."""

    OWN = 0
    """In the memories of the cores that made them."""
    READER = 1
    """With the cores that read them first, as these need them."""
    SPREAD = 2
    """In equal pieces over the kind of cores with the most memory."""
    SHARED = 3
    """In a buffer beside the cores."""
    OUTSIDE = 4
    """Off chip."""


@dataclass(frozen=True, slots=True)
class _Promise:
    """Bytes of one memory that are taken until groups are over."""

    size_bytes: float
    after: tuple[int, ...]
    """Groups after which they are free, in order."""
    storage: str | None = None
    """None for memory that a group works in."""


@dataclass
class _Memory:
    """Bytes promised in one memory; a promise is dropped once some group waits for its end."""

    promised: list[_Promise] = field(default_factory=list)

    def kept(self, index: int) -> float:
        """Bytes that are still needed when group `index` runs."""
        return sum(p.size_bytes for p in self.promised if p.after[-1] >= index)

    def total(self) -> float:
        """Bytes of all promises."""
        return sum(p.size_bytes for p in self.promised)

    def make_room(self, index: int, wanted: float, capacity: float) -> list[int]:
        """Groups to wait for until `wanted` fits: oldest first."""
        waits: list[int] = []
        slack = 1e-9 * capacity
        for promise in sorted((p for p in self.promised if p.after[-1] < index), key=lambda p: p.after[-1]):
            if self.total() + wanted <= capacity + slack:
                break
            waits.extend(promise.after)
            self.promised.remove(promise)
        return waits


class Layouter:
    """Lays out assignments of one graph on one chip."""

    def __init__(self, chip: Chip, work: Work, pricer: PartPricer, transfers: Transfers) -> None:
        self.chip, self.work, self.pricer, self.transfers = chip, work, pricer, transfers
        self.laid_groups = 0
        """Groups laid out so far, repetitions counted: what a search has spent, the same on every machine."""

    def lay_out(self, groups: tuple[Group, ...], assigned: tuple[Assigned, ...]) -> Layout | NoRoom:
        """The plan of an assignment; tensors that fit nowhere on chip are spilled, largest first."""
        detours = over_memory(groups, assigned, self)
        places = dict.fromkeys(detours, Place.OUTSIDE)
        while True:
            found = _Pass(self, groups, assigned, places).run()
            if isinstance(found, str):
                places[found] = Place(places.get(found, Place.OWN) + 1)
                continue
            if isinstance(found, NoRoom):
                return found
            on_chip = {h.storage for h in found[1]}
            spilled = tuple(s for s in places if s not in on_chip and s not in detours)
            return Layout(found[0], found[1], spilled, detours)


class _Pass:
    """One go through the groups in their order."""

    def __init__(self, by: Layouter, groups: tuple[Group, ...], assigned: tuple[Assigned, ...], places: dict[str, Place]) -> None:
        self.by, self.groups, self.assigned, self.places = by, groups, assigned, places
        self.memories = [_Memory() for _ in by.chip.cores]
        self.buffers = {b.name: _Memory() for b in by.chip.shared}
        self.held: dict[str, Held] = {}
        self.writers: dict[str, list[int]] = defaultdict(list)
        self.last_reader: dict[str, int] = {}
        for i, g in enumerate(groups):
            for f in g.reads:
                self.last_reader[f.storage] = i
        self.writes: dict[str, int] = defaultdict(int)
        for g in groups:
            for f in g.writes:
                self.writes[f.storage] += 1
        self.done: list[LaidGroup] = []

    def run(self) -> tuple[tuple[LaidGroup, ...], tuple[Held, ...]] | NoRoom | str:
        """Laid groups and held tensors; or the storage to spill; or what does not fit."""
        for index, group in enumerate(self.groups):
            own = {f.storage for f in group.writes}
            self.by.laid_groups += 1
            problem = self._one(index)
            while isinstance(problem, str) and problem in own:  # nothing is laid out yet that depends on it
                self.places[problem] = Place(self.places.get(problem, Place.OWN) + 1)
                problem = self._one(index)
            if problem is not None:
                return problem
        return tuple(self.done), tuple(self.held.values())

    def _one(self, index: int) -> NoRoom | str | None:
        group, to, chip = self.groups[index], self.assigned[index], self.by.chip
        keeps = [(f, self._piece(f, to)) for f in group.writes if self._may_hold(f, index, to)]
        resident = {f.storage for f, _ in keeps}
        results = sum(piece for _, piece in keeps)
        sums = 0.0
        if to.shape.reduces:
            sums = partial_bytes(self.by.work, group)
            resident.add(group.writes[0].storage)
            results = sums
        sources = {f.storage: self._source(f, to) for f in group.reads}
        resident |= {name for name, source in sources.items() if source == "here"}
        free = [chip.cores[c].capacity_bytes - self.memories[c].kept(index) for c in to.cores]
        room = min(free) - results
        kept_too_much = bool(keeps) and any(room < (1 - OWN_SHARE) * chip.cores[c].capacity_bytes for c in to.cores)
        part = None
        if room > 0 and not kept_too_much:
            part = self.by.pricer.price(group, to.shape, frozenset(resident), room, self._rate(group, to))
        if part is None:
            return self._spill(index, to, keeps)
        loads = self._loads(index, to, part, sources)
        if loads is None:
            return NoRoom(index, to.cores[0], room)
        waits: set[int] = set()
        for c in to.cores:
            waits.update(self.memories[c].make_room(index, part.need_bytes + results, chip.cores[c].capacity_bytes))
        ahead = self._ahead(to, part, results)
        for c in to.cores:
            self.memories[c].promised.append(_Promise(part.need_bytes + sums + ahead, (index,)))
        self._keep(index, to, keeps)
        waits.update(self._send(index, to, group))
        stores = self._stores(to, part, group)
        for f in group.writes:
            self.writers[f.storage].append(index)
        reserved = tuple((c, part.need_bytes + sums + ahead) for c in to.cores)
        reduction, takes = self._reduction(group, to, sums), self._takes(group, to)
        self.done.append(
            LaidGroup(index, group, to, part, loads, stores, tuple(sorted(waits)), *reduction, reserved, takes, part.need_bytes + ahead)
        )
        return None

    def _takes(self, group: Group, to: Assigned) -> tuple[str, ...]:
        """Names of the memories in which a group takes room."""
        homes = [self.held[f.storage] for f in group.writes if f.storage in self.held]
        cores = (*to.cores, *(c for h in homes for c in h.cores))
        names = [self.by.chip.cores[c].name for c in cores] + [h.buffer for h in homes if h.buffer is not None]
        return tuple(dict.fromkeys(names))

    def _ahead(self, to: Assigned, part: PricedPart, results: float) -> float:
        """Memory for loads that run ahead of the computation: at most half of what is free on each of the cores."""
        cores = self.by.chip.cores
        spare = min(cores[c].capacity_bytes - self.memories[c].total() for c in to.cores) - part.need_bytes - results
        return max(0.0, min(sum(part.reads.values()) - part.need_bytes, AHEAD_SHARE * spare))

    def _piece(self, flow: Flow, to: Assigned) -> float:
        return flow.size_bytes if to.shape.reduces else flow.size_bytes / to.shape.ways

    def _movable(self, name: str, index: int) -> bool:
        """Whether a result may stay on chip at all: written once, whole, and read later."""
        later = self.last_reader.get(name, -1) > index
        return later and self.writes[name] == 1 and not self.by.work.storages[name].from_outside

    def _may_hold(self, flow: Flow, index: int, to: Assigned) -> bool:
        """Whether a result stays in the memories of the cores that make it: its readers are reached and it need not leave."""
        if not self._movable(flow.storage, index) or self.places.get(flow.storage, Place.OWN) > Place.OWN:
            return False
        return self._all_reach(flow.storage, to.holder, index)

    def _readers(self, name: str, index: int) -> list[int]:
        return [i for i in range(index + 1, self.last_reader[name] + 1) if any(f.storage == name for f in self.groups[i].reads)]

    def _all_reach(self, name: str, holder: Division | str, index: int) -> bool:
        for i in self._readers(name, index):
            flow, reader = next(f for f in self.groups[i].reads if f.storage == name), self.assigned[i]
            if self.by.transfers.to_reader(flow.streams, holder, reader.division) is None:
                return False
        return True

    def _inside(self, name: str) -> Flow:
        """A storage that lives inside the group and does not stay on chip."""
        storage = self.by.work.storages[name]
        return Flow(name, storage.role, storage.size_bytes, storage.streams)

    def _source(self, flow: Flow, to: Assigned) -> str | Held:
        """`here` where the cores hold what they need, else who holds it, else off chip."""
        held = self.held.get(flow.storage)
        if held is None:
            return OFF_CHIP
        if held.everywhere and set(to.cores) <= set(held.cores):
            return "here"
        mine = to.division
        same = held.buffer is None and not held.everywhere and held.division == mine and not mine.reduces
        return "here" if same and mine.ranged(flow.streams) else held

    def _rate(self, group: Group, to: Assigned) -> float:
        """Bytes per second that a part gets of what comes from and goes to outside: its bytes over the time that all parts' take."""
        dram = self.by.chip.dram
        mine = seconds = 0.0
        for f in (*group.reads, *group.writes):
            pattern = self.by.transfers.to_reader(f.streams, dram, to.division)
            mine += f.size_bytes / to.shape.share(f.streams)
            seconds += f.size_bytes * (pattern.seconds if pattern else 0.0)
        return mine / seconds if seconds else float(self.by.pricer.kinds[to.shape.kind].one.dram_bytes_per_s[0])

    def _loads(self, index: int, to: Assigned, part: PricedPart, sources: Mapping[str, str | Held]) -> tuple[Load, ...] | None:
        """What the group brings in; None where no route leads from who holds it."""
        by = self.by
        flows = {f.storage: f for f in (*self.groups[index].writes, *self.groups[index].reads)}
        found = []
        for name, size in part.reads.items():
            flow = flows.get(name) or self._inside(name)
            source = sources.get(name, OFF_CHIP)
            total = size * to.shape.share(flow.streams)
            node: Division | str = by.chip.dram
            after, where, core = tuple(self.writers[name]), OFF_CHIP, None
            if isinstance(source, Held):
                after, node, where = (source.writer,), source.division, "cores"
                core = source.division.cores[0]
                if source.buffer is not None:
                    node = next(b.node for b in by.chip.shared if b.name == source.buffer)
                    where, core = source.buffer, None
            pattern = by.transfers.to_reader(flow.streams, node, to.division)
            if pattern is None:
                return None
            found.append(Load(name, flow.role, total, pattern, where, after, core))
        return tuple(found)

    def _stores(self, to: Assigned, part: PricedPart, group: Group) -> tuple[Store, ...]:
        """What the group sends to memories that are not its own."""
        by, found = self.by, []
        sizes = {name: size * to.shape.ways for name, size in part.writes.items()}
        if to.shape.reduces:
            flow = group.writes[0]
            held = self.held.get(flow.storage)
            stays = held is not None and held.division == to.holder and held.buffer is None
            sizes = {} if stays and not by.work.storages[flow.storage].to_outside else {flow.storage: flow.size_bytes}
        for name, size in sizes.items():
            held, storage = self.held.get(name), by.work.storages[name]
            away = held is not None and (held.buffer is not None or not set(held.cores) <= set(to.cores))
            if held is not None and away:
                pattern = self._to_home(to, held)
                assert pattern is not None, name
                copies = len(held.cores) if held.everywhere else 1
                core = held.cores[0] if held.cores else None
                found.append(Store(name, storage.role, size, pattern, held.buffer or "cores", core, copies))
            if not away or storage.to_outside:
                pattern = by.transfers.to_memory(to.holder, by.chip.dram)
                assert pattern is not None, name
                found.append(Store(name, storage.role, size, pattern, OFF_CHIP))
        return tuple(found)

    def _to_home(self, to: Assigned, held: Held) -> Pattern | None:
        """The way from the cores that make a tensor to where it stays."""
        if held.buffer is not None:
            return self.by.transfers.to_memory(to.holder, self._node(held.buffer))
        if held.everywhere:
            return self.by.transfers.to_reader(NO_STREAMS, to.holder, Division(None, held.cores))
        return self.by.transfers.to_reader(held.division.streams, to.holder, held.division)

    def _node(self, buffer: str) -> str:
        return next(b.node for b in self.by.chip.shared if b.name == buffer)

    def _send(self, index: int, to: Assigned, group: Group) -> list[int]:
        """Find a place on chip for results that do not stay with their cores; groups to wait for, whose memory is needed."""
        waits: list[int] = []
        for flow in group.writes:
            if flow.storage in self.held or not self._movable(flow.storage, index):
                continue
            level = max(self.places.get(flow.storage, Place.OWN), Place.READER)
            held = next((h for h in self._homes(flow, index, to, level) if self._fits(h, index)), None)
            if held is None:
                continue
            self.held[flow.storage] = held
            for memory, capacity in self._memories(held):
                waits += memory.make_room(index, held.piece_bytes, capacity)
                memory.promised.append(_Promise(held.piece_bytes, (index, *held.readers), flow.storage))
        return waits

    def _homes(self, flow: Flow, index: int, to: Assigned, level: Place) -> Iterator[Held]:
        size, chip = flow.size_bytes, self.by.chip
        readers = tuple(self._readers(flow.storage, index))
        common, first = (flow.storage, flow.role, index, readers), readers[0]
        reader = self.assigned[first]
        read = next(f for f in self.groups[first].reads if f.storage == flow.storage)
        if level <= Place.READER and not set(reader.cores) & set(to.cores):
            if reader.division.ranged(read.streams):
                yield Held(*common, replace(reader.division, reduces=False), size / reader.shape.ways, reader.cores)
            else:
                yield Held(*common, Division(None, reader.cores[:1]), size, reader.cores, everywhere=True)
        if level <= Place.SPREAD:
            widest = max(chip.kinds, key=lambda k: sum(chip.cores[c].capacity_bytes for c in chip.of_kind(k)))
            cores = chip.of_kind(widest)
            if not set(cores) & set(to.cores):
                yield Held(*common, Division(SPREAD if len(cores) > 1 else None, cores), size / len(cores), cores)
        if level <= Place.SHARED:
            for buffer in chip.shared:
                yield Held(*common, to.holder, size, (), buffer=buffer.name)

    def _memories(self, held: Held) -> list[tuple[_Memory, float]]:
        if held.buffer is not None:
            return [(self.buffers[held.buffer], next(b.capacity_bytes for b in self.by.chip.shared if b.name == held.buffer))]
        return [(self.memories[c], self.by.chip.cores[c].capacity_bytes) for c in held.cores]

    def _fits(self, held: Held, index: int) -> bool:
        """Whether a home has room next to what it keeps and works in meanwhile, and is reached by all."""
        share = 1.0 if held.buffer is not None else HOME_SHARE
        if any(m.kept(index) + held.piece_bytes > share * capacity for m, capacity in self._memories(held)):
            return False
        if self._to_home(self.assigned[index], held) is None:
            return False
        return self._all_reach(held.storage, self._node(held.buffer) if held.buffer is not None else held.division, index)

    def _keep(self, index: int, to: Assigned, keeps: list[tuple[Flow, float]]) -> None:
        for flow, piece in keeps:
            holder = to.holder
            readers = tuple(self._readers(flow.storage, index))
            for c in holder.cores:
                self.memories[c].promised.append(_Promise(piece, (index, *readers), flow.storage))
            self.held[flow.storage] = Held(flow.storage, flow.role, index, readers, holder, piece, holder.cores)

    def _reduction(self, group: Group, to: Assigned, sums: float) -> tuple[Store | None, Addition | None]:
        """Transfer of partial sums to the first core, and what it adds."""
        if not to.shape.reduces:
            return None, None
        pattern = self.by.transfers.to_first(to.division)
        assert pattern is not None, group.name
        others = to.shape.ways - 1
        added = Addition(group.operators[0].outputs[0].elements * others, sums * others)
        flow = group.writes[0]
        return Store(flow.storage, flow.role, sums, pattern, "cores"), added

    def _spill(self, index: int, to: Assigned, keeps: list[tuple[Flow, float]]) -> NoRoom | str:
        """The largest tensor that may leave the cores of a group, or what is in the way."""
        movable = {f.storage: size for f, size in keeps}
        for c in to.cores:
            for p in self.memories[c].promised:
                if p.storage is not None and p.after[-1] >= index:
                    movable[p.storage] = max(p.size_bytes, movable.get(p.storage, 0.0))
        if movable:
            return max(movable, key=lambda s: (movable[s], s))
        core = to.cores[0]
        return NoRoom(index, core, self.by.chip.cores[core].capacity_bytes - self.memories[core].kept(index))
