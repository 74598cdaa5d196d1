"""Which parts a request lowers, in the order they run, each kind once with its count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.ir.lowering import Part

if TYPE_CHECKING:
    from dse.ir.lowering import LoweringRequest
    from workloads.config import LayerKind, ModelConfig


@dataclass(frozen=True, slots=True)
class PartKind:
    """One ONNX model of a step: embedding, head, or a kind of layer."""

    name: str
    local: bool = False
    moe: bool = False
    is_layer: bool = False


def part_kinds(config: ModelConfig, request: LoweringRequest) -> dict[PartKind, int]:
    """The parts with their counts; layers of one kind are one part, wherever they stand."""
    if request.layer is not None:
        return {_layer(config, request.part, config.pattern[request.layer]): 1}
    layers = Counter(_layer(config, request.part, kind) for kind in config.pattern)
    if request.part is not Part.LAYER:
        return dict(layers)
    parts = {PartKind("embedding"): 1, **layers, PartKind("head"): 1}
    if request.mtp:
        last = _layer(config, request.part, config.pattern[-1])
        n = config.mtp_layers
        module = PartKind(f"mtp_{last.name}", last.local, last.moe, is_layer=True)
        parts |= {PartKind("mtp_input"): n, module: n, PartKind("mtp_head"): n}
    return parts


def _layer(config: ModelConfig, part: Part, kind: LayerKind) -> PartKind:
    """The part of one layer; its name says no more than what tells the model's layers apart."""
    place = "" if len({k.local for k in config.pattern}) == 1 else ("_local" if kind.local else "_full")
    network = "_moe" if kind.moe else "_dense"
    if part is Part.ATTENTION:
        return PartKind(f"attention{place}", local=kind.local, is_layer=True)
    if part is Part.FFN:
        return PartKind(f"ffn{network}", moe=kind.moe, is_layer=True)
    return PartKind(f"layer{place}{network}", kind.local, kind.moe, is_layer=True)
