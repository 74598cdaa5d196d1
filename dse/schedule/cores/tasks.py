"""From a layout to tasks on channels and cores, their simulation, and what the whole costs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.schedule.cores.energy import Spends
from dse.schedule.cores.ports import WAYS, Ports, port_names
from dse.schedule.cores.progress import NOTHING
from dse.schedule.cores.simulate import Simulation, Use, simulate_uses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.many_core import Chip
    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.layout import Addition, LaidGroup, Layout, Load, Store
    from dse.schedule.cores.part_price import PricedPart
    from dse.schedule.cores.ports import Touch
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
    """What decides how long a use lasts: a transfer, a share of a group's computation, or an addition; nothing for gates."""

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
    touches: tuple[Touch, ...] = ()
    """What passes ports of cores' memories that others use beside; of a computation of all its pieces."""


_NONE: Final = Timing()


@dataclass(frozen=True)
class TaskList:
    """Tasks in order of priority with the number of resources: channels, cores, then ports of the cores' memories.

    Columns, one entry for each task.
    """

    waits: tuple[tuple[int, ...], ...]
    """Tasks that must be done first; none that others of them wait for."""
    kinds: tuple[int, ...]
    """Number of its use."""
    notes: tuple[TaskNote, ...]
    uses: tuple[Use, ...]
    """What tasks take, each once; ..."""
    timings: tuple[Timing, ...]
    """... and what decides how long that lasts."""
    resources: int
    last: tuple[tuple[int, ...], ...]
    """For each group, tasks after which it is over."""
    first: tuple[tuple[int, ...], ...]
    """For each group, the tasks with which it starts."""

    def holds(self, task: int) -> tuple[tuple[int, float], ...]:
        """(resource, seconds) of a task."""
        return self.uses[self.kinds[task]].holds

    def counts(self) -> list[int]:
        """Tasks of each use."""
        return [int(n) for n in np.bincount(self.kinds, minlength=len(self.uses))]


class _Builder:
    def __init__(
        self,
        chip: Chip,
        here: Mapping[int, Mapping[str, int]],
        longest_s: float,
        charges: ChipCharges,
        pipelines: Pipelines,
        ports: Ports,
    ) -> None:
        self.chip, self.here, self.longest_s, self.charges, self.pipelines, self.ports = chip, here, longest_s, charges, pipelines, ports
        self.channels = chip.interconnect.channels
        self.uses: list[Use] = [Use((), 0.0)]
        self.timings: list[Timing] = [_NONE]
        self.moves: dict[tuple[int, float, tuple[int, ...], tuple[Touch, ...]], int] = {}
        """Uses of transfers."""
        self.waits: list[tuple[int, ...]] = []
        self.kinds: list[int] = []
        self.notes: list[TaskNote] = []
        self.gates: dict[str, int] = {}
        self.last: list[tuple[int, ...]] = []
        self.first: list[tuple[int, ...]] = []
        self.done: dict[int, list[tuple[int, ...]]] = {}
        """Tasks after which each piece of a group is done."""

    def add(self, note: TaskNote, waits: tuple[int, ...], kind: int) -> int:
        """One task more."""
        self.waits.append(waits)
        self.kinds.append(kind)
        self.notes.append(note)
        return len(self.kinds) - 1

    def use(self, use: Use, timing: Timing) -> int:
        """One use more."""
        self.uses.append(use)
        self.timings.append(timing)
        return len(self.uses) - 1

    def served(self, touches: tuple[Touch, ...], pieces: int) -> tuple[tuple[int, float, bool], ...]:
        """Ports that serve one of so many pieces, see `Use`."""
        first = len(self.channels) + len(self.chip.cores)
        return tuple((first + t.port, t.size_bytes * self.ports.seconds_per_byte[t.port] / pieces, t.waits) for t in touches)

    def moving(self, pattern: Pattern, size: float, cores: tuple[int, ...] = (), touches: tuple[Touch, ...] = ()) -> int:
        """The use of a transfer; `cores` can do nothing else meanwhile."""
        key = (id(pattern), size, cores, touches)
        if key not in self.moves:
            lasts = size * pattern.seconds + pattern.latency_s if size and pattern.channels else 0.0
            holds = tuple((c, size * part / self.channels[c].bytes_per_s) for c, part in pattern.channels)
            use = Use((*holds, *((c, lasts) for c in cores)), lasts, self.served(touches, 1), cores)
            self.moves[key] = self.use(use, Timing(pattern, size, cores, touches=touches))
        return self.moves[key]

    def group(self, laid: LaidGroup, *, overlapped: bool) -> None:
        """All tasks of one group.

        A piece of a transfer waits for what the one before it does not wait for already: pieces of a transfer hold the same channels
        and end in their order.
        """
        gate = self._gate(laid)
        cores = tuple(len(self.channels) + c for c in laid.assigned.cores)
        pieces, ahead = _pieces(laid, self.longest_s)
        kind = laid.assigned.shape.kind
        seconds = laid.part.compute_s / pieces
        touches = self.ports.computing(laid)
        use = Use(tuple((c, seconds) for c in cores), seconds, self.served(touches, pieces), cores)
        computing = self.use(use, Timing(part=laid.part, pieces=pieces, kind=kind, touches=touches))
        note, alone = TaskNote(laid.index, "compute", laid.group.name), () if overlapped else cores
        moving, whole = self._loads(laid)
        early = tuple(self._whole(laid, load, gate, alone, pieces) for load in whole)
        loads = [self._transfer(laid, load, alone, pieces) for load in moving]
        stores = [] if laid.reduction is not None else [self._store(laid, s, pieces) for s in laid.stores]
        streamed = any((laid.index, s) in self.pipelines.writers for s in self.here.get(laid.index, ()))
        computed: list[int] = []
        done: list[tuple[int, ...]] = []
        for piece in range(pieces):
            share, behind = (piece + 1) / pieces, piece - ahead if overlapped else piece - 1
            room = computed[behind] if behind >= 0 else gate
            loaded = [self.add(n, self._before(laid, load, room, gate, share), k) for load, n, k in loads]
            before = (*loaded, *(computed[-1:] or (gate, *(e for _, e in early))))
            if piece == 0 or streamed:
                before = (*before, *self._sources(laid, share, first=piece == 0))
            computed.append(self.add(note, before, computing))
            if piece == 0:
                self.first.append((*(e for e, _ in early[:1]), *loaded, computed[0]))
            now = (computed[-1],)
            done.append((*now, *(self.add(n, now, k) for n, k in stores)))
        if laid.reduction is None:
            self.done[laid.index] = done
            self.last.append(done[-1])
        else:
            self.last.append(self._reduced(laid, laid.reduction, computed[-1], cores[0]))

    def _reduced(self, laid: LaidGroup, reduction: Store, computed: int, core: int) -> tuple[int, ...]:
        """Partial sums come together on the first core, which adds and sends them."""
        assert laid.added is not None, laid.group.name
        kind = laid.assigned.shape.kind
        note = TaskNote(laid.index, "reduce", reduction.storage)
        touches = self.ports.reducing(reduction)
        sent = self.add(note, (computed,), self.moving(reduction.pattern, reduction.size_bytes, touches=touches))
        seconds = float(self.charges.kinds[kind].adding_s(laid.added)[0])
        adding = self.use(Use(((core, seconds),), seconds), Timing(added=laid.added, kind=kind))
        added = self.add(TaskNote(laid.index, "add", laid.group.name), (sent,), adding)
        return (added, *(self.add(n, (added,), k) for n, k in (self._store(laid, s, 1) for s in laid.stores)))

    def _gate(self, laid: LaidGroup) -> int:
        """A task without length after which the group may take memory: what it waits for is over, and the groups before it in each of
        its memories have taken theirs."""
        waits = (t for g in laid.waits for t in self.last[g])
        before = (self.gates[m] for m in laid.takes if m in self.gates)
        gate = self.add(TaskNote(laid.index, "gate", laid.group.name), tuple(dict.fromkeys((*waits, *before))), 0)
        self.gates.update(dict.fromkeys(laid.takes, gate))
        return gate

    def _sources(self, laid: LaidGroup, share: float, *, first: bool) -> tuple[int, ...]:
        """What must be over before the first `share` of a group is computed though nothing of it is loaded: writers of tensors that lie
        on the core."""
        found: list[int] = []
        for storage, writer in self.here.get(laid.index, {}).items():
            if first or (laid.index, storage) in self.pipelines.writers:
                found += self._written(laid.index, storage, writer, share)
        return tuple(dict.fromkeys(found))

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

    def _transfer(self, laid: LaidGroup, load: Load, cores: tuple[int, ...], pieces: int) -> tuple[Load, TaskNote, int]:
        """A load with the note and the use of its pieces."""
        what = "transfer" if load.source == "cores" else "load"
        size = load.size_bytes / pieces
        return load, TaskNote(laid.index, what, load.storage), self.moving(load.pattern, size, cores, self.ports.loading(load, size))

    def _whole(self, laid: LaidGroup, load: Load, gate: int, cores: tuple[int, ...], pieces: int) -> tuple[int, int]:
        """The first and the last piece of a load that must be there before anything is computed."""
        _, note, kind = self._transfer(laid, load, cores, pieces)
        waits = self._before(laid, load, gate, gate, 1.0)
        added = [self.add(note, waits, kind) for _ in range(pieces)]
        return added[0], added[-1]

    def _before(self, laid: LaidGroup, load: Load, room: int, gate: int, share: float) -> tuple[int, ...]:
        """What a piece of a load waits for: the group's `gate`, or the piece computed whose `room` it takes, and what writes the tensor."""
        if not load.after or (room != gate and (laid.index, load.storage) not in self.pipelines.writers):
            return (room,)
        return tuple(dict.fromkeys((room, *(t for g in load.after for t in self._written(laid.index, load.storage, g, share)))))

    def _store(self, laid: LaidGroup, store: Store, pieces: int) -> tuple[TaskNote, int]:
        """Note and use of the pieces of a store."""
        size = store.size_bytes / pieces
        return TaskNote(laid.index, "store", store.storage), self.moving(store.pattern, size, touches=self.ports.storing(store, size))


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
    ports = Ports(layout, chip, charges)
    builder = _Builder(chip, _writers_here(layout), busiest_s(layout, chip) / PIECES_OF_PLAN, charges, pipelines, ports)
    for laid in layout.groups:
        builder.group(laid, overlapped=charges.kinds[laid.assigned.shape.kind].geometry.overlapped)
    count = len(resource_names(chip))
    columns = tuple(builder.waits), tuple(builder.kinds), tuple(builder.notes), tuple(builder.uses), tuple(builder.timings)
    return TaskList(*columns, count, tuple(builder.last), tuple(builder.first))


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
    spends: Spends


def run(layout: Layout, chip: Chip, charges: ChipCharges, pipelines: Pipelines = NOTHING, spends: Spends | None = None) -> Outcome:
    """Simulate a layout and add up its energy (`spends`, where that is known); `charges` of the one point that the layout is priced for."""
    tasks = make_tasks(layout, chip, charges, pipelines)
    simulation = simulate_uses(tasks.waits, tasks.kinds, tasks.uses, tasks.resources + WAYS * len(chip.cores))
    latency = simulation.makespan_s
    spends = Spends.of(layout, chip) if spends is None else spends
    return Outcome(layout, tasks, simulation, latency, float(spends.joules(charges, latency)[0]), spends)


def resource_names(chip: Chip) -> list[str]:
    """Names of the resources of a chip's plans, in order."""
    return [c.name for c in chip.interconnect.channels] + [c.name for c in chip.cores] + port_names(chip)


def busy_by_resource(tasks: TaskList) -> dict[int, float]:
    """Seconds that each resource is held; of ports, those that are followed."""
    found: dict[int, float] = defaultdict(float)
    for use, count in zip(tasks.uses, tasks.counts(), strict=True):
        for resource, seconds in use.holds:
            found[resource] += count * seconds
        for port, seconds, _ in use.ports:
            if port < tasks.resources:
                found[port] += count * seconds
    return dict(found)
