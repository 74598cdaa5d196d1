"""The time of a chip in a system by mapping frontiers and fused schedules, as `dse eval` prices one chip."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from dse.cost.chip_points import ChipPlans
from dse.errors import UsageError
from dse.evaluate import Objective, Schedule, Step, compile_step, price
from dse.hw.many_core_read import ChipDescription
from dse.ir.onnx_read import read_onnx
from dse.system.axes import layer_axes
from dse.system.chip_time import chip_rates
from dse.system.kernels import Region
from dse.system.layer_time import OperatorTime
from dse.system.parallel import divisors_of
from dse.system.shard import Piece, chip_sizes, pieces_of, resized

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import NDArray

    from dse.cost.chip_points import ChipPrices
    from dse.cost.metrics import Priced
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.hw.accelerator import Geometry
    from dse.hw.read import AcceleratorDescription
    from dse.hw.table import DesignTable
    from dse.ir.graph import OperatorGraph
    from dse.ir.lowering import LoweringRequest, Model
    from dse.system.axes import Axis, LayerAxes
    from dse.system.chip_time import Hardware
    from dse.system.parallel import Parallel
    from dse.system.placement import GroupLoad
    from dse.system.system import System
    from dse.system.work import ModelWork, PartWork

    FloatArray = NDArray[np.float64]
    _Key = tuple[str, tuple[tuple[tuple[str, int], ...], ...]]
    PiecePrices = Priced | ChipPrices
    """Seconds, joules and bytes of a piece at the points of a table."""

_REGIONS: Final = {
    Piece.ATTENTION: Region.ATTENTION,
    Piece.ROUTING: Region.FFN,
    Piece.DENSE: Region.FFN,
    Piece.EXPERTS: Region.EXPERTS,
    Piece.OTHER: Region.OTHER,
}
_KEPT: Final = 256
"""Lowered layers kept, by batch."""


class _OneCore:
    """Prices pieces on accelerators of one core: frontiers and schedules once for each geometry."""

    def __init__(self, chip: AcceleratorDescription) -> None:
        self._chip = chip
        self._compiled: dict[tuple[_Key, Geometry], CompiledWorkload] = {}
        self._lay(None)

    def _lay(self, columns: Mapping[str, FloatArray] | None) -> None:
        self._table: DesignTable = self._chip.table(columns)
        self._geometry: Geometry = self._chip.geometry_for(columns or ())

    def with_columns(self, columns: Mapping[str, FloatArray]) -> _OneCore:
        other = copy(self)
        other._lay(columns)
        return other

    def price(self, key: _Key, graph: OperatorGraph) -> Priced:
        compiled = key, self._geometry
        if compiled not in self._compiled:
            self._compiled[compiled] = compile_step(_step(graph), self._geometry, schedule=Schedule.FUSED)
        return price(self._compiled[compiled], self._table, objective=Objective.LATENCY)


class _ManyCores:
    """Prices pieces on chips of many cores: plans once for each set of capacities, see `ChipPlans`."""

    def __init__(self, chip: ChipDescription) -> None:
        self._chip = chip
        self._plans: dict[_Key, ChipPlans] = {}
        self._columns: Mapping[str, FloatArray] = {}
        self._size = 1

    def with_columns(self, columns: Mapping[str, FloatArray]) -> _ManyCores:
        other = copy(self)
        other._columns = columns
        other._size = self._chip.table(columns).size
        return other

    def price(self, key: _Key, graph: OperatorGraph) -> ChipPrices:
        if key not in self._plans:
            step = _step(graph)
            self._plans[key] = ChipPlans(
                self._chip, step.graphs, tokens=step.tokens, stored_bytes=step.stored_bytes, objective=Objective.LATENCY
            )
        return self._plans[key].price(self._columns, self._size)


def _step(graph: OperatorGraph) -> Step:
    """A piece as a step of its own; what it stores is checked for all pieces together, see `dse.system.capacity`."""
    return Step(graph.name, 1, ((graph, 1),), 0.0)


class MappedChip:
    """A model of a chip (`layer_time.ChipModel`): each piece of its share of a layer is mapped and scheduled by itself.

    A layer is lowered for the sequences of a micro-batch, its axes are cut to the chip's share, and it is taken apart where
    collectives lie; inside a piece operators may be fused, and on a chip of many cores they are divided over cores. Experts: as many
    as are active on the busiest chip, its rows spread evenly over them.
    """

    def __init__(self, system: System, model: Model, request: LoweringRequest) -> None:
        if system.near_memory is not None:
            raise UsageError(f"--chip-model mapped: {system.name} has a near-memory unit, which has no mappings; use roofline")
        self._chip: Hardware = system.chip
        self._model = model
        self._request = request
        self._pieces: _OneCore | _ManyCores = _ManyCores(system.chip) if isinstance(system.chip, ChipDescription) else _OneCore(system.chip)
        self._lay(None)

    def _lay(self, columns: Mapping[str, FloatArray] | None) -> None:
        self._columns = columns
        self._rates = chip_rates(self._chip, columns)
        self._priced: dict[_Key, PiecePrices] = {}

    def with_columns(self, columns: Mapping[str, FloatArray]) -> MappedChip:
        """Many chips of one geometry at once: `columns` of price paths, [P] each, beside P equal batches; mappings are shared.

        Where no tiling fits a point's buffers its times are infinite.

        Raises:
            UsageError: a path that is unknown or no price, or a value that is not allowed.
        """
        other = copy(self)
        other._pieces = self._pieces.with_columns(columns)
        other._lay(columns)
        return other

    @property
    def leakage_w(self) -> float | FloatArray:
        """Leakage of one chip."""
        return self._rates.leakage_w

    def times(self, part: PartWork, work: ModelWork, plan: Parallel, piece: FloatArray, load: GroupLoad | None) -> tuple[OperatorTime, ...]:
        """As `layer_time.ChipModel.times`, one row per piece of the layer.

        Raises:
            UsageError: a piece that the chip's buffers cannot hold in any tiling.
        """
        index = work.parts.index(part)
        columns: dict[Piece, list[tuple[PiecePrices, PiecePrices | None, OperatorGraph]]] = {}
        for n, sequences in enumerate(piece):
            for kind in Piece:
                found = self._one(kind, index, plan, part, int(sequences), load, n)
                if found is not None:
                    columns.setdefault(kind, []).append(found)
        return tuple(self._rows(kind, _REGIONS[kind] if part.is_layer else Region.OTHER, rows) for kind, rows in columns.items())

    def _one(
        self, kind: Piece, index: int, plan: Parallel, part: PartWork, sequences: int, load: GroupLoad | None, n: int
    ) -> tuple[PiecePrices, PiecePrices | None, OperatorGraph] | None:
        batch = sequences * (plan.dense_groups if kind is Piece.DENSE else 1)
        pieces, axes = _pieces(cast("Hashable", self._model), self._request, index, 1 if kind is Piece.EXPERTS else batch)
        if kind not in pieces:
            return None
        sizes = chip_sizes(axes, divisors_of(plan, part.sizes))
        if kind is not Piece.EXPERTS:
            graph = resized(pieces[kind], axes, sizes)
            return self._price(graph), None, graph
        assert load is not None
        active = max(1, round(float(load.active_experts[n])))
        mean, most = (self._experts(pieces[kind], axes, sizes, active, float(r[n])) for r in (load.mean_rows, load.largest_rows))
        return self._price(mean), self._price(most), mean

    def _experts(self, graph: OperatorGraph, axes: LayerAxes, sizes: dict[Axis, int], active: int, rows: float) -> OperatorGraph:
        group = axes.expert_groups[0]
        row = _row_axis(graph, axes, group)
        return resized(graph, axes, {**sizes, group: active, row: max(1, ceil(rows / active - 1e-9))})

    def _price(self, graph: OperatorGraph) -> PiecePrices:
        key = (graph.name, tuple(o.dims for o in graph.operators))  # one model and request per instance
        if key not in self._priced:
            self._priced[key] = self._pieces.price(key, graph)
        found = self._priced[key]
        if self._columns is None and not found.feasible[0]:
            raise UsageError(f"--chip-model mapped: no tiling of {graph.name} fits the buffers of {self._chip.name}; use roofline")
        return found

    def _rows(self, kind: Piece, region: Region, rows: list[tuple[PiecePrices, PiecePrices | None, OperatorGraph]]) -> OperatorTime:
        def of(values: list[FloatArray]) -> FloatArray:  # point n of the batches is point n of the table, where that has columns
            return np.array([v[n if len(v) > 1 else 0] for n, v in enumerate(values)])

        seconds = of([p.latency_s for p, _, _ in rows])
        most = of([(q or p).latency_s for p, q, _ in rows])
        moved = of([p.dram_bytes for p, _, _ in rows])
        macs = np.array([float(sum(o.macs for o in g.operators)) for _, _, g in rows])
        joules = of([p.energy_j for p, _, _ in rows])
        peak = max(self._rates.macs_per_s.values(), key=lambda rate: float(np.max(rate)))
        return OperatorTime(
            name=str(kind),
            region=region,
            core=kind is Piece.ATTENTION,
            seconds=seconds,
            waiting_s=np.maximum(0.0, most - seconds),
            compute_s=macs / peak,
            dram_s=moved / self._rates.dram_bytes_per_s,
            macs=macs,
            moved_bytes=moved,
            joules=joules - self._rates.leakage_w * seconds,  # a step adds leakage for all its time
        )


def _row_axis(graph: OperatorGraph, axes: LayerAxes, group: Axis) -> Axis:
    """The axis of an expert's rows: what its first product shares between rows and results, beside the experts."""
    for o in graph.operators:
        if o.macs:
            loops = axes.classes.of_loops(o)
            dims = [d for d in o.inputs[0].axes if d is not None and d in o.outputs[0].axes and group not in loops[d]]
            return loops[dims[0]][0]
    raise AssertionError(graph.name)


@lru_cache(maxsize=_KEPT)
def _pieces(model: Hashable, request: LoweringRequest, index: int, batch: int) -> tuple[dict[Piece, OperatorGraph], LayerAxes]:
    """Pieces of part `index` of a model lowered for `batch` sequences, and its axes."""
    part = cast("Model", model).lower(replace(request, batch=batch)).parts[index]
    graph = read_onnx(part.onnx, name=part.name)
    axes = layer_axes(graph)
    return pieces_of(graph, axes), axes
