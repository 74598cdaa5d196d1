"""From a layout to tasks on channels and cores, their simulation, and what the whole costs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Final

from dse.schedule.cores.layout import Load
from dse.schedule.cores.simulate import Simulation, Task, simulate
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.many_core import Chip
    from dse.schedule.cores.layout import LaidGroup, Layout, Store
    from dse.schedule.cores.part_price import KindPricer
    from dse.schedule.cores.transfers import Pattern

LEAST_PIECES: Final = 4
"""Pieces in which a group loads, computes and stores; more of them hide more of the first load, and cost time to simulate."""
PIECES_OF_PLAN: Final = 64
"""Pieces in which the busiest resource of the plan works: none is longer, so that what waits for a channel never waits long. The tiles of a
mapping are smaller still."""
MOST_PIECES: Final = 128
"""Where two pieces would need more memory than the group has there are more of them, up to these. The tiles of a mapping are smaller still
and doubled, so that one is loaded while another is computed: a load runs ahead by up to a piece more than there is room for."""
PASSING_PIECES: Final = 32
"""Pieces, at least, of groups with no memory but for what passes by."""
SMALL_SHARE: Final = 1 / 16
"""Part of such a piece up to which a group loads, computes and stores in one."""


@dataclass(frozen=True, slots=True)
class TaskNote:
    """What a task is, for pictures: index of its group, what it does, the tensor that it moves."""

    group: int
    what: str
    """`gate`, `load`, `compute`, `store`, `transfer`, `reduce` or `add`."""
    tensor: str


@dataclass(frozen=True)
class TaskList:
    """Tasks in order of priority with the number of resources: channels first, then cores."""

    tasks: tuple[Task, ...]
    notes: tuple[TaskNote, ...]
    resources: int
    last: tuple[tuple[int, ...], ...]
    """For each group, the tasks after which it is over."""
    first: tuple[tuple[int, ...], ...]
    """For each group, the tasks with which it starts."""


class _Builder:
    def __init__(self, chip: Chip, here: Mapping[int, tuple[int, ...]], longest_s: float) -> None:
        self.chip, self.here, self.longest_s = chip, here, longest_s
        self.channels = chip.interconnect.channels
        self.held: dict[tuple[int, float, tuple[int, ...]], tuple[tuple[tuple[int, float], ...], float]] = {}
        self.tasks: list[Task] = []
        self.notes: list[TaskNote] = []
        self.gates: dict[str, int] = {}
        self.last: list[tuple[int, ...]] = []
        self.first: list[tuple[int, ...]] = []

    def add(self, note: TaskNote, waits: tuple[int, ...], holds: tuple[tuple[int, float], ...], lasts: float) -> int:
        self.tasks.append(Task(f"{note.what} {note.tensor}", tuple(dict.fromkeys(waits)), holds, lasts))
        self.notes.append(note)
        return len(self.tasks) - 1

    def moving(self, note: TaskNote, waits: tuple[int, ...], pattern: Pattern, size: float, cores: tuple[int, ...] = ()) -> int:
        """A transfer; `cores` can do nothing else meanwhile."""
        key = (id(pattern), size, cores)
        if key not in self.held:
            lasts = size * pattern.seconds + pattern.latency_s if size and pattern.channels else 0.0
            holds = tuple((c, size * part / self.channels[c].bytes_per_s) for c, part in pattern.channels)
            self.held[key] = (*holds, *((c, lasts) for c in cores)), lasts
        return self.add(note, waits, *self.held[key])

    def group(self, laid: LaidGroup, *, overlapped: bool) -> None:
        """All tasks of one group."""
        free = (self._gate(laid),)
        cores = tuple(len(self.channels) + c for c in laid.assigned.cores)
        computed: list[int] = []
        stores: list[int] = []
        pieces, ahead = _pieces(laid, self.longest_s)
        moving, sources = _together(laid.loads), (*free, *self._sources(laid))
        for piece in range(pieces):
            behind = piece - ahead if overlapped else piece - 1
            waits = (*free, *computed[max(behind, 0) : behind + 1])
            loaded = [self._load(laid.index, load, waits, () if overlapped else cores, pieces) for load in moving]
            before = (*loaded, *(computed[-1:] or sources))
            seconds = laid.part.compute_s / pieces
            note = TaskNote(laid.index, "compute", laid.group.name)
            computed.append(self.add(note, before, tuple((c, seconds) for c in cores), seconds))
            if piece == 0:
                self.first.append((*loaded, computed[0]))
            if laid.reduction is None:
                stores += [self._store(laid.index, s, computed[-1:], pieces) for s in laid.stores]
        ends = (computed[-1],)
        if laid.reduction is not None:
            note = TaskNote(laid.index, "reduce", laid.reduction.storage)
            sent = self.moving(note, ends, laid.reduction.pattern, laid.reduction.size_bytes)
            note = TaskNote(laid.index, "add", laid.group.name)
            ends = (self.add(note, (sent,), ((cores[0], laid.add_s),), laid.add_s),)
            stores += [self._store(laid.index, s, list(ends), 1) for s in laid.stores]
        self.last.append((*ends, *stores))

    def _gate(self, laid: LaidGroup) -> int:
        """A task without length after which the group may take memory: what it waits for is over, and the groups before it in each of
        its memories have taken theirs."""
        waits = tuple(t for g in laid.waits for t in self.last[g])
        before = tuple(self.gates[m] for m in laid.takes if m in self.gates)
        gate = self.add(TaskNote(laid.index, "gate", laid.group.name), (*waits, *before), (), 0.0)
        self.gates.update(dict.fromkeys(laid.takes, gate))
        return gate

    def _sources(self, laid: LaidGroup) -> tuple[int, ...]:
        """What must be over before the group computes though nothing of it is loaded: writers of tensors that lie on the core."""
        return tuple(t for g in self.here.get(laid.index, ()) for t in self.last[g])

    def _load(self, index: int, load: Load, waits: tuple[int, ...], cores: tuple[int, ...], pieces: int) -> int:
        after = tuple(t for g in load.after for t in self.last[g])
        what = "transfer" if load.source == "cores" else "load"
        size = load.size_bytes / pieces
        return self.moving(TaskNote(index, what, load.storage), (*waits, *after), load.pattern, size, cores)

    def _store(self, index: int, store: Store, waits: list[int], pieces: int) -> int:
        return self.moving(TaskNote(index, "store", store.storage), tuple(waits), store.pattern, store.size_bytes / pieces)


def _together(loads: tuple[Load, ...]) -> tuple[Load, ...]:
    """Loads that take the same way at the same time as one."""
    found: dict[tuple[int, str, tuple[int, ...]], Load] = {}
    for load in loads:
        key = (id(load.pattern), load.source, load.after)
        if key in found:
            before = found[key]
            load = replace(before, storage=f"{before.storage}, {load.storage}", size_bytes=before.size_bytes + load.size_bytes)
        found[key] = load
    return tuple(found.values())


def _pieces(laid: LaidGroup, longest_s: float) -> tuple[int, int]:
    """Number of pieces, and how many of them may be loaded or computed at once: as many as the memory set aside holds, at least two.

    A piece takes at most `longest_s` to load, compute or store, but is no smaller than a tile where these are large.
    """
    loaded, most = sum(laid.part.reads.values()), min(MOST_PIECES, max(LEAST_PIECES, laid.part.tiles))
    seconds = max(
        laid.part.compute_s,
        sum(x.size_bytes * x.pattern.seconds for x in laid.loads),
        sum(x.size_bytes * x.pattern.seconds for x in laid.stores),
    )
    wanted = 1 if seconds <= SMALL_SHARE * longest_s else max(LEAST_PIECES, ceil(seconds / longest_s))
    if loaded <= laid.ahead_bytes:
        pieces = min(wanted, most)
        return pieces, pieces
    if not laid.ahead_bytes:  # all that it works on lies in its memory but for what passes by
        return min(max(min(wanted, most), PASSING_PIECES), MOST_PIECES), 2
    pieces = min(max(ceil(2 * loaded / laid.ahead_bytes), min(wanted, most)), MOST_PIECES)
    return pieces, max(2, int(laid.ahead_bytes * pieces / loaded))


def busiest_s(layout: Layout, chip: Chip) -> float:
    """Seconds that the busiest core or channel of a plan works, additions of partial sums apart: no order of its tasks ends sooner."""
    busy: dict[int, float] = defaultdict(float)
    channels = chip.interconnect.channels
    for laid in layout.groups:
        for c in laid.assigned.cores:
            busy[len(channels) + c] += laid.part.compute_s
        for x in (*laid.loads, *laid.stores, *((laid.reduction,) if laid.reduction is not None else ())):
            for c, part in x.pattern.channels:
                busy[c] += x.size_bytes * part / channels[c].bytes_per_s
    return max(busy.values(), default=0.0)


def make_tasks(layout: Layout, chip: Chip, kinds: Mapping[str, KindPricer]) -> TaskList:
    """Tasks of a plan.

    A group's loads run ahead of its computation as far as its memory goes, where its cores overlap transfers and computation, else not
    at all; they start as soon as what they bring is written and the memory that they take is free: while groups before it compute.
    """
    builder = _Builder(chip, _writers_here(layout), busiest_s(layout, chip) / PIECES_OF_PLAN)
    for laid in layout.groups:
        builder.group(laid, overlapped=kinds[laid.assigned.shape.kind].geometry.overlapped)
    count = len(chip.interconnect.channels) + len(chip.cores)
    return TaskList(tuple(builder.tasks), tuple(builder.notes), count, tuple(builder.last), tuple(builder.first))


def _writers_here(layout: Layout) -> dict[int, tuple[int, ...]]:
    """For each group, the writers of held tensors that it reads without loading them."""
    writer = {h.storage: h.writer for h in layout.held}
    found: dict[int, tuple[int, ...]] = {}
    for laid in layout.groups:
        loaded = {load.storage for load in laid.loads}
        mine = [writer[f.storage] for f in laid.group.reads if f.storage in writer and f.storage not in loaded]
        found[laid.index] = tuple(sorted(w for w in set(mine) if w < laid.index))
    return found


@dataclass(frozen=True, slots=True)
class EnergyItem:
    """Joules and bytes of one group at one component for tensors of one role."""

    group: int
    operator: str
    component: str
    role: str
    energy_j: float
    bytes: float


def energy_items(layout: Layout, chip: Chip, kinds: Mapping[str, KindPricer]) -> list[EnergyItem]:
    """Where the energy of a plan goes, leakage apart: arithmetic, cores' memories, channels, memory off chip."""
    found: list[EnergyItem] = []
    for laid in layout.groups:
        ways = laid.assigned.shape.ways
        for o in laid.part.operators:
            unit = "array" if o.work.dtype is not None else "vector"
            found.append(EnergyItem(laid.index, o.name, unit, "compute", ways * o.compute_j, 0.0))
            found.append(EnergyItem(laid.index, o.name, "buffer", "access", ways * o.memory_j, 0.0))
        name = laid.part.operators[0].name
        moved = [(x, x.pattern, x.source) for x in laid.loads] + [(x, x.pattern, x.target) for x in laid.stores]
        for x, pattern, place in moved:
            sent = x.size_bytes * pattern.sent
            links = x.size_bytes * pattern.pj * JOULES_PER_PJ
            found.append(EnergyItem(laid.index, name, "links", str(x.role), links, x.size_bytes if pattern.channels else 0.0))
            found += _at_memory(laid, name, x, place, sent, chip, kinds)
        if laid.reduction is not None:
            size = laid.reduction.size_bytes * (ways - 1)
            links = laid.reduction.size_bytes * laid.reduction.pattern.pj * JOULES_PER_PJ
            found.append(EnergyItem(laid.index, name, "links", str(laid.reduction.role), links, size))
            found.append(EnergyItem(laid.index, name, "vector", "compute", laid.add_j, 0.0))
    return found


def _at_memory(
    laid: LaidGroup, name: str, x: Load | Store, place: str, sent: float, chip: Chip, kinds: Mapping[str, KindPricer]
) -> list[EnergyItem]:
    """Accesses at the far end of a transfer: the memory off chip, a shared buffer, or the core that holds the tensor."""
    reading = isinstance(x, Load)
    core = x.source_core if isinstance(x, Load) else x.target_core
    if place == "cores":
        assert core is not None, x.storage
        one = kinds[chip.cores[core].kind].one
        taken = sent if isinstance(x, Load) else sent * x.copies
        pj = float(one.buffer_read_pj_per_byte[0] if reading else one.buffer_write_pj_per_byte[0])
        return [EnergyItem(laid.index, name, "buffer", str(x.role), taken * pj * JOULES_PER_PJ, taken)]
    shared = next((b for b in chip.shared if b.name == place), None)
    if shared is not None:
        pj = shared.read_pj_per_byte if reading else shared.write_pj_per_byte
        return [EnergyItem(laid.index, name, shared.name, str(x.role), sent * pj * JOULES_PER_PJ, sent)]
    one = kinds[laid.assigned.shape.kind].one
    pj = float(one.dram_read_pj_per_byte[0] if reading else one.dram_write_pj_per_byte[0])
    return [EnergyItem(laid.index, name, "dram", str(x.role), sent * pj * JOULES_PER_PJ, sent)]


@dataclass(frozen=True)
class Outcome:
    """A plan that has been run."""

    layout: Layout
    tasks: TaskList
    simulation: Simulation
    latency_s: float
    energy_j: float


def run(layout: Layout, chip: Chip, kinds: Mapping[str, KindPricer], leakage_w: float) -> Outcome:
    """Simulate a layout and add up its energy."""
    tasks = make_tasks(layout, chip, kinds)
    simulation = simulate(tasks.tasks, tasks.resources)
    latency = simulation.makespan_s
    return Outcome(layout, tasks, simulation, latency, plan_j(layout, chip, kinds, leakage_w, latency))


def plan_j(layout: Layout, chip: Chip, kinds: Mapping[str, KindPricer], leakage_w: float, seconds: float) -> float:
    """Joules of a plan that takes `seconds`."""
    return sum(i.energy_j for i in energy_items(layout, chip, kinds)) + leakage_w * seconds


def busy_by_resource(tasks: TaskList) -> dict[int, float]:
    """Seconds that each resource is held."""
    found: dict[int, float] = defaultdict(float)
    for task in tasks.tasks:
        for resource, seconds in task.holds:
            found[resource] += seconds
    return dict(found)
