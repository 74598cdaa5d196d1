"""Latent attention for experiments: closed forms of operations and accesses, and the same layer through the whole flow.

The flow is ONNX, operator graph, mapping frontiers, fused schedule on an array with one buffer, prices. The closed forms are written
down here from the dimensions alone (arXiv 2506.02523, table 1), so that they and the flow can disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from dse.evaluate import Objective, compile_step, price
from dse.ir.lowering import Masked, Part, Phase
from dse.plugins import load_accelerator
from dse.report.style import MARKERS, PALETTE
from dse.workload import Switch, WorkloadOptions, load_workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from dse.cost.metrics import Priced
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.hw.accelerator import Geometry
    from dse.hw.read import AcceleratorDescription
    from dse.workload import Workload

D, H, Q, R, N, V = 7168, 128, 1536, 512, 128, 128  # arXiv 2506.02523, table 1: D_model, n_h, D_Q,l, D_KV,l, D_QK, D_V
D_SMALL, N_SMALL = 4363, 77  # arXiv 2506.02523, table 1: MHA_s

PAPER: Final = ("mha_l", "mha_s", "reuse", "recompute")
"""The four methods of the letter."""
LINES: Final = (*PAPER, "left_to_right")
ALL: Final = (*LINES, "naive", "reuse_both", "recompute_both")
LABELS: Final = {
    "mha_l": "MHA_l",
    "mha_s": "MHA_s",
    "reuse": "MLA_ru",
    "recompute": "MLA_rc",
    "left_to_right": "left to right",
    "naive": "naive",
    "reuse_both": "MLA_ru, both sides",
    "recompute_both": "MLA_rc, both sides",
}
COLOURS: Final = dict(zip(ALL, PALETTE, strict=True))
MARKS: Final = dict(zip(ALL, MARKERS, strict=True))
SRAM: Final = "memories.sram."
DRAM: Final = "memories.dram."


@dataclass(frozen=True)
class Closed:
    """One step of one layer by closed form."""

    macs: float
    weights: float
    """Elements read from DRAM."""
    cache: float
    """Elements of the cache, read (decode) or written (prefill) once."""
    streams: float
    """Elements of the layer's input and output."""

    @property
    def elements(self) -> float:
        """All that must cross DRAM once."""
        return self.weights + self.cache + self.streams

    def ops_per_byte(self, width_bytes: float = 2.0) -> float:
        """Operations, two per MAC, over weights and cache; inputs and outputs left out as the published forms do."""
        return 2 * self.macs / ((self.weights + self.cache) * width_bytes)


def closed(scheme: str, cache_len: int, *, batch: int = 1, queries: int = 1) -> Closed:
    """Counts of a layer without rotary part and norms; `queries` new tokens per sequence attend all `cache_len` positions."""
    tokens = batch * queries
    if scheme in ("mha_l", "mha_s"):
        d, n = (D, N) if scheme == "mha_l" else (D_SMALL, N_SMALL)
        weights, width = 4 * d * H * n, 2 * H * n
        return Closed(tokens * (weights + width * cache_len), weights, batch * cache_len * width, 2 * tokens * d)
    factors = D * Q + Q * H * N + D * R + 2 * R * H * N + H * V * D  # 174,063,616
    query, output = H * Q * R - Q * H * N - R * H * N, H * R * D - R * H * V - H * V * D  # growth of the stored weights when absorbed
    latent = 2 * H * R * cache_len
    forming = {"recompute": H * Q * N * R, "recompute_both": H * Q * N * R + H * R * V * D}
    per_token = {
        "left_to_right": factors,
        "reuse": factors + query,
        "recompute": factors + query,
        "reuse_both": factors + query + output,
        "recompute_both": factors + query + output,
        "naive": factors - 2 * R * H * N,
    }[scheme]
    macs = tokens * per_token + forming.get(scheme, 0)
    if scheme == "naive":
        macs += batch * cache_len * 2 * R * H * N + tokens * H * (N + V) * cache_len
    else:
        macs += tokens * latent
    weights = per_token if scheme.startswith("reuse") else factors
    return Closed(macs, weights, batch * cache_len * R, 2 * tokens * D)


@dataclass(frozen=True)
class Layer:
    """One attention layer in one step: decode of one token where `queries` is 1, else a prompt or a chunk of it."""

    scheme: str
    cache_len: int
    batch: int = 1
    queries: int = 1
    model: str = "deepseek_v3"
    precision: str = "bf16"
    rope: bool = False
    masked: Masked = Masked.COMPUTED
    """Closed forms count the whole rectangle of scores; kernels skip what a mask leaves out."""
    part: Part = Part.ATTENTION


@lru_cache(maxsize=4096)
def workload(layer: Layer) -> Workload:
    """The layer lowered to ONNX and read back, without norms."""
    options = WorkloadOptions(
        model=layer.model,
        phase=Phase.DECODE if layer.queries == 1 else Phase.PREFILL,
        batch=layer.batch,
        query_len=layer.queries,
        cache_len=layer.cache_len,
        attention=layer.scheme,
        precision=layer.precision,
        rope=Switch.ON if layer.rope else Switch.OFF,
        norms=Switch.OFF,
        part=layer.part,
        masked=layer.masked,
    )
    return load_workload(options)


@lru_cache(maxsize=4096)
def counted(layer: Layer) -> tuple[int, float, float]:
    """MACs, weight bytes and cache bytes of the lowered layer."""
    totals = workload(layer).summary_json()["totals"]
    assert isinstance(totals, dict)
    return int(totals["macs"]), float(totals["weight_bytes"]), float(totals["cache_bytes"])


@lru_cache(maxsize=4096)
def _compiled(layer: Layer, geometry: Geometry) -> CompiledWorkload:
    return compile_step(workload(layer).step, geometry)


def modelled(
    layer: Layer, chip: AcceleratorDescription, columns: Mapping[str, ArrayLike] | None = None, *, objective: Objective = Objective.LATENCY
) -> Priced:
    """The layer on a chip, priced over columns of prices in file units; plans and frontiers are made once per geometry."""
    return price(_compiled(layer, chip.geometry), chip.table(columns), objective=objective)


def template() -> AcceleratorDescription:
    """The accelerator of the letter: an array, a vector unit, one buffer, DRAM at 400 GB/s and 8 pJ/bit."""
    return load_accelerator("flat_cloud")
