"""Ports of cores' memories that a core shares with others: who reads from and writes to its memory while it computes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.cost.columns import BUFFER_READ, BUFFER_WRITE

if TYPE_CHECKING:
    from dse.hw.many_core import Chip
    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.layout import LaidGroup, Layout, Load, Store
    from dse.schedule.cores.part_price import PricedPart
    from dse.schedule.cores.transfers import Pattern

READ, WRITE = 0, 1
WAYS: Final = 2
CROWDED: Final = 0.5
"""Ports of which computation and what others may send and fetch at once take more than this share are followed; below it nobody waits,
also where rates are up to twice off."""


@dataclass(frozen=True, slots=True)
class Touch:
    """Bytes that pass a port of a core's memory."""

    port: int
    """Number of the port: two for each core, of reading and writing; the first where both share one. Behind those of all cores stand the
    same again for others alone, see `Ports`."""
    kind: str
    """Of the core."""
    size_bytes: float
    waits: bool = True
    """Whether what moves them is done only when the port has served it."""


def port_names(chip: Chip) -> list[str]:
    """Names of the ports of all cores, in order."""
    return [
        f"{core.name}.{way}" for core in chip.cores for way in (("port", "port") if core.geometry.outer.shared_port else ("read", "write"))
    ]


def fetched(load: Load) -> tuple[tuple[int, float], ...]:
    """(core, bytes of one) that others read from its memory; what a group loads into its own cores is counted with its computation."""
    return load.pattern.reads if load.source == "cores" else ()


def put(store: Store) -> tuple[tuple[int, float], ...]:
    """(core, bytes of one) that others write to its memory; what a group reads of its own cores is counted with its computation."""
    return store.pattern.writes if store.target == "cores" else ()


def computed_bytes(part: PricedPart) -> tuple[float, float]:
    """Bytes that a part reads from and writes to the memory of its core."""
    counts = [o.counts[0, 1:] for o in part.operators]
    return sum(float(c[BUFFER_READ]) for c in counts), sum(float(c[BUFFER_WRITE]) for c in counts)


class Ports:
    """The ports of one layout that may keep somebody waiting.

    A port takes the words of all in turns, so that a transfer over a slow link passes beside a computation that alone would keep the port
    busy, which takes as much longer. So others wait for each other alone, and computation for what it and all others have moved.
    """

    def __init__(self, layout: Layout, chip: Chip, charges: ChipCharges) -> None:
        self.chip = chip
        tables = [charges.kinds[core.kind].table for core in chip.cores]
        rates = [(t.buffer_read_bytes_per_s, t.buffer_write_bytes_per_s) for t in tables]
        self.shared = [core.geometry.outer.shared_port for core in chip.cores]
        self.seconds_per_byte = [1.0 / float(way[0]) for both in rates for way in both] * WAYS
        """By number of the port."""
        self.crowded = self._crowded(layout)

    def _crowded(self, layout: Layout) -> frozenset[int]:
        """Ports that others may touch so fast that computation beside would have to wait."""
        rates: dict[int, dict[int, float]] = defaultdict(dict)
        for laid in layout.groups:
            for load in laid.loads:
                self._over(rates, load.pattern, fetched(load), READ)
            for store in laid.stores:
                self._over(rates, store.pattern, put(store), WRITE)
            if laid.reduction is not None:
                self._over(rates, laid.reduction.pattern, laid.reduction.pattern.reads, READ)
        most = dict.fromkeys(rates, 0.0)
        for laid in layout.groups if rates else ():
            sizes, seconds = computed_bytes(laid.part), laid.part.compute_s
            for core in laid.assigned.cores if seconds else ():
                for port, size in self._of_core(core, sizes):
                    if port in most:
                        most[port] = max(most[port], size * self.seconds_per_byte[port] / seconds)
        return frozenset(p for p, over in rates.items() if most[p] + sum(over.values()) * self.seconds_per_byte[p] > CROWDED)

    def _over(self, rates: dict[int, dict[int, float]], pattern: Pattern, cores: tuple[tuple[int, float], ...], way: int) -> None:
        """Channels, with their rates, over which a transfer leaves or enters cores."""
        if not cores:
            return
        channels = [(c, self.chip.interconnect.channels[c]) for c, _ in pattern.channels]
        for core, _ in cores:
            name, port = self.chip.cores[core].name, self._port(core, way)
            rates[port].update((c, x.bytes_per_s) for c, x in channels if name in (x.sources if way == READ else x.targets))

    def _port(self, core: int, way: int) -> int:
        return WAYS * core + (READ if self.shared[core] else way)

    def _of_core(self, core: int, sizes: tuple[float, float]) -> tuple[tuple[int, float], ...]:
        """(port, bytes) of what a core reads and writes."""
        if self.shared[core]:
            return ((WAYS * core, sizes[READ] + sizes[WRITE]),)
        return ((WAYS * core, sizes[READ]), (WAYS * core + WRITE, sizes[WRITE]))

    def computing(self, laid: LaidGroup) -> tuple[Touch, ...]:
        """Bytes that the computation of a group moves through crowded ports of its cores."""
        if not self.crowded:
            return ()
        kind, sizes = laid.assigned.shape.kind, computed_bytes(laid.part)
        found = (x for core in laid.assigned.cores for x in self._of_core(core, sizes))
        return tuple(Touch(port, kind, size) for port, size in found if port in self.crowded and size)

    def loading(self, load: Load, size_bytes: float) -> tuple[Touch, ...]:
        """Bytes that pass crowded ports of the cores that hold `size_bytes` of what a group loads."""
        return self._touched(fetched(load), READ, size_bytes)

    def storing(self, store: Store, size_bytes: float) -> tuple[Touch, ...]:
        """Bytes that pass crowded ports of the cores that take `size_bytes` of what a group stores."""
        return self._touched(put(store), WRITE, size_bytes)

    def reducing(self, x: Store) -> tuple[Touch, ...]:
        """The same of partial sums on their way to the first core, whose additions are timed with its ports."""
        return self._touched(x.pattern.reads, READ, x.size_bytes)

    def _touched(self, cores: tuple[tuple[int, float], ...], way: int, size_bytes: float) -> tuple[Touch, ...]:
        if not self.crowded or not cores:
            return ()
        mine = [(self._port(core, way), self.chip.cores[core].kind, size_bytes * part) for core, part in cores]
        mine = [t for t in mine if t[0] in self.crowded]
        apart = WAYS * len(self.chip.cores)
        return (*(Touch(port + apart, kind, size) for port, kind, size in mine), *(Touch(*t, waits=False) for t in mine))
