"""One sequence of windows at many design points: what `WindowTable` finds for many sequences, with the windows side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.columns import BUFFER_WRITE, DRAM_READ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.cost.window_table import Rates

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowSequence:
    """W windows that follow each other; arrays [W], names as in `CostedWindow`."""

    stream: FloatArray
    fixed: FloatArray
    port: FloatArray
    between: FloatArray
    """[W - 1] bytes that a window and the one after it leave no room for."""
    launches: FloatArray
    touches: FloatArray

    def latency_s(self, own_s: FloatArray, rates: Rates) -> FloatArray:
        """Seconds [D] of all windows that take `own_s` [W, D or 1] by everything but loads, to the last bit those of `WindowTable`.

        A window that takes nothing of what was loaded ahead lasts as long whatever lies ready, so all of these are found at once; one
        after another go what lies ready at their ends, and the others.
        """
        dram, write = rates.seconds[DRAM_READ], rates.seconds[BUFFER_WRITE]
        shape = len(self.stream), rates.size
        through = self.port[:, None] * write  # [W, D or 1]
        times = np.empty(shape)
        np.maximum(own_s, through, out=times)
        np.maximum(times, self.fixed[:, None] * dram, out=times)
        self._wait(times, through, rates)
        if rates.launch_s.any() or rates.dram_latency_s.any():
            times += self.launches[:, None] * rates.launch_s + self.touches[:, None] * rates.dram_latency_s
        return summed(times)

    def _wait(self, times: FloatArray, through: FloatArray, rates: Rates) -> None:
        """Lets the windows of `times` [W, D] last until what they take is there."""
        takers = np.flatnonzero(self.stream)
        if len(takers) == 0:
            return
        dram, write = rates.seconds[DRAM_READ], rates.seconds[BUFFER_WRITE]
        slower = np.maximum(dram, write)
        last = int(takers[-1])
        most = self._most_ready(rates.capacity_bytes, last)
        loaded = self._loaded(times[:last], through, dram, slower)
        ready: FloatArray = np.zeros(1)
        for w in range(last + 1):
            stream, fixed, port = float(self.stream[w]), float(self.fixed[w]), float(self.port[w])
            ahead = ready
            if stream:
                missing = np.maximum(stream - ready, 0.0)
                time = np.maximum(times[w], (fixed + missing) * dram, out=times[w])
                np.maximum(time, (missing + port) * write, out=time)
                if w < last:
                    loaded[w] = np.minimum(time / dram - fixed, (time - through[w]) / slower)
                ahead = ready - stream
            if w < last:
                ready = np.add(ahead, loaded[w], out=loaded[w])
                np.minimum(ready, most[w], out=ready)
                np.maximum(ready, 0.0, out=ready)

    def _loaded(self, times: FloatArray, through: FloatArray, dram: FloatArray, slower: FloatArray) -> FloatArray:
        """Bytes [w, D] that DRAM and the way into the buffer have time for in the first w windows; those that take something are not yet
        known."""
        found: FloatArray = times - through[: len(times)]
        found /= slower
        either = (self.fixed != 0) | (self.port < 0)  # elsewhere the way into the buffer has no more time than DRAM
        by_dram = np.flatnonzero(either[: len(times)])
        if len(by_dram):
            found[by_dram] = np.minimum(found[by_dram], times[by_dram] / dram - self.fixed[by_dram, None])
        return found

    def _most_ready(self, capacity_bytes: FloatArray, last: int) -> FloatArray:
        """As `WindowTable.most_ready`, [last, D]."""
        room: FloatArray = capacity_bytes - self.between[:last, None]
        np.maximum(room, 0.0, out=room)
        most: FloatArray = np.zeros(1)
        for w in range(last - 1, -1, -1):
            stream = float(self.stream[w + 1])
            most = np.minimum(room[w], stream + most if stream else most, out=room[w])
        return room


def summed(rows: FloatArray) -> FloatArray:
    """Rows [N, D] added one after another, whatever D is: over a single column numpy would add in pairs."""
    return np.asarray(np.add.reduce(rows, axis=0) if rows.shape[1] > 1 else np.add.accumulate(rows, axis=0)[-1])
