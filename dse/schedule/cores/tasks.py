"""From a layout to tasks on channels and cores, their simulation, and what the whole costs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Final

from dse.schedule.cores.energy import plan_j
from dse.schedule.cores.progress import NOTHING
from dse.schedule.cores.simulate import Simulation, Task, simulate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.many_core import Chip
    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.layout import Addition, LaidGroup, Layout, Load, Store
    from dse.schedule.cores.part_price import PricedPart
    from dse.schedule.cores.progress import Pipelines
    from dse.schedule.cores.transfers import Pattern

LEAST_PIECES: Final = 4
"""Pieces in which a group loads, computes and stores; more of them hide more of the first load, and cost time to simulate."""
PIECES_OF_PLAN: Final = 64
"""Pieces in which the busiest resource of the plan works: none is longer, so that what waits for a channel never waits long. The tiles of a
mapping are smaller still."""
MOST_PIECES: Final = 128
"""Pieces of one group at most."""
CROWDED_PIECES: Final = 32
"""Where two pieces would need more memory than the group has there are more of them, up to these. The tiles of a mapping are smaller still
and doubled, so that one is loaded while another is computed: a load runs ahead by up to a piece more than there is room for."""
SMALL_SHARE: Final = 1 / 16
"""Part of such a piece up to which a group loads, computes and stores in one."""


@dataclass(frozen=True, slots=True)
class TaskNote:
    """What a task is, for pictures: index of its group, what it does, the tensor that it moves."""

    group: int
    what: str
    """`gate`, `load`, `compute`, `store`, `transfer`, `reduce` or `add`."""
    tensor: str


@dataclass(frozen=True, slots=True)
class Timing:
    """What decides how long a task lasts: a transfer, a share of a group's computation, or an addition; nothing for gates."""

    pattern: Pattern | None = None
    size_bytes: float = 0.0
    cores: tuple[int, ...] = ()
    """Resources beside the channels that a transfer holds while it lasts."""
    part: PricedPart | None = None
    """What is computed, ..."""
    pieces: int = 1
    """... of so many pieces one."""
    added: Addition | None = None
    kind: str = ""
    """Of the cores that compute or add."""


_NONE: Final = Timing()


@dataclass(frozen=True)
class TaskList:
    """Tasks in order of priority with the number of resources: channels first, then cores."""

    tasks: tuple[Task, ...]
    notes: tuple[TaskNote, ...]
    timings: tuple[Timing, ...]
    resources: int
    last: tuple[tuple[int, ...], ...]
    """For each group, the tasks after which it is over."""
    first: tuple[tuple[int, ...], ...]
    """For each group, the tasks with which it starts."""


class _Builder:
    def __init__(
        self, chip: Chip, here: Mapping[int, Mapping[str, int]], longest_s: float, charges: ChipCharges, pipelines: Pipelines
    ) -> None:
        self.chip, self.here, self.longest_s, self.charges, self.pipelines = chip, here, longest_s, charges, pipelines
        self.channels = chip.interconnect.channels
        self.held: dict[tuple[int, float, tuple[int, ...]], tuple[tuple[tuple[int, float], ...], float, Timing]] = {}
        self.timings: list[Timing] = []
        self.tasks: list[Task] = []
        self.notes: list[TaskNote] = []
        self.gates: dict[str, int] = {}
        self.last: list[tuple[int, ...]] = []
        self.first: list[tuple[int, ...]] = []
        self.done: dict[int, list[tuple[int, ...]]] = {}
        """Tasks after which each piece of a group is done."""

    def add(self, note: TaskNote, waits: tuple[int, ...], holds: tuple[tuple[int, float], ...], lasts: float, timing: Timing) -> int:
        self.tasks.append(Task(f"{note.what} {note.tensor}", tuple(dict.fromkeys(waits)), holds, lasts))
        self.notes.append(note)
        self.timings.append(timing)
        return len(self.tasks) - 1

    def moving(self, note: TaskNote, waits: tuple[int, ...], pattern: Pattern, size: float, cores: tuple[int, ...] = ()) -> int:
        """A transfer; `cores` can do nothing else meanwhile."""
        key = (id(pattern), size, cores)
        if key not in self.held:
            lasts = size * pattern.seconds + pattern.latency_s if size and pattern.channels else 0.0
            holds = tuple((c, size * part / self.channels[c].bytes_per_s) for c, part in pattern.channels)
            self.held[key] = (*holds, *((c, lasts) for c in cores)), lasts, Timing(pattern, size, cores)
        return self.add(note, waits, *self.held[key])

    def group(self, laid: LaidGroup, *, overlapped: bool) -> None:
        """All tasks of one group."""
        free = (self._gate(laid),)
        cores = tuple(len(self.channels) + c for c in laid.assigned.cores)
        computed: list[int] = []
        stores: list[int] = []
        pieces, ahead = _pieces(laid, self.longest_s)
        kind = laid.assigned.shape.kind
        timing = Timing(part=laid.part, pieces=pieces, kind=kind)
        seconds = laid.part.compute_s / pieces
        held = tuple((c, seconds) for c in cores)
        alone = () if overlapped else cores
        moving, whole = self._loads(laid)
        early = tuple(self._load(laid, load, free, alone, 1.0, pieces) for load in whole for _ in range(pieces))
        for piece in range(pieces):
            behind = piece - ahead if overlapped else piece - 1
            waits = (*free, *computed[max(behind, 0) : behind + 1])
            share = (piece + 1) / pieces
            loaded = [self._load(laid, load, waits, alone, share, pieces) for load in moving]
            before = (*loaded, *(computed[-1:] or (*free, *early)), *self._sources(laid, share, first=piece == 0))
            computed.append(self.add(TaskNote(laid.index, "compute", laid.group.name), before, held, seconds, timing))
            if piece == 0:
                self.first.append((*early[:1], *loaded, computed[0]))
            if laid.reduction is None:
                stored = [self._store(laid.index, s, computed[-1:], pieces) for s in laid.stores]
                stores += stored
                self.done.setdefault(laid.index, []).append((computed[-1], *stored))
        ends = (computed[-1],)
        if laid.reduction is not None and laid.added is not None:
            note = TaskNote(laid.index, "reduce", laid.reduction.storage)
            sent = self.moving(note, ends, laid.reduction.pattern, laid.reduction.size_bytes)
            note = TaskNote(laid.index, "add", laid.group.name)
            seconds = float(self.charges.kinds[kind].adding_s(laid.added)[0])
            ends = (self.add(note, (sent,), ((cores[0], seconds),), seconds, Timing(added=laid.added, kind=kind)),)
            stores += [self._store(laid.index, s, list(ends), 1) for s in laid.stores]
        self.last.append((*ends, *stores))

    def _gate(self, laid: LaidGroup) -> int:
        """A task without length after which the group may take memory: what it waits for is over, and the groups before it in each of
        its memories have taken theirs."""
        waits = tuple(t for g in laid.waits for t in self.last[g])
        before = tuple(self.gates[m] for m in laid.takes if m in self.gates)
        gate = self.add(TaskNote(laid.index, "gate", laid.group.name), (*waits, *before), (), 0.0, _NONE)
        self.gates.update(dict.fromkeys(laid.takes, gate))
        return gate

    def _sources(self, laid: LaidGroup, share: float, *, first: bool) -> tuple[int, ...]:
        """What must be over before the first `share` of a group is computed though nothing of it is loaded: writers of tensors that lie
        on the core."""
        found: list[int] = []
        for storage, writer in self.here.get(laid.index, {}).items():
            if first or (laid.index, storage) in self.pipelines.writers:
                found += self._written(laid.index, storage, writer, share)
        return tuple(found)

    def _written(self, reader: int, storage: str, writer: int, share: float) -> tuple[int, ...]:
        """Tasks after which `writer` has written what the first `share` of `reader` needs of a tensor."""
        done = self.done.get(writer, [])
        pieces = self.pipelines.pieces(reader, storage, share, len(done))
        return self.last[writer] if pieces is None or not done else done[pieces - 1]

    def _loads(self, laid: LaidGroup) -> tuple[tuple[Load, ...], tuple[Load, ...]]:
        """Loads that come piece by piece, and those that must be there before the first: of a group in a pipeline what it uses at every
        step and keeps."""
        if laid.index not in self.pipelines.progress:
            return _together(laid.loads), ()
        flows = {f.storage: f for f in laid.group.reads}
        whole = [
            x
            for x in laid.loads
            if x.storage in flows
            and not self.pipelines.streams(laid.index, flows[x.storage])
            and laid.part.reads[x.storage] <= flows[x.storage].size_bytes * (1 + 1e-9)
        ]
        inside = {(laid.index, x.storage) for x in laid.loads} & self.pipelines.writers.keys()
        streamed = [x for x in laid.loads if x not in whole]
        apart = tuple(x for x in streamed if (laid.index, x.storage) in inside)
        return (*apart, *_together(tuple(x for x in streamed if x not in apart))), _together(tuple(whole))

    def _load(self, laid: LaidGroup, load: Load, waits: tuple[int, ...], cores: tuple[int, ...], share: float, pieces: int) -> int:
        after = tuple(t for g in load.after for t in self._written(laid.index, load.storage, g, share))
        what = "transfer" if load.source == "cores" else "load"
        size = load.size_bytes / pieces
        return self.moving(TaskNote(laid.index, what, load.storage), (*waits, *after), load.pattern, size, cores)

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
        return max(min(wanted, most), CROWDED_PIECES), 2
    pieces = max(min(ceil(2 * loaded / laid.ahead_bytes), CROWDED_PIECES), min(wanted, most))
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


def make_tasks(layout: Layout, chip: Chip, charges: ChipCharges, pipelines: Pipelines = NOTHING) -> TaskList:
    """Tasks of a plan; groups of `pipelines` go on with what is ready of what they read.

    A group's loads run ahead of its computation as far as its memory goes, where its cores overlap transfers and computation, else not
    at all; they start as soon as what they bring is written and the memory that they take is free: while groups before it compute.
    """
    builder = _Builder(chip, _writers_here(layout), busiest_s(layout, chip) / PIECES_OF_PLAN, charges, pipelines)
    for laid in layout.groups:
        builder.group(laid, overlapped=charges.kinds[laid.assigned.shape.kind].geometry.overlapped)
    count = len(chip.interconnect.channels) + len(chip.cores)
    return TaskList(tuple(builder.tasks), tuple(builder.notes), tuple(builder.timings), count, tuple(builder.last), tuple(builder.first))


def _writers_here(layout: Layout) -> dict[int, dict[str, int]]:
    """For each group, the held tensors that it reads without loading them, with their writers."""
    writer = {h.storage: h.writer for h in layout.held}
    found: dict[int, dict[str, int]] = {}
    for laid in layout.groups:
        loaded = {load.storage for load in laid.loads}
        mine = sorted(f.storage for f in laid.group.reads if f.storage in writer and f.storage not in loaded)
        found[laid.index] = {s: writer[s] for s in mine if writer[s] < laid.index}
    return found


@dataclass(frozen=True)
class Outcome:
    """A plan that has been run."""

    layout: Layout
    tasks: TaskList
    simulation: Simulation
    latency_s: float
    energy_j: float


def run(layout: Layout, chip: Chip, charges: ChipCharges, pipelines: Pipelines = NOTHING) -> Outcome:
    """Simulate a layout and add up its energy; `charges` of the one point that the layout is priced for."""
    tasks = make_tasks(layout, chip, charges, pipelines)
    simulation = simulate(tasks.tasks, tasks.resources)
    latency = simulation.makespan_s
    return Outcome(layout, tasks, simulation, latency, float(plan_j(layout, chip, charges, latency)[0]))


def busy_by_resource(tasks: TaskList) -> dict[int, float]:
    """Seconds that each resource is held."""
    found: dict[int, float] = defaultdict(float)
    for task in tasks.tasks:
        for resource, seconds in task.holds:
            found[resource] += seconds
    return dict(found)
