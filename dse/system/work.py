"""A model's step as counts that are affine in the batch: lowered once per lengths, then priced for any batch and any cutting."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from dse.errors import InputError
from dse.ir.onnx_read import read_onnx
from dse.ir.tensor import Role
from dse.system.axes import Cut
from dse.system.kernels import Region, layer_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.ir.graph import OperatorGraph
    from dse.ir.lowering import LoweringRequest, Model
    from dse.system.kernels import Kernel, LayerKernels, Signature

    FloatArray = NDArray[np.float64]

_MODELS_KEPT: Final = 512


@dataclass(frozen=True)
class Affine:
    """fixed + slope x batch, divided by what the cuts of a plan divide."""

    fixed: float
    slope: float
    signature: Signature

    def share(self, of: int) -> Affine:
        """The same with 1/`of` of what grows with the batch."""
        return replace(self, slope=self.slope / of)

    def divided(self, by: dict[Cut, float]) -> tuple[float, float]:
        """(fixed, slope) on one chip."""
        share = 1.0
        for cut in self.signature:
            share *= by[cut]
        return self.fixed / share, self.slope / share


@dataclass(frozen=True)
class KernelWork:
    """A kernel's counts. Routed experts: per row of an expert (slope) and per active expert (fixed) instead of per sequence."""

    name: str
    region: Region
    core: bool
    macs: tuple[tuple[str, Affine], ...]
    """By format of the multipliers."""
    vector_ops: tuple[Affine, ...]
    moved: tuple[tuple[Role, Affine], ...]
    """Bytes across the kernel's boundary, read and written, by role."""
    reads_cache: bool = False


@dataclass(frozen=True)
class PartWork:
    """One kind of layer, run `count` times."""

    name: str
    count: int
    sizes: dict[Cut, int]
    kernels: tuple[KernelWork, ...]
    weights: tuple[Affine, ...]
    """Stored bytes that no routed expert has."""
    expert_weights: Affine
    """Stored bytes of one routed expert."""
    caches: tuple[Affine, ...]
    """Stored bytes; the slope is of one sequence."""
    stream_bytes: float
    """Bytes of the activation of one sequence between layers."""
    is_layer: bool
    has_experts: bool


@dataclass(frozen=True)
class ModelWork:
    """All parts of a step at given lengths."""

    name: str
    parts: tuple[PartWork, ...]
    tokens_per_sequence: float
    """A share of them where a sequence is cut over chips."""
    experts: int
    experts_per_token: int
    gathered_over: int = 1
    """Chips over which the positions of a sequence are cut; each needs the keys and values of all."""

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return sum(p.count for p in self.parts if p.is_layer)

    @property
    def stream_bytes(self) -> float:
        """Bytes of one sequence's activation between layers."""
        return max((p.stream_bytes for p in self.parts if p.is_layer), default=0.0)

    @property
    def cut_sizes(self) -> tuple[tuple[str, dict[Cut, int]], ...]:
        """(part, sizes of its axes that can be cut)."""
        return tuple((p.name, p.sizes) for p in self.parts)

    def has_attention(self, part: str) -> bool:
        """Whether a part has attention."""
        return any(k.core for p in self.parts if p.name == part for k in p.kernels)


def cut_positions(work: ModelWork, chips: int) -> ModelWork:
    """Counts of one of `chips` equal shares of every sequence's positions, taken as a sequence of its own (ring attention).

    Shares are chosen so that causal masks leave every chip as much (first with last positions). Caches are gathered, so
    what expands a cache to keys and values does so for all positions, and the core reads all of them. Source: ring
    attention, arXiv 2310.01889; derived here.
    """
    return replace(
        work,
        parts=tuple(_cut_part(p, chips) for p in work.parts),
        tokens_per_sequence=work.tokens_per_sequence / chips,
        gathered_over=work.gathered_over * chips,
    )


def _cut_part(part: PartWork, chips: int) -> PartWork:
    expanded = any(k.reads_cache and not k.core for k in part.kernels)

    def kernel(one: KernelWork) -> KernelWork:
        if one.region is Region.EXPERTS or (one.reads_cache and not one.core):
            return one  # experts count per row
        whole = {Role.CACHE, *([Role.ACTIVATION] if expanded else [])} if one.core else set()
        return replace(
            one,
            macs=tuple((dtype, a.share(chips)) for dtype, a in one.macs),
            vector_ops=tuple(a.share(chips) for a in one.vector_ops),
            moved=tuple((role, a if role in whole else a.share(chips)) for role, a in one.moved),
        )

    return replace(
        part,
        kernels=tuple(kernel(k) for k in part.kernels),
        caches=tuple(a.share(chips) for a in part.caches),
        stream_bytes=part.stream_bytes / chips,
    )


def model_work(model: Model, request: LoweringRequest) -> ModelWork:
    """Counts of a step of `model`; the batch of the request is not used.

    Lowered for one and for two sequences: everything but the routed experts is affine in the batch, which a test checks.

    Raises:
        UsageError: the request does not fit the model.
        InputError: an operator that cannot be costed, or a router whose experts cannot be told.
    """
    if not isinstance(model, Hashable):
        return _lowered(model, replace(request, batch=1))
    return _model_work(model, replace(request, batch=1))


@lru_cache(maxsize=_MODELS_KEPT)
def _model_work(model: Hashable, request: LoweringRequest) -> ModelWork:
    return _lowered(cast("Model", model), request)


def _lowered(model: Model, request: LoweringRequest) -> ModelWork:
    ones, twos = model.lower(request), model.lower(replace(request, batch=2))
    parts: list[PartWork] = []
    experts = per_token = 0
    for one, two in zip(ones.parts, twos.parts, strict=True):
        graph = read_onnx(one.onnx, name=one.name)
        first, second = layer_kernels(graph), layer_kernels(read_onnx(two.onnx, name=two.name))
        parts.append(_part(one.name, one.count, first, second))
        if first.expert_groups:
            experts, per_token = _router(graph)
    return ModelWork(model.name, _tied_once(tuple(parts), experts, ones.stored_weight_bytes), request.query_len, experts, per_token)


def _tied_once(parts: tuple[PartWork, ...], experts: int, stored_bytes: float | None) -> tuple[PartWork, ...]:
    """An embedding that the output head uses too is stored once: what the parts hold beyond the model's own count is taken off it."""
    held = sum(p.count * (sum(a.fixed for a in p.weights) + p.has_experts * experts * p.expert_weights.fixed) for p in parts)
    excess = held - stored_bytes if stored_bytes is not None else 0.0
    if excess < 1:
        return parts
    found = []
    for part in parts:
        own = sum(a.fixed for a in part.weights)
        twice = not part.is_layer and not any(k.macs for k in part.kernels) and own > 0
        less = min(excess, own) if twice else 0.0
        excess -= less
        found.append(replace(part, weights=tuple(replace(a, fixed=a.fixed * (1 - less / own)) for a in part.weights)) if less else part)
    return tuple(found)


def _router(graph: OperatorGraph) -> tuple[int, int]:
    """Experts and experts per token, from the last choice of largest scores in the graph."""
    for o in reversed(graph.operators):
        if o.op_type == "TopK":
            return graph.tensors[o.inputs[0].tensor].shape[-1], graph.tensors[o.outputs[0].tensor].shape[-1]
    raise InputError.single(graph.name, "has grouped experts but no TopK that chooses them, so their number is not known")


def _part(name: str, count: int, one: LayerKernels, two: LayerKernels) -> PartWork:
    seconds = {k.name: k for k in two.kernels if k.region is not Region.EXPERTS}
    kernels = [_kernel(one, k, seconds[k.name]) for k in one.kernels if k.region is not Region.EXPERTS]
    kernels += _expert_kernels(one)
    plain = {s: b for (of_experts, s), b in one.weights.items() if not of_experts}
    routed = {s: b for (of_experts, s), b in one.weights.items() if of_experts}
    signature = next(iter(routed), ())
    experts = sum(number for number, _ in one.expert_groups)
    expert_bytes = sum(routed.values()) / experts if experts else 0.0
    return PartWork(
        name=name,
        count=count,
        sizes=one.axes.sizes,
        kernels=tuple(kernels),
        weights=tuple(Affine(b, 0.0, s) for s, b in plain.items()),
        expert_weights=Affine(expert_bytes, 0.0, signature),
        caches=tuple(Affine(0.0, b, s) for s, b in one.caches.items()),
        stream_bytes=one.stream_bytes,
        is_layer=bool(one.axes.core) or any(k.region is Region.FFN for k in one.kernels),
        has_experts=experts > 0,
    )


def _kernel(layer: LayerKernels, one: Kernel, two: Kernel) -> KernelWork:
    moved = {
        key: (
            one.read_bytes.get(key, 0.0) + one.written_bytes.get(key, 0.0),
            two.read_bytes.get(key, 0.0) + two.written_bytes.get(key, 0.0),
        )
        for key in {**one.read_bytes, **one.written_bytes}
    }
    return KernelWork(
        name=one.name,
        region=one.region,
        core=one.name in layer.axes.core,
        macs=tuple((dtype, _affine(n, two.macs[dtype, s], s)) for (dtype, s), n in one.macs.items()),
        vector_ops=tuple(_affine(n, two.vector_ops[s], s) for s, n in one.vector_ops.items()),
        moved=tuple((role, _affine(a, b, s)) for (role, s), (a, b) in moved.items()),
        reads_cache=any(role is Role.CACHE for role, _ in one.read_bytes),
    )


def _affine(one: float, two: float, signature: Signature) -> Affine:
    return Affine(2 * one - two, two - one, signature)


def _expert_kernels(layer: LayerKernels) -> list[KernelWork]:
    """Kernels of the first group of experts of equal load, per row and per expert; the other groups are alike."""
    if not layer.expert_groups:
        return []
    found = []
    of_experts = [k for k in layer.kernels if k.region is Region.EXPERTS]
    experts, rows = layer.expert_groups[0]
    for k in of_experts[: len(of_experts) // len(layer.expert_groups)]:
        both = [*k.read_bytes.items(), *k.written_bytes.items()]
        found.append(
            KernelWork(
                name=k.name,
                region=Region.EXPERTS,
                core=False,
                macs=tuple((dtype, Affine(0.0, n / rows, s)) for (dtype, s), n in k.macs.items()),
                vector_ops=tuple(Affine(0.0, n / rows, s) for s, n in k.vector_ops.items()),
                moved=tuple(
                    (role, Affine(b / experts, 0.0, s) if role is Role.WEIGHT else Affine(0.0, b / rows, s)) for (role, s), b in both
                ),
            )
        )
    return found
